//! One destination over OTLP: a batch is sent until the backend has it, refuses it, or time is up.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until},
};

use super::{
    client::{Client, Failure, Payload, Verdict},
    config::Config,
    counters::Counters,
    retry::Backoff,
    room::{Claim, Fate},
};
use crate::stats::Drop as Cause;

/// A condition that lasts is said again after this time, with what it cost since.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// A backend, with what all its batches share.
#[derive(Debug)]
pub(super) struct Destination {
    pub client: Client,
    pub counters: Arc<Counters>,
    /// Requests in flight. Batches wait here in order.
    slots: Semaphore,
    /// How long one batch may take.
    limit: Duration,
    /// The backend asked for silence until then, from everybody.
    quiet_until: Mutex<Option<Instant>>,
    log: Mutex<Log>,
}

/// What has been said about a destination.
#[derive(Debug, Default)]
struct Log {
    failing_since: Option<Instant>,
    said: Option<Instant>,
    unsaid_spans: usize,
}

impl Destination {
    pub(super) fn new(client: Client, config: &Config, counters: Arc<Counters>) -> Self {
        Self {
            client,
            counters,
            slots: Semaphore::new(config.requests_in_flight.clamp(1, Semaphore::MAX_PERMITS)),
            limit: config.export_timeout,
            quiet_until: Mutex::default(),
            log: Mutex::default(),
        }
    }

    /// Sends one batch and settles its claim.
    pub(super) async fn deliver(&self, payload: &Payload, mut claim: Claim) {
        let Ok(_slot) = self.slots.acquire().await else { return };
        self.counters.batches.fetch_add(1, Relaxed);
        self.counters.batch_spans.fetch_add(claim.spans() as u64, Relaxed);
        let end = Instant::now() + self.limit;
        let mut backoff = Backoff::default();
        loop {
            if !self.silence(end).await {
                let what = format_args!("the backend wants silence for longer than {:?}", self.limit);
                self.complain(claim.spans(), what);
                return claim.settle(Fate::Dropped(Cause::ExportFailed));
            }
            let start = Instant::now();
            let verdict = self.client.send(payload).await;
            self.counters.request(verdict.code(), start.elapsed(), payload.len());
            match verdict {
                Verdict::Accepted { rejected, message, .. } => {
                    self.works();
                    let rejected = usize::try_from(rejected).unwrap_or(usize::MAX).min(claim.spans());
                    if rejected > 0 || !message.is_empty() {
                        self.complain(rejected, format_args!("rejected by the backend: {message}"));
                    }
                    claim.split(rejected, 0).settle(Fate::Dropped(Cause::Rejected));
                    return claim.settle(Fate::Exported);
                }
                Verdict::Refused(Failure { code, message }) => {
                    let hint = match code.to_string().as_str() {
                        "401" | "403" | "UNAUTHENTICATED" | "PERMISSION_DENIED" => {
                            "; check the credentials in OTEL_EXPORTER_OTLP_HEADERS"
                        }
                        "404" | "UNIMPLEMENTED" => "; check endpoint, path and protocol",
                        _ => "",
                    };
                    self.complain(claim.spans(), format_args!("refused with {code}: {message}{hint}"));
                    return claim.settle(Fate::Dropped(Cause::ExportRefused));
                }
                Verdict::Retry { after, failure } => {
                    let now = Instant::now();
                    let next = now + backoff.next(after, fastrand::f64());
                    self.fails(now, &failure);
                    if let Some(after) = after {
                        self.hush(now + after);
                    }
                    if next > end {
                        let Failure { code, message } = failure;
                        let what = format_args!("retries are used up, last {code}: {message}");
                        self.complain(claim.spans(), what);
                        return claim.settle(Fate::Dropped(Cause::ExportFailed));
                    }
                    sleep_until(next).await;
                    self.counters.retries.fetch_add(1, Relaxed);
                }
            }
        }
    }

    fn quiet(&self) -> Option<Instant> {
        *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The backend asked for silence.
    fn hush(&self, until: Instant) {
        let mut quiet = self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner);
        *quiet = (*quiet).max(Some(until));
    }

    /// Waits while the backend wants silence. False, at once, if it wants it beyond `end`.
    async fn silence(&self, end: Instant) -> bool {
        while let Some(until) = self.quiet().filter(|until| *until > Instant::now()) {
            if until > end {
                return false;
            }
            sleep_until(until).await;
        }
        true
    }

    /// Batches that wait for their turn are given up.
    pub(super) fn close(&self) {
        self.slots.close();
    }

    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn works(&self) {
        if let Some(since) = self.log().failing_since.take() {
            log::info!("export to {} works again after {:.1?}", self.client.uri(), since.elapsed());
        }
    }

    fn fails(&self, now: Instant, Failure { code, message }: &Failure) {
        let mut log = self.log();
        if log.failing_since.is_none() {
            log.failing_since = Some(now);
            let (uri, limit) = (self.client.uri(), self.limit);
            log::warn!("export to {uri} fails ({code}: {message}); a batch is retried for up to {limit:?}");
        }
    }

    /// Says that spans are lost, once in a while.
    fn complain(&self, spans: usize, what: fmt::Arguments<'_>) {
        let mut log = self.log();
        log.unsaid_spans += spans;
        if log.said.is_none_or(|said| said.elapsed() >= SAY_AGAIN) {
            log.said = Some(Instant::now());
            let spans = std::mem::take(&mut log.unsaid_spans);
            log::warn!("export to {}: {spans} spans lost, {what}", self.client.uri());
        }
    }
}
