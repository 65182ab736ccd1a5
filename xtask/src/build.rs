//! `cargo xtask build`: one file, `target/release/spandrel`, with the kernel object inside.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{
    kernel_side,
    run::{answer, cargo, shown, target_dir},
    setup,
};

pub(crate) fn run() -> Result<()> {
    let (agent, object) = with_object()?;
    println!("kernel side: the deepest stack is {}", kernel_side::check(&object)?);
    println!("{} ({})", agent.display(), size(&agent)?);
    Ok(())
}

/// Builds the agent and returns its path.
pub(crate) fn agent() -> Result<PathBuf> {
    with_object().map(|(agent, _)| agent)
}

/// Builds the agent, looks through the kernel object that is in it, and returns the paths of both.
pub(crate) fn with_object() -> Result<(PathBuf, PathBuf)> {
    setup::ready()?;
    let mut build = cargo(["build", "--release", "--locked", "--package", "spandrel"]);
    build.args(["--message-format", "json-render-diagnostics"]);
    eprintln!("+ {}", shown(&build));
    let messages = answer(build.stderr(Stdio::inherit())).context("the build failed; see above")?;
    let object = object(&messages).context("cargo told of no kernel object")?;
    kernel_side::check(&object)?;
    Ok((target_dir().join("release/spandrel"), object))
}

/// The kernel object, which agent/build.rs tells the agent of by a variable.
fn object(messages: &str) -> Option<PathBuf> {
    let mut messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages.find_map(|message| {
        let variables = message["env"].as_array()?;
        let pair = variables.iter().find(|pair| pair[0] == "SPANDREL_EBPF")?;
        pair[1].as_str().map(PathBuf::from)
    })
}

/// A file's size, for people.
pub(crate) fn size(file: &Path) -> Result<String> {
    let bytes = file.metadata().with_context(|| format!("{} is not there", file.display()))?.len();
    Ok(format!("{:.1} MB", bytes as f64 / 1e6))
}
