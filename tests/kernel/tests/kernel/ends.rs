//! Exchanges that do not end as they should.

use spandrel_test_support::{Agent, Kind, Lab};

use crate::{
    actor::Actor,
    stage::{agree, both, by_both, options},
};

#[test]
fn a_reset() {
    both("reset");
}

#[test]
fn a_reset_before_all_was_read() {
    both("reset-later");
}

#[test]
fn a_broken_pipe() {
    both("broken-pipe");
}

#[test]
fn a_server_that_closes() {
    both("closed");
}

#[test]
fn unix_sockets_that_are_closed_in_a_process_that_goes_on() {
    by_both(|profile| {
        let lab = Lab::new();
        let mut actor = Actor::start(&lab, "released", &[]);
        actor.says("ready");
        let mut agent = Agent::start(&options(profile).arg("--pid").arg(actor.pid().to_string()));
        actor.go();
        actor.says("done");
        // Four good exchanges, three that end with the connection: at both ends, while the process goes on.
        agent.wait_for("the ends", |spans| spans.len() >= 14);
        actor.go();
        actor.ends();
        let finished = agent.stop();
        agree(profile, &actor.truth(&lab), &finished);
        for span in finished.spans.iter().filter(|span| span.kind == Kind::Server) {
            let took = (span.end_ns - span.start_ns) as f64 / 1e9;
            let told = span.path().contains("released-not") || took < 1.5;
            assert!(told, "{profile}: {took} s is longer than it was held: {span:?}");
        }
    });
}

#[test]
fn a_server_that_is_killed() {
    both("killed");
}

#[test]
fn a_client_that_is_killed() {
    both("killed-client");
}
