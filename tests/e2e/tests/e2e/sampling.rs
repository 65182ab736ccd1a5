//! Sampling: exactly the traces that the specification's function keeps are exported, the others are counted.

use std::collections::BTreeSet;

use spandrel_test_support::{Agent, Finished, Lab, http, require};

use crate::common::{PYTHON, echo, profiles, traced};

profiles!(ratio, parents, off, roots);

const COUNT: usize = 400;

/// Trace ids of a generator with a known start, so that each run asks the same.
fn trace_ids() -> Vec<String> {
    let mut state = 0x5eed_u64;
    let mut next = move || {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    (0..COUNT).map(|_| format!("{:016x}{:016x}", next(), next())).collect()
}

/// Asks a server with these `traceparent`s, one a request, on one connection.
#[track_caller]
fn ask(profile: &str, sampler: &str, argument: Option<&str>, parents: &[Option<String>]) -> Finished {
    let lab = Lab::new();
    let mut options = traced(&lab, profile).env("OTEL_TRACES_SAMPLER", sampler);
    if let Some(argument) = argument {
        options = options.env("OTEL_TRACES_SAMPLER_ARG", argument);
    }
    let agent = Agent::start(&options);
    let (server, port) = echo(&lab);
    let stream = http::connect(http::local(port));
    for parent in parents {
        let field = parent.as_ref().map(|value| format!("traceparent: {value}\r\n")).unwrap_or_default();
        http::send(&stream, format!("GET /sampled HTTP/1.1\r\nHost: h\r\n{field}\r\n").as_bytes());
        assert!(http::receive(&stream).starts_with("HTTP/1.1 200"));
    }
    // What is not sampled leaves nothing to wait for; once the server is gone, its last call is over.
    drop(stream);
    server.kill();
    let finished = agent.stop();
    let ledger = &finished.report.ledger;
    finished.assert_complete();
    assert_eq!(
        (ledger.seen, ledger.exported + ledger.unsampled),
        (parents.len() as u64, parents.len() as u64)
    );
    assert!(finished.spans.iter().all(|span| span.flags & 1 == 1), "what is exported is sampled");
    finished
}

fn ids(finished: &Finished) -> BTreeSet<String> {
    finished.spans.iter().map(|span| span.trace_id.clone()).collect()
}

/// The low 56 bits against `(1 - ratio) * 2^56`.
fn kept(ids: &[String], ratio: f64) -> BTreeSet<String> {
    let threshold = ((1.0 - ratio) * (1_u64 << 56) as f64) as u64;
    let random = |id: &str| u64::from_str_radix(&id[18..], 16).expect("hex");
    ids.iter().filter(|id| random(id) >= threshold).cloned().collect()
}

/// `traceidratio` judges the trace id whatever the parent says.
fn ratio(profile: &str) {
    require!(PYTHON);
    let all = trace_ids();
    let parents: Vec<_> = all.iter().map(|id| Some(format!("00-{id}-00f067aa0ba902b7-00"))).collect();
    let finished = ask(profile, "traceidratio", Some("0.1"), &parents);
    let expected = kept(&all, 0.1);
    assert!((20..60).contains(&expected.len()));
    assert_eq!(ids(&finished), expected);
    assert!(finished.spans.iter().all(|span| span.parent_id.as_deref() == Some("00f067aa0ba902b7")));
}

/// A parent's decision is honoured; a root is judged; what is no `traceparent` is a root.
fn parents(profile: &str) {
    require!(PYTHON);
    let all = trace_ids();
    let flags = ["00", "01", "02", "03"];
    let parents: Vec<_> = all
        .iter()
        .enumerate()
        .map(|(n, id)| Some(format!("00-{id}-00f067aa0ba902b7-{}", flags[n % 4])))
        .collect();
    let finished = ask(profile, "parentbased_traceidratio", Some("0.1"), &parents);
    let expected: BTreeSet<_> = all.iter().skip(1).step_by(2).cloned().collect();
    assert_eq!(ids(&finished), expected);
    for span in &finished.spans {
        assert_eq!(span.flags & 0x300, 0x300, "the parent is remote");
        let at = all.iter().position(|id| *id == span.trace_id).expect("one of those");
        assert_eq!(span.flags & 2, if flags[at % 4] == "03" { 2 } else { 0 }, "the random flag is kept");
    }
    let wrong = [
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "4bf92f3577b34da6a3ce929d0e0e4736",
    ];
    let parents: Vec<_> = wrong.iter().map(|value| Some((*value).to_owned())).collect();
    let finished = ask(profile, "parentbased_always_on", None, &parents);
    assert_eq!(finished.spans.len(), wrong.len());
    assert!(finished.spans.iter().all(|span| span.parent_id.is_none()), "{:#?}", finished.spans);
    assert_eq!(finished.report.count("bad_traceparent"), wrong.len() as u64);
}

fn off(profile: &str) {
    require!(PYTHON);
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parents = vec![None, Some(format!("00-{id}-00f067aa0ba902b7-01"))];
    let finished = ask(profile, "always_off", None, &parents);
    assert_eq!(finished.report.ledger.unsampled, 2);
    let finished = ask(profile, "parentbased_always_off", None, &parents);
    assert_eq!(ids(&finished), BTreeSet::from([id.to_owned()]));
    let parents = vec![None, Some(format!("00-{id}-00f067aa0ba902b7-00"))];
    let finished = ask(profile, "always_on", None, &parents);
    assert_eq!(finished.spans.len(), 2);
}

/// Without parents: the ids are the kernel's own, and those that are exported are those that the function keeps.
fn roots(profile: &str) {
    require!(PYTHON);
    let finished = ask(profile, "parentbased_traceidratio", Some("0.25"), &vec![None; COUNT]);
    let found: Vec<_> = ids(&finished).into_iter().collect();
    assert_eq!(kept(&found, 0.25).len(), found.len());
    // Five standard deviations of a fair draw.
    assert!((57..=143).contains(&found.len()), "{} of {COUNT}", found.len());
}
