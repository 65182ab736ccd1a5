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

/// More waiting than this for its own CPU, and the server was disturbed by others: the lines are doubtful.
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
    section.row("agent: CPU time a request", Unit::Nanoseconds, pairs.iter().map(|p| p.with.agent_cpu()));
    let ledgers = || pairs.iter().filter_map(|pair| Some((pair.ledger?, pair.with.requests as f64)));
    let share =
        |part: fn(&Ledger) -> u64| ledgers().map(move |(ledger, requests)| part(&ledger) as f64 / requests);
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
    section.row("agent: CPU time a request", Unit::Nanoseconds, pairs.iter().map(|p| p.with.agent_cpu()));
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
    let cpu = |pair: &Pair| pair.without.server_cpu() / pair.with.server_cpu();
    let wall = |pair: &Pair| pair.with.throughput() / pair.without.throughput();
    // A saturated server's throughput is one by its CPU time a request, without what others took from it.
    section.goal(
        "throughput lost, by CPU time a request",
        Unit::Share,
        pairs.iter().map(|p| 1.0 - cpu(p)),
        goal,
    );
    section.goal("throughput lost, by the clock", Unit::Share, pairs.iter().map(|p| 1.0 - wall(p)), goal);
    section.row("throughput without", Unit::PerSecond, pairs.iter().map(|p| p.without.throughput()));
    section.row("throughput with", Unit::PerSecond, pairs.iter().map(|p| p.with.throughput()));
    let ns = Unit::Nanoseconds;
    section.row("server: CPU time a request, without", ns, pairs.iter().map(|p| p.without.server_cpu()));
    section.row("server: CPU time a request, with", ns, pairs.iter().map(|p| p.with.server_cpu()));
    let slices: Vec<_> =
        pairs.iter().map(|pair| json!({"without": pair.without.json(), "with": pair.with.json()})).collect();
    section.detail("slices", slices.into());
    let without = || pairs.iter().map(|pair| pair.without);
    if let Some(waited) = Spread::of(without().map(|slice| slice.waited())).filter(|w| w.median > QUIET) {
        section.note(format!(
            "noisy: also without the agent the server waited {:.0} % of the time for its CPU, which others used",
            waited.median * 100.0
        ));
    }
    let busy = Spread::of(without().map(|slice| slice.busy() + slice.waited()));
    if let Some(busy) = busy.filter(|busy| busy.median < SATURATED) {
        section.note(format!(
            "the server was not saturated: it ran or wanted to run {:.0} % of the time",
            busy.median * 100.0
        ));
    }
}
