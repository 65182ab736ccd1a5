//! Selectors as typed to selectors that can be asked, each mistake reported.

use std::{collections::BTreeSet, path::Path};

use globset::{Glob, GlobSet, GlobSetBuilder};

use super::{
    mistake::{Findings, exit},
    settings::Distribution,
};
use crate::discover::select::{Selectors, cgroup_path};

/// Where the control groups are mounted.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// Builds the selectors.
pub(super) fn selectors(typed: &Distribution, command: bool, findings: &mut Findings) -> Selectors {
    let prefix = &typed.place;
    let mut with = |names: &[String], name: &str, build: Builder<'_>| {
        for value in names {
            if let Err((code, what, advice)) = build(value.trim()) {
                findings.mistake(code, format!("{prefix}{name} {value}"), what, advice);
            }
        }
    };
    let (mut pids, mut ports, mut cgroups) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    let (mut exes, mut cmds) = (GlobSetBuilder::new(), GlobSetBuilder::new());
    with(&typed.pid, "pid", &mut |value| {
        pids.insert(pid(value)?);
        Ok(())
    });
    with(&typed.exe, "exe", &mut |value| {
        exes.add(glob(value)?);
        // What is found for a process is what a link leads to.
        if let Ok(target) = std::fs::canonicalize(value)
            && value.starts_with('/')
            && let Some(target) = target.to_str().filter(|target| *target != value)
        {
            exes.add(glob(&globset::escape(target))?);
        }
        Ok(())
    });
    with(&typed.cmd, "cmd", &mut |value| {
        cmds.add(glob(value)?);
        Ok(())
    });
    with(&typed.port, "port", &mut |value| {
        ports.insert(port(value)?);
        Ok(())
    });
    with(&typed.cgroup, "cgroup", &mut |value| {
        cgroups.push(cgroup(value)?);
        Ok(())
    });
    let mut set = |globs: &GlobSetBuilder, name: &str| {
        globs.build().unwrap_or_else(|error| {
            let advice = "use fewer or shorter globs";
            findings.mistake(exit::USAGE, format!("{prefix}{name}"), error.to_string(), advice);
            GlobSet::empty()
        })
    };
    let (exes, cmds) = (set(&exes, "exe"), set(&cmds, "cmd"));
    Selectors { pids, exes, cmds, ports, cgroups, command }
}

/// The selectors as they were written.
pub(super) fn written(typed: &Distribution) -> Vec<String> {
    let Distribution { pid, exe, cmd, port, cgroup, .. } = typed;
    let all = [("pid", pid), ("exe", exe), ("cmd", cmd), ("port", port), ("cgroup", cgroup)];
    all.into_iter()
        .flat_map(|(key, values)| values.iter().map(move |value| format!("{key}={value}")))
        .collect()
}

type Wrong = (u8, String, String);
type Builder<'a> = &'a mut dyn FnMut(&str) -> Result<(), Wrong>;

fn pid(value: &str) -> Result<u32, Wrong> {
    let advice = "take one from `ps -e`";
    let Some(pid) = value.parse::<u32>().ok().filter(|pid| (1..=i32::MAX as u32).contains(pid)) else {
        return Err((exit::USAGE, "not a process id".to_owned(), advice.to_owned()));
    };
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    let Ok(status) = status else {
        return Err((exit::DATAERR, "there is no such process".to_owned(), advice.to_owned()));
    };
    let group = status.lines().find_map(|line| line.strip_prefix("Tgid:")).map(str::trim);
    match group.and_then(|group| group.parse::<u32>().ok()) {
        Some(group) if group != pid => {
            let advice = format!("give the process, --pid {group}");
            Err((exit::DATAERR, format!("this is a thread of process {group}"), advice))
        }
        _ => Ok(pid),
    }
}

fn port(value: &str) -> Result<u16, Wrong> {
    let port = value.parse().ok().filter(|port| *port != 0);
    port.ok_or_else(|| (exit::USAGE, "not a port".to_owned(), "give a number from 1 to 65535".to_owned()))
}

fn glob(value: &str) -> Result<Glob, Wrong> {
    let advice = "quote it, and write \\ before a bracket or brace that is meant as it is".to_owned();
    if value.is_empty() {
        return Err((
            exit::USAGE,
            "an empty glob matches nothing".to_owned(),
            "write '*' for all".to_owned(),
        ));
    }
    Glob::new(value).map_err(|error| (exit::USAGE, format!("not a glob: {}", error.kind()), advice))
}

fn cgroup(value: &str) -> Result<String, Wrong> {
    let advice = "take a path from /proc/PID/cgroup, or one below /sys/fs/cgroup".to_owned();
    let Some(path) = cgroup_path(value) else {
        return Err((exit::USAGE, "not the path of a control group".to_owned(), advice));
    };
    // Version 1 has one folder for each controller, and the group is below any of them.
    let below = |root: &Path| root.join(path.trim_start_matches('/')).is_dir();
    let root = Path::new(CGROUP_ROOT);
    let controllers = std::fs::read_dir(root).into_iter().flatten().flatten();
    if root.is_dir() && !below(root) && !controllers.into_iter().any(|entry| below(&entry.path())) {
        return Err((exit::DATAERR, "there is no such control group".to_owned(), advice));
    }
    Ok(path)
}
