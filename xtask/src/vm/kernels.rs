//! The kernels to test on: a table, and the image of each.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::packages::{Apt, System};
use crate::run::root;

/// A row of tests/vm/kernels.toml.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kernel {
    pub(super) name: String,
    #[serde(default)]
    system: System,
    suite: String,
    package: Option<String>,
    pub(super) supported: bool,
}

pub(super) fn table() -> Result<Vec<Kernel>> {
    #[derive(Deserialize)]
    struct Table {
        kernel: Vec<Kernel>,
    }
    let path = root().join("tests/vm/kernels.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let Table { kernel } = toml::from_str(&text).with_context(|| format!("mistake in {}", path.display()))?;
    Ok(kernel)
}

/// The kernel's image, fetched once.
pub(super) fn image(kernel: &Kernel, folder: &Path, mirror: Option<&str>) -> Result<PathBuf> {
    if let Some(image) = unpacked(folder) {
        return Ok(image);
    }
    let apt = Apt::new(kernel.system, &kernel.suite, folder, mirror)?;
    let package = apt.newest(kernel.package.as_deref().unwrap_or(kernel.system.package()))?;
    // Of the package only the image: the tests need no module.
    let boot = folder.join("boot");
    apt.unpack(&package, "*/vmlinuz*", &boot)?;
    unpacked(folder).with_context(|| format!("the package {package} holds no kernel image"))
}

fn unpacked(folder: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(folder.join("boot")).ok()?.flatten().map(|entry| entry.path());
    files.into_iter().find(|path| path.to_string_lossy().contains("vmlinuz"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_can_be_read() {
        let table = table().unwrap();
        for wanted in ["5.10", "5.15", "6.1", "6.8", "6.12", "newest"] {
            assert!(table.iter().any(|kernel| kernel.name == wanted), "{wanted}");
        }
        assert!(table.iter().all(|kernel| !kernel.suite.is_empty()));
    }
}
