//! Installing what a verb lacks: distribution packages and cargo's own tools. Says what and why first, and
//! does nothing where nothing is missing.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

use crate::run::{answer, cargo, command, exists, run, succeeds};

/// A program that tests or builds run, and the package that brings it.
pub(crate) struct Tool {
    /// What has to exist: a program's name, or the path of a file.
    pub(crate) needs: &'static str,
    /// Debian's and Ubuntu's package.
    pub(crate) package: &'static str,
    /// What it is for.
    pub(crate) why: &'static str,
}

/// Whether packages can be installed here: apt-get, as root.
pub(crate) fn can_install() -> bool {
    exists("apt-get") && answer(command("id").arg("-u")).as_deref() == Some("0")
}

/// Installs the tools that are missing. Names those that cannot be installed.
pub(crate) fn ensure(tools: &[Tool]) -> Result<()> {
    let missing: Vec<_> = tools.iter().filter(|tool| !exists(tool.needs)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("Missing here:");
    for Tool { needs, package, why } in &missing {
        eprintln!("  {needs}: {why} (package {package})");
    }
    let packages: Vec<_> = missing.iter().map(|tool| tool.package).collect();
    apt(&packages)?;
    let still: Vec<_> = missing.iter().filter(|tool| !exists(tool.needs)).map(|tool| tool.needs).collect();
    if still.is_empty() {
        return Ok(());
    }
    bail!("packages are installed, but these are still missing: {}", still.join(", "))
}

/// Installs distribution packages, without asking and without what they merely recommend.
pub(crate) fn apt(packages: &[&str]) -> Result<()> {
    apt_from(None, packages)
}

/// Like [`apt`], from a given release such as `bookworm-backports`.
pub(crate) fn apt_from(release: Option<&str>, packages: &[&str]) -> Result<()> {
    let missing: Vec<_> = packages.iter().copied().filter(|name| !installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !can_install() {
        bail!("packages are missing: {list}. Install them, or run this as root on Debian or Ubuntu");
    }
    eprintln!("Installing packages: {list}");
    let install = || {
        let mut apt = command("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        apt.args(["install", "--yes", "--quiet", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0"]);
        apt.args(["-o", "DPkg::Lock::Timeout=120"]);
        apt.args(release.iter().flat_map(|name| ["--target-release", name]));
        apt.args(&missing);
        apt
    };
    let _quiet = NoServices::new();
    // The lists of a machine may be absent or old: try, refresh, try again.
    if succeeds(&mut install())? {
        return Ok(());
    }
    refresh()?;
    if !succeeds(&mut install())? {
        bail!("apt-get could not install: {list}. What it said is above");
    }
    Ok(())
}

/// Keeps packages from starting services while they are installed (invoke-rc.d(8), "policy-rc.d"): programs
/// are needed here, not a web server on port 80.
struct NoServices {
    ours: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    /// A machine that has a policy of its own keeps it.
    fn new() -> Self {
        let ours = !Path::new(POLICY).exists()
            && fs::write(POLICY, "#!/bin/sh\nexit 101\n").is_ok()
            && fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)).is_ok();
        Self { ours }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!(
                "{POLICY} could not be removed ({error}): remove it, or no service starts when installed"
            );
        }
    }
}

/// Fetches the package lists anew.
pub(crate) fn refresh() -> Result<()> {
    run(command("apt-get").args(["update", "--quiet"]))
}

/// Whether a distribution package is installed.
pub(crate) fn installed(package: &str) -> bool {
    let status = answer(command("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]));
    status.as_deref() == Some("installed")
}

/// Whether a distribution package can be had.
pub(crate) fn offered(package: &str) -> bool {
    let policy = answer(command("apt-cache").args(["policy", package])).unwrap_or_default();
    policy.lines().any(|line| line.trim().starts_with("Candidate:") && !line.contains("(none)"))
}

/// Installs one of cargo's tools at a pinned version, unless that version is there. Such builds are as
/// given by the tool's own lock file.
pub(crate) fn cargo_tool(name: &str, version: &str, why: &str) -> Result<()> {
    let listed = answer(&mut cargo(["install", "--list"])).unwrap_or_default();
    if listed.lines().any(|line| line.trim_end_matches(':') == format!("{name} v{version}")) {
        return Ok(());
    }
    eprintln!("Installing {name} {version}: {why}");
    let folder = env::temp_dir().join("spandrel-tools");
    run(cargo(["install", "--locked", "--version", version, name]).env("CARGO_TARGET_DIR", folder))
}

/// Cargo's folder of installed programs, for those whose path lacks it.
pub(crate) fn cargo_bin() -> PathBuf {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    home.unwrap_or_default().join("bin")
}
