//! `cargo xtask demo`: a small shop of unmodified programs in four languages, and the traces of a few requests
//! as the agent shows them.

mod shop;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use self::shop::{Shop, free_port};
use crate::{
    build,
    run::{answer, command, target_dir},
    tools::{self, Tool},
};

const TOOLS: &[Tool] = &[
    Tool { needs: "nginx", package: "nginx-light", why: "the shop's front door" },
    Tool { needs: "python3", package: "python3", why: "the shop's basket" },
    Tool { needs: "node", package: "nodejs", why: "the shop's prices" },
    Tool { needs: "go", package: "golang-go", why: "builds the shop's stock" },
];

/// A request is made with a fresh trace context, as a browser with tracing would; the programs pass it on.
const REQUESTS: [(&str, &str); 4] = [
    ("/basket/coffee", "an ordinary request"),
    ("/basket/coffee", "the same, connections are open now"),
    ("/basket/tea", "slow somewhere"),
    ("/basket/gone", "failing somewhere"),
];

/// A program of the shop, or the agent, that is not ready by then never will be.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave the shop and the agent running until interrupted
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if answer(command("id").arg("-u")).as_deref() != Some("0") {
        bail!("the agent loads programs into the kernel: run this as root");
    }
    tools::ensure(TOOLS)?;
    let agent = build::agent()?;
    let folder = target_dir().join("demo");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;

    let shop = Shop::open(&folder)?;
    let report = folder.join("report.json");
    let (mut agent, health) = attach(&agent, &folder, &report)?;
    println!(
        "\nThe shop was running before the agent came: nginx -> basket (Python) -> prices (Node) -> stock (Go)\n"
    );
    for (path, what) in REQUESTS {
        let status = get(shop.port(), path, true).with_context(|| format!("{path} got no answer"))?;
        println!("  GET {path:<16} {status}   {what}");
    }
    println!();
    if args.keep {
        println!(
            "Still running: curl http://127.0.0.1:{}/basket/tea   metrics: curl http://127.0.0.1:{health}/metrics",
            shop.port()
        );
        println!("Ctrl-C ends it.\n");
        agent.wait().context("cannot wait for the agent")?;
        return Ok(());
    }
    command("kill").args(["-TERM", &agent.id().to_string()]).status().context("cannot stop the agent")?;
    let ended = agent.wait().context("cannot wait for the agent")?;
    drop(shop);
    if !ended.success() {
        bail!("the agent ended with {ended}; what it said is above");
    }
    summary(&report)
}

/// Starts the agent for the shop's programs and waits until it is attached. Its trees go to this terminal.
fn attach(agent: &Path, folder: &Path, report: &Path) -> Result<(Child, u16)> {
    let health = free_port()?;
    let mut run = command(agent);
    run.args(["run", "--console", "text", "--cmd"]).arg(format!("*{}*", folder.display()));
    run.arg("--listen").arg(format!("127.0.0.1:{health}")).arg("--report").arg(report);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OTEL_")) {
        run.env_remove(name);
    }
    let log = fs::File::create(folder.join("agent.log")).context("cannot write the agent's log")?;
    let mut child = run.stdin(Stdio::null()).stderr(log).spawn().context("cannot start the agent")?;
    let ready = || get(health, "/readyz", false).is_ok_and(|status| status == 200);
    if patiently(ready) {
        return Ok((child, health));
    }
    child.kill().ok();
    child.wait().ok();
    let said = fs::read_to_string(folder.join("agent.log")).unwrap_or_default();
    bail!("the agent did not get ready:\n{said}")
}

/// What was seen, and what to try next.
fn summary(report: &Path) -> Result<()> {
    let text = fs::read_to_string(report).with_context(|| format!("no report at {}", report.display()))?;
    let report: Value = serde_json::from_str(&text).context("the report is no JSON")?;
    let ledger = &report["ledger"];
    let (seen, exported) = (ledger["seen"].as_u64().unwrap_or(0), ledger["exported"].as_u64().unwrap_or(0));
    println!(
        "Seen: {exported} spans of {seen} requests in 4 programs, each in another language, none of them changed or restarted."
    );
    println!(
        "Next: sudo target/release/spandrel run        (everything here; or --port 8080, or -- ./your-program)"
    );
    if exported == 0 || seen != exported {
        bail!("the ledger should show as many spans as requests: {ledger}");
    }
    Ok(())
}

/// A GET request on a connection of its own; the status of its response.
fn get(port: u16, path: &str, traced: bool) -> Result<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let context = if traced { format!("traceparent: {}\r\n", traceparent()?) } else { String::new() };
    write!(stream, "GET {path} HTTP/1.1\r\nHost: shop.example\r\n{context}Connection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let status = response.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.context("not an HTTP response")
}

/// A new, sampled trace context, of the kernel's randomness.
fn traceparent() -> Result<String> {
    let random =
        || fs::read_to_string("/proc/sys/kernel/random/uuid").context("the kernel gives no random numbers");
    let trace: String = random()?.chars().filter(char::is_ascii_hexdigit).collect();
    let span: String = random()?.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    Ok(format!("00-{trace}-{span}-01"))
}

/// Asks until it is so, for as long as it may take.
fn patiently(mut so: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if so() {
            return true;
        }
        thread::sleep(Duration::from_millis(50));
    }
    false
}
