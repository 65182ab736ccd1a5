//! What may be sent again and when, exactly as OTLP says (opentelemetry-proto, docs/specification.md). Pure.

use std::time::{Duration, SystemTime};

/// The wait before the first retry; each further one waits twice as long as the one before.
const FIRST: Duration = Duration::from_millis(500);
/// No wait of our own is longer: a backend that is back is found within it.
const LONGEST: Duration = Duration::from_secs(30);
/// A backend's own demand to wait is believed up to this long: a wrong clock behind a Retry-After date
/// must not silence a node for a day.
pub const MAX_DEMAND: Duration = Duration::from_secs(600);

/// HTTP status codes that may be retried. "All other 4xx or 5xx response status codes MUST NOT be retried."
pub const fn http_retryable(status: u16) -> bool {
    matches!(status, 429 | 502 | 503 | 504)
}

/// Whether a gRPC status code may be retried, given whether the backend sent a `RetryInfo`.
pub const fn grpc_retryable(code: u8, retry_info: bool) -> bool {
    // CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS; RESOURCE_EXHAUSTED only
    // when the backend says that it can recover.
    matches!(code, 1 | 4 | 10 | 11 | 14 | 15) || (code == 8 && retry_info)
}

/// The delay that a `Retry-After` header demands: seconds or an HTTP date (RFC 9110, section 10.2.3).
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a very long time.
        let seconds = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(MAX_DEMAND));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default().min(MAX_DEMAND))
}

/// Exponential backoff with jitter.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// The next wait, never shorter than what the backend demanded. `random` is uniform in 0..1: waits of
    /// several batches and of several nodes fall apart, by up to one half.
    pub fn next(&mut self, demand: Option<Duration>, random: f64) -> Duration {
        let own = self.next.mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0);
        self.next = (self.next * 2).min(LONGEST);
        match demand {
            // Behind a demand the jitter is added, so that nobody comes too early.
            Some(demand) => demand.max(own) + FIRST.mul_f64(random.clamp(0.0, 1.0) / 2.0),
            None => own,
        }
    }
}

/// How long one batch may take. The time for which a backend demanded silence does not count, up to [`MAX_DEMAND`] in
/// all: what waits meanwhile waits in the queue, whose bounds are for that.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    silenced: Duration,
}

impl Patience {
    /// When it ends, counted from the first try, if a silence of `demand` begins now. `limit` is without any silence.
    pub fn end(&self, limit: Duration, demand: Duration) -> Duration {
        limit.saturating_add(self.silenced.saturating_add(demand).min(MAX_DEMAND))
    }

    /// It was silent for so long because the backend had demanded it.
    pub fn silent(&mut self, time: Duration) {
        self.silenced = self.silenced.saturating_add(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demanded_silence_does_not_count_up_to_a_bound() {
        let (limit, seconds) = (Duration::from_secs(300), Duration::from_secs);
        let mut patience = Patience::default();
        assert_eq!(patience.end(limit, Duration::ZERO), limit);
        assert_eq!(patience.end(limit, MAX_DEMAND), seconds(900));
        patience.silent(seconds(400));
        assert_eq!(patience.end(limit, Duration::ZERO), seconds(700));
        assert_eq!(patience.end(limit, seconds(400)), seconds(900));
        patience.silent(seconds(400));
        assert_eq!(patience.end(limit, Duration::ZERO), seconds(900));
    }

    #[test]
    fn exactly_the_codes_of_the_specification() {
        let http: Vec<u16> = (100..600).filter(|status| http_retryable(*status)).collect();
        assert_eq!(http, [429, 502, 503, 504]);
        let grpc = |info| (0..=255).filter(|code| grpc_retryable(*code, info)).collect::<Vec<u8>>();
        assert_eq!(grpc(false), [1, 4, 10, 11, 14, 15]);
        assert_eq!(grpc(true), [1, 4, 8, 10, 11, 14, 15]);
    }

    #[test]
    fn retry_after_in_both_forms() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let seconds = |value| retry_after(value, now).map(|delay| delay.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds(" 0 "), Some(0));
        assert_eq!(seconds("99999999999999999999999"), Some(600));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:47 GMT"), Some(10));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:27 GMT"), Some(0));
        assert_eq!(seconds("Sunday, 06-Nov-94 08:49:47 GMT"), Some(10));
        assert_eq!(seconds("Sun Nov  6 08:49:47 1994"), Some(10));
        assert_eq!(seconds("Wed, 01 Jan 2098 00:00:00 GMT"), Some(600));
        for bad in ["", "-1", "1.5", "soon", "1 2", "\u{661}"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn waits_double_up_to_a_bound() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..8).map(|_| backoff.next(None, 0.0).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        assert_eq!(Backoff::default().next(None, 1.0).as_millis(), 250);
    }

    #[test]
    fn a_demand_is_a_minimum() {
        let mut backoff = Backoff::default();
        let demand = Some(Duration::from_secs(3));
        assert_eq!(backoff.next(demand, 0.0).as_millis(), 3000);
        assert_eq!(backoff.next(demand, 1.0).as_millis(), 3250);
        assert_eq!(backoff.next(Some(Duration::ZERO), 0.0).as_millis(), 2000);
    }
}
