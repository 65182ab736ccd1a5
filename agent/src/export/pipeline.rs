//! The way from the capture thread to the destinations.

use std::{
    borrow::Cow,
    fmt,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::oneshot, task::JoinSet};

use super::{
    budget::Budget,
    client,
    config::{self, Config, Console},
    console,
    counters::Counters,
    deliver::Way,
    line::{Common, Ending, LEAVE, Line, Stores},
    queue::Queue,
    room::{Claim, Room},
    route::Route,
    store::{dead::DeadLetters, left, spill::Spill},
};
use crate::{
    export::aside::Aside,
    log::LAST,
    span::{Attribute, Span, Value},
    stats::{Drop as Cause, Stats},
};

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
    /// A disk does not answer.
    #[error("cannot open what {name} has in files: {why}")]
    Hangs { name: Arc<str>, why: String },
    /// A thread of ours panicked.
    #[error("export ended before it began: please report this")]
    Gone,
    /// The agent is to end before there is anything.
    #[error("the agent ends")]
    Ends,
}

/// What goes from the capture thread to a destination's thread.
#[derive(Debug)]
pub(super) enum Message {
    Spans(Vec<Span>, Claim),
    /// Batches are made in other sizes from now on. The console makes none.
    Limits(config::Batch),
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
    pub(super) fn new(routes: Vec<Route>, stats: &Arc<Stats>) -> Self {
        Self { routes, stats: Arc::clone(stats) }
    }

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
    /// What its whole life came to.
    pub total: Total,
    /// What the last request that failed came to, unless one was successful since.
    pub last: Option<String>,
}

/// What became of all spans that a destination wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Total {
    pub sent: u64,
    /// Those that it did not get, by cause. What is on disk for the next start is not among them.
    pub dropped: Vec<(Cause, u64)>,
    /// How many of these were put among the dead letters.
    pub saved: u64,
    /// How many of those are in files that are not there any more.
    pub gone: u64,
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: u64 = self.dropped.iter().map(|(_, spans)| spans).sum();
        write!(f, "in all {} spans were sent and {all} were not", self.sent)?;
        for (at, (cause, spans)) in self.dropped.iter().enumerate() {
            write!(f, "{}{} {spans}", if at == 0 { ": " } else { ", " }, cause.label())?;
        }
        match (self.saved, self.gone) {
            (0, _) => Ok(()),
            (saved, 0) => write!(f, "; {saved} of them are among the dead letters"),
            (saved, gone) => {
                let there = saved.saturating_sub(gone);
                write!(
                    f,
                    "; {saved} of them were put among the dead letters, where {there} are: others were "
                )?;
                f.write_str("replayed or removed")
            }
        }
    }
}

impl Farewell {
    /// Logs it, if there is anything to say.
    pub fn say(&self) {
        let Self { name, sent, saved, spilled, lost, total, last } = self;
        let last = last.as_ref().map_or_else(String::new, |last| format!("; the last answer: {last}"));
        if saved + lost + spilled > 0 {
            log::warn!(
                target: LAST,
                "{name}: at the end {sent} spans were sent, {saved} saved as dead letters, {spilled} are on disk for \
                 the next start, {lost} are lost{last}"
            );
        }
        // Each loss was said when it began, and may have gone on without a word.
        if !total.dropped.is_empty() {
            log::warn!(target: LAST, "{name}: {total}{last}");
        }
    }
}

/// The threads and tasks behind a [`Sender`].
#[derive(Debug)]
pub struct Pipeline {
    pub(super) common: Common,
    pub(super) lines: Vec<Line>,
    pub(super) console: Option<Printer>,
    /// Destinations that are in the configuration no more, and send what they hold.
    pub(super) ending: Vec<Ending>,
    /// Their accounts, also when they have ended.
    pub(super) former: Vec<Watched>,
    /// Where a reload waits for disks.
    pub(super) aside: Aside,
}

/// The console as it runs.
#[derive(Debug)]
pub(super) struct Printer {
    pub(super) kind: Console,
    pub(super) route: Route,
    /// Hears when everything is written.
    done: oneshot::Receiver<()>,
}

impl Printer {
    pub(super) fn start(kind: Console, common: &Common, before: Option<&Watched>) -> Result<Self, Error> {
        let config::Queue { spans, bytes } = config::Queue::default();
        let account = before.map(|before| Arc::clone(before.room.account())).unwrap_or_default();
        let (share, ledger) = (common.budget.share(), Arc::clone(&common.stats));
        let room = Room::continuing(spans, bytes, share, ledger, account);
        let (to, from) = mpsc::channel();
        let done = console::start(kind, from)?;
        Ok(Self { kind, route: Route::console(room, to), done })
    }

    fn close(&self) {
        self.route.room.close();
        // A thread that is gone needs no word.
        self.route.to.send(Message::Close).ok();
    }

    /// Writes what is there, in the background, unless nobody reads it. Must be called inside a tokio runtime.
    pub(super) fn end(self) {
        let before = self.route.settled();
        self.close();
        tokio::spawn(async move {
            tokio::time::timeout(LEAVE, self.done).await.ok();
            self.route.farewell(before).say();
        });
    }
}

/// Starts export. Connections are made when the first batch is ready; what can be wrong with the
/// configuration alone is said here.
pub fn start(config: &Config, stats: Arc<Stats>, runtime: &Handle) -> Result<(Sender, Pipeline), Error> {
    let _inside = runtime.enter();
    let common = Common {
        stats,
        budget: Budget::new(config.caps.queue_bytes),
        stores: Stores { spill: config.spill.clone(), dead_letters: config.dead_letters.clone() },
    };
    let line = |one| {
        let _inside = runtime.enter();
        Line::start(one, Way::new(one)?, common.stores.of(one, None), &common, None)
    };
    // Side by side: if all their disks hang, that takes no longer than with one.
    let lines: Result<Vec<_>, Error> = thread::scope(|scope| {
        let begun: Vec<_> = config.destinations.iter().map(|one| scope.spawn(move || line(one))).collect();
        begun.into_iter().map(|line| line.join().unwrap_or_else(|_| Err(Error::Gone))).collect()
    });
    let console = match config.console {
        Console::Off => None,
        kind => Some(Printer::start(kind, &common, None)?),
    };
    if let Some(store) = &config.spill {
        let queued = config.destinations.iter().filter(|one| matches!(one.to, config::To::Otlp(_)));
        let known: Vec<_> = queued.map(|one| Arc::clone(&one.name)).collect();
        let folder = store.folder.clone();
        // Its disk may hang, and nothing waits for what it has to say.
        thread::Builder::new()
            .name("spandrel-left".to_owned())
            .spawn(move || left::say_behind(&folder, &known))?;
    }
    let pipeline = Pipeline {
        common,
        lines: lines?,
        console,
        ending: Vec::new(),
        former: Vec::new(),
        aside: Aside::default(),
    };
    let routes = pipeline.routes().cloned().collect();
    Ok((Sender::new(routes, &pipeline.common.stats), pipeline))
}

impl Pipeline {
    /// Where spans go, in the order in which they are asked.
    pub(super) fn routes(&self) -> impl Iterator<Item = &Route> {
        let lines = self.lines.iter().map(|line| &line.route);
        lines.chain(self.console.iter().map(|printer| &printer.route))
    }

    /// Destinations, for metrics: also those that are not there any more, with what they came to.
    pub fn watch(&self) -> Vec<Watched> {
        let mut all: Vec<_> = self.routes().map(Route::watched).collect();
        let former = self.former.iter().filter(|one| !all.iter().any(|other| other.name == one.name));
        let former: Vec<_> = former.cloned().collect();
        all.extend(former);
        all
    }

    /// Takes nothing in any more, sends what is there, and gives up what is left after `limit`: what is on disk
    /// stays there, the rest goes to the dead letters or is counted as dropped at shutdown. Afterwards the
    /// ledger does not change any more. Says for each destination what came of it.
    pub async fn shutdown(self, limit: Duration) -> Vec<Farewell> {
        self.shutdown_before(tokio::time::sleep(limit)).await
    }

    /// The same, with any end of the time that there is.
    pub async fn shutdown_before(self, over: impl Future<Output = ()>) -> Vec<Farewell> {
        let Self { mut lines, console, ending, .. } = self;
        for one in ending {
            lines.extend(one.recall().await);
        }
        let routes = lines.iter().map(|line| &line.route).chain(console.iter().map(|one| &one.route));
        let routes: Vec<_> = routes.cloned().collect();
        let before: Vec<_> = routes.iter().map(Route::settled).collect();
        lines.iter().for_each(Line::close);
        console.iter().for_each(Printer::close);
        let drained = async {
            for line in &mut lines {
                line.drained().await;
            }
            if let Some(console) = console {
                console.done.await.ok();
            }
        };
        // What is left at the deadline is left below.
        let left_over = tokio::select! {
            () = drained => false,
            () = over => true,
        };
        if left_over {
            lines.iter().for_each(Line::stop);
            let left = async {
                for line in &mut lines {
                    line.leave().await;
                }
            };
            tokio::time::timeout(LEAVE, left).await.ok();
        }
        lines.iter().map(Line::end_stores).collect::<JoinSet<_>>().join_all().await;
        routes.iter().zip(before).map(|(route, before)| route.farewell(before)).collect()
    }
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
pub(super) mod tests;

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod delivery_tests;

#[cfg(test)]
#[path = "full_disk_tests.rs"]
mod full_disk_tests;

#[cfg(test)]
#[path = "hanging_disk_tests.rs"]
mod hanging_disk_tests;

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod credentials_tests;

#[cfg(test)]
#[path = "secret_tests.rs"]
mod secret_tests;

#[cfg(test)]
#[path = "bounds_tests.rs"]
mod bounds_tests;
