//! More than the ring holds: what is lost is counted, to the last request.

use crate::stage::{agree, by_both, options, play};

/// Connections, exchanges of each, bytes of their heads: four heads an exchange, so 180 MiB, ten times the ring.
pub(crate) const FLOOD: [&str; 3] = ["40", "300", "3900"];

#[test]
fn an_agent_that_cannot_keep_up() {
    by_both(|profile| {
        // A queue for every span of it, so that only the ring loses.
        let options = options(profile).env("OTEL_BSP_MAX_QUEUE_SIZE", "100000");
        let played = play(options, "flood", &FLOOD);
        let finished = &played.finished;
        let ledger = &finished.report.ledger;
        let real = played.truth.lines.len() as u64;
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

/// Threads, exchanges of each.
const CROWD: [&str; 2] = ["12", "400"];

#[test]
fn threads_that_interrupt_each_other() {
    by_both(|profile| {
        let options = options(profile).env("OTEL_BSP_MAX_QUEUE_SIZE", "100000");
        let played = play(options, "crowd", &CROWD);
        let finished = &played.finished;
        let (report, ledger) = (&finished.report, &finished.report.ledger);
        let real = played.truth.lines.len() as u64;
        let skipped = report.kernel("hooks_skipped");
        println!(
            "{profile}: {real} ends, {} seen; hooks: {skipped} skipped, {} repeated; {} gaps",
            ledger.seen,
            report.kernel("hooks_repeated"),
            report.kernel("gaps")
        );
        ledger.assert_closed();
        assert_eq!(report.kernel("scratch_busy"), 0, "{profile}: {}", report.json);
        // What the kernel does not run, no program can see: it has to be counted.
        if skipped == 0 {
            agree(profile, &played.truth, finished);
        }
        assert!(ledger.seen <= real && real - ledger.seen <= skipped, "{profile}: {}", report.json);
    });
}
