//! Which processes are traced. A process is if any one selector matches; without selectors every process
//! is, except the agent itself and what [`super::agents`] knows.

use std::{collections::BTreeSet, path::Path};

use globset::GlobSet;

use super::{
    agents,
    facts::{Facts, base_name},
};

/// Which processes to trace.
#[derive(Clone, Debug, Default)]
pub struct Selectors {
    /// Processes, in the initial pid namespace.
    pub pids: BTreeSet<u32>,
    /// Match the executable's full path or its file name, or what it was started as.
    pub exes: GlobSet,
    /// Match the arguments joined by spaces.
    pub cmds: GlobSet,
    /// TCP ports on which the process listens.
    pub ports: BTreeSet<u16>,
    /// Control groups, as `/proc/PID/cgroup` names them; what is below them matches too.
    pub cgroups: Vec<String>,
    /// A command is started, and its descendants are traced.
    pub command: bool,
}

/// Why a process is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selected {
    Pid,
    Exe,
    Cmd,
    Port,
    Cgroup,
    /// It descends from the command that the agent started.
    Command,
    /// It was forked by a traced process and runs the same program.
    Fork,
    /// There are no selectors.
    Everything,
}

/// Why a process is not traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// It is the agent.
    Agent,
    /// It carries telemetry itself; tracing it would trace the traces. What it is.
    Telemetry(&'static str),
    /// A thread of the kernel.
    Kernel,
    /// No selector matches.
    NoMatch,
}

/// The decision about a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Yes(Selected),
    No(Ignored),
}

impl Verdict {
    /// Whether the process is traced.
    pub fn traced(self) -> bool {
        matches!(self, Self::Yes(_))
    }
}

impl Selectors {
    /// Whether there is none, so that everything is traced.
    pub fn is_empty(&self) -> bool {
        let Self { pids, exes, cmds, ports, cgroups, command } = self;
        !command
            && pids.is_empty()
            && exes.is_empty()
            && cmds.is_empty()
            && ports.is_empty()
            && cgroups.is_empty()
    }

    /// The decision by what a process is. What it listens on and who started it come on top.
    pub fn judge(&self, facts: &Facts) -> Verdict {
        if self.is_empty() {
            return match agents::known(facts) {
                Some(what) => Verdict::No(Ignored::Telemetry(what)),
                None => Verdict::Yes(Selected::Everything),
            };
        }
        let is = |path: &str| self.exes.is_match(path) || self.exes.is_match(base_name(path));
        // It may have been started by a link's name: `python3` is `python3.11`.
        let exe = || is(&facts.exe) || facts.args.first().is_some_and(|name| is(name));
        let below = |path: &String| self.cgroups.iter().any(|group| contains(group, path));
        if self.pids.contains(&facts.pid) {
            Verdict::Yes(Selected::Pid)
        } else if !self.exes.is_empty() && exe() {
            Verdict::Yes(Selected::Exe)
        } else if !self.cmds.is_empty() && self.cmds.is_match(&facts.command) {
            Verdict::Yes(Selected::Cmd)
        } else if facts.cgroups.iter().any(below) {
            Verdict::Yes(Selected::Cgroup)
        } else {
            Verdict::No(Ignored::NoMatch)
        }
    }
}

/// Whether a control group is another one or above it.
fn contains(group: &str, path: &str) -> bool {
    group == "/" || path.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A control group as `/proc/PID/cgroup` names it, from there or from a path below `/sys/fs/cgroup`.
/// Version 1 paths there have a controller's folder first. `None` if it is not an absolute path.
pub fn cgroup_path(given: &str) -> Option<String> {
    const CONTROLLERS: [&str; 16] = [
        "unified",
        "systemd",
        "memory",
        "cpu",
        "cpuacct",
        "cpu,cpuacct",
        "cpuset",
        "pids",
        "blkio",
        "devices",
        "freezer",
        "net_cls",
        "net_prio",
        "net_cls,net_prio",
        "perf_event",
        "hugetlb",
    ];
    let path = given.trim().trim_end_matches('/');
    if !given.trim().starts_with('/') {
        return None;
    }
    let Ok(below) = Path::new(path).strip_prefix("/sys/fs/cgroup") else {
        return Some(if path.is_empty() { "/".to_owned() } else { path.to_owned() });
    };
    let below = below.to_str()?;
    let (first, rest) = below.split_once('/').unwrap_or((below, ""));
    let path = if CONTROLLERS.contains(&first) { rest } else { below };
    Some(format!("/{path}"))
}

#[cfg(test)]
mod tests {
    use globset::{Glob, GlobSetBuilder};

    use super::*;

    fn globs(glob: &str) -> GlobSet {
        GlobSetBuilder::new().add(Glob::new(glob).unwrap()).build().unwrap()
    }

    fn process(exe: &str, args: &[&str]) -> Facts {
        let args: Vec<_> = args.iter().map(|arg| (*arg).to_owned()).collect();
        Facts { pid: 42, exe: exe.to_owned(), command: args.join(" "), args, ..Facts::default() }
    }

    #[test]
    fn any_one_selector_is_enough() {
        let python = process("/usr/bin/python3.11", &["python3", "-m", "shop"]);
        let cases = [
            (Selectors { pids: [42].into(), ..Default::default() }, Some(Selected::Pid)),
            (Selectors { exes: globs("python*"), ..Default::default() }, Some(Selected::Exe)),
            (Selectors { exes: globs("/usr/*/python3.1?"), ..Default::default() }, Some(Selected::Exe)),
            (Selectors { exes: globs("python"), ..Default::default() }, None),
            // The name of a link by which it was started.
            (Selectors { exes: globs("python3"), ..Default::default() }, Some(Selected::Exe)),
            (Selectors { cmds: globs("python3 -m sho*"), ..Default::default() }, Some(Selected::Cmd)),
            (Selectors { cmds: globs("sho*"), ..Default::default() }, None),
            (
                Selectors { exes: globs("node"), cmds: globs("*shop"), ..Default::default() },
                Some(Selected::Cmd),
            ),
            (Selectors { command: true, ..Default::default() }, None),
            (Selectors::default(), Some(Selected::Everything)),
        ];
        for (selectors, expected) in cases {
            let verdict = selectors.judge(&python);
            assert_eq!(
                verdict,
                expected.map_or(Verdict::No(Ignored::NoMatch), Verdict::Yes),
                "{selectors:?}"
            );
        }
    }

    #[test]
    fn telemetry_agents_are_left_alone_unless_they_are_asked_for() {
        let collector = process("/usr/bin/otelcol-contrib", &["otelcol-contrib"]);
        let Verdict::No(Ignored::Telemetry(_)) = Selectors::default().judge(&collector) else {
            panic!("traced");
        };
        let asked = Selectors { exes: globs("otelcol*"), ..Default::default() };
        assert_eq!(asked.judge(&collector), Verdict::Yes(Selected::Exe));
    }

    #[test]
    fn control_groups_match_with_what_is_below_them() {
        let mut facts = process("/x", &[]);
        facts.cgroups = vec!["/system.slice/shop.service/worker".to_owned()];
        for (group, expected) in [
            ("/system.slice/shop.service", true),
            ("/system.slice/shop.service/worker", true),
            ("/system.slice", true),
            ("/", true),
            ("/system.slice/shop.serv", false),
            ("/user.slice", false),
        ] {
            let selectors = Selectors { cgroups: vec![group.to_owned()], ..Default::default() };
            assert_eq!(selectors.judge(&facts).traced(), expected, "{group}");
        }
    }

    #[test]
    fn control_groups_are_named_in_two_ways() {
        for (given, expected) in [
            ("/system.slice/", Some("/system.slice")),
            ("/sys/fs/cgroup/system.slice", Some("/system.slice")),
            ("/sys/fs/cgroup/memory/docker/abc", Some("/docker/abc")),
            ("/sys/fs/cgroup/cpu,cpuacct/docker", Some("/docker")),
            ("/sys/fs/cgroup", Some("/")),
            ("/", Some("/")),
            ("system.slice", None),
            ("", None),
        ] {
            assert_eq!(cgroup_path(given).as_deref(), expected, "{given}");
        }
    }
}
