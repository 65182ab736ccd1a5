//! `cargo xtask build`: one file, `target/release/spandrel`, with the kernel object inside.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::{
    run::{cargo, run as sh, target_dir},
    setup,
};

pub(crate) fn run() -> Result<()> {
    let agent = agent()?;
    println!("{} ({})", agent.display(), size(&agent)?);
    Ok(())
}

/// Builds the agent and returns its path.
pub(crate) fn agent() -> Result<PathBuf> {
    setup::ready()?;
    sh(&mut cargo(["build", "--release", "--locked", "--package", "spandrel"]))?;
    Ok(target_dir().join("release/spandrel"))
}

/// A file's size, for people.
pub(crate) fn size(file: &Path) -> Result<String> {
    let bytes = file.metadata().with_context(|| format!("{} is not there", file.display()))?.len();
    Ok(format!("{:.1} MB", bytes as f64 / 1e6))
}
