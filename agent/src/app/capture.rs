//! The capture thread: ring, decode, stream, span, queue. The only place where the pure rooms meet clocks.

use std::{
    collections::{HashSet, VecDeque},
    io::{self, Write as _},
    os::{fd::AsRawFd as _, unix::net::UnixStream},
    sync::{Arc, Mutex, PoisonError, mpsc::Receiver},
    time::{Duration, Instant},
};

use spandrel_common::{
    event::{self, SELECT_NO, SELECT_YES, Unseen},
    runtime::Runtime,
    stats::Counter,
};

use super::{
    goroutines::Goroutines,
    reload::Change,
    rooms,
    scope::{self, Scope},
};
use crate::{
    decode::{self, Event, Sequence},
    discover::{
        recognise::Recognised,
        registry::Registry,
        select::{Ignored, Selected, Verdict},
        sockets,
    },
    exchange::Exchange,
    export::{Sender, metrics::Snapshot},
    kernel::{Counters, Kernel, Ring},
    span::{Span, build::Builder},
    stats::{Count, Stats},
    stream::Table,
};

/// Connections that are followed. Each takes about 0.5 KiB, so 16 MiB at most.
const CONNECTIONS: usize = 32_768;
/// Events that are taken from the ring before their spans are handed on: some 50 KiB of spans.
const BURST: usize = 256;
/// How long the ring is left alone when it was empty. Ten milliseconds of the fastest traffic seen are 0.3 MiB of
/// its 8; and the kernel side wakes the reader when much is waiting.
const PAUSE: Duration = Duration::from_millis(10);
/// The same after [`QUIET`] without any event.
const LONG_PAUSE: Duration = Duration::from_millis(50);
const QUIET: Duration = Duration::from_secs(1);
/// How often counters, clocks and idle connections are looked after.
const TICK: Duration = Duration::from_secs(1);
/// After how long a connection without an open exchange is forgotten. The kernel side announces it again
/// only if its event was lost, so this is for Unix sockets, whose end is not seen: an hour.
const IDLE_NS: u64 = 3_600_000_000_000;
/// Processes that were captured while pending and then refused: their last events are still in the ring.
const REFUSED: usize = 1024;

/// Tells the capture thread to end, by closing a socket.
pub(super) struct Stop(UnixStream);

impl Stop {
    /// The two ends.
    pub(super) fn new() -> io::Result<(Self, UnixStream)> {
        let (here, there) = UnixStream::pair()?;
        there.set_nonblocking(true)?;
        Ok((Self(here), there))
    }

    /// Wakes the thread and ends it after it has read what is in the ring.
    pub(super) fn stop(mut self) {
        // If the thread is gone it need not be told.
        self.0.write_all(&[1]).ok();
    }
}

/// Everything that the thread owns.
pub(super) struct Capture {
    kernel: Kernel,
    ring: Ring,
    rest: Rest,
    goroutines: Option<Goroutines>,
    shared: Arc<Mutex<Snapshot>>,
    last: Counters,
    changes: Receiver<Change>,
}

/// What handles an event; apart from the ring, so that both can be borrowed.
struct Rest {
    registry: Registry,
    scope: Scope,
    builder: Builder,
    table: Table,
    sequence: Sequence,
    stats: Arc<Stats>,
    sender: Sender,
    exchanges: Vec<Exchange>,
    spans: Vec<Span>,
    /// For the kernel side, after the ring is drained: `SELECT_*`, or `None` to forget.
    selections: Vec<(u32, Option<u8>)>,
    /// Processes that ended.
    ended: Vec<u32>,
    /// For the kernel side, too.
    runtimes: Vec<(u32, Runtime)>,
    recognised: Recognised,
    refused: VecDeque<u32>,
    refused_set: HashSet<u32>,
}

impl Capture {
    #[expect(clippy::too_many_arguments, reason = "everything is handed over once, here")]
    pub(super) fn new(
        kernel: Kernel,
        ring: Ring,
        registry: Registry,
        scope: Scope,
        builder: Builder,
        stats: Arc<Stats>,
        sender: Sender,
        shared: Arc<Mutex<Snapshot>>,
        changes: Receiver<Change>,
    ) -> Self {
        let table = Table::new(Arc::clone(&stats), CONNECTIONS);
        let rest = Rest {
            registry,
            scope,
            builder,
            table,
            sequence: Sequence::default(),
            stats,
            sender,
            exchanges: Vec::new(),
            spans: Vec::new(),
            selections: Vec::new(),
            ended: Vec::new(),
            runtimes: Vec::new(),
            recognised: Recognised::default(),
            refused: VecDeque::new(),
            refused_set: HashSet::new(),
        };
        let goroutines = Goroutines::start().map_err(|error| {
            log::warn!("outbound requests of Go programs have no parents, no thread can be started: {error}");
        });
        let capture = Self {
            kernel,
            ring,
            rest,
            goroutines: goroutines.ok(),
            shared,
            last: Counters::default(),
            changes,
        };
        capture.lock().ready = true;
        capture
    }

    /// Reads until told to stop, then empties the ring, ends what is open and returns.
    pub(super) fn run(mut self, stop: &UnixStream) {
        let mut ticked = Instant::now();
        let mut heard = Instant::now();
        loop {
            let stopping = stopped(stop);
            while let Ok(change) = self.changes.try_recv() {
                self.change(change);
            }
            let count = self.ring.drain(BURST, |bytes| self.rest.event(bytes));
            self.settle();
            if let Err(error) = self.kernel.arm_again() {
                log::debug!("idle connections cannot be armed for injection: {error}");
            }
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                self.tick();
            }
            if count > 0 {
                heard = Instant::now();
            }
            if count < BURST {
                if stopping {
                    break;
                }
                let pause = if heard.elapsed() < QUIET { PAUSE } else { LONG_PAUSE };
                self.ring.wait(stop.as_raw_fd(), pause);
            }
        }
        let now = rooms::clock().mono_ns;
        self.ask(now, true);
        self.rest.table.flush(now, &mut self.rest.exchanges);
        self.settle();
        self.tick();
        self.lock().ready = false;
    }

    /// Takes a changed configuration.
    fn change(&mut self, change: Change) {
        let Change { policy, sampler, kernel_sampler, rules, selectors, sender, done } = change;
        // What is measured is as it was at the start.
        let kernel_sampler =
            if self.rest.builder.is_measuring() { kernel_sampler.measured() } else { kernel_sampler };
        if let Err(error) = self.kernel.set_policy(kernel_sampler) {
            log::error!("reload: the kernel side keeps its sampler: {error}");
        }
        self.rest.registry.redact(&policy.redaction);
        self.rest.builder.set_policy(policy, sampler, rules);
        if let Some(selectors) = selectors {
            let reselected =
                scope::reselect(&mut self.kernel, &mut self.rest.registry, selectors, self.rest.scope);
            if let Err(error) = reselected {
                log::error!("reload: processes may be traced wrongly: {error}");
            }
            self.rest.refused.clear();
            self.rest.refused_set.clear();
        }
        self.rest.sender = sender;
        // Whoever asked may be gone.
        done.send(()).ok();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Snapshot> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands on what the last events gave.
    fn settle(&mut self) {
        self.rest.finish();
        for (tgid, runtime) in self.rest.runtimes.drain(..) {
            log::debug!("process {tgid} runs on {}", runtime.label());
            if let Err(error) = self.kernel.recognise(tgid, runtime) {
                log::warn!("fewer causes of requests may be found in process {tgid}: {error}");
            }
        }
        for (tgid, state) in self.rest.selections.drain(..) {
            let told = match state {
                Some(SELECT_YES) => self.kernel.select(tgid, SELECT_YES),
                other => self.kernel.refuse(tgid, other),
            };
            if let Err(error) = told {
                log::warn!("process {tgid} may be traced wrongly: {error}");
            }
        }
        for tgid in self.rest.ended.drain(..) {
            self.kernel.forget_go(tgid);
        }
        let fresh = self.rest.registry.fresh();
        if let Some(goroutines) = &self.goroutines {
            fresh.for_each(|tgid| goroutines.look(tgid));
            goroutines.settle(&mut self.kernel);
        }
    }

    /// Asks which Unix sockets are still held, for the last time if `last`.
    fn ask(&mut self, now_ns: u64, last: bool) {
        let doubts = self.rest.table.doubts(now_ns);
        if doubts.is_empty() {
            return;
        }
        let mut answers = sockets::held(&doubts);
        if last {
            // A list that is read while it changes may lack one.
            let missed: Vec<_> = answers.extract_if(.., |(_, held)| !*held).map(|(doubt, _)| doubt).collect();
            answers.extend(sockets::held(&missed));
        }
        for (doubt, held) in answers {
            self.rest.table.found(doubt.conn, held, last, now_ns, &mut self.rest.exchanges);
        }
    }

    fn tick(&mut self) {
        let clock = rooms::clock();
        self.rest.builder.set_clock(clock);
        self.ask(clock.mono_ns, false);
        self.rest.table.expire(clock.mono_ns, IDLE_NS, &mut self.rest.exchanges);
        self.rest.finish();
        self.kernel.log_messages();
        match self.kernel.counters() {
            Ok(counters) => {
                let grown = |counter| counters.get(counter).saturating_sub(self.last.get(counter));
                if grown(Counter::PeersRefused) > 0 && self.last.get(Counter::PeersRefused) == 0 {
                    log::warn!(
                        "a server refused a request with a traceparent that was put in: requests to it are left alone \
                         for ten minutes (counter peers_refused; --propagation off leaves all alone)"
                    );
                }
                if grown(Counter::HooksSkipped) > 0 && self.last.get(Counter::HooksSkipped) == 0 {
                    log::warn!(
                        "the kernel left out hooks while a task that runs one was interrupted: requests may be missing \
                         or have gaps (counter hooks_skipped, ARCHITECTURE.md, \"What is not seen\"); fewer threads \
                         than processors, or a kernel before 7.0, help"
                    );
                }
                self.rest.stats.kernel(grown(Counter::RequestsLost), grown(Counter::RequestsUnsampled));
                self.lock().kernel = counters.0.iter().map(|(name, value)| (*name, *value)).collect();
                self.last = counters;
            }
            Err(error) => log::warn!("the kernel side's counters cannot be read: {error}"),
        }
    }
}

impl Rest {
    fn event(&mut self, bytes: &[u8]) {
        let Some(event) = decode::decode(bytes) else {
            self.stats.count(Count::Undecodable);
            return;
        };
        let header = event.header();
        self.sequence.observe(header);
        let tgid = header.tgid;
        match &event {
            Event::Conn(_) | Event::Data(..) | Event::Withheld(_) if self.refused_set.contains(&tgid) => {
                return;
            }
            // Its exec event was lost.
            Event::Conn(_) if self.scope == Scope::Selected && self.registry.verdict(tgid).is_none() => {
                self.decide(tgid, |registry| registry.judge(tgid));
                if self.refused_set.contains(&tgid) {
                    return;
                }
            }
            Event::Exec(exec) => {
                let event = plain(exec);
                self.decide(tgid, |registry| registry.on_exec(&event, exec.area));
            }
            Event::Fork(fork) => self.decide(fork.child, |registry| registry.on_fork(fork)),
            Event::Listen(listen) => {
                self.decide(tgid, |registry| registry.on_listen(listen));
                for partner in self.registry.partners(listen) {
                    self.decide(partner, |_| Verdict::Yes(Selected::Port));
                }
            }
            Event::Exit(header) => {
                self.registry.on_exit(header);
                self.ended.push(header.tgid);
                self.refused_set.remove(&header.tgid);
            }
            Event::Notice(notice) => self.notice(tgid, Unseen::from_u8(notice.cause)),
            Event::Withheld(withheld) => {
                if let Some(known) = self.table.withheld(withheld) {
                    let resource = self.registry.resource(known.tgid, known.end_ns);
                    self.builder.withheld(&known, &resource);
                }
            }
            Event::Conn(_) | Event::Data(..) | Event::Close(_) => {}
        }
        match &event {
            Event::Conn(_) => {
                if let Some(runtime) = self.recognised.first(tgid) {
                    self.runtimes.push((tgid, runtime));
                }
            }
            Event::Exec(exec) => {
                self.recognised.forget(tgid);
                // Of others nothing is asked.
                if self.registry.verdict(tgid).is_some()
                    && let Some(runtime) = self.recognised.at_exec(tgid, &String::from_utf8_lossy(exec.path))
                {
                    self.runtimes.push((tgid, runtime));
                }
            }
            Event::Exit(_) => self.recognised.forget(tgid),
            _ => {}
        }
        self.table.handle(&event, &mut self.exchanges);
        self.build();
    }

    fn decide(&mut self, tgid: u32, judge: impl FnOnce(&mut Registry) -> Verdict) {
        let verdict = judge(&mut self.registry);
        let state = match (verdict, self.scope) {
            (_, Scope::Tree) => return,
            (Verdict::Yes(_), _) => Some(SELECT_YES),
            // Without selectors everything unlisted is traced, so a refusal has to be listed.
            (Verdict::No(_), Scope::All) => Some(SELECT_NO),
            (Verdict::No(_), Scope::Selected) => None,
        };
        if let Verdict::No(Ignored::Telemetry(what)) = verdict {
            log::info!("not traced: pid {tgid}, {what}");
        }
        self.selections.push((tgid, state));
        if verdict.traced() {
            self.refused_set.remove(&tgid);
        } else if self.refused_set.insert(tgid) {
            self.refused.push_back(tgid);
            if self.refused.len() > REFUSED
                && let Some(old) = self.refused.pop_front()
            {
                self.refused_set.remove(&old);
            }
        }
    }

    fn notice(&self, tgid: u32, cause: Unseen) {
        self.stats.count(Count::UnseenProcesses);
        let (what, unseen) = match cause {
            // Many use it for what is no traffic: libuv for epoll_ctl.
            Unseen::IoUring => ("uses io_uring", "what it sends and receives by it, if anything,"),
            Unseen::Compat => ("is a 32-bit program", "its traffic"),
            _ => ("moves data by a system call that is not followed", "what moves by it"),
        };
        log::warn!("process {tgid} {what}: {unseen} is counted, but its content is not seen");
    }

    /// Exchanges to spans, as soon as they are over: their heads are in the cache then, and the next ones get their
    /// memory.
    fn build(&mut self) {
        for exchange in self.exchanges.drain(..) {
            let resource = self.registry.resource(exchange.tgid, exchange.end_ns);
            if let Some(span) = self.builder.build(&exchange, resource) {
                self.spans.push(span);
            }
        }
        for call in self.table.take_calls() {
            let resource = self.registry.resource(call.tgid, call.end_ns);
            self.spans.extend(self.builder.kafka(&call, &resource));
        }
    }

    /// Spans to the queue.
    fn finish(&mut self) {
        self.build();
        if !self.spans.is_empty() {
            self.sender.try_send(std::mem::take(&mut self.spans));
        }
    }
}

/// The event as the kernel side wrote it.
fn plain(exec: &decode::Exec<'_>) -> event::Exec {
    let mut path = [0; 256];
    for (to, from) in path.iter_mut().zip(exec.path) {
        *to = *from;
    }
    event::Exec {
        header: exec.header,
        parent: exec.parent,
        state: exec.state,
        reserved: [0; 3],
        args: exec.args.len() as u32,
        reserved2: 0,
        path,
    }
}

fn stopped(stop: &UnixStream) -> bool {
    let mut byte = [0];
    match io::Read::read(&mut &*stop, &mut byte) {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}
