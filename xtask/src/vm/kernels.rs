//! Kernels from the packages of Debian and Ubuntu, fetched by apt into folders of the project: nothing is installed, and the
//! machine's own package sources stay as they are.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::{
    run::{answer, command, root, run},
    tools::{self, Tool},
};

/// Who makes a kernel.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum System {
    #[default]
    Debian,
    Ubuntu,
}

impl System {
    /// The keys by which apt checks what it fetches.
    const fn keys(self) -> Tool {
        match self {
            Self::Debian => Tool {
                needs: "/usr/share/keyrings/debian-archive-keyring.gpg",
                package: "debian-archive-keyring",
                why: "Debian's keys, to check its kernels by",
            },
            Self::Ubuntu => Tool {
                needs: "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
                package: "ubuntu-keyring",
                why: "Ubuntu's keys, to check its kernels by",
            },
        }
    }

    /// The package that depends on the newest image of a release.
    const fn package(self) -> &'static str {
        match self {
            Self::Debian => "linux-image-amd64",
            Self::Ubuntu => "linux-image-generic",
        }
    }

    /// The last part of a mirror's address.
    const fn folder(self) -> &'static str {
        match self {
            Self::Debian => "/debian",
            Self::Ubuntu => "/ubuntu",
        }
    }

    /// Where everybody gets it, for machines of the other system.
    const fn mirror(self) -> &'static str {
        match self {
            Self::Debian => "http://deb.debian.org/debian",
            Self::Ubuntu => "http://archive.ubuntu.com/ubuntu",
        }
    }

    /// The mirror that this machine's own package sources name, if they are this system's.
    fn own_mirror(self) -> Option<String> {
        let targets = ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"];
        let text = answer(command("apt-get").args(targets))?;
        text.lines().find(|line| line.trim_end_matches('/').ends_with(self.folder())).map(str::to_owned)
    }
}

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
    let apt = Apt::new(kernel, folder, mirror)?;
    run(apt.command("apt-get").args(["update", "--quiet"]))?;
    let package = apt.concrete(kernel.package.as_deref().unwrap_or(kernel.system.package()))?;
    run(apt.command("apt-get").args(["download", "--quiet", &package]).current_dir(folder))?;
    let fetched = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let deb = fetched.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let deb = deb.with_context(|| format!("apt-get fetched no package {package}"))?;
    // Of the package only the image: the tests need no module.
    let boot = folder.join("boot");
    fs::create_dir_all(&boot).with_context(|| format!("cannot make {}", boot.display()))?;
    let unpack =
        "dpkg-deb --fsys-tarfile \"$1\" | tar -x -C \"$2\" --wildcards --transform='s,.*/,,' '*/vmlinuz*'";
    run(command("sh").args(["-c", unpack, "sh"]).arg(&deb).arg(&boot))?;
    fs::remove_file(&deb).with_context(|| format!("cannot remove {}", deb.display()))?;
    unpacked(folder).with_context(|| format!("the package {package} holds no kernel image"))
}

fn unpacked(folder: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(folder.join("boot")).ok()?.flatten().map(|entry| entry.path());
    files.into_iter().find(|path| path.to_string_lossy().contains("vmlinuz"))
}

/// apt with its own sources and lists.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn new(kernel: &Kernel, folder: &Path, mirror: Option<&str>) -> Result<Self> {
        let keys = kernel.system.keys();
        tools::ensure(std::slice::from_ref(&keys))?;
        let keys = keys.needs;
        let mirror = mirror.filter(|url| url.trim_end_matches('/').ends_with(kernel.system.folder()));
        let mirror = mirror.map(str::to_owned).or_else(|| kernel.system.own_mirror());
        let mirror = mirror.unwrap_or_else(|| kernel.system.mirror().to_owned());
        let base = folder.join("apt");
        for part in ["lists/partial", "cache/archives/partial", "none"] {
            fs::create_dir_all(base.join(part)).with_context(|| format!("cannot make {}", base.display()))?;
        }
        let sources = base.join("sources.list");
        fs::write(&sources, format!("deb [arch=amd64 signed-by={keys}] {mirror} {} main\n", kernel.suite))?;
        let set = |name: &str, value: &Path| format!("--option={name}={}", value.display());
        let options = vec![
            set("Dir::Etc::sourcelist", &sources),
            set("Dir::Etc::sourceparts", &base.join("none")),
            set("Dir::Etc::preferencesparts", &base.join("none")),
            set("Dir::State::lists", &base.join("lists")),
            set("Dir::Cache", &base.join("cache")),
            // Reading only: as whoever runs this, into folders of theirs.
            "--option=APT::Sandbox::User=".to_owned(),
            "--option=Acquire::Languages=none".to_owned(),
        ];
        Ok(Self { options })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = command(program);
        command.args(&self.options);
        command
    }

    /// A package that only depends on the newest image, followed to what holds that image: in newer releases
    /// two steps.
    fn concrete(&self, package: &str) -> Result<String> {
        let mut name = package.to_owned();
        for _ in 0..2 {
            let depends = answer(self.command("apt-cache").args(["depends", "--important", &name]))
                .with_context(|| format!("this release has no package {name}"))?;
            let depends = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
            let holds = |name: &&str| name.starts_with("linux-image-") || name.starts_with("linux-binary-");
            match depends.into_iter().find(holds) {
                Some(next) => next.clone_into(&mut name),
                None => break,
            }
        }
        Ok(name)
    }
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
