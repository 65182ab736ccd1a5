//! What is known about a process: from `/proc` while it lives, or from its exec event if it is gone.

/// Arguments that are kept. Java servers are started with 60 to 100.
const MAX_ARGS: usize = 256;
/// Bytes of one argument that are kept. Class paths are longer; what matters comes behind them.
const MAX_ARG: usize = 512;
/// Bytes of all arguments that are kept, so that the facts of a full table stay small.
const MAX_AREA: usize = 8 * 1024;
/// Bytes of one variable that are kept: `OTEL_RESOURCE_ATTRIBUTES` can be long.
const MAX_VARIABLE: usize = 4096;

/// The variables that say something about who a process is. No other is ever kept.
const VARIABLES: [&str; 8] = [
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "SPRING_APPLICATION_NAME",
    "DJANGO_SETTINGS_MODULE",
    "FLASK_APP",
    "npm_package_name",
    "RELEASE_NAME",
    "PM2_APP_NAME",
];

/// Facts about one process. What is not known is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub pid: u32,
    /// The executable's full path as the process's own file system names it, or as it was named at exec.
    pub exe: String,
    /// The arguments, the program's own name first; or one process title.
    pub args: Vec<String>,
    /// All arguments, with spaces between, for who has to be selected. It can be long, and is not kept.
    pub command: String,
    /// The parent's arguments, where the process's own only say that it is one of the parent's workers.
    pub parent: Vec<String>,
    /// Those of [`VARIABLES`] that are set and not empty.
    pub variables: Vec<(&'static str, String)>,
    /// Working directory.
    pub cwd: String,
    /// Paths of `/proc/PID/cgroup`, each once.
    pub cgroups: Vec<String>,
    /// Effective user.
    pub uid: Option<u32>,
    /// When it started, in clock ticks since boot; tells processes with one id apart.
    pub start_ticks: Option<u64>,
}

impl Facts {
    /// The last part of the executable's path; the program's own name if that is unknown.
    pub fn executable_name(&self) -> &str {
        let path = if self.exe.is_empty() { self.args.first().map_or("", String::as_str) } else { &self.exe };
        base_name(path)
    }

    /// Whether it is a worker that Python's `multiprocessing` has started: its own arguments name the starter's functions.
    pub fn is_python_worker(&self) -> bool {
        self.args.iter().any(|arg| arg.starts_with("from multiprocessing."))
    }

    /// The value of one of [`VARIABLES`].
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The facts of an exec event: the path as it was named, and the area of `args` bytes of arguments
    /// with the environment behind them, all strings ended by NUL.
    pub fn from_exec(pid: u32, path: &[u8], area: &[u8], args: usize) -> Self {
        let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
        let (args, environ) = area.split_at_checked(args).unwrap_or((area, &[]));
        Self {
            pid,
            exe: String::from_utf8_lossy(path).into_owned(),
            args: arguments(args),
            command: command(args),
            variables: variables(environ),
            ..Self::default()
        }
    }
}

/// The last part of a path.
pub fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// What stands behind the last dot of a file's name; empty if there is none.
pub fn extension(path: &str) -> &str {
    base_name(path).rsplit_once('.').map_or("", |(_, extension)| extension)
}

/// The strings of an argument area, as many as are kept.
pub fn arguments(area: &[u8]) -> Vec<String> {
    let mut room = MAX_AREA;
    let area = area.strip_suffix(b"\0").unwrap_or(area);
    let strings = area.split(|byte| *byte == 0).take(MAX_ARGS);
    let kept = strings.map_while(|string| {
        let string = string.get(..MAX_ARG).unwrap_or(string);
        room = room.checked_sub(string.len())?;
        Some(String::from_utf8_lossy(string).into_owned())
    });
    let mut args: Vec<_> = kept.collect();
    // A title that was written over the arguments is followed by what was left of them, as NULs.
    while args.last().is_some_and(String::is_empty) {
        args.pop();
    }
    args
}

/// The strings of an argument area as one types them.
pub fn command(area: &[u8]) -> String {
    // NULs at the end are what a title left of the arguments.
    let end = area.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let text = String::from_utf8_lossy(area.get(..end).unwrap_or(area));
    text.replace('\0', " ")
}

/// The variables of an environment area that are kept.
pub fn variables(area: &[u8]) -> Vec<(&'static str, String)> {
    let mut found: Vec<(&'static str, String)> = Vec::new();
    for string in area.split(|byte| *byte == 0) {
        let Some(at) = string.iter().position(|byte| *byte == b'=') else { continue };
        let (name, value) = string.split_at(at);
        let Some(name) = VARIABLES.into_iter().find(|known| known.as_bytes() == name) else { continue };
        let value = value.get(1..).unwrap_or_default();
        let usable = !value.is_empty() && value.len() <= MAX_VARIABLE;
        if usable && !found.iter().any(|(known, _)| *known == name) {
            found.push((name, String::from_utf8_lossy(value).into_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exec_event_is_taken_apart() {
        let args = b"python3\0app.py\0\0--x\0";
        let area = [&args[..], b"PATH=/bin\0OTEL_SERVICE_NAME=shop\0SECRET=1\0FLASK_APP=\0"].concat();
        let facts = Facts::from_exec(7, b"/usr/bin/python3\0junk", &area, args.len());
        assert_eq!(facts.exe, "/usr/bin/python3");
        assert_eq!(facts.args, ["python3", "app.py", "", "--x"]);
        assert_eq!(facts.command, "python3 app.py  --x");
        assert_eq!(facts.variables, [("OTEL_SERVICE_NAME", "shop".to_owned())]);
        assert_eq!(facts.executable_name(), "python3");
    }

    #[test]
    fn hostile_areas_stay_small() {
        let facts = Facts::from_exec(7, b"", b"x", 99);
        assert_eq!((facts.args.len(), facts.executable_name()), (1, "x"));
        assert_eq!(arguments(&vec![b'a'; 100_000]).iter().map(String::len).sum::<usize>(), MAX_ARG);
        let many = b"a\0".repeat(100_000);
        assert_eq!(arguments(&many).len(), MAX_ARGS);
        let wide = [&[b'b'; 1000][..], b"\0"].concat().repeat(1000);
        assert!(arguments(&wide).iter().map(String::len).sum::<usize>() <= MAX_AREA);
        assert_eq!(arguments(b"nginx: worker process\0\0\0\0\0"), ["nginx: worker process"]);
        assert_eq!(arguments(b""), Vec::<String>::new());
        assert_eq!(arguments(b"\xff\xfe\0"), ["\u{fffd}\u{fffd}"]);
    }
}
