//! More than the ring holds: what is lost is counted, to the last request.

use rustix::process::{Pid, Signal, kill_process};
use spandrel_test_support::{Agent, Lab};

use crate::{
    actor::Actor,
    stage::{by_both, options},
};

/// Heads of 4,000 bytes, four of them an exchange: 160 MiB and more, ten times the ring.
const FLOOD: [&str; 3] = ["40", "300", "4000"];

#[test]
fn an_agent_that_cannot_keep_up() {
    by_both(|profile| {
        let lab = Lab::new();
        let mut actor = Actor::start(&lab, "flood", &FLOOD);
        actor.says("ready");
        // A queue for every span of it, so that only the ring loses.
        let options = options(profile)
            .arg("--pid")
            .arg(actor.pid().to_string())
            .env("OTEL_BSP_MAX_QUEUE_SIZE", "100000")
            .env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10000");
        let agent = Agent::start(&options);
        let pid = Pid::from_raw(agent.pid() as i32).expect("a process id");
        kill_process(pid, Signal::STOP).expect("the agent stops");
        actor.go();
        actor.says("done");
        kill_process(pid, Signal::CONT).expect("the agent goes on");
        let finished = agent.stop();
        actor.go();
        actor.ends();

        let truth = actor.truth(&lab);
        let ledger = &finished.report.ledger;
        let real = truth.lines.len() as u64;
        ledger.assert_closed();
        let lost = ledger.dropped.get("ring_full").copied().unwrap_or(0);
        assert_eq!((ledger.seen, ledger.open), (real, 0), "{profile}: {}", finished.report.json);
        assert_eq!(lost, ledger.lost(), "{profile}: {ledger:?}");
        assert!(lost > real / 2 && ledger.exported > 100, "{profile}: no overflow: {ledger:?}");
        assert_eq!(ledger.exported, finished.spans.len() as u64, "{profile}");
        // What is told is true, gaps or not.
        for span in &finished.spans {
            let status = span.path().rsplit('/').next().and_then(|status| status.parse().ok());
            assert!(span.status().is_none() || span.status() == status, "{profile}: {span:?}");
        }
    });
}
