//! One destination: a batch is sent until it is there, is refused for good, or time is up.

mod leave;

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    client::{Failure, Payload, Verdict},
    complain::{Again, Complaints, LASTS, Trouble},
    config::{Destination as Config, Policy},
    counters::{Code, Counters, State},
    disk_queue::DiskQueue,
    letters::Letters,
    parts::Whole,
    queue::{Body, Job, Queue},
    retry::{Backoff, Patience},
    room::{Claim, Fate, Room},
    store::{
        dead::DeadLetters,
        disk::Late,
        segment::Stored,
        settled::Settled,
        spill::{Error as SpillError, Slot, Spill},
    },
    transport::Transport,
    why::{why_full, why_over},
};
use crate::stats::Drop as Cause;

/// Batches on disk are tried for as long as this: a year.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How long a request may still take whose destination was changed by a reload: as long as OTLP's own timeout.
const LAST_WORD: Duration = Duration::from_secs(10);

/// A destination, with what all its batches share.
#[derive(Debug)]
pub(super) struct Destination {
    /// How it is reached now.
    way: watch::Sender<Arc<Way>>,
    pub(super) counters: Arc<Counters>,
    pub(super) queue: Arc<Queue>,
    pub(super) room: Arc<Room>,
    pub(super) disk: Option<DiskQueue>,
    pub(super) letters: Option<Letters>,
    /// The backend asked for silence until then, from everybody.
    quiet_until: Mutex<Option<Instant>>,
    complaints: Complaints,
    /// What nobody sends any more, and is on disk as far as anybody knows.
    left: Mutex<Vec<(Body, Claim)>>,
    /// A batch was taken.
    worked: Notify,
    /// How often the end of the destination began.
    closings: watch::Sender<u32>,
    stop: watch::Sender<bool>,
}

/// How a destination is reached, and how patiently: what a reload may change while batches wait.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) transport: Transport,
    policy: Policy,
    /// How long one batch may take.
    limit: Duration,
}

impl Way {
    /// Prepares it; nothing is sent. Must be called inside a tokio runtime.
    pub(super) fn new(config: &Config) -> Result<Self, super::client::Error> {
        let transport = Transport::new(&config.to, &config.name)?;
        Ok(Self { transport, policy: config.policy, limit: config.export_timeout })
    }

    fn about(&self) -> String {
        format!("export to {}", self.transport.describe())
    }
}

/// What became of a batch, but for what the backend rejected of it.
enum Outcome {
    Exported {
        rejected: usize,
    },
    /// Its parts may be sent.
    TooLarge(Failure),
    /// It cannot be delivered.
    Failed(Cause),
}

impl Destination {
    pub(super) fn new(
        way: Way,
        room: Arc<Room>,
        counters: Arc<Counters>,
        spill: Option<Arc<Spill>>,
        dead: Option<Arc<DeadLetters>>,
    ) -> io::Result<Self> {
        let complaints = Complaints::new(way.about());
        let queue = Arc::default();
        let disk = spill.map(|spill| DiskQueue::new(spill, &queue)).transpose()?;
        let letters = dead.map(Letters::new).transpose()?;
        Ok(Self {
            way: watch::Sender::new(Arc::new(way)),
            counters,
            queue,
            room,
            disk,
            letters,
            quiet_until: Mutex::default(),
            complaints,
            left: Mutex::default(),
            worked: Notify::new(),
            closings: watch::Sender::default(),
            stop: watch::Sender::new(false),
        })
    }

    /// The queue on disk, if there is one.
    pub(super) fn spill(&self) -> Option<&Arc<Spill>> {
        self.disk.as_ref().map(|disk| &disk.spill)
    }

    /// The dead letters, if there are any.
    pub(super) fn dead(&self) -> Option<&Arc<DeadLetters>> {
        self.letters.as_ref().map(|letters| &letters.dead)
    }

    /// How it is reached now.
    pub(super) fn way(&self) -> Arc<Way> {
        Arc::clone(&self.way.borrow())
    }

    /// From now on it is reached in another way, also by what waits. What is on its way to the backend is not broken
    /// off at once: it would be sent twice.
    pub(super) fn change(&self, way: Way) {
        let about = way.about();
        if about != self.way().about() {
            // Another backend has not asked for silence.
            *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        self.complaints.turn_to(about);
        self.way.send_replace(Arc::new(way));
    }

    /// Sends what is in the queue, one batch after another, until the queue does not need this worker any more or
    /// [`Self::stop`] is called. Several of these run at the same time.
    pub(super) async fn work(self: Arc<Self>) {
        while let Some(job) = self.queue.pop().await {
            let since = job.since;
            if *self.stop.borrow() {
                self.leave(job).await;
                return self.queue.landed(since);
            }
            self.deliver(job).await;
            self.queue.landed(since);
        }
    }

    /// Time is short: what waits to be sent again is tried at once, unless the backend asked for silence.
    pub(super) fn hurry(&self) {
        self.closings.send_modify(|times| *times = times.wrapping_add(1));
    }

    /// What is being sent is given up, and what waits is not begun.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
        self.queue.close();
    }

    /// Writes a batch to disk, if there is one for it, and lets it wait.
    pub(super) fn enqueue(&self, payload: Payload, mut claim: Claim) {
        let body = match &self.disk {
            None => Body::Memory(payload),
            Some(disk) => match self.write(disk, &payload, claim.spans()) {
                Ok(slot) => {
                    claim.store();
                    Body::Disk(slot)
                }
                Err(SpillError::Full(limit)) => {
                    let what = format!("the limit of {limit} bytes on disk is reached");
                    self.complaints.lost(claim.spans(), Cause::QueueFull, what);
                    return claim.settle(Fate::Dropped(Cause::QueueFull));
                }
                // Memory is better than nothing.
                Err(SpillError::Io(error)) => {
                    self.counters.spill_errors.fetch_add(1, Relaxed);
                    let what =
                        format!("the queue on disk cannot be written, batches wait in memory: {error}");
                    self.complaints.trouble(Trouble::Spill, what);
                    Body::Memory(payload)
                }
                // This is said where it is known when it ends.
                Err(SpillError::Late(Late)) => {
                    self.counters.spill_errors.fetch_add(1, Relaxed);
                    Body::Memory(payload)
                }
            },
        };
        if let Body::Memory(payload) = &body {
            claim.resize(payload.len());
        }
        self.queue.push(Job { body, claim, since: Instant::now().into_std(), too_large: None });
    }

    /// Writes, and makes room first if that is the policy.
    fn write(&self, disk: &DiskQueue, payload: &Payload, spans: usize) -> Result<Slot, SpillError> {
        loop {
            match disk.append(payload, spans) {
                Err(SpillError::Full(_))
                    if self.way().policy == Policy::Oldest && self.evict(Cause::QueueFull) => {}
                result => return result,
            }
        }
    }

    /// Says that spans found no room.
    pub(super) fn full(&self, spans: usize, cause: Cause) {
        self.complaints.lost(spans, cause, why_full(cause));
    }

    /// Says that spans were left out of a queue that fills, by their traces.
    pub(super) fn thin(&self, spans: usize) {
        self.complaints.lost(spans, Cause::QueueFull, "the queue fills: whole traces are left out");
    }

    /// Drops the batch that waits longest, for a cause. False if none waits.
    fn evict(&self, cause: Cause) -> bool {
        self.queue.take().is_some_and(|job| self.drop_oldest(job, cause))
    }

    /// The same with those that are in memory and nowhere else.
    pub(super) fn evict_from_memory(&self, cause: Cause) -> bool {
        self.queue.take_from_memory().is_some_and(|job| self.drop_oldest(job, cause))
    }

    fn drop_oldest(&self, Job { body, claim, .. }: Job, cause: Cause) -> bool {
        self.complaints.lost(claim.spans(), cause, format_args!("{}, the oldest go", why_full(cause)));
        if let Some(disk) = &self.disk {
            disk.erase(&body, claim.spans(), false);
        }
        claim.settle(Fate::Dropped(cause));
        true
    }

    /// Sends one batch and settles its claim, or gives it up because of [`Self::stop`].
    async fn deliver(&self, job: Job) {
        let Job { body, mut claim, since, too_large } = job;
        let (mut payload, settled) = match self.load(&body).await {
            Ok(Ok(loaded)) => loaded,
            Err(Late) => {
                let job = Job { body, claim, since, too_large };
                return match &self.disk {
                    Some(disk) => disk.park(job),
                    None => drop(job),
                };
            }
            Ok(Err(error)) => {
                let what = format!("a batch on disk cannot be used: {error}");
                self.complaints.lost(claim.spans(), Cause::SpillDamaged, what);
                self.counters.spill_damaged.fetch_add(1, Relaxed);
                self.forget(&body, claim.spans(), true).await;
                return claim.settle(Fate::Dropped(Cause::SpillDamaged));
            }
        };
        if claim.is_stored() {
            // What is on its way takes memory again.
            claim.resize(payload.len());
        }
        self.counters.batches.fetch_add(1, Relaxed);
        self.counters.batch_spans.fetch_add(claim.spans() as u64, Relaxed);
        let mut stop = self.stop.subscribe();
        let stopped = async {
            // The other end is in `self`: it is there as long as this is.
            stop.wait_for(|stop| *stop).await.ok();
        };
        let outcome = tokio::select! {
            biased;
            outcome = self.attempts(&mut payload, &mut claim, too_large.as_deref()) => Some(outcome),
            () = stopped => None,
        };
        let Some(outcome) = outcome else {
            // What was read from disk is there.
            return self.leave(Job { body, claim, since, too_large }).await;
        };
        match outcome {
            Outcome::Exported { rejected } => {
                self.forget(&body, claim.spans(), false).await;
                claim.split(rejected, 0).settle(Fate::Dropped(Cause::Rejected));
                claim.settle(Fate::Exported);
            }
            Outcome::TooLarge(failure) => {
                let job = Job { body, claim, since, too_large };
                self.cut(job, &payload, settled, failure).await;
            }
            Outcome::Failed(cause) => {
                let spans = claim.spans();
                self.bury(&payload, claim, cause).await;
                self.forget(&body, spans, false).await;
            }
        }
    }

    /// Sends one batch as often as OTLP allows.
    async fn attempts(
        &self,
        payload: &mut Payload,
        claim: &mut Claim,
        too_large: Option<&AtomicUsize>,
    ) -> Outcome {
        let spans = claim.spans();
        let (mut ways, mut closings) = (self.way.subscribe(), self.closings.subscribe());
        let begun = Instant::now();
        let (mut backoff, mut patience) = (Backoff::default(), Patience::default());
        // Another batch's success ended a wait. Once is enough: what fails then has a trouble of its own.
        let mut hurried = false;
        // A single span of this size was too large: so is this, nobody has to be asked.
        if too_large.is_some_and(|size| payload.message_len() >= size.load(Relaxed)) {
            let what = "as large as a span that was too large".to_owned();
            return Outcome::TooLarge(Failure { code: Code::NotSent, message: what });
        }
        loop {
            let way = Arc::clone(&ways.borrow_and_update());
            let limit = if claim.is_stored() { FOREVER } else { way.limit };
            if !way.transport.fits(payload) {
                match way.transport.restore(payload.encoding(), &payload.body()) {
                    Ok(other) => *payload = other,
                    Err(error) => {
                        let what = format!("it cannot be written for the new destination: {error}");
                        self.complaints.lost(spans, Cause::ExportRefused, what);
                        return Outcome::Failed(Cause::ExportRefused);
                    }
                }
                claim.resize(payload.len());
            }
            let now = Instant::now();
            if let Some(until) = self.quiet().filter(|until| *until > now) {
                let asked = until - now;
                if until - begun > patience.end(limit, asked) {
                    let why = why_over(Some(asked), limit);
                    self.complaints.lost(spans, Cause::ExportFailed, why);
                    return Outcome::Failed(Cause::ExportFailed);
                }
                or_changed(&mut ways, sleep_until(until)).await;
                patience.silent(now.elapsed().min(asked));
                continue;
            }
            let start = Instant::now();
            let (verdict, generation) = self.send(&way, payload, &ways).await;
            self.counters.request(verdict.code(), start.elapsed(), payload.len());
            // What failed in the old way says nothing of the new one.
            let changed = ways.has_changed().unwrap_or(false);
            if changed && !matches!(verdict, Verdict::Accepted { .. }) {
                self.counters.retries.fetch_add(1, Relaxed);
                backoff = Backoff::default();
                continue;
            }
            if let Some(state) = State::after(&verdict) {
                self.counters.set_state(state);
            }
            match verdict {
                Verdict::Accepted { rejected, message, .. } => {
                    self.complaints.works();
                    self.worked.notify_waiters();
                    let rejected = usize::try_from(rejected).unwrap_or(usize::MAX).min(spans);
                    if rejected > 0 {
                        let what = format!("rejected by the backend: {message}");
                        self.complaints.lost(rejected, Cause::Rejected, what);
                    } else if !message.is_empty() {
                        let what = format!("the backend warns: {message}");
                        self.complaints.trouble(Trouble::Warning, what);
                    }
                    return Outcome::Exported { rejected };
                }
                Verdict::TooLarge(failure) => return Outcome::TooLarge(failure),
                Verdict::Unauthorized(failure) => {
                    let left = patience.end(limit, Duration::ZERO).saturating_sub(begun.elapsed());
                    // With the same credentials it must not be sent again; with others it is another request.
                    if way.transport.renews() {
                        let renewed = self.renewed(&way, generation, left, &failure);
                        if or_changed(&mut ways, renewed).await.unwrap_or(true) {
                            self.counters.retries.fetch_add(1, Relaxed);
                            continue;
                        }
                    }
                    let hint = "check the credentials (headers, token or client certificate)";
                    let what = format!("refused with {failure}; {hint}");
                    self.complaints.refused(spans, Cause::Unauthorized, &failure, what);
                    return Outcome::Failed(Cause::Unauthorized);
                }
                Verdict::Refused(failure) => {
                    let hint = match failure.code.to_string().as_str() {
                        "404" | "UNIMPLEMENTED" => "; check endpoint, path and protocol",
                        _ => "",
                    };
                    let what = format!("refused with {failure}{hint}");
                    self.complaints.refused(spans, Cause::ExportRefused, &failure, what);
                    return Outcome::Failed(Cause::ExportRefused);
                }
                Verdict::Retry { after, failure } => {
                    // Whoever succeeds from now on shows that the backend works again.
                    let worked = self.worked.notified();
                    if closings.has_changed().unwrap_or(false) {
                        closings.mark_unchanged();
                        backoff = Backoff::default();
                    }
                    let (now, asked) = (Instant::now(), after.unwrap_or_default());
                    let next = now + backoff.next(after, fastrand::f64());
                    self.complaints.fails(&failure, Again(limit));
                    if let Some(after) = after {
                        self.hush(now + after);
                    }
                    if next - begun > patience.end(limit, asked) {
                        let why = why_over(after, limit);
                        let what = format!("{why}, last {failure}");
                        self.complaints.refused(spans, Cause::ExportFailed, &failure, what);
                        return Outcome::Failed(Cause::ExportFailed);
                    }
                    // What ends the wait early does not end a silence that the backend demanded: that is seen to above.
                    tokio::select! {
                        biased;
                        () = sleep_until(next) => {}
                        // The other ends are in `self`.
                        _ = ways.changed() => backoff = Backoff::default(),
                        _ = closings.changed() => backoff = Backoff::default(),
                        () = worked, if !hurried => hurried = true,
                    }
                    patience.silent(now.elapsed().min(asked));
                    self.counters.retries.fetch_add(1, Relaxed);
                }
            }
        }
    }

    /// Waits for credentials newer than those that were refused, as long as `patience` lasts, and says so again: what
    /// is refused soon after it worked is not said at once.
    async fn renewed(&self, way: &Way, than: u64, patience: Duration, failure: &Failure) -> bool {
        let said = async {
            loop {
                self.complaints.fails(failure, "waiting for the files with its credentials to change");
                sleep(LASTS).await;
            }
        };
        tokio::select! {
            biased;
            renewed = way.transport.renewed(than, patience) => renewed,
            () = said => false,
        }
    }

    /// Sends a batch once. If the way changes meanwhile, it is not waited for much longer.
    async fn send(&self, way: &Way, payload: &Payload, ways: &watch::Receiver<Arc<Way>>) -> (Verdict, u64) {
        let sent = way.transport.send(payload);
        tokio::pin!(sent);
        if let Some(verdict) = or_changed(&mut ways.clone(), &mut sent).await {
            return verdict;
        }
        timeout(LAST_WORD, sent).await.unwrap_or_else(|_| {
            let message = format!("no answer within {LAST_WORD:?} of a reload");
            (Verdict::Retry { after: None, failure: Failure { code: Code::Timeout, message } }, 0)
        })
    }

    /// Puts the halves of a batch that is too large before all others, or gives up a single span. `settled`: spans of it
    /// that needed nothing any more before it was sent.
    async fn cut(&self, job: Job, payload: &Payload, settled: Settled, failure: Failure) {
        let Job { body, mut claim, since, too_large } = job;
        let too_large = too_large.unwrap_or_else(|| Arc::new(AtomicUsize::new(usize::MAX)));
        let Some(halves) = self.way().transport.halves(payload) else {
            too_large.fetch_min(payload.message_len(), Relaxed);
            self.counters.set_state(State::Refusing);
            let size = payload.message_len();
            let what = format!("one of {size} bytes is too large ({failure})");
            self.complaints.refused(claim.spans(), Cause::TooLarge, &failure, what);
            let spans = claim.spans();
            self.bury(payload, claim, Cause::TooLarge).await;
            return self.forget(&body, spans, false).await;
        };
        self.counters.splits.fetch_add(1, Relaxed);
        let whole = match body {
            Body::Memory(_) => None,
            Body::Disk(slot) => Some((Arc::new(Whole::new(slot, settled)), 0)),
            Body::Part(_, whole, from) => Some((whole, from)),
        };
        // The halves are counted instead of it, never beside it.
        claim.resize(0);
        let mut before = 0;
        let parts = halves.map(|(payload, spans)| {
            let mut part = claim.split(spans, 0);
            part.resize(payload.len());
            let body = match &whole {
                None => Body::Memory(payload),
                Some((whole, from)) => Body::Part(payload, Arc::clone(whole), from + before),
            };
            before += spans;
            Job { body, claim: part, since, too_large: Some(Arc::clone(&too_large)) }
        });
        self.queue.push_first(parts.into_iter());
        // Nothing is left of it.
        claim.settle(Fate::Exported);
    }

    /// Settles a batch that cannot be delivered, in the dead letters if there are any.
    async fn bury(&self, payload: &Payload, claim: Claim, cause: Cause) {
        let Some(letters) = &self.letters else { return claim.settle(Fate::Dropped(cause)) };
        let spans = claim.spans();
        match letters.save(payload, spans).await {
            Ok(()) => claim.settle(Fate::Saved(cause)),
            Err(error) => {
                let what = format!("{spans} spans are not among the dead letters: {error}");
                self.complaints.trouble(Trouble::Letters, what);
                claim.settle(Fate::Dropped(cause));
            }
        }
    }

    /// What is to be sent, and the spans of a batch on disk that need nothing any more.
    async fn load(&self, body: &Body) -> Result<io::Result<(Payload, Settled)>, Late> {
        let restored = |Stored { encoding, message, settled }| {
            let payload = self.way().transport.restore_left(encoding, &message, &settled)?;
            Ok((payload, settled))
        };
        Ok(match (body, &self.disk) {
            (Body::Memory(payload) | Body::Part(payload, ..), _) => Ok((payload.clone(), Settled::default())),
            (Body::Disk(slot), Some(disk)) => disk.read(*slot).await?.and_then(restored),
            (Body::Disk(_), None) => Err(io::ErrorKind::NotFound.into()),
        })
    }

    /// A batch of so many spans need not be on disk any more.
    async fn forget(&self, body: &Body, spans: usize, damaged: bool) {
        if let (Body::Disk(_) | Body::Part(..), Some(disk)) = (body, &self.disk) {
            disk.erased(body, spans, damaged).await;
        }
    }

    /// What the last request that failed came to, unless one was successful since.
    pub(super) fn last_failure(&self) -> Option<String> {
        self.complaints.last()
    }

    fn quiet(&self) -> Option<Instant> {
        *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The backend asked for silence.
    fn hush(&self, until: Instant) {
        let mut quiet = self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner);
        *quiet = (*quiet).max(Some(until));
    }
}

/// What comes of something, or `None` if the way to the destination changes before.
async fn or_changed<T>(
    ways: &mut watch::Receiver<Arc<Way>>,
    something: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        done = something => Some(done),
        // Its sender is in the destination, which is there as long as this runs.
        _ = ways.changed() => None,
    }
}
