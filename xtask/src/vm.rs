//! `cargo xtask vm`: boots other kernels under QEMU's emulation and runs the kernel tests there.
//!
//! A machine is a kernel of a distribution and a small initramfs: a static init (tests/vm), the executables to run and
//! nothing else. The kernels are listed in tests/vm/kernels.toml.

mod archive;
mod boot;
mod job;
mod kernels;
mod packages;
mod verdict;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use self::{
    boot::Console,
    job::{Job, Place},
    kernels::Kernel,
    verdict::Verdict,
};
use crate::{
    dist,
    run::target_dir,
    tools::{self, Tool},
};

/// This machine's own kernel: no virtual machine.
const HOST: &str = "host";

const TOOLS: &[Tool] = &[
    Tool { needs: "qemu-system-x86_64", package: "qemu-system-x86", why: "runs other kernels" },
    Tool { needs: "dpkg-deb", package: "dpkg", why: "unpacks kernel packages" },
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Names from tests/vm/kernels.toml, or `host` for this machine's own kernel; all if none is given
    kernels: Vec<String>,
    /// Only tests whose name contains this
    #[arg(long, short)]
    filter: Option<String>,
    /// Run this static executable, with arguments, instead of `spandrel doctor` and the kernel tests
    #[arg(long, value_name = "FILE ARGS")]
    exec: Vec<String>,
    /// A machine that runs longer is stopped, in seconds
    #[arg(long, default_value_t = 3600)]
    timeout: u64,
    /// A mirror to take kernels from instead of the one that the machine's own package sources name
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let table = kernels::table()?;
    let names = if args.kernels.is_empty() {
        table.iter().map(|kernel| kernel.name.clone()).chain([HOST.to_owned()]).collect()
    } else {
        args.kernels.clone()
    };
    let known: Vec<_> = table.iter().map(|kernel| &*kernel.name).chain([HOST]).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&&***name)) {
        bail!("no kernel `{unknown}` in tests/vm/kernels.toml; there are {}", known.join(", "));
    }
    dist::std_for_musl()?;
    tools::ensure(dist::TOOLS)?;
    let jobs =
        if args.exec.is_empty() { job::tests(args.filter.as_deref())? } else { job::given(&args.exec)? };

    let mut lines = Vec::new();
    let mut failed = 0;
    for name in &names {
        println!("\n== kernel {name}");
        let kernel = table.iter().find(|kernel| kernel.name == *name);
        let supported = kernel.is_none_or(|kernel| kernel.supported);
        let outcome = match kernel {
            Some(kernel) => guest(kernel, &jobs, args),
            None => host(&jobs),
        };
        let verdict = outcome
            .map_or_else(|error| Verdict::dead(format!("{error:#}")), |ran| ran.judge(&jobs, supported));
        failed += usize::from(!verdict.is_good());
        lines.push(format!("{name}: {verdict}"));
    }
    println!("\n{}", lines.join("\n"));
    if failed == 0 { Ok(()) } else { bail!("{failed} of {} kernels failed", names.len()) }
}

/// Runs the jobs here.
fn host(jobs: &[Job]) -> Result<Console> {
    let mut console = Console::default();
    for (number, job) in jobs.iter().filter(|job| job.place.runs(true)).enumerate() {
        console.command(number, &mut job.command())?;
        let failed = console.ends.last().is_some_and(|end| end.code != "0");
        if failed && job.place == Place::Judging {
            break;
        }
    }
    Ok(console)
}

/// Boots a kernel and runs its jobs there.
fn guest(kernel: &Kernel, jobs: &[Job], args: &Args) -> Result<Console> {
    tools::ensure(TOOLS)?;
    let folder = target_dir().join("vm").join(&kernel.name);
    let image = kernels::image(kernel, &folder, args.mirror.as_deref())?;
    let initramfs = folder.join("initramfs");
    pack(jobs, kernel.supported, &initramfs)?;
    boot::boot(&image, &initramfs, Duration::from_secs(args.timeout))
}

/// Writes the initramfs: the init, every executable once, and the commands of the jobs that run.
fn pack(jobs: &[Job], supported: bool, into: &Path) -> Result<()> {
    let mut archive = archive::Archive::default();
    archive.device("dev/console", 5, 1);
    archive.folder("bin");
    archive.file("init", &read(&init()?)?);
    let mut packed: Vec<&Path> = Vec::new();
    for job in jobs.iter().filter(|job| job.place.runs(supported) || job.place == Place::Beside) {
        if !packed.contains(&&*job.file) {
            archive.file(&format!("bin/{}", job.name()?), &read(&job.file)?);
            packed.push(&job.file);
        }
    }
    let commands: Result<Vec<_>> =
        jobs.iter().filter(|job| job.place.runs(supported)).map(|job| job.line(supported)).collect();
    archive.file("commands", commands?.join("\n").as_bytes());
    fs::write(into, archive.finish()).with_context(|| format!("cannot write {}", into.display()))
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

fn init() -> Result<PathBuf> {
    let built = job::executables(&["build", "--release", "--package", "spandrel-vm-init"])?;
    built.into_iter().next().map(|(file, _)| file).context("cargo built no init")
}
