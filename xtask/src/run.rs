//! Running commands: shown before they run, and with errors that name them.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// The workspace's root folder.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A command in the workspace's root, without what `cargo run` set for this very program: build scripts
/// that watch those variables would otherwise run again in every second build.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let package = text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_");
        if package || ["CARGO", "CARGO_BIN_NAME", "CARGO_CRATE_NAME", "LD_LIBRARY_PATH"].contains(&&*text) {
            command.env_remove(&name);
        }
    }
    command
}

/// Cargo, with arguments.
pub(crate) fn cargo<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = command("cargo");
    command.args(args);
    command
}

/// How a command looks when typed.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Shows a command, runs it on this terminal without standard input, and fails if it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    if succeeds(command)? {
        return Ok(());
    }
    bail!("`{}` failed; what it said is above", shown(command))
}

/// Like [`run`], but failing is an answer. Not being able to start is an error.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool> {
    let line = shown(command);
    eprintln!("+ {line}");
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot start `{line}`"))?;
    Ok(status.success())
}

/// Runs a command silently and returns what it printed, whether or not it succeeded.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    let line = shown(command);
    command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{line}`"))
}

/// The standard output of a command that succeeded; `None` if it failed or does not exist.
pub(crate) fn answer(command: &mut Command) -> Option<String> {
    let out = output(command).ok().filter(|out| out.status.success())?;
    String::from_utf8(out.stdout).ok().map(|text| text.trim().to_owned())
}

/// Whether a program is on the path, or is a path to a file.
pub(crate) fn exists(program: &str) -> bool {
    find(program).is_some()
}

/// Where a program is: on the path, or in the folders of system programs that a user's path may lack.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_file());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_typed() {
        assert_eq!(shown(&cargo(["build", "--release"])), "cargo build --release");
    }

    #[test]
    fn a_failing_command_is_named() {
        let error = run(&mut command("false")).unwrap_err().to_string();
        assert!(error.contains("`false`"), "{error}");
        let error = run(&mut command("/no/such/program")).unwrap_err().to_string();
        assert!(error.contains("/no/such/program"), "{error}");
    }

    #[test]
    fn programs_are_found_on_the_path() {
        assert!(exists("sh"));
        assert!(!exists("no-such-program-anywhere"));
    }
}
