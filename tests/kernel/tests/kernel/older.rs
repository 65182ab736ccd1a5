//! Connections that are older than the agent, by both profiles and at both of their ends.

use spandrel_test_support::{Agent, Lab};

use crate::{
    actor::Actor,
    stage::{agree, by_both, options},
};

#[test]
fn connections_older_than_the_agent() {
    by_both(|profile| {
        let lab = Lab::new();
        let mut actor = Actor::start(&lab, "older", &[]);
        actor.says("ready");
        let agent = Agent::start(&options(profile).arg("--pid").arg(actor.pid().to_string()));
        actor.go();
        actor.says("done");
        // It holds its connections until the agent has ended.
        let finished = agent.stop();
        actor.go();
        actor.ends();
        agree(profile, &actor.truth(&lab), &finished);
    });
}
