//! Record batches (implementation/message-format, "Record Batch"), as their bytes come.
//!
//! Keys and values are passed over. A packed batch is kept until it is whole, at most [`PACKED`] bytes of it,
//! and unpacked once, at most [`super::compression::UNPACKED`] bytes.

use super::{
    compression::unpack,
    content::{Codec, Origin, Records},
    primitive::{int16, int32, int64},
    record::{Found, Walk},
};

/// Distinct contexts that are kept of the records of a partition: as many as a span may have links by default
/// (`OTEL_SPAN_LINK_COUNT_LIMIT`).
pub const ORIGINS: usize = 128;

/// Bytes of a packed batch that are kept until it is whole: Kafka's default `max.message.bytes`. Of a larger
/// one, offsets and number of records are told, and that their headers were not read.
pub const PACKED: usize = 1_048_588;

/// A batch of format 2 up to its records.
const HEADER: usize = 61;
/// The part of it that its length covers.
const COVERED: u32 = 49;
/// The beginning of a batch of any format, up to its magic byte.
const BEGINNING: usize = 17;

const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// Where the walk is.
#[derive(Debug)]
enum State {
    /// Before a batch.
    Between,
    /// Inside one that nobody looks at, with so many bytes to come.
    Skip(u32),
    Plain(u32, Walk),
    Packed {
        left: u32,
        bytes: Vec<u8>,
        lost: bool,
    },
}

/// The batch that is open.
#[derive(Clone, Copy, Debug, Default)]
struct Batch {
    base: i64,
    codec: Option<Codec>,
}

/// The walk over the batches of one partition.
#[derive(Debug)]
pub(super) struct Batches {
    state: State,
    batch: Batch,
    /// Bytes of the partition that are to come.
    left: u32,
    /// Records before it are not the reader's.
    from: Option<i64>,
    /// Neither are those of these transactions: producer, and offset of the first record.
    aborted: Vec<(i64, i64)>,
    records: Records,
    seen: u32,
}

impl Batches {
    /// Batches of `len` bytes; a consumer that asked for them from an offset on throws away what is before,
    /// and one that reads committed messages only what belongs to aborted transactions (producer, and offset
    /// of the first record).
    pub(super) fn new(len: u32, from: Option<i64>, aborted: Vec<(i64, i64)>) -> Self {
        Self {
            state: State::Between,
            batch: Batch::default(),
            left: len,
            from,
            aborted,
            records: Records { bytes: len, ..Records::default() },
            seen: 0,
        }
    }

    /// What was found.
    pub(super) fn finish(mut self) -> Records {
        match std::mem::replace(&mut self.state, State::Between) {
            // The last batch of a Fetch response may be cut, and is asked for again.
            State::Between | State::Skip(_) => {}
            State::Plain(..) => self.records.unread = true,
            State::Packed { bytes, .. } => {
                self.records.unread = true;
                self.unpacked(&bytes);
            }
        }
        self.records.tombstone &= self.records.messages == 1;
        self.records
    }

    /// So many bytes are missing. Whether they were some that nobody looks at.
    pub(super) fn pass(&mut self, len: u32) -> bool {
        let passed = match &mut self.state {
            State::Skip(left) if len <= *left => {
                *left -= len;
                true
            }
            State::Plain(left, walk) if len <= *left => {
                let passed = walk.pass(len);
                *left -= if passed { len } else { 0 };
                passed
            }
            _ => false,
        };
        if passed {
            self.left -= len.min(self.left);
            self.settle();
        } else {
            self.records.unread = true;
        }
        passed
    }

    /// Takes bytes; gives how many.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..)
            && !rest.is_empty()
            && let Some(taken) = self.step(rest)
        {
            at += taken;
            self.left -= (taken as u32).min(self.left);
            self.settle();
        }
        at
    }

    /// Ends the batch of which nothing is to come.
    fn settle(&mut self) {
        match &self.state {
            State::Skip(0) => self.state = State::Between,
            State::Plain(0, walk) => {
                self.records.unread |= !walk.between();
                self.state = State::Between;
            }
            State::Packed { left: 0, .. } => {
                if let State::Packed { bytes, lost, .. } = std::mem::replace(&mut self.state, State::Between)
                {
                    self.records.unread |= lost;
                    self.unpacked(&bytes);
                }
            }
            _ => {}
        }
    }

    fn step(&mut self, bytes: &[u8]) -> Option<usize> {
        match &mut self.state {
            State::Between => self.begin(bytes),
            State::Skip(left) => {
                let taken = bytes.len().min(*left as usize);
                *left -= taken as u32;
                Some(taken)
            }
            State::Plain(left, walk) => {
                let bytes = bytes.get(..*left as usize).unwrap_or(bytes);
                let (records, from, base) = (&mut self.records, self.from, self.batch.base);
                let taken = walk.advance(bytes, &mut |found| keep(records, found, base, from));
                let ended = bytes.len() == *left as usize && taken < bytes.len();
                if walk.broken() || ended {
                    self.records.unread = true;
                    self.state = State::Skip(*left);
                    return Some(0);
                }
                *left -= taken as u32;
                (taken > 0).then_some(taken)
            }
            State::Packed { left, bytes: kept, lost } => {
                let bytes = bytes.get(..*left as usize).unwrap_or(bytes);
                let room = PACKED.saturating_sub(kept.len());
                kept.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
                *lost |= bytes.len() > room;
                *left -= bytes.len() as u32;
                Some(bytes.len())
            }
        }
    }

    /// The beginning of a batch.
    fn begin(&mut self, bytes: &[u8]) -> Option<usize> {
        let beginning = bytes.get(..BEGINNING)?;
        let base = int64(beginning)?;
        let len = int32(beginning.get(8..)?)?;
        let magic = *beginning.get(16)?;
        let whole = u32::try_from(len).ok().and_then(|len| len.checked_add(12));
        let whole = match whole {
            Some(whole) if whole <= self.left && whole as usize > BEGINNING => whole,
            // Cut by the broker: the consumer does not see it.
            Some(whole) if whole > self.left => {
                self.state = State::Skip(self.left);
                return Some(0);
            }
            _ => {
                self.strange();
                return Some(0);
            }
        };
        match magic {
            0 | 1 => {
                self.records.old = true;
                self.count(base, base, 1, self.seen == 0, Codec::None);
                self.state = State::Skip(whole);
                Some(0)
            }
            2 => {
                let header = bytes.get(..HEADER);
                if (len as u32) < COVERED {
                    self.strange();
                    return Some(0);
                }
                self.head(header?, base, len as u32 - COVERED);
                Some(HEADER)
            }
            _ => {
                self.strange();
                Some(0)
            }
        }
    }

    /// What comes is no batch.
    fn strange(&mut self) {
        self.records.unread = true;
        self.state = State::Skip(self.left);
    }

    fn head(&mut self, header: &[u8], base: i64, len: u32) {
        let number = |at| header.get(at..).and_then(int16).unwrap_or(0);
        let long = |at| header.get(at..).and_then(int32).unwrap_or(0);
        let attributes = number(21);
        let last = base.saturating_add(i64::from(long(23)));
        let producer = header.get(43..).and_then(int64).unwrap_or(-1);
        let of_aborted = |(aborted, first): &(i64, i64)| *aborted == producer && *first <= last;
        let aborted = attributes & TRANSACTIONAL != 0 && self.aborted.iter().any(of_aborted);
        if attributes & CONTROL != 0 {
            // The transaction of this producer ends here; it may begin another one.
            if let Some(ended) = self.aborted.iter().position(of_aborted) {
                self.aborted.remove(ended);
            }
        }
        if attributes & CONTROL != 0 || aborted {
            self.state = State::Skip(len);
            return;
        }
        self.records.transactional |= attributes & TRANSACTIONAL != 0;
        let codec = match attributes & 7 {
            0 => Codec::None,
            1 => Codec::Gzip,
            2 => Codec::Snappy,
            3 => Codec::Lz4,
            4 => Codec::Zstd,
            _ => Codec::Unknown,
        };
        self.batch = Batch { base, codec: Some(codec) };
        let count = u64::try_from(long(57)).unwrap_or(0);
        self.count(base, last, count, self.seen == 0, codec);
        self.state = match codec {
            Codec::None => State::Plain(len, Walk::default()),
            Codec::Unknown => {
                self.records.unread = true;
                State::Skip(len)
            }
            _ => State::Packed { left: len, bytes: Vec::new(), lost: false },
        };
    }

    /// Records of a batch that begins at an offset. Those that the reader throws away are taken off one by
    /// one where they are read, and by their offsets where not.
    fn count(&mut self, base: i64, last: i64, count: u64, first: bool, codec: Codec) {
        let records = &mut self.records;
        self.seen = self.seen.saturating_add(1);
        records.codec = if first || records.codec == Some(codec) { Some(codec) } else { None };
        let begin = self.from.map_or(base, |from| from.max(base));
        if count == 0 || begin > last {
            return;
        }
        // Each has an offset of its own.
        let count = count.min(last.abs_diff(base).saturating_add(1));
        records.messages = records.messages.saturating_add(count);
        records.first = Some(records.first.map_or(begin, |first| first.min(begin)));
        records.last = Some(records.last.map_or(last, |known| known.max(last)));
        let before = u64::try_from(begin.saturating_sub(base)).unwrap_or(0);
        records.messages = records.messages.saturating_sub(before.min(count.saturating_sub(1)));
    }

    /// The open batch's bytes, unpacked and read.
    fn unpacked(&mut self, bytes: &[u8]) {
        let Some(codec) = self.batch.codec else { return };
        let (records, from, base) = (&mut self.records, self.from, self.batch.base);
        let mut walk = Walk::default();
        let mut waiting = Vec::new();
        let whole = unpack(codec, bytes, &mut |piece: &[u8]| {
            let taken = if waiting.is_empty() {
                let taken = walk.advance(piece, &mut |found| keep(records, found, base, from));
                waiting.extend_from_slice(piece.get(taken..).unwrap_or_default());
                return !walk.broken();
            } else {
                waiting.extend_from_slice(piece);
                walk.advance(&waiting, &mut |found| keep(records, found, base, from))
            };
            waiting.drain(..taken.min(waiting.len()));
            !walk.broken()
        });
        self.records.unread |= !whole || !walk.between() || !waiting.is_empty();
    }
}

/// Takes what a record says.
fn keep(records: &mut Records, found: Found, base: i64, from: Option<i64>) {
    let offset = base.saturating_add(i64::from(found.offset_delta));
    if from.is_some_and(|from| offset < from) {
        return;
    }
    records.tombstone = found.null_value;
    let Some(parent) = found.parent else { return };
    let same = |origin: &&mut Origin| {
        origin.parent.trace_id == parent.trace_id && origin.parent.parent_id == parent.parent_id
    };
    if let Some(origin) = records.origins.iter_mut().rev().find(same) {
        origin.records = origin.records.saturating_add(1);
    } else if records.origins.len() < ORIGINS {
        records.origins.push(Origin { parent, state: found.state, offset, records: 1 });
    } else {
        records.more = records.more.saturating_add(1);
    }
}
