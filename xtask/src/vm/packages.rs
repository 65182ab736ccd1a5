//! Packages of Debian and Ubuntu, fetched by apt into folders of the project: nothing is installed, and the machine's
//! own package sources stay as they are.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::run::{answer, command, run};

/// Who makes a kernel.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum System {
    #[default]
    Debian,
    Ubuntu,
}

impl System {
    /// The file of the keys by which apt checks what it fetches.
    const fn keys(self) -> &'static str {
        match self {
            Self::Debian => "/usr/share/keyrings/debian-archive-keyring.gpg",
            Self::Ubuntu => "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
        }
    }

    /// The package that depends on the newest image of a release.
    pub(super) const fn package(self) -> &'static str {
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

    /// The keys: of this machine, or from the other system's package of them, which its own keys vouch for.
    fn find_keys(self, folder: &Path) -> Result<PathBuf> {
        let own = PathBuf::from(self.keys());
        if own.is_file() {
            return Ok(own);
        }
        let (other, suite, package) = match self {
            Self::Debian => (Self::Ubuntu, "noble", "debian-archive-keyring"),
            Self::Ubuntu => (Self::Debian, "trixie", "ubuntu-keyring"),
        };
        if !Path::new(other.keys()).is_file() {
            bail!("{} is missing: install the package that has it", own.display());
        }
        let folder = folder.join("keys");
        let file = folder.join(own.file_name().context("a file of keys")?);
        if !file.is_file() {
            Apt::new(other, suite, &folder, None)?.unpack(package, "*/usr/share/keyrings/*", &folder)?;
        }
        Ok(file)
    }
}

/// apt with its own sources and lists.
pub(super) struct Apt {
    folder: PathBuf,
    options: Vec<String>,
}

impl Apt {
    /// For one release, with the lists of its packages.
    pub(super) fn new(system: System, suite: &str, folder: &Path, mirror: Option<&str>) -> Result<Self> {
        let keys = system.find_keys(folder)?;
        let mirror = mirror.filter(|url| url.trim_end_matches('/').ends_with(system.folder()));
        let mirror = mirror.map(str::to_owned).or_else(|| system.own_mirror());
        let mirror = mirror.unwrap_or_else(|| system.mirror().to_owned());
        let base = folder.join("apt");
        for part in ["lists/partial", "cache/archives/partial", "none"] {
            fs::create_dir_all(base.join(part)).with_context(|| format!("cannot make {}", base.display()))?;
        }
        let sources = base.join("sources.list");
        fs::write(
            &sources,
            format!("deb [arch=amd64 signed-by={}] {mirror} {suite} main\n", keys.display()),
        )?;
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
        let apt = Self { folder: folder.to_owned(), options };
        run(apt.command("apt-get").args(["update", "--quiet"]))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = command(program);
        command.args(&self.options);
        command
    }

    /// A package that only depends on the newest image, followed to what holds that image: in newer releases
    /// two steps.
    pub(super) fn newest(&self, package: &str) -> Result<String> {
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

    /// Fetches a package, and puts files of it, by a pattern for their paths, into a folder.
    pub(super) fn unpack(&self, package: &str, files: &str, into: &Path) -> Result<()> {
        run(self.command("apt-get").args(["download", "--quiet", package]).current_dir(&self.folder))?;
        let fetched = fs::read_dir(&self.folder)?.flatten().map(|entry| entry.path());
        let mut fetched = fetched.into_iter();
        let deb = fetched.find(|path| path.extension().is_some_and(|extension| extension == "deb"));
        let deb = deb.with_context(|| format!("apt-get fetched no package {package}"))?;
        fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
        let unpack =
            "dpkg-deb --fsys-tarfile \"$1\" | tar -x -C \"$2\" --wildcards --transform='s,.*/,,' \"$3\"";
        run(command("sh").args(["-c", unpack, "sh"]).arg(&deb).arg(into).arg(files))?;
        fs::remove_file(&deb).with_context(|| format!("cannot remove {}", deb.display()))
    }
}
