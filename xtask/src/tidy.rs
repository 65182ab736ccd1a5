//! `cargo xtask tidy`: the architecture's rules, checked on the source text.

use anyhow::Result;

pub(crate) fn run() -> Result<()> {
    Ok(())
}
