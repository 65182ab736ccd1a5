//! A destination's dead letters, on a thread of their own: a disk that hangs does not hold up what can be delivered.

use std::{io, sync::Arc, time::Duration};

use tokio::{task::spawn_blocking, time::timeout};

use super::{
    client::Payload,
    store::{
        dead::DeadLetters,
        disk::{Disk, Late},
    },
};

/// The dead letters with their thread.
#[derive(Debug)]
pub(super) struct Letters {
    pub(super) dead: Arc<DeadLetters>,
    disk: Arc<Disk>,
}

impl Letters {
    pub(super) fn new(dead: Arc<DeadLetters>) -> io::Result<Self> {
        let what = format!("the folder of dead letters {}", dead.folder().display());
        Ok(Self { dead, disk: Arc::new(Disk::start(what, || ())?) })
    }

    /// Makes their folder. What comes of it too late goes to `late`. Blocks.
    pub(super) fn look(
        &self,
        late: impl FnOnce(io::Result<()>) + Send + 'static,
    ) -> Result<io::Result<()>, Late> {
        let dead = Arc::clone(&self.dead);
        self.disk.wait(move || dead.look(), late)
    }

    /// Keeps a batch, unless the disk hangs. One that is kept too late counts as lost, and is there all the same.
    pub(super) async fn save(&self, payload: &Payload, spans: usize) -> io::Result<()> {
        let (dead, disk, payload) = (Arc::clone(&self.dead), Arc::clone(&self.disk), payload.clone());
        let save = move || dead.save(payload.encoding(), spans, &payload.body());
        let saved = spawn_blocking(move || disk.wait(save, drop)).await.map_err(io::Error::other);
        let saved = saved.and_then(|saved| saved.unwrap_or_else(|late| Err(io::Error::other(late))));
        if saved.is_err() {
            self.dead.count_lost(spans);
        }
        saved
    }

    /// Hangs until the answer is dropped.
    #[cfg(test)]
    pub(super) fn hang(&self) -> std::sync::mpsc::Sender<()> {
        let (go, hangs) = std::sync::mpsc::channel();
        self.disk.post(move || _ = hangs.recv()).unwrap();
        go
    }

    /// Ends the file that is written, so that it can be replayed, unless the disk hangs.
    pub(super) async fn end(&self, limit: Duration) {
        let (dead, disk) = (Arc::clone(&self.dead), Arc::clone(&self.disk));
        let end = spawn_blocking(move || disk.do_in_any_case(move || dead.end()));
        timeout(limit, end).await.ok();
    }
}
