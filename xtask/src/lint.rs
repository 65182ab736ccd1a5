//! `cargo xtask lint`: format, clippy's lints on both sides, licences and duplicate dependencies.
//!
//! Runs everything before it fails, so that one run shows all there is to cure.

use std::path::Path;

use anyhow::{Result, bail};

use crate::{
    run::{cargo, command, exists, output, root, run as sh, succeeds, target_dir},
    setup::{self, Compiler},
    tools,
};

const CARGO_DENY: &str = "0.20.2";

/// Packages outside the workspace that are formatted like it.
const APART: [&str; 2] = ["ebpf/Cargo.toml", "tests/fuzz/Cargo.toml"];

pub(crate) fn run() -> Result<()> {
    component("rustfmt", "cargo-fmt")?;
    component("clippy", "cargo-clippy")?;
    setup::ready()?;
    let mut failed = Vec::new();
    let mut check = |what: &'static str, good: Result<bool>| match good {
        Ok(true) => {}
        Ok(false) => failed.push(what.to_owned()),
        Err(error) => failed.push(format!("{what}: {error:#}")),
    };
    check("format (cure: cargo fmt --all)", succeeds(&mut cargo(["fmt", "--all", "--check"])));
    for manifest in APART.iter().filter(|manifest| root().join(manifest).exists()) {
        let args = ["fmt", "--check", "--manifest-path", manifest];
        check(
            "format outside the workspace (cure: cargo fmt --manifest-path ...)",
            succeeds(&mut cargo(args)),
        );
    }
    let clippy = ["clippy", "--locked", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    check("clippy", succeeds(&mut cargo(clippy)));
    check("clippy on the kernel side", kernel_side());
    check("licences and duplicates", dependencies());
    if failed.is_empty() {
        println!("lint: clean");
        return Ok(());
    }
    bail!("lint failed:\n  {}", failed.join("\n  "))
}

/// One of the toolchain's own tools.
fn component(name: &str, program: &str) -> Result<()> {
    if exists(program) || tools::cargo_bin().join(program).is_file() {
        return Ok(());
    }
    if !exists("rustup") {
        bail!("{program} is missing: install your toolchain's component {name}");
    }
    eprintln!("Installing the toolchain's component {name}");
    sh(command("rustup").args(["component", "add", name]))
}

/// Clippy with the compiler that builds the kernel object.
fn kernel_side() -> Result<bool> {
    let common = ["--locked", "--target", "bpfel-unknown-none"];
    let mut clippy = match setup::compiler() {
        Some(Compiler::Nightly { name, .. }) => {
            sh(command("rustup").args(["component", "add", "clippy", "--toolchain", name]))?;
            let mut clippy = command("rustup");
            clippy.args(["run", name, "cargo", "clippy", "-Zbuild-std=core"]).args(common);
            clippy.args(["--", "--deny", "warnings"]);
            clippy
        }
        Some(Compiler::Distribution { .. }) => {
            let Some(driver) = distribution_clippy() else {
                eprintln!("Not checked: the kernel side, as this distribution's rustc comes without clippy.");
                return Ok(true);
            };
            // What `cargo clippy` does, with a compiler that is not the toolchain's own.
            let mut clippy = cargo(["check"]);
            clippy.args(common).env("RUSTC", setup::DISTRIBUTION_RUSTC).env("RUSTC_BOOTSTRAP", "1");
            clippy.env("RUSTC_WORKSPACE_WRAPPER", driver).env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__");
            clippy
        }
        None => bail!("there is no compiler for BPF"),
    };
    clippy.current_dir(root().join("ebpf")).env("CARGO_TARGET_DIR", target_dir().join("ebpf-lint"));
    succeeds(&mut clippy)
}

/// The clippy that belongs to the distribution's rustc.
fn distribution_clippy() -> Option<&'static str> {
    const DRIVER: &str = "/usr/bin/clippy-driver";
    if !Path::new(DRIVER).exists() && tools::can_install() {
        let package = ["rust-web-clippy", "rust-clippy"].into_iter().find(|name| tools::offered(name))?;
        tools::apt(&[package]).ok()?;
    }
    Path::new(DRIVER).exists().then_some(DRIVER)
}

/// deny.toml, for both sides. Known vulnerabilities only if their database can be reached.
fn dependencies() -> Result<bool> {
    tools::cargo_tool("cargo-deny", CARGO_DENY, "checks licences and duplicate dependencies")?;
    let mut good = true;
    for manifest in ["Cargo.toml", "ebpf/Cargo.toml"] {
        let deny = ["deny", "--locked", "--manifest-path", manifest, "--config"];
        let config = root().join("deny.toml");
        good &= succeeds(cargo(deny).arg(config).args([
            "check",
            "--allow",
            "unmatched-skip",
            "bans",
            "licenses",
            "sources",
        ]))?;
    }
    if output(&mut cargo(["deny", "fetch", "db"]))?.status.success() {
        good &= succeeds(&mut cargo(["deny", "--locked", "check", "--disable-fetch", "advisories"]))?;
    } else {
        eprintln!("Not checked: known vulnerabilities, as their database cannot be reached from here.");
    }
    Ok(good)
}
