//! What a server loses while the agent watches it, or watches someone else.

use anyhow::Result;
use serde_json::json;

use super::{
    agent::{Agent, Ledger},
    figures::Spread,
    lab::Lab,
    load::{Load, Nginx, Redis, Slice},
    process::Launch,
    report::{Goal, Section, Unit},
};

/// More waiting than this for its own CPU, and the server was disturbed by others.
const QUIET: f64 = 0.05;
/// Less, and the server was not what limited the throughput.
const SATURATED: f64 = 0.85;

/// nginx with every request a span.
pub(super) fn nginx(lab: &Lab) -> Result<Section> {
    let section =
        Section::new("nginx", "nginx, one worker saturated by keep-alive requests, every request a span");
    traced(lab, section, &[], Goal::AtMost(0.05))
}

/// nginx at 1 % sampling.
pub(super) fn sampled(lab: &Lab) -> Result<Section> {
    let section = Section::new("sampled", "nginx, 1 % of the requests sampled");
    let variables = [("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0.01")];
    traced(lab, section, &variables, Goal::AtMost(0.02))
}

fn traced(lab: &Lab, mut section: Section, variables: &[(&str, &str)], goal: Goal) -> Result<Section> {
    let nginx = Nginx::start(lab)?;
    let pairs = alternate(lab, &nginx, || Agent::of(lab, nginx.pid(), variables))?;
    lost(&mut section, &pairs, goal);
    let ledgers = || pairs.iter().filter_map(|pair| Some((pair.ledger?, pair.with.requests as f64)));
    let share =
        |part: fn(&Ledger) -> u64| ledgers().map(move |(ledger, requests)| part(&ledger) as f64 / requests);
    section.note("seen may be above 100 %: wrk does not count the requests that are in flight when it ends");
    section.row("requests seen", Unit::Share, share(|ledger| ledger.seen));
    section.row("spans exported", Unit::Share, share(|ledger| ledger.exported));
    let bytes = pairs.iter().filter_map(|pair| Some(pair.sent as f64 / pair.ledger?.exported as f64));
    section.row("OTLP bytes sent a span", Unit::Bytes, bytes);
    if ledgers().any(|(ledger, _)| ledger.dropped > 0) {
        section.row("spans dropped", Unit::Share, share(|ledger| ledger.dropped));
    }
    if ledgers().any(|(ledger, _)| ledger.unsampled > 0) {
        section.row("not sampled", Unit::Share, share(|ledger| ledger.unsampled));
    }
    Ok(section)
}

/// Redis, while the agent watches another process.
pub(super) fn redis(lab: &Lab) -> Result<Section> {
    let mut section = Section::new("redis", "Redis with redis-benchmark, not selected");
    let redis = Redis::start(lab)?;
    let other = Launch::new("sleep", "sleep").args(["3600"]).start(lab.folder())?;
    let pairs = alternate(lab, &redis, || Agent::of(lab, other.pid(), &[]))?;
    lost(&mut section, &pairs, Goal::AtMost(0.03));
    Ok(section)
}

/// Two slices, one behind the other.
struct Pair {
    without: Slice,
    with: Slice,
    ledger: Option<Ledger>,
    /// What the backend got meanwhile: bytes.
    sent: u64,
}

/// Slices with and without, in changing order, so that a machine that slowly gets faster favours neither.
fn alternate(lab: &Lab, load: &impl Load, start: impl Fn() -> Result<Agent>) -> Result<Vec<Pair>> {
    let with = || {
        let [_, before] = lab.sink()?.received()?;
        let agent = start()?;
        let slice = load.slice(lab, Some(&agent))?;
        let ledger = agent.stop()?;
        let [_, after] = lab.sink()?.received()?;
        Ok::<_, anyhow::Error>((slice, ledger, after.saturating_sub(before)))
    };
    // The first one warms up what is cold.
    load.slice(lab, None)?;
    let mut pairs = Vec::new();
    for number in 0..lab.slices {
        if lab.late() && !pairs.is_empty() {
            break;
        }
        let (without, (with, ledger, sent)) = if number.is_multiple_of(2) {
            let without = load.slice(lab, None)?;
            (without, with()?)
        } else {
            let with = with()?;
            (load.slice(lab, None)?, with)
        };
        pairs.push(Pair { without, with, ledger, sent });
    }
    Ok(pairs)
}

fn lost(section: &mut Section, pairs: &[Pair], goal: Goal) {
    let cpu = |pair: &Pair| 1.0 - pair.without.server_cpu() / pair.with.server_cpu();
    let clock = |pair: &Pair| 1.0 - pair.with.throughput() / pair.without.throughput();
    // A saturated server's throughput is one by its CPU time a request, without what others took from it.
    section.goal("throughput lost, by CPU time a request", Unit::Share, pairs.iter().map(cpu), goal);
    let by_clock = "throughput lost, by the clock";
    match disturbance(pairs) {
        None => section.goal(by_clock, Unit::Share, pairs.iter().map(clock), goal),
        Some(what) => {
            section.row(by_clock, Unit::Share, pairs.iter().map(clock));
            section.note(format!("the clock says nothing here: {what}"));
        }
    }
    section.row("throughput without", Unit::PerSecond, pairs.iter().map(|p| p.without.throughput()));
    section.row("throughput with", Unit::PerSecond, pairs.iter().map(|p| p.with.throughput()));
    let ns = Unit::Nanoseconds;
    section.row("server: CPU time a request, without", ns, pairs.iter().map(|p| p.without.server_cpu()));
    section.row("server: CPU time a request, with", ns, pairs.iter().map(|p| p.with.server_cpu()));
    section.row("agent: CPU time a request", ns, pairs.iter().map(|p| p.with.agent_cpu()));
    let both =
        |pair: &Pair| (pair.with.server_cpu() + pair.with.agent_cpu()) / pair.without.server_cpu() - 1.0;
    section.row("CPU time added, server's and agent's", Unit::Share, pairs.iter().map(both));
    let slices = pairs.iter().map(|pair| json!({"without": pair.without.json(), "with": pair.with.json()}));
    section.detail("slices", slices.collect::<Vec<_>>().into());
}

/// Why the throughput by the clock was not the server's own, if it was not.
fn disturbance(pairs: &[Pair]) -> Option<String> {
    let without = |share: fn(&Slice) -> f64| Spread::of(pairs.iter().map(|pair| share(&pair.without)));
    let waited = without(Slice::waited)?.median;
    if waited > QUIET {
        let share = waited * 100.0;
        return Some(format!("also without the agent others had the server's CPU {share:.0} % of the time"));
    }
    let busy = without(Slice::busy)?.median;
    let share = busy * 100.0;
    (busy < SATURATED).then(|| format!("the server was busy only {share:.0} % of the time"))
}
