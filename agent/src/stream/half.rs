//! One direction of a connection: its position, and the bytes that wait for more.

use spandrel_common::{
    context::Cause,
    event::{DECISION_DROPPED, DECISION_SAMPLED, Data},
    limits::HEAD_CAPTURE,
};
use zeroize::Zeroizing;

use crate::exchange::Begin;

/// Bytes that may wait for more in one direction: an incomplete head below the capture limit and one more
/// captured event.
pub(super) const BUFFER: usize = 2 * HEAD_CAPTURE;

/// What is known about the event that brought a byte.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Source {
    pub(super) tgid: u32,
    pub(super) tid: u32,
    pub(super) first_ns: u64,
    pub(super) wait_ns: u64,
    /// The decision about the first request in it; taken by that.
    sampled: Option<bool>,
    /// What caused the first request in it; taken by that.
    cause: Cause,
    /// Position of the other direction.
    other: u64,
}

impl Source {
    pub(super) const fn new(data: &Data) -> Self {
        Self {
            tgid: data.header.tgid,
            tid: data.header.tid,
            first_ns: data.first_ns,
            wait_ns: data.wait_ns,
            sampled: match data.decision {
                DECISION_SAMPLED => Some(true),
                DECISION_DROPPED => Some(false),
                _ => None,
            },
            cause: data.cause,
            other: data.other,
        }
    }

    /// The beginning of a request at `pos`.
    pub(super) fn begin(&mut self, pos: u64) -> Begin {
        Begin {
            pos,
            tgid: self.tgid,
            tid: self.tid,
            start_ns: self.first_ns,
            wait_ns: self.wait_ns,
            sampled: std::mem::take(&mut self.sampled),
            cause: std::mem::take(&mut self.cause),
            other: self.other,
        }
    }
}

/// What brought the bytes that the parser is given: those before the offset `until` waited, the others
/// are new.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sources {
    pub(super) until: usize,
    pub(super) old: Source,
    pub(super) new: Source,
}

impl Sources {
    /// All of them came by one event.
    pub(super) const fn of_one(source: Source) -> Self {
        Self { until: 0, old: source, new: source }
    }

    /// What brought the byte at an offset.
    pub(super) const fn of(&mut self, at: usize) -> &mut Source {
        if at < self.until { &mut self.old } else { &mut self.new }
    }
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Half {
    /// Position behind everything that came so far.
    pub(super) next: u64,
    /// When the last byte moved.
    pub(super) last_ns: u64,
    /// Bytes before `next` that the parser did not consume.
    pub(super) waiting: Waiting,
    /// What brought the first of them.
    pub(super) source: Source,
    /// Nothing more comes.
    pub(super) ended: bool,
}

impl Half {
    /// Position of the first byte that waits, or of the next one.
    pub(super) fn base(&self) -> u64 {
        self.next.saturating_sub(self.waiting.len() as u64)
    }

    /// Keeps what is not consumed of the bytes that waited and came.
    pub(super) fn keep(&mut self, waiting: Waiting, consumed: usize, sources: &Sources) {
        self.source = if consumed < sources.until { sources.old } else { sources.new };
        match waiting.get(consumed..) {
            Some(_) if consumed == 0 => self.waiting = waiting,
            Some(rest @ [_, ..]) => self.waiting = Waiting::new(rest.to_vec()),
            _ => {}
        }
    }
}

/// Captured bytes that wait for more; overwritten with zeros before their memory is given back.
pub(super) type Waiting = Zeroizing<Vec<u8>>;

/// The bytes that waited, with more behind them.
pub(super) fn with_more(mut waiting: Waiting, more: &[u8]) -> Waiting {
    let len = waiting.len() + more.len();
    if len > waiting.capacity() {
        // Growing in place may leave the old bytes behind.
        let mut larger = Vec::with_capacity(len.next_power_of_two());
        larger.extend_from_slice(&waiting);
        waiting = Waiting::new(larger);
    }
    waiting.extend_from_slice(more);
    waiting
}
