//! `cargo xtask dist`: the agent as one static binary that runs on any distribution.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

use crate::{
    build::size,
    run::{answer, cargo, command, exists, output, run as sh, target_dir},
    setup,
    tools::{self, Tool},
};

/// musl's C library is linked in whole; glibc's cannot be.
const TARGET: &str = "x86_64-unknown-linux-musl";

pub(crate) const TOOLS: &[Tool] = &[
    Tool {
        needs: "musl-gcc",
        package: "musl-tools",
        why: "builds the C and assembler parts of ring for musl",
    },
    Tool { needs: "strip", package: "binutils", why: "takes the symbols out of the binary" },
    Tool { needs: "file", package: "file", why: "tells whether the binary is static" },
];

pub(crate) fn run() -> Result<()> {
    setup::ready()?;
    tools::ensure(TOOLS)?;
    std_for_musl()?;
    sh(&mut cargo(["build", "--release", "--locked", "--package", "spandrel", "--target", TARGET]))?;
    let built = target_dir().join(TARGET).join("release/spandrel");
    check_static(&built)?;
    // Without the symbols that only a debugger reads.
    let folder = target_dir().join("dist");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let binary = folder.join("spandrel");
    sh(command("strip").arg("-o").arg(&binary).arg(&built))?;
    answer(command(&binary).arg("--version")).context("the stripped binary does not run")?;
    println!("{} ({}, static: runs on any distribution)", binary.display(), size(&binary)?);
    Ok(())
}

/// Rust's standard library for musl.
pub(crate) fn std_for_musl() -> Result<()> {
    let libraries = answer(command("rustc").args(["--print", "target-libdir", "--target", TARGET]));
    if libraries.is_some_and(|folder| Path::new(&folder).is_dir()) {
        return Ok(());
    }
    if exists("rustup") {
        eprintln!("Installing Rust's standard library for {TARGET} by rustup: the static binary links it.");
        return sh(command("rustup").args(["target", "add", TARGET]));
    }
    bail!("Rust's standard library for {TARGET} is missing; with rustup: `rustup target add {TARGET}`")
}

/// Fails if the loader of some C library is named in the binary.
fn check_static(binary: &Path) -> Result<()> {
    let kind = answer(command("file").arg("--brief").arg(binary)).context("`file` failed")?;
    let linked = output(command("ldd").arg(binary))?;
    let linked =
        String::from_utf8_lossy(&linked.stdout).into_owned() + &String::from_utf8_lossy(&linked.stderr);
    let is_static = kind.contains("statically linked") || kind.contains("static-pie linked");
    let unlinked = linked.contains("statically linked") || linked.contains("not a dynamic executable");
    if is_static && unlinked {
        return Ok(());
    }
    bail!("{} depends on libraries of this machine: {kind}; ldd: {}", binary.display(), linked.trim())
}
