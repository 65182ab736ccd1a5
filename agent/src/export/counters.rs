//! What export counts about itself, for one destination.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::client::Verdict;
use crate::span::build::RPC_CODES;

/// Upper bounds of the latency histogram in seconds. The objective is a 95th percentile below 2 s; the
/// specification's timeout is 10 s.
pub const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// How a request ended. Few values, so that it can be a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// An HTTP status.
    Http(u16),
    /// A gRPC status.
    Grpc(u8),
    /// No connection.
    Connect,
    /// The connection broke, or the peer spoke another protocol.
    Broken,
    /// No answer within the timeout.
    Timeout,
    /// Written to a file.
    Written,
    /// Not written to a file.
    Unwritten,
    /// It was known without a request.
    NotSent,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(status) => write!(f, "{status}"),
            Self::Grpc(code) => f.write_str(RPC_CODES.get(usize::from(*code)).unwrap_or(&"UNKNOWN")),
            Self::Connect => f.write_str("connect"),
            Self::Broken => f.write_str("broken"),
            Self::Timeout => f.write_str("timeout"),
            Self::Written => f.write_str("written"),
            Self::Unwritten => f.write_str("unwritten"),
            Self::NotSent => f.write_str("not sent"),
        }
    }
}

/// What the last request to a destination says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// None was made yet.
    Unused,
    /// It took a batch, at least in part.
    Working,
    /// No connection, no answer, or one that says to try again.
    Failing,
    /// It named a time before which it wants to hear nothing.
    Silenced,
    /// It does not accept the credentials.
    Unauthorized,
    /// It refused a batch for good, or a single span as too large.
    Refusing,
}

impl State {
    /// All of them; a state's number is its place.
    pub const ALL: &[Self] =
        &[Self::Unused, Self::Working, Self::Failing, Self::Silenced, Self::Unauthorized, Self::Refusing];

    /// For metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unused => "unused",
            Self::Working => "working",
            Self::Failing => "failing",
            Self::Silenced => "silenced",
            Self::Unauthorized => "unauthorized",
            Self::Refusing => "refusing",
        }
    }

    /// What an answer means. One that found a batch too large means nothing yet: its parts will tell.
    pub(super) const fn after(verdict: &Verdict) -> Option<Self> {
        Some(match verdict {
            Verdict::Accepted { .. } => Self::Working,
            Verdict::Retry { after: Some(_), .. } => Self::Silenced,
            Verdict::Retry { after: None, .. } => Self::Failing,
            Verdict::Unauthorized(_) => Self::Unauthorized,
            Verdict::Refused(_) => Self::Refusing,
            Verdict::TooLarge(_) => return None,
        })
    }
}

/// Counters of one destination. Any thread adds to them.
#[derive(Debug, Default)]
pub struct Counters {
    requests: Mutex<BTreeMap<Code, u64>>,
    /// Requests by latency: one slot a bound and one above them all.
    latency: [AtomicU64; BOUNDS.len() + 1],
    latency_sum_ns: AtomicU64,
    state: AtomicU8,
    /// Requests that were sent again.
    pub retries: AtomicU64,
    /// Bytes of request bodies handed to the connection, retries included, compressed if they are.
    pub sent_bytes: AtomicU64,
    /// Batches that ended in any way.
    pub batches: AtomicU64,
    /// Their spans.
    pub batch_spans: AtomicU64,
    /// Batches that were cut in two because they were too large for the backend.
    pub splits: AtomicU64,
    /// Batches that could not be written to the queue on disk and waited in memory.
    pub spill_errors: AtomicU64,
    /// Batches on disk that could not be read, at the start or when their turn came.
    pub spill_damaged: AtomicU64,
}

impl Counters {
    /// A request ended.
    pub fn request(&self, code: Code, took: Duration, bytes: usize) {
        let seconds = took.as_secs_f64();
        let at = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        if let Some(slot) = self.latency.get(at) {
            slot.fetch_add(1, Relaxed);
        }
        self.latency_sum_ns.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        self.sent_bytes.fetch_add(bytes as u64, Relaxed);
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry(code).or_default() += 1;
    }

    /// The last request says this.
    pub(super) fn set_state(&self, state: State) {
        self.state.store(state as u8, Relaxed);
    }

    /// What the last request says.
    pub fn state(&self) -> State {
        State::ALL.get(usize::from(self.state.load(Relaxed))).copied().unwrap_or(State::Unused)
    }

    /// Requests by how they ended.
    pub fn requests(&self) -> Vec<(Code, u64)> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().map(|(code, n)| (*code, *n)).collect()
    }

    /// The latency histogram: cumulative counts, one a bound and the total, and the sum in seconds.
    pub fn latency(&self) -> ([u64; BOUNDS.len() + 1], f64) {
        let mut total = 0;
        let counts = std::array::from_fn(|at| {
            total += self.latency.get(at).map_or(0, |slot| slot.load(Relaxed));
            total
        });
        (counts, self.latency_sum_ns.load(Relaxed) as f64 / 1e9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_where_its_number_says() {
        let counters = Counters::default();
        assert_eq!(counters.state(), State::Unused);
        for state in State::ALL {
            counters.set_state(*state);
            assert_eq!(counters.state(), *state);
        }
    }

    #[test]
    fn requests_by_code_and_latency() {
        let counters = Counters::default();
        counters.request(Code::Grpc(0), Duration::from_micros(900), 10);
        counters.request(Code::Grpc(0), Duration::from_millis(30), 10);
        counters.request(Code::Timeout, Duration::from_secs(11), 10);
        assert_eq!(counters.requests(), [(Code::Grpc(0), 2), (Code::Timeout, 1)]);
        let (counts, sum) = counters.latency();
        assert_eq!(counts, [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 3]);
        assert!((sum - 11.0309).abs() < 1e-9);
        assert_eq!(Code::Grpc(16).to_string(), "UNAUTHENTICATED");
        assert_eq!(Code::Grpc(99).to_string(), "UNKNOWN");
        assert_eq!(Code::Http(503).to_string(), "503");
    }
}
