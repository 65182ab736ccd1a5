//! One batch on disk: 28 bytes of header, the message, and a bit for each span. Pure.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `SPDR` |
//! | 4 | 1 | version, 2 |
//! | 5 | 1 | state: 0 waiting, 1 done; it changes, and is not under the checksum |
//! | 6 | 1 | encoding: 0 OTLP protobuf, 1 the same with gzip, 2 with zstd, 3 a line of OTLP/JSON |
//! | 7 | 1 | 0 |
//! | 8 | 4 | length of the message |
//! | 12 | 4 | spans |
//! | 16 | 8 | when it was written, milliseconds since the Unix epoch |
//! | 24 | 4 | CRC-32 (IEEE) of the 24 bytes before with zero for the state, and of the message |
//! | 28 | length | the message |
//! | behind | spans / 8, rounded up | a bit for each span, 1 if it needs nothing any more, from the lowest of the first byte on; they change, and are not under the checksum |
//!
//! Numbers are little-endian. The bits are there from the beginning: so a part of a batch is noted without any more room
//! on a disk that may be full, by one write, in whatever order parts are settled.

use super::settled::{self, Settled};
use crate::export::client::Encoding;

/// Bytes before a message.
pub const HEADER: usize = 28;
/// Where the state is in a header.
pub const STATE: u64 = 5;
/// The state of a batch that needs nothing any more.
pub const DONE: u8 = 1;
/// A longer message is not believed to be one: the specification bounds requests at 64 MiB.
const MAX_MESSAGE: usize = 64 << 20;

const MAGIC: [u8; 4] = *b"SPDR";
const VERSION: u8 = 2;

/// A record in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where its header begins.
    pub offset: u64,
    /// Bytes of the message.
    pub len: u32,
    pub spans: u32,
    /// Those that need nothing any more: they were sent in parts. Not all.
    pub settled: Settled,
    /// Milliseconds since the Unix epoch.
    pub time_ms: u64,
    pub encoding: Encoding,
    pub done: bool,
}

impl Record {
    /// Where its message is in the segment's bytes.
    pub fn message<'a>(&self, segment: &'a [u8]) -> Option<&'a [u8]> {
        let start = usize::try_from(self.offset).ok()?.checked_add(HEADER)?;
        segment.get(start..start.checked_add(self.len as usize)?)
    }

    /// How many of its spans wait, if it is not done.
    pub fn waiting(&self) -> usize {
        self.settled.waiting().count()
    }

    /// Where the next record begins.
    pub const fn end(&self) -> u64 {
        self.offset + size(self.len as usize, self.spans as usize)
    }
}

const fn code(encoding: Encoding) -> u8 {
    match encoding {
        Encoding::Protobuf => 0,
        Encoding::Gzip => 1,
        Encoding::Zstd => 2,
        Encoding::Json => 3,
    }
}

fn encoding(code: u8) -> Option<Encoding> {
    [Encoding::Protobuf, Encoding::Gzip, Encoding::Zstd, Encoding::Json].get(usize::from(code)).copied()
}

/// Bytes of a record with a message of `len` bytes.
pub const fn size(len: usize, spans: usize) -> u64 {
    (HEADER + len + settled::size(spans)) as u64
}

/// Where the bits of its spans are in a record.
pub const fn bits(len: u32) -> u64 {
    HEADER as u64 + len as u64
}

/// A record's bytes. None if the message is too long for one.
pub fn write(encoding: Encoding, spans: u32, time_ms: u64, message: &[u8]) -> Option<Vec<u8>> {
    let len = u32::try_from(message.len()).ok().filter(|len| *len as usize <= MAX_MESSAGE)?;
    let bits = settled::size(spans as usize);
    let mut out = Vec::with_capacity(HEADER + message.len() + bits);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, 0, code(encoding), 0]);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&spans.to_le_bytes());
    out.extend_from_slice(&time_ms.to_le_bytes());
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&out);
    checksum.update(message);
    out.extend_from_slice(&checksum.finalize().to_le_bytes());
    out.extend_from_slice(message);
    out.resize(out.len() + bits, 0);
    Some(out)
}

/// What stands at an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A whole record.
    Whole(Record),
    /// A record whose checksum is wrong; what it says of its length leads to the next one, or to the end.
    Damaged { next: u64 },
    /// Nothing that can be a record: the rest of the segment cannot be read.
    Torn,
    /// The end of the segment.
    End,
}

/// Reads what stands at `offset` of a segment.
pub fn read(segment: &[u8], offset: u64) -> Found {
    let rest = usize::try_from(offset).ok().and_then(|at| segment.get(at..)).unwrap_or_default();
    if rest.is_empty() {
        return Found::End;
    }
    parse(rest, offset).unwrap_or(Found::Torn)
}

fn parse(rest: &[u8], offset: u64) -> Option<Found> {
    let (header, rest) = rest.split_first_chunk::<HEADER>()?;
    let [magic @ .., _, _, _, _] = *header.first_chunk::<8>()?;
    let [_, _, _, _, version, state, coding, _] = *header.first_chunk::<8>()?;
    if magic != MAGIC || version != VERSION {
        return None;
    }
    let number = |at: usize| header.get(at..)?.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes));
    let (len, spans, checksum) = (number(8)?, number(12)?, number(24)?);
    let time_ms = header.get(16..)?.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes))?;
    let (message, rest) = rest.split_at_checked(len as usize)?;
    let (bits, behind) = rest.split_at_checked(settled::size(spans as usize))?;
    let mut own = crc32fast::Hasher::new();
    own.update(header.get(..5)?);
    own.update(&[0]);
    own.update(header.get(6..24)?);
    own.update(message);
    let next = offset + size(len as usize, spans as usize);
    match encoding(coding).filter(|_| own.finalize() == checksum && len as usize <= MAX_MESSAGE) {
        Some(encoding) => {
            let settled = Settled::read(bits, spans as usize);
            // Who settles the last one writes that it is done. All without that cannot be: rather twice than not at all.
            let settled =
                if settled.waiting().next().is_some() { settled } else { Settled::none(spans as usize) };
            Some(Found::Whole(Record { offset, len, spans, settled, time_ms, encoding, done: state == DONE }))
        }
        None => (behind.is_empty() || behind.starts_with(&MAGIC)).then_some(Found::Damaged { next }),
    }
}

/// Everything in a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Whole records in their order.
    pub records: Vec<Record>,
    /// Records whose checksum is wrong, and one more if the end is torn.
    pub damaged: u64,
}

/// Reads a whole segment.
pub fn scan(segment: &[u8]) -> Scan {
    let mut scan = Scan::default();
    let mut offset = 0;
    loop {
        match read(segment, offset) {
            Found::Whole(record) => {
                offset = record.end();
                scan.records.push(record);
            }
            Found::Damaged { next } => {
                scan.damaged += 1;
                offset = next;
            }
            Found::Torn => {
                scan.damaged += 1;
                return scan;
            }
            Found::End => return scan,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn segment(messages: &[Vec<u8>]) -> Vec<u8> {
        let one = |(at, message): (usize, &Vec<u8>)| {
            write(encoding((at % 4) as u8).unwrap(), at as u32, 1_790_000_000_000, message).unwrap()
        };
        messages.iter().enumerate().flat_map(one).collect()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(messages in vec(vec(any::<u8>(), 0..200), 0..8)) {
            let bytes = segment(&messages);
            let scan = scan(&bytes);
            prop_assert_eq!(scan.damaged, 0);
            let read: Vec<_> = scan.records.iter().map(|r| r.message(&bytes).unwrap().to_vec()).collect();
            prop_assert_eq!(read, messages);
            prop_assert!(scan.records.iter().enumerate().all(|(at, r)| r.spans as usize == at && !r.done));
        }

        /// Cut anywhere: everything before the cut is read, and what is cut is noticed.
        #[test]
        fn a_torn_end_costs_one_record(messages in vec(vec(any::<u8>(), 0..50), 1..5), cut in 0..400_usize) {
            let bytes = segment(&messages);
            let cut = cut.min(bytes.len());
            let whole = {
                let mut end = 0_u64;
                let ends = messages.iter().enumerate().take_while(|(at, m)| { end += size(m.len(), *at); end <= cut as u64 });
                ends.count()
            };
            let on_edge = cut == messages.iter().take(whole).enumerate().map(|(at, m)| size(m.len(), at) as usize).sum::<usize>();
            let scan = scan(&bytes[..cut]);
            prop_assert_eq!(scan.records.len(), whole);
            prop_assert_eq!(scan.damaged, u64::from(!on_edge));
        }

        /// One changed byte costs at most what comes behind it, and is never read as something else.
        #[test]
        fn a_changed_byte_is_noticed(messages in vec(vec(any::<u8>(), 1..50), 1..5), at in any::<prop::sample::Index>(), xor in 1..=255_u8) {
            let bytes = segment(&messages);
            let mut changed = bytes.clone();
            let at = at.index(changed.len());
            changed[at] ^= xor;
            let scan = scan(&changed);
            let all = super::scan(&bytes).records;
            for record in &scan.records {
                // What changes is not under the checksum.
                let (done, settled) = (record.done, record.settled.clone());
                let same = all.iter().any(|r| Record { settled: settled.clone(), done, ..r.clone() } == *record);
                prop_assert!(record.spans == 0 || record.waiting() > 0);
                prop_assert!(same, "{:?}", record);
                prop_assert_eq!(record.message(&changed), record.message(&bytes));
            }
            prop_assert!(scan.damaged > 0 || scan.records.len() == all.len());
        }

        #[test]
        fn anything_can_be_scanned(bytes in vec(any::<u8>(), 0..300)) {
            scan(&bytes);
            let with_magic = [&b"SPDR\x02\0\0\0"[..], &bytes].concat();
            scan(&with_magic);
        }
    }

    #[test]
    fn damage_in_the_middle_costs_one_record() {
        let messages = [b"first".to_vec(), b"second".to_vec(), b"third".to_vec()];
        let mut bytes = segment(&messages);
        bytes[HEADER + 5 + HEADER + 2] ^= 1;
        let found = scan(&bytes);
        assert_eq!((found.records.len(), found.damaged), (2, 1));
        assert_eq!(found.records[1].message(&bytes).unwrap(), b"third");
        bytes[5] = DONE;
        assert!(scan(&bytes).records[0].done);
        // After a power cut a file may be longer than what was written.
        bytes.extend_from_slice(&[0; 100]);
        assert_eq!(scan(&bytes).damaged, 2);
    }
}
