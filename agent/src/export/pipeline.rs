//! The way from the capture thread to the destinations.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::Ordering::Relaxed,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::oneshot, task::JoinSet};

use super::{
    batcher::Batcher,
    client,
    config::{self, Config, Console},
    console,
    counters::Counters,
    deliver::Destination,
    queue::{Body, Job, Queue},
    room::{Claim, Room},
    route::Route,
    store::{
        dead::DeadLetters,
        spill::{Found, Spill},
    },
    transport::Transport,
};
use crate::{
    span::{Attribute, Span, Value},
    stats::{Drop as Cause, Stats},
};

/// How long batches may take to reach the dead letters after the deadline of a shutdown: they are few and small,
/// and whoever set the deadline waits.
const LEAVE: Duration = Duration::from_secs(2);

/// Why export cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An OTLP backend's configuration.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// A folder for batches.
    #[error("{what} in {folder}: {error}; make it a folder that this user can write, on a disk with room")]
    Store { what: &'static str, folder: String, error: std::io::Error },
    /// The system has no thread for us.
    #[error("no thread for export: {0}")]
    Thread(#[from] std::io::Error),
}

/// What goes from the capture thread to a destination's thread.
#[derive(Debug)]
pub(super) enum Message {
    Spans(Vec<Span>, Claim),
    /// Batches are made of what is there, whatever their size; then the answer is given.
    #[cfg(test)]
    Flush(oneshot::Sender<()>),
    /// Nothing comes behind it.
    Close,
}

/// What comes next, or a timeout when `due` is reached.
pub(super) fn next(from: &Receiver<Message>, due: Option<Instant>) -> Result<Message, RecvTimeoutError> {
    match due {
        None => Ok(from.recv()?),
        Some(due) => from.recv_timeout(due.saturating_duration_since(Instant::now())),
    }
}

/// Takes finished spans. Never blocks.
#[derive(Debug)]
pub struct Sender {
    routes: Vec<Route>,
    stats: Arc<Stats>,
}

impl Sender {
    /// Hands spans over to every destination that wants them. Those that find no room are dropped and counted.
    /// The first destination that wants a span settles the ledger for it.
    pub fn try_send(&self, mut spans: Vec<Span>) {
        let Some((last, others)) = self.routes.split_last() else {
            return Stats::drop(&self.stats, Cause::NoDestination, spans.len() as u64);
        };
        let mut taken = vec![false; spans.len()];
        for route in others {
            let (mut own, mut guests) = (Vec::new(), Vec::new());
            for (span, taken) in spans.iter().zip(&mut taken) {
                if route.filter.wants(span) {
                    if std::mem::replace(taken, true) { &mut guests } else { &mut own }.push(span.clone());
                }
            }
            route.take(own, true);
            route.take(guests, false);
        }
        if last.filter.is_empty() && !taken.contains(&true) {
            spans.shrink_to_fit();
            return last.take(spans, true);
        }
        let (mut own, mut guests, mut unwanted) = (Vec::new(), Vec::new(), 0);
        for (span, taken) in spans.into_iter().zip(taken) {
            match (last.filter.wants(&span), taken) {
                (true, false) => own.push(span),
                (true, true) => guests.push(span),
                (false, false) => unwanted += 1,
                (false, true) => {}
            }
        }
        last.take(own, true);
        last.take(guests, false);
        if unwanted > 0 {
            Stats::drop(&self.stats, Cause::Filtered, unwanted);
        }
    }
}

/// What a span takes in memory, its share of allocators' overhead included.
pub fn footprint(span: &Span) -> usize {
    /// What an allocation costs besides its content.
    const ALLOCATION: usize = 16;
    let text = |len: usize| if len == 0 { 0 } else { len + ALLOCATION };
    let value = |value: &Value| match value {
        Value::Str(value) => text(value.len()),
        Value::Strs(values) => values.iter().map(|v| size_of::<Box<str>>() + text(v.len())).sum(),
        Value::Static(_) | Value::Int(_) | Value::Double(_) | Value::Bool(_) => 0,
    };
    let owned = |name: &Cow<'static, str>| match name {
        Cow::Borrowed(_) => 0,
        Cow::Owned(name) => text(name.capacity()),
    };
    let attributes: usize = span.attributes.iter().map(|a| owned(&a.key) + value(&a.value)).sum();
    let table = span.attributes.capacity() * size_of::<Attribute>() + ALLOCATION;
    size_of::<Span>() + owned(&span.name) + text(span.trace_state.len()) + table + attributes
}

/// A destination, for metrics and the report.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Its configured name, or `console`.
    pub name: Arc<str>,
    pub room: Arc<Room>,
    /// Of requests; the console makes none.
    pub counters: Option<Arc<Counters>>,
    /// Its batches; the console has none.
    pub(super) queue: Option<Arc<Queue>>,
    pub spill: Option<Arc<Spill>>,
    pub dead_letters: Option<Arc<DeadLetters>>,
}

/// What a destination's last moments came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Farewell {
    pub name: Arc<str>,
    /// Spans that it got since the shutdown began.
    pub sent: u64,
    /// Spans that are among the dead letters since then.
    pub saved: u64,
    /// Spans that are on disk: the next start sends them.
    pub spilled: u64,
    /// Spans that are lost since then.
    pub lost: u64,
}

/// The threads and tasks behind a [`Sender`].
#[derive(Debug)]
pub struct Pipeline {
    routes: Vec<Route>,
    batchers: Vec<oneshot::Receiver<()>>,
    workers: JoinSet<()>,
    console: Option<oneshot::Receiver<()>>,
}

/// Starts export. Connections are made when the first batch is ready; what can be wrong with the
/// configuration alone is said here.
pub fn start(config: &Config, stats: Arc<Stats>, runtime: &Handle) -> Result<(Sender, Pipeline), Error> {
    let _inside = runtime.enter();
    let mut pipeline =
        Pipeline { routes: Vec::new(), batchers: Vec::new(), workers: JoinSet::new(), console: None };
    for one in &config.destinations {
        pipeline.add(config, one, &stats, runtime)?;
    }
    if config.console != Console::Off {
        let config::Queue { spans, bytes } = config::Queue::default();
        let room = Room::new(spans, bytes, Arc::clone(&stats));
        let (to, from) = mpsc::channel();
        pipeline.console = Some(console::start(config.console, from)?);
        pipeline.routes.push(Route::console(room, to));
    }
    Ok((Sender { routes: pipeline.routes.clone(), stats }, pipeline))
}

impl Pipeline {
    fn add(
        &mut self,
        config: &Config,
        one: &config::Destination,
        stats: &Arc<Stats>,
        runtime: &Handle,
    ) -> Result<(), Error> {
        let transport = Transport::new(&one.to)?;
        let room = Room::new(one.queue.spans, one.queue.bytes, Arc::clone(stats));
        let store = |what, store: &config::Store, error| {
            let folder = store.of(&one.name).display().to_string();
            Error::Store { what, folder, error }
        };
        // A file needs no queue on disk: when it cannot be written, that cannot either.
        let wanted = config.spill.as_ref().filter(|_| matches!(one.to, config::To::Otlp(_)));
        let (spill, found) = match wanted {
            None => (None, Found::default()),
            Some(at) => {
                let opened = Spill::open(&at.of(&one.name), at.max_bytes);
                let (spill, found) = opened.map_err(|error| store("no queue on disk", at, error))?;
                (Some(Arc::new(spill)), found)
            }
        };
        let dead = match &config.dead_letters {
            None => None,
            Some(at) => {
                let opened = DeadLetters::open(&at.of(&one.name), at.max_bytes);
                Some(Arc::new(opened.map_err(|error| store("no dead letters", at, error))?))
            }
        };
        let destination = Arc::new(Destination::new(transport, one, Arc::clone(&room), spill, dead));
        recover(&destination, &one.name, &found);
        for _ in 0..one.requests_in_flight.max(1) {
            self.workers.spawn_on(Arc::clone(&destination).work(), runtime);
        }
        let (to, from) = mpsc::channel();
        let (done, batcher) = oneshot::channel();
        let worker = Batcher::new(Arc::clone(&destination), one.batch);
        thread::Builder::new().name("spandrel-export".to_owned()).spawn(move || {
            worker.run(&from);
            // Nobody waits for it if the pipeline was dropped.
            done.send(()).ok();
        })?;
        self.batchers.push(batcher);
        self.routes.push(Route::new(one, destination, to));
        Ok(())
    }

    /// Destinations, for metrics.
    pub fn watch(&self) -> Vec<Watched> {
        self.routes.iter().map(Route::watched).collect()
    }

    /// Takes nothing in any more, sends what is there, and gives up what is left after `limit`: what is on disk
    /// stays there, the rest goes to the dead letters or is counted as dropped at shutdown. Afterwards the
    /// ledger does not change any more. Says for each destination what came of it.
    pub async fn shutdown(self, limit: Duration) -> Vec<Farewell> {
        self.shutdown_before(tokio::time::sleep(limit)).await
    }

    /// The same, with any end of the time that there is.
    pub async fn shutdown_before(self, over: impl Future<Output = ()>) -> Vec<Farewell> {
        let Self { routes, batchers, mut workers, console } = self;
        let before: Vec<_> = routes.iter().map(Route::settled).collect();
        for route in &routes {
            route.room.close();
            // A thread that is gone needs no word.
            route.to.send(Message::Close).ok();
        }
        let drained = async {
            for batcher in batchers {
                // It is gone without a word only if it panicked.
                batcher.await.ok();
            }
            while workers.join_next().await.is_some() {}
            if let Some(console) = console {
                console.await.ok();
            }
        };
        // What is left at the deadline is left below.
        let left_over = tokio::select! {
            () = drained => false,
            () = over => true,
        };
        if left_over {
            let destinations = || routes.iter().filter_map(|route| route.destination.as_ref());
            destinations().for_each(|destination| destination.stop());
            let left = async {
                while workers.join_next().await.is_some() {}
                for destination in destinations() {
                    destination.leave_all().await;
                }
            };
            tokio::time::timeout(LEAVE, left).await.ok();
        }
        let stores: Vec<_> = routes.iter().filter_map(|route| route.watched().spill).collect();
        let end = tokio::task::spawn_blocking(move || stores.iter().for_each(|spill| spill.end()));
        // A disk that hangs does not hold up the end.
        tokio::time::timeout(LEAVE, end).await.ok();
        routes.iter().zip(before).map(|(route, before)| route.farewell(before)).collect()
    }
}

/// What an earlier process left comes first.
fn recover(destination: &Destination, name: &str, found: &Found) {
    let since = Instant::now();
    for batch in &found.batches {
        let claim = destination.room.recover(batch.spans);
        destination.queue.push(Job { body: Body::Disk(batch.slot), claim, since, too_large: None });
    }
    destination.counters.spill_damaged.fetch_add(found.damaged, Relaxed);
    if found.damaged > 0 {
        log::warn!("{name}: {} batches on disk cannot be read; their files are set aside", found.damaged);
    }
    if !found.batches.is_empty() {
        let spans: usize = found.batches.iter().map(|batch| batch.spans).sum();
        log::info!("{name}: {spans} spans of an earlier run are on disk and are sent now");
    }
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod delivery_tests;

#[cfg(test)]
#[path = "bounds_tests.rs"]
mod bounds_tests;
