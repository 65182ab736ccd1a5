//! The shop: the programs of tests/shop, started one after another.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};

use super::cleaner::{Cleaner, within};
use crate::run::{command, exists, find, root, target_dir};

/// How long a program may take until it listens. The JVM compiles first, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Lines of a failed program's messages that are shown.
const LAST_WORDS: usize = 10;

/// A program that runs.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) language: &'static str,
    pub(super) port: u16,
}

/// The shop that is open.
#[derive(Debug)]
pub(super) struct Shop {
    /// The front door first.
    pub(super) programs: Vec<Program>,
    /// Languages that are not on this machine.
    pub(super) missing: Vec<&'static str>,
    /// Where customers come in.
    pub(super) port: u16,
}

impl Shop {
    /// Starts what can be had. Who is asked by others starts before them.
    pub(super) fn open(cleaner: &Cleaner, pricing: Build) -> Result<Self> {
        let folder = cleaner.folder();
        let source = root().join("tests/shop");
        let start = |name, language, command| Program::start(cleaner, name, language, command);
        let mut addresses = Vec::new();
        let mut programs = Vec::new();
        let mut missing = Vec::new();

        if let Some(binary) = pricing.end() {
            let pricing = start("pricing", "Go", command(binary))?;
            addresses.push(pricing.address("PRICING"));
            programs.push(pricing);
        } else {
            missing.push("Go");
        }

        let mut python = command("/usr/bin/python3");
        python.arg(source.join("cart.py")).envs(addresses.iter().cloned());
        let cart = start("cart", "Python", python)?;
        addresses.push(cart.address("CART"));
        programs.push(cart);

        if exists("javac") {
            let mut java = command("java");
            java.arg(source.join("Payment.java")).envs(addresses.iter().cloned());
            let payment = start("Payment", "Java", java)?;
            addresses.push(payment.address("PAYMENT"));
            programs.push(payment);
        } else {
            missing.push("Java");
        }

        let mut node = command("node");
        node.arg(source.join("storefront.js")).envs(addresses);
        let storefront = start("storefront", "Node.js", node)?;
        let pages = storefront.port;
        programs.push(storefront);

        let port = free_port()?;
        programs.push(nginx(cleaner, &source, &folder, port, pages)?);
        programs.reverse();
        Ok(Self { programs, missing, port })
    }

    /// Whether one of the programs speaks this language.
    pub(super) fn speaks(&self, language: &str) -> bool {
        self.programs.iter().any(|program| program.language == language)
    }
}

impl Program {
    /// Starts a program and waits until it says `ready` and its port.
    fn start(
        cleaner: &Cleaner,
        name: &'static str,
        language: &'static str,
        mut run: Command,
    ) -> Result<Self> {
        let log = prepare(cleaner, name, &mut run)?;
        let (_, stdout) = cleaner.spawn(run.stdout(Stdio::piped()), |child| child.stdout.take())?;
        let (said, heard) = mpsc::channel();
        thread::spawn(move || {
            let first = stdout.and_then(|stdout| BufReader::new(stdout).lines().next());
            // Nobody listens if it took too long.
            said.send(first).ok();
        });
        let line = match heard.recv_timeout(PATIENCE) {
            Ok(Some(Ok(line))) => line,
            Ok(_) => bail!("{name} ended at once:\n{}", last_words(&log)),
            Err(_) => bail!("{name} does not listen after {} s:\n{}", PATIENCE.as_secs(), last_words(&log)),
        };
        let place = line.strip_prefix("ready ").with_context(|| format!("{name} said `{line}`"))?;
        let port = place.parse().context("not a port")?;
        Ok(Self { name, language, port })
    }

    /// Where it listens, as those who ask it are told.
    fn address(&self, variable: &'static str) -> (&'static str, String) {
        (variable, format!("http://127.0.0.1:{}", self.port))
    }
}

/// nginx says nothing when it is ready. It hands requests on to the port `pages`.
fn nginx(cleaner: &Cleaner, source: &Path, folder: &Path, port: u16, pages: u16) -> Result<Program> {
    let template =
        fs::read_to_string(source.join("nginx.conf")).context("cannot read tests/shop/nginx.conf")?;
    let config = folder.join("nginx.conf");
    let text = template.replace("@PORT@", &port.to_string()).replace("@STOREFRONT@", &pages.to_string());
    fs::write(&config, text).context("cannot write nginx.conf")?;
    let mut run = command(find("nginx").context("nginx is not there")?);
    run.arg("-p").arg(folder).arg("-c").arg(&config).args(["-e", "stderr"]);
    let log = prepare(cleaner, "nginx", &mut run)?;
    let (pid, ()) = cleaner.spawn(run.stdout(Stdio::null()), |_| ())?;
    let open = within(PATIENCE, || {
        let ended = cleaner.ended(pid).map(|_| Err(anyhow!("nginx ended at once:\n{}", last_words(&log))));
        ended.or_else(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok().map(|_| Ok(())))
    });
    open.unwrap_or_else(|| bail!("nginx does not listen:\n{}", last_words(&log)))?;
    Ok(Program { name: "nginx", language: "C", port })
}

/// The Go program while it is being built. With a cold cache that takes as long as a part of the agent, so
/// it begins first.
#[derive(Debug)]
pub(super) struct Build(Option<(Child, PathBuf)>);

impl Build {
    /// Begins, if there is Go.
    pub(super) fn begin() -> Self {
        let binary = target_dir().join("demo/pricing");
        let child = find("go").and_then(|go| {
            let mut build = command(go);
            build.args(["build", "-o"]).arg(&binary).arg(root().join("tests/shop/pricing.go"));
            // Only what is here: no other toolchain, no modules, no C compiler.
            build.envs([("GOTOOLCHAIN", "local"), ("GOPROXY", "off"), ("GOFLAGS", ""), ("CGO_ENABLED", "0")]);
            build.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
        });
        Self(child.map(|child| (child, binary)))
    }

    /// Waits for the program. `None` if there is no Go that can build it.
    fn end(mut self) -> Option<PathBuf> {
        let (mut child, binary) = self.0.take()?;
        child.wait().is_ok_and(|status| status.success()).then_some(binary)
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.0 {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// A program runs in the shop's folder, untouched by what the reader's variables say to programs like it.
/// What it complains about goes to a file there.
fn prepare(cleaner: &Cleaner, name: &str, run: &mut Command) -> Result<PathBuf> {
    let log = cleaner.folder().join(format!("{name}.log"));
    let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    without_variables(run.current_dir(cleaner.folder()).stderr(file));
    Ok(log)
}

/// Takes away variables by which OpenTelemetry and proxies are configured.
pub(super) fn without_variables(run: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("OTEL_") || text.to_ascii_lowercase().ends_with("_proxy") {
            run.env_remove(&name);
        }
    }
}

/// The end of a file of messages.
pub(super) fn last_words(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    let last = lines.get(lines.len().saturating_sub(LAST_WORDS)..).unwrap_or_default();
    last.iter().flat_map(|line| ["  ", line, "\n"]).collect()
}

fn free_port() -> Result<u16> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("there is no free port on loopback")?;
    Ok(listener.local_addr()?.port())
}
