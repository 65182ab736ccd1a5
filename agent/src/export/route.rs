//! One destination as the capture thread sees it: who gets in, and who has to go for it.

use std::sync::{Arc, mpsc};

use super::{
    config::{Destination as Config, Filter, Policy},
    console,
    deliver::Destination,
    pipeline::{Farewell, Message, Total, Watched, footprint},
    room::{Claim, Room},
};
use crate::{span::Span, stats::Drop as Cause};

/// From this share of the queue on, [`Policy::Traces`] picks.
const PICK_FROM: f64 = 0.5;

/// The way to one destination's thread.
#[derive(Clone, Debug)]
pub(super) struct Route {
    name: Arc<str>,
    pub(super) filter: Filter,
    policy: Policy,
    pub(super) room: Arc<Room>,
    pub(super) to: mpsc::Sender<Message>,
    /// None for the console.
    pub(super) destination: Option<Arc<Destination>>,
}

/// Spans by what became of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled {
    sent: u64,
    saved: u64,
    spilled: u64,
    lost: u64,
}

impl Route {
    pub(super) fn new(config: &Config, destination: Arc<Destination>, to: mpsc::Sender<Message>) -> Self {
        let room = Arc::clone(&destination.room);
        let (name, filter) = (Arc::clone(&config.name), config.filter.clone());
        Self { name, filter, policy: config.policy, room, to, destination: Some(destination) }
    }

    pub(super) fn console(room: Arc<Room>, to: mpsc::Sender<Message>) -> Self {
        let (name, filter, policy) = (console::NAME.into(), Filter::default(), Policy::default());
        Self { name, filter, policy, room, to, destination: None }
    }

    /// Takes in what there is room for, by the policy. `own`: this destination settles the ledger for them.
    pub(super) fn take(&self, mut spans: Vec<Span>, own: bool) {
        match (self.policy, &self.destination) {
            (Policy::Traces, _) => self.pick(&mut spans, own),
            // On disk the queue makes room for itself; in memory is what waits there, or cannot be written.
            (Policy::Oldest, Some(destination)) => {
                while let Some(cause) = self.room.lacks(spans.iter().map(footprint))
                    && destination.evict_from_memory(cause)
                {}
            }
            (Policy::Newest | Policy::Oldest, _) => {}
        }
        if spans.is_empty() {
            return;
        }
        let claim = self.room.admit(own, spans.iter().map(footprint));
        let admitted = claim.as_ref().map_or(0, Claim::spans);
        if let Some(destination) = self.destination.as_ref().filter(|_| admitted < spans.len()) {
            let refused = spans.iter().skip(admitted).map(footprint);
            let lacks = self.room.lacks(refused).unwrap_or(Cause::QueueFull);
            destination.full(spans.len() - admitted, lacks);
        }
        if let Some(claim) = claim {
            spans.truncate(admitted);
            // A thread that is gone gives the claim back, and so it counts as lost at shutdown.
            self.to.send(Message::Spans(spans, claim)).ok();
        }
    }

    fn pick(&self, spans: &mut Vec<Span>, own: bool) {
        // The queue in memory and the one on disk fill apart from each other.
        let spill = self.destination.as_ref().and_then(|destination| destination.spill());
        let disk = spill.map_or(0.0, |spill| spill.bytes() as f64 / spill.limit().max(1) as f64);
        let share = (1.0 - self.room.fill().max(disk)) / (1.0 - PICK_FROM);
        if share < 1.0 {
            let before = spans.len();
            spans.retain(|span| place(span.trace_id) < share);
            let gone = before - spans.len();
            self.room.refuse(own, gone, Cause::QueueFull);
            if let Some(destination) = self.destination.as_ref().filter(|_| gone > 0) {
                destination.thin(gone);
            }
        }
    }

    pub(super) fn watched(&self) -> Watched {
        let destination = self.destination.as_deref();
        Watched {
            name: Arc::clone(&self.name),
            room: Arc::clone(&self.room),
            counters: destination.map(|destination| Arc::clone(&destination.counters)),
            queue: destination.map(|destination| Arc::clone(&destination.queue)),
            spill: destination.and_then(|destination| destination.spill().cloned()),
            dead_letters: destination.and_then(|destination| destination.dead().cloned()),
        }
    }

    /// What became of its spans so far.
    pub(super) fn settled(&self) -> Settled {
        let account = self.room.account();
        // What the backend did not want, or what is on disk, is not lost by an end.
        let elsewhere = [Cause::Rejected, Cause::Spilled, Cause::Filtered];
        let causes = Cause::ALL.iter().filter(|cause| !elsewhere.contains(cause));
        let dropped: u64 = causes.map(|cause| account.dropped(*cause)).sum();
        let saved = account.saved();
        let spilled = account.dropped(Cause::Spilled);
        Settled { sent: account.exported(), saved, spilled, lost: dropped.saturating_sub(saved) }
    }

    fn total(&self) -> Total {
        let account = self.room.account();
        // Nobody misses these.
        let meant = [Cause::Spilled, Cause::Filtered];
        let causes = Cause::ALL.iter().filter(|cause| !meant.contains(cause));
        let dropped = causes.map(|cause| (*cause, account.dropped(*cause))).filter(|(_, spans)| *spans > 0);
        let dead = self.destination.as_ref().and_then(|destination| destination.dead());
        let gone = dead.map_or(0, |dead| dead.gone());
        Total { sent: account.exported(), dropped: dropped.collect(), saved: account.saved(), gone }
    }

    /// Gives up what is still held, and says what came of everything since `before`.
    pub(super) fn farewell(&self, before: Settled) -> Farewell {
        self.room.abandon();
        let now = self.settled();
        Farewell {
            name: Arc::clone(&self.name),
            sent: now.sent - before.sent,
            saved: now.saved - before.saved,
            spilled: now.spilled - before.spilled,
            lost: now.lost.saturating_sub(before.lost),
            total: self.total(),
            last: self.destination.as_ref().and_then(|destination| destination.last_failure()),
        }
    }
}

/// Where a trace stands between 0 and 1, the same for everybody who asks. Not the bits that samplers look at: what
/// they kept is not evenly spread there.
fn place(trace_id: [u8; 16]) -> f64 {
    /// Odd numbers without a pattern: the fractional parts of the golden ratio and of the square root of 3.
    const MIX: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xbb67_ae85_84ca_a73b];
    let id = u128::from_be_bytes(trace_id);
    let mixed = ((id >> 64) as u64).wrapping_mul(MIX[0]) ^ (id as u64).wrapping_mul(MIX[1]);
    let mixed = (mixed ^ mixed >> 32).wrapping_mul(MIX[0]);
    // The upper 53 bits are what a double can hold.
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_spread_evenly() {
        let share = |shift: u32| {
            let ids = (1..=10_000_u128).map(|n| (n << shift).to_be_bytes());
            ids.filter(|id| place(*id) < 0.25).count()
        };
        for shift in [0, 56, 64, 100] {
            assert!((2200..2800).contains(&share(shift)), "{shift}: {}", share(shift));
        }
    }
}
