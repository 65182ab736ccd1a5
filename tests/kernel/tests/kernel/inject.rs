//! Injection on the real kernel: exact or absent, and nothing is lost when the agent is.

use spandrel_test_support::{Agent, Lab, Options, profiles, skip};

use crate::{
    actor::Actor,
    stage::{play, propagating},
};

/// The agent by the better profile that this kernel has: only the socket profile can write trace context.
#[track_caller]
fn agent(propagation: &str) -> Options {
    let profile = profiles().first().expect("this kernel has a profile");
    propagating(profile, propagation).console("off")
}

/// Whether injection works on this kernel; the agent says by itself why not.
fn possible(text: &str) -> bool {
    !text.contains("trace context is not written")
}

/// The number behind `"name":` in a line of JSON.
fn number(text: &str, name: &str) -> u64 {
    let Some((_, rest)) = text.split_once(&format!("\"{name}\":")) else { return 0 };
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0)
}

#[test]
fn what_arrives_is_what_was_sent_or_that_and_one_line() {
    const CASES: &str = "100000";
    let played = play(agent("on"), "injected", &[CASES, "1"]);
    let told =
        played.finished.output.lines().find(|line| line.contains("\"cases\"")).unwrap_or_default().to_owned();
    if !possible(&played.finished.stderr) {
        assert_eq!(number(&told, "put"), 0, "{told}");
        skip!("all arrived as it was sent; this kernel cannot have trace context written");
    }
    // One in fifty cases is a request in every respect, and comes whole.
    assert!(number(&told, "put") > 1_000, "{told}\n{}", played.finished.stderr);
}

#[test]
fn nothing_is_put_in_when_propagation_is_off() {
    let played = play(agent("off"), "injected", &["500", "1"]);
    let told =
        played.finished.output.lines().find(|line| line.contains("\"cases\"")).unwrap_or_default().to_owned();
    assert_eq!(number(&told, "put"), 0, "{told}");
}

#[test]
fn nothing_is_lost_when_agents_are_killed() {
    let lab = Lab::new();
    let mut actor = Actor::start(&lab, "kept", &["100000"]);
    actor.says("ready");
    actor.go();
    let pid = actor.pid().to_string();
    for _ in 0..10 {
        let agent = Agent::start(&agent("on").arg("--pid").arg(&pid));
        // In the middle of whatever it does; the process is not asked.
        agent.kill();
    }
    let put = actor.says("done");
    actor.ends();
    assert_ne!(put, "", "it tells how many lines were put in");
}
