//! The end of a destination: what is not sent any more is on disk, among the dead letters, or lost.

use std::{mem, sync::PoisonError, time::Duration};

use tokio::time::Instant;

use super::Destination;
use crate::{
    export::{
        counters::State,
        queue::{Body, Job},
        room::Fate,
        store::spill::Spill,
    },
    stats::Drop as Cause,
};

impl Destination {
    /// A batch that nobody sends any more: on disk it stays, and in memory it may be saved.
    pub(super) async fn leave(&self, job: Job) {
        let Job { body, claim, .. } = job;
        match body {
            Body::Disk(_) | Body::Part(..) => {
                self.left.lock().unwrap_or_else(PoisonError::into_inner).push((body, claim));
            }
            Body::Memory(payload) => {
                // More time would not have helped.
                let refused = self.counters.state() == State::Unauthorized;
                let cause = if refused { Cause::Unauthorized } else { Cause::Shutdown };
                self.bury(&payload, claim, cause).await;
            }
        }
    }

    /// Gives up what still waits.
    pub(in crate::export) async fn leave_all(&self) {
        while let Some(job) = self.queue.take() {
            self.leave(job).await;
        }
    }

    /// Brings to the disks what is still to be written there, unless they hang. `release`: somebody else may open the
    /// folder of the queue then.
    pub(in crate::export) async fn end_stores(&self, release: bool, limit: Duration) {
        if let Some(disk) = &self.disk {
            disk.end(limit).await;
            self.settle_left(&disk.spill, Instant::now() + limit).await;
            if release {
                disk.release(limit).await;
            }
        }
        if let Some(letters) = &self.letters {
            letters.end(limit).await;
        }
    }

    /// What was left is on disk for the next start, but for what somebody took away there and could not be written anew:
    /// that may be among the dead letters.
    async fn settle_left(&self, spill: &Spill, until: Instant) {
        let left = mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner));
        let is_missing = |body: &Body| match body {
            Body::Memory(_) => false,
            Body::Disk(slot) => spill.is_missing(*slot),
            Body::Part(_, whole, _) => spill.is_missing(whole.slot()),
        };
        // A claim that is dropped counts as spilled.
        for (body, claim) in left.into_iter().filter(|(body, _)| is_missing(body)) {
            let what = "somebody has removed the files of the queue on disk, and they cannot be written anew";
            self.complaints.lost(claim.spans(), Cause::SpillDamaged, what);
            match self.load(&body).await {
                Ok(Ok((payload, _))) if Instant::now() < until => {
                    self.bury(&payload, claim, Cause::SpillDamaged).await;
                }
                _ => claim.settle(Fate::Dropped(Cause::SpillDamaged)),
            }
        }
    }
}
