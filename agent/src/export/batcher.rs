//! Makes batches and encodes them, on a thread of its own for each destination: neither capture nor the runtime that
//! serves metrics waits for compression or a disk.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use super::{
    batch::Batch,
    config,
    deliver::Destination,
    otlp,
    pipeline::{Message, footprint, next},
    room::{Claim, Fate},
};
use crate::{span::Span, stats::Drop as Cause};

/// How often the last batches on disk are looked after while nothing comes.
const SYNC: Duration = Duration::from_secs(1);

/// The thread of one destination.
pub(super) struct Batcher {
    destination: Arc<Destination>,
    limits: config::Batch,
    batch: Batch<Span>,
    /// For the spans in `batch`.
    claim: Option<Claim>,
    /// When the batch is to be sent, if something is in it.
    due: Option<Instant>,
    /// When the queue on disk is to be brought to the disk, if something was written.
    sync: Option<Instant>,
}

impl Batcher {
    pub(super) fn new(destination: Arc<Destination>, limits: config::Batch) -> Self {
        Self { destination, limits, batch: Batch::default(), claim: None, due: None, sync: None }
    }

    /// Runs until everything has been handed over.
    pub(super) fn run(mut self, from: &Receiver<Message>) {
        loop {
            let due = [self.due, self.sync].into_iter().flatten().min();
            match next(from, due) {
                Ok(Message::Spans(spans, claim)) => self.take(spans, claim),
                Ok(Message::Limits(limits)) => {
                    self.limits = limits;
                    self.due = self.due.map(|due| due.min(Instant::now() + limits.delay));
                }
                #[cfg(test)]
                Ok(Message::Flush(done)) => {
                    self.flush();
                    done.send(()).ok();
                }
                Err(RecvTimeoutError::Timeout) => self.look(),
                Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => {
                    self.flush();
                    self.destination.queue.close();
                    return self.sync();
                }
            }
        }
    }

    fn look(&mut self) {
        let now = Instant::now();
        if self.due.is_some_and(|due| due <= now) {
            self.flush();
        }
        if self.sync.is_some_and(|due| due <= now) {
            self.sync();
        }
    }

    fn sync(&mut self) {
        self.sync = None;
        if let Some(disk) = &self.destination.disk {
            disk.sync();
        }
    }

    fn take(&mut self, spans: Vec<Span>, mut claim: Claim) {
        let (mut taken, mut bytes) = (0, 0);
        for span in spans {
            let len = otlp::span_len(&span);
            let full = self.batch.bytes() + self.batch.cost(&span, len) > self.limits.bytes;
            if full && !self.batch.is_empty() {
                self.hold(claim.split(taken, bytes));
                (taken, bytes) = (0, 0);
                self.flush();
            }
            taken += 1;
            bytes += footprint(&span);
            self.batch.push_measured(span, len);
            if self.batch.len() >= self.limits.spans.max(1) {
                self.hold(claim.split(taken, bytes));
                (taken, bytes) = (0, 0);
                self.flush();
            }
        }
        if !self.batch.is_empty() {
            self.hold(claim);
            self.due.get_or_insert_with(|| Instant::now() + self.limits.delay);
        }
    }

    fn hold(&mut self, claim: Claim) {
        match &mut self.claim {
            Some(held) => held.merge(claim),
            None => self.claim = Some(claim),
        }
    }

    /// Encodes the batch and lets it wait for its request.
    fn flush(&mut self) {
        self.due = None;
        let batch = std::mem::take(&mut self.batch);
        let Some(claim) = self.claim.take() else { return };
        let encoded = self.destination.way().transport.encode(&batch);
        drop(batch);
        match encoded {
            Ok(payload) => {
                self.destination.enqueue(payload, claim);
                if self.destination.disk.is_some() {
                    self.sync.get_or_insert_with(|| Instant::now() + SYNC);
                }
            }
            Err(error) => {
                log::error!("a batch cannot be encoded: {error}");
                claim.settle(Fate::Dropped(Cause::ExportRefused));
            }
        }
    }
}
