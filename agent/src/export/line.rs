//! One destination as it runs: the thread that makes its batches, and the tasks that send them.

use std::{
    io,
    mem::discriminant,
    sync::{Arc, atomic::Ordering::Relaxed, mpsc},
    thread,
    time::{Duration, Instant},
};

use tokio::{
    sync::oneshot,
    task::{JoinHandle, JoinSet},
};

use super::{
    batcher::Batcher,
    budget::Budget,
    config::{self, Store, To},
    deliver::{Destination, Way},
    pipeline::{Error, Message, Watched},
    queue::{Body, Job},
    room::Room,
    route::Route,
    store::{
        dead::DeadLetters,
        spill::{Found, Spill},
    },
};
use crate::stats::Stats;

/// How long batches may take to reach the dead letters after the deadline of a shutdown: they are few and small,
/// and whoever set the deadline waits.
pub(super) const LEAVE: Duration = Duration::from_secs(2);

/// What all destinations have in common.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) stats: Arc<Stats>,
    pub(super) budget: Arc<Budget>,
    pub(super) stores: Stores,
}

/// What a destination has on disk. Opening it may take as long as the disk does.
#[derive(Debug)]
pub(super) struct Opened {
    spill: Option<Arc<Spill>>,
    /// What an earlier process left. None if nobody has looked yet.
    found: Option<Found>,
    dead: Option<Arc<DeadLetters>>,
}

/// Where that is.
#[derive(Clone, Debug)]
pub(super) struct Stores {
    pub(super) spill: Option<Store>,
    pub(super) dead_letters: Option<Store>,
}

impl Stores {
    /// What a destination has there; nobody has looked yet. One that was there before under this name hands on its dead
    /// letters.
    pub(super) fn of(&self, config: &config::Destination, dead: Option<Arc<DeadLetters>>) -> Opened {
        // A file needs no queue on disk: when it cannot be written, that cannot either.
        let wanted = self.spill.as_ref().filter(|_| matches!(config.to, To::Otlp(_)));
        let spill = wanted.map(|at| Arc::new(Spill::new(&at.of(&config.name), at.max_bytes)));
        let new = |at: &Store| Arc::new(DeadLetters::new(&at.of(&config.name), at.max_bytes));
        let dead = self.dead_letters.as_ref().map(|at| dead.unwrap_or_else(|| new(at)));
        Opened { spill, found: None, dead }
    }

    /// The same, and looks, however long that takes.
    pub(super) fn open(
        &self,
        config: &config::Destination,
        dead: Option<Arc<DeadLetters>>,
    ) -> Result<Opened, Error> {
        let mut opened = self.of(config, dead);
        opened.found = Some(match &opened.spill {
            None => Found::default(),
            Some(spill) => spill.recover().map_err(|error| no_queue(spill, error))?,
        });
        if let Some(dead) = &opened.dead {
            dead.look().map_err(|error| no_letters(dead, error))?;
        }
        Ok(opened)
    }
}

fn no_queue(spill: &Spill, error: io::Error) -> Error {
    Error::Store { what: "no queue on disk", folder: spill.folder().display().to_string(), error }
}

fn no_letters(dead: &DeadLetters, error: io::Error) -> Error {
    Error::Store { what: "no dead letters", folder: dead.folder().display().to_string(), error }
}

/// A destination with its thread and tasks.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) route: Route,
    destination: Arc<Destination>,
    config: config::Destination,
    /// Hears when everything is in batches. None once it has.
    batcher: Option<oneshot::Receiver<()>>,
    workers: JoinSet<()>,
}

impl Line {
    /// Starts it. A destination that was there before under this name hands on its account. Must be called inside a tokio
    /// runtime.
    pub(super) fn start(
        config: &config::Destination,
        way: Way,
        opened: Opened,
        common: &Common,
        before: Option<&Watched>,
    ) -> Result<Self, Error> {
        let Opened { spill, found, dead } = opened;
        let account = before.map(|before| Arc::clone(before.room.account())).unwrap_or_default();
        let ledger = Arc::clone(&common.stats);
        let share = common.budget.share();
        let room = Room::continuing(config.queue.spans, config.queue.bytes, share, ledger, account);
        let counters = before.and_then(|before| before.counters.clone()).unwrap_or_default();
        let destination = Arc::new(Destination::new(way, room, counters, spill, dead)?);
        match found {
            Some(found) => recover(&destination, &config.name, &found),
            None => look(&destination, &config.name)?,
        }
        let (to, batcher) = batch(&destination, config.batch)?;
        let route = Route::new(config, Arc::clone(&destination), to);
        let config = config.clone();
        let mut line = Self { route, destination, config, batcher: Some(batcher), workers: JoinSet::new() };
        line.staff();
        Ok(line)
    }

    /// Whether a destination goes on with what this one holds: by its name, and if batches are of the same kind.
    pub(super) fn goes_on_as(&self, config: &config::Destination) -> bool {
        self.config.name == config.name && discriminant(&self.config.to) == discriminant(&config.to)
    }

    /// Whether it is just so already.
    pub(super) fn is(&self, config: &config::Destination) -> bool {
        // Values of headers are not in the text, so that they cannot get into a log; they are compared apart.
        let headers = |one: &config::Destination| match &one.to {
            To::Otlp(otlp) => otlp.headers.clone(),
            To::File(_) => Vec::new(),
        };
        format!("{:?}", self.config) == format!("{config:?}") && headers(&self.config) == headers(config)
    }

    /// Its route, if it were configured so.
    pub(super) fn route_as(&self, config: &config::Destination) -> Route {
        Route::new(config, Arc::clone(&self.destination), self.route.to.clone())
    }

    /// It is configured so from now on. What it holds stays, and goes the new way.
    pub(super) fn change(&mut self, config: config::Destination, way: Way) {
        self.route = self.route_as(&config);
        self.destination.room.set_limits(config.queue.spans, config.queue.bytes);
        // A thread that is gone makes no batches.
        self.route.to.send(Message::Limits(config.batch)).ok();
        self.destination.change(way);
        self.config = config;
        self.staff();
    }

    /// After [`Self::close`]: spans are taken in again.
    pub(super) fn reopen(&mut self, config: config::Destination, way: Way) -> Result<(), Error> {
        let (to, batcher) = batch(&self.destination, config.batch)?;
        (self.route.to, self.batcher) = (to, Some(batcher));
        self.destination.room.open();
        self.destination.queue.open();
        self.change(config, way);
        Ok(())
    }

    /// As many workers as there should be.
    fn staff(&mut self) {
        while self.workers.try_join_next().is_some() {}
        for _ in 0..self.destination.queue.staff(self.config.requests_in_flight.max(1)) {
            self.workers.spawn(Arc::clone(&self.destination).work());
        }
    }

    /// Takes nothing in any more.
    pub(super) fn close(&self) {
        self.route.room.close();
        // A thread that is gone needs no word.
        self.route.to.send(Message::Close).ok();
        self.destination.hurry();
    }

    /// After [`Self::close`]: waits until everything is in batches.
    async fn batched(&mut self) {
        if let Some(batcher) = &mut self.batcher {
            // It is gone without a word only if it panicked.
            batcher.await.ok();
        }
        self.batcher = None;
    }

    /// After [`Self::close`]: waits until everything is sent. May be broken off.
    pub(super) async fn drained(&mut self) {
        self.batched().await;
        while self.workers.join_next().await.is_some() {}
    }

    /// Sends nothing any more.
    pub(super) fn stop(&self) {
        self.destination.stop();
    }

    /// After [`Self::stop`]: what is left on disk stays there, the rest goes to the dead letters.
    pub(super) async fn leave(&mut self) {
        while self.workers.join_next().await.is_some() {}
        self.destination.leave_all().await;
    }

    /// Brings to the disks what is still to be written there, unless they hang.
    pub(super) fn end_stores(&self) -> impl Future<Output = ()> + use<> {
        let destination = Arc::clone(&self.destination);
        async move { destination.end_stores(false, LEAVE).await }
    }

    /// What it holds is sent for as long as one of its batches may take, in the background; then it is left. Must be
    /// called inside a tokio runtime.
    pub(super) fn end(mut self) -> Ending {
        let (recall, mut recalled) = oneshot::channel();
        let (name, limit) = (Arc::clone(&self.config.name), self.config.export_timeout);
        let held = self.route.room.held();
        if held.spans + held.stored > 0 {
            let spans = held.spans + held.stored;
            log::info!(
                "{name}: no destination any more; its last {spans} spans are sent for up to {limit:?}"
            );
        }
        let before = self.route.settled();
        let config = self.config.clone();
        self.close();
        let task = tokio::spawn(async move {
            let deadline = tokio::time::sleep(limit);
            let left_over = tokio::select! {
                biased;
                Ok(()) = &mut recalled => {
                    self.batched().await;
                    return Some(self);
                }
                () = self.drained() => false,
                () = deadline => true,
            };
            if left_over {
                self.stop();
                // A disk that hangs does not hold it up for ever.
                tokio::time::timeout(LEAVE, self.leave()).await.ok();
            }
            self.destination.end_stores(true, LEAVE).await;
            self.route.farewell(before).say();
            None
        });
        Ending { config, recall, task }
    }
}

/// A destination that is in no configuration any more, and sends what it holds.
#[derive(Debug)]
pub(super) struct Ending {
    config: config::Destination,
    recall: oneshot::Sender<()>,
    task: JoinHandle<Option<Line>>,
}

impl Ending {
    /// Whether a destination may go on with what it holds.
    pub(super) fn goes_on_as(&self, config: &config::Destination) -> bool {
        self.config.name == config.name && discriminant(&self.config.to) == discriminant(&config.to)
    }

    /// Whether it is over.
    pub(super) fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Stops the end. None if it came first, or a disk hangs.
    pub(super) async fn recall(self) -> Option<Line> {
        // It may be over.
        self.recall.send(()).ok();
        tokio::time::timeout(LEAVE, self.task).await.ok()?.ok()?
    }
}

/// Starts the thread that makes batches. The receiver hears when it has handed over everything.
fn batch(
    destination: &Arc<Destination>,
    limits: config::Batch,
) -> Result<(mpsc::Sender<Message>, oneshot::Receiver<()>), Error> {
    let (to, from) = mpsc::channel();
    let (done, batcher) = oneshot::channel();
    let worker = Batcher::new(Arc::clone(destination), limits);
    thread::Builder::new().name("spandrel-export".to_owned()).spawn(move || {
        worker.run(&from);
        // Nobody waits for it if the pipeline was dropped.
        done.send(()).ok();
    })?;
    Ok((to, batcher))
}

/// Looks for what an earlier process left, on the disks' own threads. One that hangs is done without until it answers:
/// what it gives then is sent then.
fn look(destination: &Arc<Destination>, name: &Arc<str>) -> Result<(), Error> {
    if let (Some(disk), Some(spill)) = (&destination.disk, destination.spill()) {
        let (own, called, folder) = (Arc::clone(destination), Arc::clone(name), Arc::clone(spill));
        let late = move |found: io::Result<Found>| match found {
            Ok(found) => recover(&own, &called, &found),
            Err(error) => log::warn!("{called}: {}", no_queue(&folder, error)),
        };
        if let Ok(found) = disk.recover(late) {
            recover(destination, name, &found.map_err(|error| no_queue(spill, error))?);
        }
    }
    if let (Some(letters), Some(dead)) = (&destination.letters, destination.dead()) {
        let (called, folder) = (Arc::clone(name), Arc::clone(dead));
        let late = move |looked: io::Result<()>| {
            if let Err(error) = looked {
                log::warn!("{called}: {}", no_letters(&folder, error));
            }
        };
        if let Ok(looked) = letters.look(late) {
            looked.map_err(|error| no_letters(dead, error))?;
        }
    }
    Ok(())
}

/// What an earlier process left comes first.
fn recover(destination: &Destination, name: &str, found: &Found) {
    let since = Instant::now();
    let jobs = found.batches.iter().map(|batch| {
        let claim = destination.room.recover(batch.spans);
        Job { body: Body::Disk(batch.slot), claim, since, too_large: None }
    });
    destination.queue.push_first(jobs);
    destination.counters.spill_damaged.fetch_add(found.damaged, Relaxed);
    if found.damaged > 0 {
        log::warn!("{name}: {} batches on disk cannot be read; their files are set aside", found.damaged);
    }
    if !found.batches.is_empty() {
        let spans: usize = found.batches.iter().map(|batch| batch.spans).sum();
        log::info!("{name}: {spans} spans of an earlier run are on disk and are sent now");
    }
}
