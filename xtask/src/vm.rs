//! `cargo xtask vm`: boots other kernels under QEMU's emulation and runs the kernel tests there.
//!
//! A machine is a Debian kernel and a small initramfs: a static init (tests/vm), the executables to run and
//! nothing else. The kernels are listed in tests/vm/kernels.toml.

mod archive;
mod boot;
mod kernels;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use self::kernels::Kernel;
use crate::{
    dist,
    run::{answer, cargo, root, succeeds, target_dir},
    setup, test,
    tools::{self, Tool},
};

const TARGET: &str = "x86_64-unknown-linux-musl";

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
    /// Run this static executable, with arguments, instead of `spandrel doctor` and the kernel tests
    #[arg(long, value_name = "FILE ARGS")]
    exec: Vec<String>,
    /// A machine that runs longer is stopped, in seconds
    #[arg(long, default_value_t = 900)]
    timeout: u64,
    /// A Debian mirror to take kernels from, if the machine's own package sources name none
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

/// An executable and its arguments.
#[derive(Clone, Debug)]
struct Job {
    file: PathBuf,
    args: Vec<String>,
    place: Place,
}

/// Where a job runs and how it has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// On every kernel, with 0.
    Any,
    /// On supported kernels, with 0.
    Supported,
    /// On the others, where it has to refuse: neither 0 nor a panic nor killed.
    Unsupported,
    /// On every kernel: with 0 where it is supported, with a refusal where it is not.
    Judging,
    /// Never: it lies beside the others for them to start.
    Beside,
}

impl Place {
    fn runs(self, supported: bool) -> bool {
        self != Self::Beside && self != if supported { Self::Unsupported } else { Self::Supported }
    }

    fn refuses(self, supported: bool) -> bool {
        !supported && matches!(self, Self::Unsupported | Self::Judging)
    }
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
    let jobs = if args.exec.is_empty() { jobs()? } else { given(&args.exec)? };

    let mut failed = Vec::new();
    for name in &names {
        println!("\n== kernel {name}");
        let outcome = match table.iter().find(|kernel| kernel.name == *name) {
            Some(kernel) => guest(kernel, &jobs, args),
            None => host(&jobs),
        };
        if let Err(error) = &outcome {
            failed.push(format!("{name}: {error:#}"));
        }
    }
    for what in &failed {
        println!("FAILED: kernel {what}");
    }
    println!("{} passed, {} failed", names.len() - failed.len(), failed.len());
    if failed.is_empty() { Ok(()) } else { bail!("{} of {} kernels failed", failed.len(), names.len()) }
}

/// Runs the jobs here.
fn host(jobs: &[Job]) -> Result<()> {
    for Job { file, args, .. } in jobs.iter().filter(|job| job.place.runs(true)) {
        if !succeeds(crate::run::command(file).args(args))? {
            bail!("{} failed", file.display());
        }
    }
    Ok(())
}

/// Boots a kernel and judges how its jobs ended.
fn guest(kernel: &Kernel, jobs: &[Job], args: &Args) -> Result<()> {
    tools::ensure(TOOLS)?;
    let folder = target_dir().join("vm").join(&kernel.name);
    let image = kernels::image(kernel, &folder, args.mirror.as_deref())?;
    let beside: Vec<_> = jobs.iter().filter(|job| job.place == Place::Beside).collect();
    let jobs: Vec<_> = jobs.iter().filter(|job| job.place.runs(kernel.supported)).collect();
    let initramfs = folder.join("initramfs");
    let commands = pack(&jobs, &beside, &initramfs)?;
    let ends = boot::boot(&image, &initramfs, Duration::from_secs(args.timeout))?;
    for (command, job) in commands.iter().zip(&jobs) {
        let code = ends.iter().find(|(ended, _)| ended == command).map(|(_, code)| &**code);
        let code = code.with_context(|| format!("the machine died before or in `{command}`"))?;
        // 101 is a Rust panic.
        let refused = code.parse::<u8>().is_ok_and(|code| code != 0 && code != 101);
        if job.place.refuses(kernel.supported) {
            if !refused {
                bail!("`{command}` has to refuse this kernel, and ended with {code}");
            }
        } else if code != "0" {
            bail!("`{command}` ended with {code}");
        }
    }
    Ok(())
}

/// Writes the initramfs, with `beside` lying beside the jobs, and returns the commands that it runs.
fn pack(jobs: &[&Job], beside: &[&Job], into: &Path) -> Result<Vec<String>> {
    let mut archive = archive::Archive::default();
    archive.device("dev/console", 5, 1);
    archive.folder("bin");
    archive.file("init", &read(&init()?)?);
    for Job { file, .. } in beside {
        let name = file.file_name().context("an executable without a name")?.to_string_lossy();
        archive.file(&format!("bin/{name}"), &read(file)?);
    }
    let mut commands = Vec::new();
    for Job { file, args, .. } in jobs {
        let name = file.file_name().context("an executable without a name")?.to_string_lossy().into_owned();
        archive.file(&format!("bin/{name}"), &read(file)?);
        commands.push(
            std::iter::once(format!("/bin/{name}")).chain(args.iter().cloned()).collect::<Vec<_>>().join(" "),
        );
    }
    archive.file("commands", commands.join("\n").as_bytes());
    fs::write(into, archive.finish()).with_context(|| format!("cannot write {}", into.display()))?;
    Ok(commands)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

fn init() -> Result<PathBuf> {
    let built = executables(&["build", "--release", "--package", "spandrel-vm-init"])?;
    built.into_iter().next().map(|(file, _)| file).context("cargo built no init")
}

/// `spandrel doctor`, and each test binary of tests/kernel with its tests one after another.
fn jobs() -> Result<Vec<Job>> {
    setup::ready()?;
    let job = |file: &Path, args: &[&str], place| Job {
        file: file.to_owned(),
        args: args.iter().map(ToString::to_string).collect(),
        place,
    };
    let agent = executables(&["build", "--release", "--package", "spandrel", "--bin", "spandrel"])?;
    let (agent, _) = agent.first().context("cargo built no agent")?;
    let mut jobs = vec![
        job(agent, &["doctor"], Place::Judging),
        job(agent, &["run", "--", "/bin/spandrel", "--version"], Place::Unsupported),
    ];
    for (_, package) in test::packages()?.iter().filter(|(group, _)| group == "kernel") {
        let tests = executables(&["test", "--no-run", "--package", package])?;
        jobs.extend(tests.iter().map(|(file, test)| {
            // What is no test is a program that the tests start: it only has to be there.
            let place = if *test { Place::Supported } else { Place::Beside };
            job(file, &["--test-threads=1"], place)
        }));
    }
    Ok(jobs)
}

fn given(lines: &[String]) -> Result<Vec<Job>> {
    let job = |line: &String| {
        let mut words = line.split_whitespace().map(str::to_owned);
        let file = root().join(words.next().context("--exec needs a file")?);
        Ok(Job { file, args: words.collect(), place: Place::Any })
    };
    lines.iter().map(job).collect()
}

/// Builds for musl and returns the executables that came of it, and whether each is a test.
fn executables(args: &[&str]) -> Result<Vec<(PathBuf, bool)>> {
    let (verb, rest) = args.split_first().context("no cargo command")?;
    let mut command = cargo([*verb]);
    command.args(["--locked", "--target", TARGET, "--message-format", "json-render-diagnostics"]).args(rest);
    eprintln!("+ {}", crate::run::shown(&command));
    let text =
        answer(command.stderr(std::process::Stdio::inherit())).context("the build failed; see above")?;
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let made = |message: Value| {
        let file = message["executable"].as_str().map(PathBuf::from)?;
        Some((file, message["profile"]["test"].as_bool().unwrap_or(false)))
    };
    Ok(messages.filter_map(made).collect())
}
