//! Words that say nothing about a service, and the folders above them that may.

/// File names and module parts that many projects use.
const PROGRAMS: [&str; 40] = [
    "main",
    "index",
    "server",
    "app",
    "application",
    "start",
    "run",
    "runner",
    "manage",
    "wsgi",
    "asgi",
    "api",
    "__main__",
    "__init__",
    "cli",
    "bootstrap",
    "boot",
    "program",
    "service",
    "worker",
    "entrypoint",
    "launcher",
    "init",
    "web",
    "www",
    "http",
    "https",
    "backend",
    "frontend",
    "site",
    "default",
    "root",
    "a.out",
    "script",
    "serve",
    "standalone",
    "handler",
    "config",
    "quarkus-run",
    "out",
];

/// Folders that hold a project or belong to the system.
const FOLDERS: [&str; 46] = [
    "src",
    "dist",
    "build",
    "lib",
    "lib64",
    "libexec",
    "bin",
    "sbin",
    "app",
    "apps",
    "application",
    "out",
    "target",
    "release",
    "debug",
    "public",
    "static",
    "html",
    "www",
    "wwwroot",
    "htdocs",
    "usr",
    "local",
    "opt",
    "srv",
    "home",
    "root",
    "var",
    "tmp",
    "run",
    "etc",
    "mnt",
    "data",
    "code",
    "workspace",
    "work",
    "project",
    "projects",
    "server",
    "cmd",
    "node_modules",
    "site-packages",
    "current",
    "releases",
    "cjs",
    "esm",
];

/// Whether a program's name is one that many programs have.
pub(super) fn says_nothing(name: &str) -> bool {
    let name = name.strip_suffix(".min").unwrap_or(name);
    PROGRAMS.iter().any(|word| word.eq_ignore_ascii_case(name))
}

/// The nearest folder above a file whose name says something. `None` for a relative path, and for what is
/// in nobody's project: a home folder is named after a person, one in `/tmp` after nothing.
pub(super) fn folder(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = path.strip_prefix('/')?.split('/').filter(|part| !part.is_empty()).collect();
    parts.pop();
    let lowest = match parts.as_slice() {
        ["home" | "tmp", ..] => 2,
        ["var", "tmp", ..] => 3,
        _ => 0,
    };
    let above = parts.get(lowest..).unwrap_or_default();
    above.iter().rev().find(|part| is_name(part)).map(|part| (*part).to_owned())
}

fn is_name(folder: &str) -> bool {
    let hidden = folder.starts_with('.') || folder.starts_with("python3") || folder.starts_with("go-build");
    let number = folder.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '-' || c == '_');
    !hidden
        && !number
        && !FOLDERS.iter().any(|word| word.eq_ignore_ascii_case(folder))
        && !says_nothing(folder)
}
