//! A destination's queue on disk, on a thread of its own: a disk that hangs holds up neither the thread that makes batches
//! nor the workers that send them. What is to be written meanwhile waits in memory; what is on the disk waits for it.

use std::{io, sync::Arc, time::Duration};

use tokio::{task::spawn_blocking, time::timeout};

use super::{
    client::Payload,
    queue::{Body, Job, Queue},
    store::{
        disk::{Disk, Late},
        segment::Stored,
        spill::{Error, Found, Slot, Spill},
    },
};

/// The queue with its thread.
#[derive(Clone, Debug)]
pub(super) struct DiskQueue {
    pub(super) spill: Arc<Spill>,
    disk: Arc<Disk>,
    /// Where those wait that are on it.
    queue: Arc<Queue>,
}

impl DiskQueue {
    pub(super) fn new(spill: Arc<Spill>, queue: &Arc<Queue>) -> io::Result<Self> {
        let what = format!("the queue on disk in {}", spill.folder().display());
        let waiting = Arc::clone(queue);
        let disk = Arc::new(Disk::start(what, move || waiting.unpark())?);
        Ok(Self { spill, disk, queue: Arc::clone(queue) })
    }

    /// Looks for what earlier processes left. What comes of it too late goes to `late`. Blocks.
    pub(super) fn recover(
        &self,
        late: impl FnOnce(io::Result<Found>) + Send + 'static,
    ) -> Result<io::Result<Found>, Late> {
        let spill = Arc::clone(&self.spill);
        self.disk.wait(move || spill.recover(), late)
    }

    /// Writes a batch. One that is written too late is taken off again before anything else is done there.
    pub(super) fn append(&self, payload: &Payload, spans: usize) -> Result<Slot, Error> {
        let (spill, own, payload) = (Arc::clone(&self.spill), Arc::clone(&self.spill), payload.clone());
        let write = move || spill.append(payload.encoding(), spans, &payload.body());
        let undo = move |written: Result<Slot, Error>| {
            if let Ok(slot) = written {
                own.done(slot, false);
            }
        };
        self.disk.wait(write, undo)?
    }

    /// Reads a batch.
    pub(super) async fn read(&self, slot: Slot) -> Result<io::Result<Stored>, Late> {
        let (spill, disk) = (Arc::clone(&self.spill), Arc::clone(&self.disk));
        let read = spawn_blocking(move || disk.wait(move || spill.read(slot), drop)).await;
        read.unwrap_or_else(|error| Ok(Err(io::Error::other(error))))
    }

    /// Puts a batch aside whose turn comes when the disk answers.
    pub(super) fn park(&self, job: Job) {
        let mut job = Some(job);
        self.disk.while_it_hangs(|| self.queue.park(job.take()));
        // It answers already.
        self.queue.push_first(job.into_iter());
    }

    /// Takes a batch of so many spans, or a part of one, off the disk: at some time after this.
    pub(super) fn erase(&self, body: &Body, spans: usize, damaged: bool) {
        let (spill, body) = (Arc::clone(&self.spill), body.clone());
        if self.disk.post(move || erase(&spill, &body, spans, damaged)).is_err() {
            log::warn!("{}: a batch may be sent again after a restart", self.spill.folder().display());
        }
    }

    /// The same, and waits for it: who is killed now does not send it again. Not for a disk that hangs.
    pub(super) async fn erased(&self, body: &Body, spans: usize, damaged: bool) {
        let (spill, body) = (Arc::clone(&self.spill), body.clone());
        self.end_with(move || erase(&spill, &body, spans, damaged)).await;
    }

    /// Brings the last batches to the disk, at some time after this.
    pub(super) fn sync(&self) {
        let spill = Arc::clone(&self.spill);
        if !self.disk.hangs() {
            // It is done at the end in any case.
            self.disk.post(move || spill.sync()).ok();
        }
    }

    /// Brings everything to the disk, unless it hangs.
    pub(super) async fn end(&self, limit: Duration) {
        let spill = Arc::clone(&self.spill);
        timeout(limit, self.end_with(move || spill.end())).await.ok();
        self.spill.let_go();
    }

    /// The same, and leaves what is there to whoever opens the folder next.
    pub(super) async fn release(&self, limit: Duration) {
        let spill = Arc::clone(&self.spill);
        timeout(limit, self.end_with(move || spill.release())).await.ok();
        self.spill.let_go();
    }

    /// Hangs until the answer is dropped, as soon as what was begun before is done.
    #[cfg(test)]
    pub(super) fn hang(&self) -> std::sync::mpsc::Sender<()> {
        let (go, hangs) = std::sync::mpsc::channel();
        self.disk.post(move || _ = hangs.recv()).unwrap();
        go
    }

    /// Waits until everything is done that was begun before.
    #[cfg(test)]
    pub(super) async fn caught_up(&self) {
        self.end_with(|| ()).await;
        while self.disk.hangs() {
            tokio::task::yield_now().await;
        }
    }

    async fn end_with(&self, work: impl FnOnce() + Send + 'static) {
        let disk = Arc::clone(&self.disk);
        // It only fails if the process ends, or is done later.
        spawn_blocking(move || disk.do_in_any_case(work)).await.ok();
    }
}

fn erase(spill: &Spill, body: &Body, spans: usize, damaged: bool) {
    match body {
        Body::Memory(_) => {}
        Body::Disk(slot) => spill.done(*slot, damaged),
        Body::Part(_, whole, from) => whole.settle(*from, spans, spill),
    }
}
