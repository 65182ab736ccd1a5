//! `cargo xtask test`: every test there is, in groups, and one closing line that counts them.

pub(crate) mod count;

use std::{
    io::{BufRead as _, BufReader, Read},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use self::count::Count;
use crate::{
    build,
    run::{answer, cargo, command, root, shown},
    setup, tidy,
    tools::{self, Tool},
};

/// The programs that the tests trace or drive. Each is there for its own way of doing I/O.
const TOOLS: &[Tool] = &[
    Tool { needs: "nginx", package: "nginx-light", why: "event loop in C: sendfile, writev, proxying" },
    Tool { needs: "curl", package: "curl", why: "a client that polls and sends headers on request" },
    Tool { needs: "wget", package: "wget", why: "a blocking client" },
    Tool { needs: "wrk", package: "wrk", why: "load over keep-alive connections" },
    Tool { needs: "/usr/bin/python3", package: "python3", why: "http.server: one thread a connection" },
    Tool {
        needs: "/usr/lib/python3/dist-packages/requests/__init__.py",
        package: "python3-requests",
        why: "a pooled client on blocking sockets",
    },
    Tool { needs: "node", package: "nodejs", why: "libuv: one thread, non-blocking" },
    Tool { needs: "go", package: "golang-go", why: "goroutines over epoll" },
    Tool { needs: "javac", package: "default-jdk-headless", why: "the JDK's server and client" },
    Tool { needs: "redis-benchmark", package: "redis-tools", why: "traffic that is not HTTP" },
    Tool { needs: "redis-server", package: "redis-server", why: "traffic that is not HTTP" },
    Tool { needs: "ab", package: "apache2-utils", why: "load over connections that close" },
    Tool { needs: "haproxy", package: "haproxy", why: "an event-driven proxy that splices" },
    Tool { needs: "bpftool", package: "bpftool", why: "shows what an agent left in the kernel" },
    Tool { needs: "mvn", package: "maven", why: "fetches a servlet container, and gRPC for Java" },
    Tool { needs: "npm", package: "npm", why: "fetches gRPC for Node" },
    Tool { needs: "/usr/include/grpcpp/grpcpp.h", package: "libgrpc++-dev", why: "gRPC for C++" },
    Tool { needs: "h2load", package: "nghttp2-client", why: "load over many streams of a connection" },
    Tool { needs: "ip", package: "iproute2", why: "network namespaces" },
    Tool { needs: "unshare", package: "util-linux", why: "namespaces" },
    Tool { needs: "mkfs.ext4", package: "e2fsprogs", why: "a disk that hangs" },
    Tool { needs: "openssl", package: "openssl", why: "issues certificates" },
];

/// After so long without an end a group hangs. The longest takes a few minutes on two slow cores.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Packages below this folder are groups of their own; everything else is the group `unit`.
const GROUPS: &str = "tests";

/// Below that folder, but no tests: what `bench` runs, and what virtual machines start with.
const NO_TESTS: [&str; 2] = ["bench", "vm"];

/// Groups that load programs into the kernel.
const PRIVILEGED: [&str; 2] = ["kernel", "e2e"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these groups: tidy, unit, or a folder of tests/ (pipeline, kernel, e2e)
    groups: Vec<String>,
    /// Only tests whose name contains this
    #[arg(long, short)]
    filter: Option<String>,
    /// Slow tests, too: those that fetch and build for minutes, or repeat by another way what quick ones show
    #[arg(long)]
    slow: bool,
}

impl Args {
    fn wants(&self, group: &str) -> bool {
        self.groups.is_empty() || self.groups.iter().any(|name| name == group)
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let packages = packages()?;
    let known =
        |name: &String| ["tidy", "unit"].contains(&&**name) || packages.iter().any(|(g, _)| g == name);
    if let Some(unknown) = args.groups.iter().find(|name| !known(name)) {
        bail!("there is no group of tests `{unknown}`; there are tidy, unit and the folders of tests/");
    }
    setup::ready()?;
    let real = packages.iter().any(|(group, _)| PRIVILEGED.contains(&&**group) && args.wants(group));
    let built = if real {
        tools::ensure(TOOLS)?;
        Some(build::with_object()?)
    } else {
        None
    };

    let mut total = Count::default();
    if args.wants("tidy") && args.filter.is_none() {
        total.add(group_tidy());
    }
    if args.wants("unit") {
        let mut test = cargo(["test", "--locked", "--no-fail-fast", "--workspace"]);
        for (_, package) in &packages {
            test.args(["--exclude", package]);
        }
        same_object(&mut test, built.as_ref());
        total.add(group("unit", &mut test, args)?);
    }
    for (name, package) in packages.iter().filter(|(name, _)| args.wants(name)) {
        if PRIVILEGED.contains(&&**name) && answer(command("id").arg("-u")).as_deref() != Some("0") {
            total.skip(format!("{name}: loads programs into the kernel, so it has to run as root"));
            continue;
        }
        let mut test = cargo(["test", "--locked", "--no-fail-fast", "--package", package]);
        if let Some((agent, _)) = &built {
            test.env("SPANDREL_BIN", agent);
        }
        same_object(&mut test, built.as_ref());
        let real = PRIVILEGED.contains(&&**name);
        if real {
            written();
        }
        let mut count = group(name, &mut test, args)?;
        if real {
            again(package, built.as_ref(), &mut count)?;
        }
        total.add(count);
    }

    if total.passed + total.failed == 0 {
        bail!("no test ran");
    }
    // The closing line is the last one, also when something failed.
    print!("{total}");
    if total.failed > 0 {
        std::process::exit(1);
    }
    Ok(())
}

/// Lets the disk have what the builds wrote, gigabytes perhaps. Else real programs stand still for as long as that takes, whenever
/// they make a file.
fn written() {
    rustix::fs::sync();
}

/// Failures of a group that are tried again. More are no accident.
const AGAIN: usize = 3;

/// Runs the few tests that failed once more, each alone. Real programs on a real kernel, on a machine that loses time to its
/// host, now and then fail for that. What passes then is named as unsteady in the closing report, where it is to be read and
/// its cause to be found: why it failed stands above.
fn again(package: &str, built: Option<&(PathBuf, PathBuf)>, count: &mut Count) -> Result<()> {
    let names = count.failures().to_vec();
    if names.len() > AGAIN {
        return Ok(());
    }
    // What is no name of a test (a group without an end) has spaces in it.
    for name in names.into_iter().filter(|name| !name.contains(' ')) {
        let mut test = cargo(["test", "--locked", "--package", package, "--", "--exact"]);
        test.arg(&name).arg("--test-threads=1");
        if let Some((agent, _)) = built {
            test.env("SPANDREL_BIN", agent);
        }
        same_object(&mut test, built);
        if crate::run::succeeds(&mut test)? {
            count.steadied(&name);
        }
    }
    Ok(())
}

/// Lets a build of tests embed the kernel object that is there already, instead of making its own.
fn same_object(test: &mut Command, built: Option<&(PathBuf, PathBuf)>) {
    if let Some((_, object)) = built {
        test.env("SPANDREL_EBPF_OBJECT", object);
    }
}

/// The workspace's packages below tests/: group and package name, quick groups first.
pub(crate) fn packages() -> Result<Vec<(String, String)>> {
    let text = answer(&mut cargo(["metadata", "--format-version", "1", "--no-deps"]))
        .context("`cargo metadata` failed: is Cargo.toml valid?")?;
    let metadata: Value = serde_json::from_str(&text).context("`cargo metadata` printed no JSON")?;
    let base = root().join(GROUPS);
    let mut found: Vec<_> = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|package| {
            let manifest = Path::new(package["manifest_path"].as_str()?);
            let group = manifest.parent()?.strip_prefix(&base).ok()?;
            Some((group.to_str()?.to_owned(), package["name"].as_str()?.to_owned()))
        })
        .collect();
    found.retain(|(group, _)| !NO_TESTS.contains(&&**group));
    found.sort_by_key(|(group, _)| (PRIVILEGED.iter().position(|name| name == group), group.clone()));
    Ok(found)
}

/// The architecture's rules count as one test.
fn group_tidy() -> Count {
    heading("tidy");
    let mut count = Count::default();
    match tidy::run() {
        Ok(()) => count.passed = 1,
        Err(error) => count.fail(format!("tidy: {error:#}")),
    }
    count
}

/// Runs one group's tests, shows what they print, and counts. Not even starting counts as a failure.
fn group(name: &str, test: &mut Command, args: &Args) -> Result<Count> {
    heading(name);
    test.args(args.filter.as_deref()).arg("--").arg("--show-output");
    if args.slow {
        test.env("SPANDREL_TEST_SLOW", "1");
    }
    if PRIVILEGED.contains(&name) {
        // One agent at a time: two would trace each other's programs and spoil each other's figures.
        test.arg("--test-threads=1");
    }
    eprintln!("+ {}", shown(test));
    test.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = test.spawn().context("cannot start cargo")?;
    let (lines, inbox) = mpsc::channel();
    let readers = [child.stdout.take().map(boxed), child.stderr.take().map(boxed)];
    for stream in readers.into_iter().flatten() {
        let lines = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
            }
        });
    }
    drop(lines);

    let mut reader = count::Reader::default();
    let end = std::time::Instant::now() + PATIENCE;
    let in_time = loop {
        match inbox.recv_timeout(end.saturating_duration_since(std::time::Instant::now())) {
            Ok(line) => {
                if reader.line(&line) {
                    println!("{line}");
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break true,
            Err(mpsc::RecvTimeoutError::Timeout) => break false,
        }
    };
    if !in_time {
        let group = format!("-{}", child.id());
        crate::run::succeeds(command("kill").args(["-KILL", "--", &group]))?;
    }
    let status = child.wait().context("cannot wait for cargo")?;
    let mut count = reader.finish();
    if !in_time {
        count.fail(format!("{name}: no end after {} minutes", PATIENCE.as_secs() / 60));
    } else if !status.success() && count.failed == 0 {
        count.fail(format!("{name}: `{}` ended with {status}; see above", shown(test)));
    }
    Ok(count)
}

fn boxed<R: Read + Send + 'static>(stream: R) -> Box<dyn Read + Send> {
    Box::new(stream)
}

fn heading(group: &str) {
    println!("\n== {group}");
}
