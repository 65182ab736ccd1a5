//! `cargo xtask bench`: what the agent costs, as ratios from one run.
//!
//! Machines lend their time to others in bursts, so nothing is measured once: slices with and without the
//! agent alternate, and the middle and the quartiles of their ratios count. Processor time a request and the
//! kernel's own statistics come first, throughput by the clock after them; instructions are counted where
//! that can be done. Goals stand beside what was reached.

mod agent;
mod aside;
mod export;
mod figures;
mod flat;
mod helpers;
mod hooks;
mod kernel;
mod lab;
mod life;
mod load;
mod machine;
mod process;
mod report;
mod throughput;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};

use self::{helpers::Helpers, lab::Lab, report::Section};
use crate::{
    build,
    run::{answer, command, target_dir},
    tools::{self, Tool},
};

const TOOLS: &[Tool] = &[
    Tool { needs: "nginx", package: "nginx-light", why: "the server that is measured" },
    Tool { needs: "wrk", package: "wrk", why: "its load" },
    Tool { needs: "redis-server", package: "redis-server", why: "a server that is not selected" },
    Tool { needs: "redis-benchmark", package: "redis-tools", why: "its load" },
    Tool { needs: "curl", package: "curl", why: "a program that makes one request and ends" },
    Tool { needs: "valgrind", package: "valgrind", why: "counts instructions" },
    Tool { needs: "setpriv", package: "util-linux", why: "ends what was started when this ends" },
];

/// Files that a server with ten thousand connections may open, with room for its own.
const FILES: u32 = 12_000;
/// The whole run: what a person waits for without going away.
const LIMIT: Duration = Duration::from_secs(6 * 60);
/// The same with `--quick`: short enough to be run before every commit that could cost something.
const QUICK_LIMIT: Duration = Duration::from_secs(90);

/// Benchmarks by name, in the order in which they run, with what each is about.
const BENCHMARKS: [(&str, Benchmark); 13] = [
    ("pipeline", |lab, helpers| helpers::pipeline(lab, helpers)),
    ("redaction", |lab, helpers| helpers::redaction(lab, helpers)),
    ("nginx", |lab, _| throughput::nginx(lab)),
    ("sampled", |lab, _| throughput::sampled(lab)),
    ("redis", |lab, _| throughput::redis(lab)),
    ("memory", |lab, _| life::memory(lab)),
    ("first", |lab, _| life::first(lab)),
    ("hooks-socket", |lab, helpers| hooks::hooks(lab, helpers, "socket")),
    ("hooks-syscall", |lab, helpers| hooks::hooks(lab, helpers, "syscall")),
    ("connections", |lab, _| flat::connections(lab)),
    ("processes", |lab, _| flat::processes(lab)),
    ("export", export::beside_the_sdk),
    ("gone", export::backend_gone),
];

/// What takes longer than anybody waits: it runs only when it is named.
const ON_REQUEST: [&str; 1] = ["gone"];

type Benchmark = fn(&Lab, &Helpers) -> Result<Section>;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these: pipeline, redaction, nginx, sampled, redis, memory, first, hooks-socket, hooks-syscall,
    /// connections, processes, export, or gone, which runs only when it is named
    names: Vec<String>,
    /// Slices with the agent, and as many without [default: 10, or 3 with --quick]
    #[arg(long)]
    slices: Option<usize>,
    /// Length of a slice in seconds
    #[arg(long, default_value_t = 1)]
    seconds: u64,
    /// Everything once over, in a minute and a half: shows that it works, measures little
    #[arg(long)]
    quick: bool,
    /// Where the results go [default: target/bench.json]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure this agent instead of building one: an older build, or a script that starts (with `exec`)
    /// another agent by the same options and says what --ready expects
    #[arg(long, value_name = "PATH")]
    agent: Option<PathBuf>,
    /// What the agent writes when it is attached
    #[arg(long, value_name = "TEXT", default_value = "attached by")]
    ready: String,
    /// Use the programs of tests/bench in this folder instead of building them
    #[arg(long, value_name = "FOLDER")]
    helpers: Option<PathBuf>,
    /// How long `gone` hands over spans, in minutes, with each compression
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Bind the agent to the load generator's CPU, so that it takes none of the server's
    #[arg(long)]
    pin_agent: bool,
    /// Be the backend that the agent sends to
    #[arg(long, hide = true)]
    sink: bool,
    /// Be the client that holds connections: port and number
    #[arg(long, hide = true, num_args = 2)]
    hold: Option<Vec<u32>>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.sink {
        return aside::sink();
    }
    if let Some([port, connections]) = args.hold.as_deref() {
        return aside::hold(*port, *connections);
    }
    let known: Vec<_> = BENCHMARKS.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = args.names.iter().find(|name| !known.contains(&&***name)) {
        bail!("there is no benchmark `{unknown}`; there are {}", known.join(", "));
    }
    if answer(command("id").arg("-u")).as_deref() != Some("0") {
        bail!("the agent loads programs into the kernel: run this as root");
    }
    tools::ensure(TOOLS)?;
    let agent = match &args.agent {
        Some(path) => path.canonicalize().with_context(|| format!("there is no agent {}", path.display()))?,
        None => build::agent()?,
    };
    let helpers = match &args.helpers {
        Some(folder) => Helpers::of(folder),
        None => Helpers::build()?,
    };
    measure(args, agent, &helpers)
}

fn measure(args: &Args, agent: PathBuf, helpers: &Helpers) -> Result<()> {
    let (load, stolen) = (machine::load(), machine::Stolen::now());
    let lab = Lab::new(args, agent, if args.quick { QUICK_LIMIT } else { LIMIT })?.with_sink()?;
    println!("{}", report::heading());
    let (mut sections, mut left_out) = (Vec::new(), Vec::new());
    let wanted = |name: &str| {
        let named = args.names.iter().any(|wanted| wanted == name);
        named || args.names.is_empty() && !ON_REQUEST.contains(&name)
    };
    for (name, benchmark) in BENCHMARKS.iter().filter(|(name, _)| wanted(name)) {
        if lab.late() {
            left_out.push(format!("{name}: the time was over"));
            continue;
        }
        match benchmark(&lab, helpers) {
            Ok(section) => {
                print!("{}", section.text());
                sections.push(section);
            }
            Err(error) => left_out.push(format!("{name}: {error:#}")),
        }
    }
    let stolen = machine::Stolen::now().since(stolen);
    let path = args.json.clone().unwrap_or_else(|| target_dir().join("bench.json"));
    report::write(&path, &machine::describe(&lab, &load, stolen), &sections, &left_out)?;
    let (met, goals) = report::tally(&sections);
    println!(
        "\n{met} of {goals} goals met; load {load} before, {:.0} % of the time stolen by the host",
        stolen * 100.0
    );
    println!("Everything, every slice included, is in {}", path.display());
    if left_out.is_empty() {
        return Ok(());
    }
    bail!("not measured:\n  {}", left_out.join("\n  "))
}
