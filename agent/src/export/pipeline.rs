//! The way from the capture thread to the destinations.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::oneshot, task::JoinSet};

use super::{
    batch::Batch,
    client::{self, Client},
    config::{self, Config, Console},
    console,
    counters::Counters,
    deliver::Destination,
    otlp,
    room::{Claim, Fate, Room},
};
use crate::{
    span::{Attribute, Span, Value},
    stats::{Drop as Cause, Stats},
};

/// Why export cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The OTLP backend's configuration.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The system has no thread for us.
    #[error("no thread for export: {0}")]
    Thread(#[from] std::io::Error),
}

/// What goes from the capture thread to a destination's thread.
#[derive(Debug)]
pub(super) enum Message {
    Spans(Vec<Span>, Claim),
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

/// One destination as the capture thread sees it.
#[derive(Clone, Debug)]
struct Route {
    name: &'static str,
    room: Arc<Room>,
    to: mpsc::Sender<Message>,
    counters: Option<Arc<Counters>>,
}

/// Takes finished spans. Never blocks.
#[derive(Debug)]
pub struct Sender {
    routes: Vec<Route>,
    stats: Arc<Stats>,
}

impl Sender {
    /// Hands spans over. Those that find no room are dropped and counted.
    pub fn try_send(&self, mut spans: Vec<Span>) {
        let Some((main, others)) = self.routes.split_first() else {
            return Stats::drop(&self.stats, Cause::NoDestination, spans.len() as u64);
        };
        for other in others {
            other.take(spans.clone());
        }
        spans.shrink_to_fit();
        main.take(spans);
    }
}

impl Route {
    fn take(&self, mut spans: Vec<Span>) {
        if let Some(claim) = self.room.admit(spans.iter().map(footprint)) {
            spans.truncate(claim.spans());
            // A thread that is gone gives the claim back, and so it counts as lost at shutdown.
            self.to.send(Message::Spans(spans, claim)).ok();
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

/// A destination, for metrics.
#[derive(Clone, Debug)]
pub struct Watched {
    /// `otlp` or `console`.
    pub name: &'static str,
    pub room: Arc<Room>,
    /// Of requests; the console makes none.
    pub counters: Option<Arc<Counters>>,
}

/// The threads behind a [`Sender`].
#[derive(Debug)]
pub struct Pipeline {
    routes: Vec<Route>,
    destination: Option<Arc<Destination>>,
    batcher: Option<oneshot::Receiver<JoinSet<()>>>,
    console: Option<oneshot::Receiver<()>>,
}

/// Starts export. Connections are made when the first batch is ready; what can be wrong with the
/// configuration alone is said here.
pub fn start(config: &Config, stats: Arc<Stats>, runtime: &Handle) -> Result<(Sender, Pipeline), Error> {
    let config::Queue { spans, bytes } = config.queue;
    let mut pipeline = Pipeline { routes: Vec::new(), destination: None, batcher: None, console: None };
    let mut route = |name, counters: Option<Arc<Counters>>| {
        let ledger = pipeline.routes.is_empty().then(|| Arc::clone(&stats));
        let room = Room::new(spans, bytes, ledger);
        let (to, from) = mpsc::channel();
        pipeline.routes.push(Route { name, room, to, counters });
        from
    };
    if let Some(otlp) = &config.otlp {
        let _inside = runtime.enter();
        let client = Client::new(otlp, client::TRACES)?;
        let counters = Arc::<Counters>::default();
        let from = route("otlp", Some(Arc::clone(&counters)));
        let destination = Arc::new(Destination::new(client, config, counters));
        pipeline.destination = Some(Arc::clone(&destination));
        let (done, batcher) = oneshot::channel();
        let worker = Batcher {
            destination,
            limits: config.batch,
            runtime: runtime.clone(),
            tasks: JoinSet::new(),
            batch: Batch::default(),
            claim: None,
            due: None,
        };
        thread::Builder::new().name("spandrel-export".to_owned()).spawn(move || {
            // Nobody waits for it if the pipeline was dropped; its requests end with it.
            done.send(worker.run(&from)).ok();
        })?;
        pipeline.batcher = Some(batcher);
    }
    if config.console != Console::Off {
        let from = route("console", None);
        pipeline.console = Some(console::start(config.console, from)?);
    }
    Ok((Sender { routes: pipeline.routes.clone(), stats }, pipeline))
}

impl Pipeline {
    /// Destinations, for metrics. The first one settles the ledger.
    pub fn watch(&self) -> Vec<Watched> {
        let watched = |route: &Route| Watched {
            name: route.name,
            room: Arc::clone(&route.room),
            counters: route.counters.clone(),
        };
        self.routes.iter().map(watched).collect()
    }

    /// Takes nothing in any more, sends what is there, and gives up what is left after `limit`: it is counted
    /// as dropped at shutdown. Afterwards the ledger does not change any more. Returns the number of
    /// spans that the first destination did not get.
    pub async fn shutdown(self, limit: Duration) -> usize {
        for route in &self.routes {
            route.room.close();
            // A thread that is gone needs no word.
            route.to.send(Message::Close).ok();
        }
        let mut tasks = None;
        let drained = async {
            if let Some(running) = wait_for(self.batcher).await {
                let tasks = tasks.insert(running);
                while tasks.join_next().await.is_some() {}
            }
            wait_for(self.console).await;
        };
        // What is left at the deadline is counted below.
        tokio::time::timeout(limit, drained).await.ok();
        if let Some(destination) = self.destination {
            destination.close();
        }
        let left: Vec<usize> = self.routes.iter().map(|route| route.room.abandon()).collect();
        left.first().copied().unwrap_or(0)
    }
}

/// Waits for a thread, if there is one.
async fn wait_for<T>(done: Option<oneshot::Receiver<T>>) -> Option<T> {
    done?.await.ok()
}

/// Makes batches and encodes them, on a thread of its own: neither capture nor the runtime that serves
/// metrics waits for compression.
struct Batcher {
    destination: Arc<Destination>,
    limits: config::Batch,
    runtime: Handle,
    tasks: JoinSet<()>,
    batch: Batch<Span>,
    /// For the spans in `batch`.
    claim: Option<Claim>,
    /// When the batch is to be sent, if something is in it.
    due: Option<Instant>,
}

impl Batcher {
    /// Runs until everything has been handed over; returns the requests still in flight.
    fn run(mut self, from: &Receiver<Message>) -> JoinSet<()> {
        loop {
            match next(from, self.due) {
                Ok(Message::Spans(spans, claim)) => self.take(spans, claim),
                Err(RecvTimeoutError::Timeout) => self.flush(),
                Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => {
                    self.flush();
                    return self.tasks;
                }
            }
        }
    }

    fn take(&mut self, spans: Vec<Span>, mut claim: Claim) {
        let (mut taken, mut bytes) = (0, 0);
        for span in spans {
            let full = self.batch.bytes() + self.batch.cost(&span) > self.limits.bytes;
            if full && !self.batch.is_empty() {
                self.hold(claim.split(taken, bytes));
                (taken, bytes) = (0, 0);
                self.flush();
            }
            taken += 1;
            bytes += footprint(&span);
            self.batch.push(span);
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

    /// Encodes the batch and starts its request.
    fn flush(&mut self) {
        self.due = None;
        let batch = std::mem::take(&mut self.batch);
        let Some(mut claim) = self.claim.take() else { return };
        while self.tasks.try_join_next().is_some() {}
        let mut message = Vec::new();
        otlp::encode_batch(&batch, &mut message);
        drop(batch);
        match self.destination.client.prepare(message) {
            Ok(payload) => {
                claim.resize(payload.len());
                let destination = Arc::clone(&self.destination);
                let send = async move { destination.deliver(&payload, claim).await };
                self.tasks.spawn_on(send, &self.runtime);
            }
            Err(error) => {
                log::error!("a batch cannot be encoded: {error}");
                claim.settle(Fate::Dropped(Cause::ExportRefused));
            }
        }
    }
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
