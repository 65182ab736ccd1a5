//! Walks over the fields of one message as its bytes come, in whatever pieces, and tells what it finds.
//!
//! It holds no bytes: what it cannot use yet it leaves, at most [`TEXT`] and a few. Lengths and numbers of
//! elements are never believed further than bytes come for them.

use super::{
    primitive::{Varint, int8, int16, int32, int64, unsigned, uuid},
    schema::{Field, Type, What},
};

/// Bytes of a text that are told; what is longer is cut. Topic names have at most 249 characters (Kafka's
/// `Topic.MAX_NAME_LENGTH`), and the names that people give to groups and transactions are seldom longer.
pub(super) const TEXT: usize = 255;

/// Structures inside each other, at most: no table nests deeper than topic, partition and one more.
const DEPTH: usize = 4;

/// What is told.
pub(super) trait Sink {
    fn int(&mut self, what: What, value: i64);
    fn text(&mut self, what: What, text: Option<&[u8]>);
    fn uuid(&mut self, what: What, id: [u8; 16]);
    /// An element of an array is complete.
    fn element(&mut self, what: What);
    /// So many bytes of record batches begin.
    fn begin(&mut self, len: u32);
    /// Bytes of them; with `last`, nothing comes behind. Gives how many it took; the others come again, with
    /// more.
    fn records(&mut self, bytes: &[u8], last: bool) -> usize;
    /// So many of their bytes are missing. Whether nothing but payload is lost by that.
    fn pass(&mut self, len: u32) -> bool;
    /// They are complete.
    fn done(&mut self);
}

/// An array that is being walked over; the message itself is one of a single structure.
#[derive(Clone, Copy, Debug)]
struct Level {
    what: What,
    fields: &'static [Field],
    /// The next field.
    at: u8,
    /// Elements that are not complete.
    left: u32,
    /// The elements are no structures: no tagged fields end them.
    plain: bool,
}

/// How far a walk got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Somewhere inside.
    Inside,
    /// Behind the last field.
    Done,
    /// What follows nobody looks at.
    Rest,
    /// It is not what the table says.
    Malformed,
}

/// The walk over one message.
#[derive(Debug)]
pub(super) struct Walk {
    version: i16,
    flexible: bool,
    levels: [Option<Level>; DEPTH],
    depth: usize,
    /// Bytes that nobody looks at.
    skip: u32,
    /// Bytes of record batches that are to come.
    records: Option<u32>,
    /// Tagged fields that are to come, and whether their number is known.
    tags: Option<Tags>,
    progress: Progress,
}

#[derive(Clone, Copy, Debug)]
struct Tags {
    left: Option<u32>,
    /// They belong to the message's header.
    header: bool,
}

impl Walk {
    /// A walk over a message of a version, flexible or not. `header`: the tagged fields that end its header
    /// come first.
    pub(super) fn new(fields: &'static [Field], version: i16, flexible: bool, header: bool) -> Self {
        let mut levels = [None; DEPTH];
        levels[0] = Some(Level { what: What::Other, fields, at: 0, left: 1, plain: false });
        let tags = header.then_some(Tags { left: None, header: true });
        let progress = Progress::Inside;
        Self { version, flexible, levels, depth: 0, skip: 0, records: None, tags, progress }
    }

    pub(super) const fn progress(&self) -> Progress {
        self.progress
    }

    /// How many of the next bytes nobody looks at.
    pub(super) const fn skips(&self) -> u32 {
        self.skip
    }

    /// Takes bytes; gives how many. Fewer than all if it is at its end, or needs more.
    pub(super) fn advance(&mut self, bytes: &[u8], sink: &mut impl Sink) -> usize {
        let mut at = 0;
        while self.progress == Progress::Inside
            && let Some(rest) = bytes.get(at..)
            && let Some(taken) = self.step(rest, sink)
        {
            at += taken;
        }
        at
    }

    /// So many bytes are missing. Whether the walk can go on behind them.
    pub(super) fn pass(&mut self, len: u32, sink: &mut impl Sink) -> bool {
        if len <= self.skip {
            self.skip -= len;
            return true;
        }
        if let Some(left) = self.records
            && self.skip == 0
            && len <= left
            && sink.pass(len)
        {
            self.records = Some(left - len);
            return true;
        }
        matches!(self.progress, Progress::Rest)
    }

    /// One step: how many bytes it took, or `None` if more are needed or nothing is left to do.
    fn step(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Option<usize> {
        if self.skip > 0 {
            let taken = bytes.len().min(self.skip as usize);
            self.skip -= taken as u32;
            return (taken > 0).then_some(taken);
        }
        if let Some(left) = self.records {
            return self.batches(left, bytes, sink);
        }
        if let Some(tags) = self.tags {
            return self.tagged(tags, bytes, sink);
        }
        let Some(level) = self.levels.get_mut(self.depth).and_then(Option::as_mut) else {
            return self.malformed();
        };
        if level.left == 0 {
            if self.depth == 0 {
                self.progress = Progress::Done;
                return None;
            }
            self.depth -= 1;
            return Some(0);
        }
        let Some(field) = level.fields.get(usize::from(level.at)) else {
            if self.flexible && !level.plain {
                self.tags = Some(Tags { left: None, header: false });
            } else {
                self.element(sink);
            }
            return Some(0);
        };
        if self.version < field.since || self.version > field.until {
            level.at += 1;
            return Some(0);
        }
        let taken = self.field(*field, bytes, sink)?;
        Some(taken)
    }

    fn malformed(&mut self) -> Option<usize> {
        self.progress = Progress::Malformed;
        None
    }

    /// Goes to the next field of the structure at a depth.
    fn next(&mut self, depth: usize) {
        if let Some(level) = self.levels.get_mut(depth).and_then(Option::as_mut) {
            level.at += 1;
        }
    }

    /// The structure is complete.
    fn element(&mut self, sink: &mut impl Sink) {
        if let Some(level) = self.levels.get_mut(self.depth).and_then(Option::as_mut) {
            level.at = 0;
            level.left -= 1;
            sink.element(level.what);
        }
    }

    fn batches(&mut self, left: u32, bytes: &[u8], sink: &mut impl Sink) -> Option<usize> {
        if left == 0 {
            sink.done();
            self.records = None;
            return Some(0);
        }
        let last = bytes.len() >= left as usize;
        let bytes = bytes.get(..left as usize).unwrap_or(bytes);
        let mut taken = sink.records(bytes, last).min(bytes.len());
        if last && taken == 0 {
            taken = bytes.len();
        }
        self.records = Some(left - taken as u32);
        (taken > 0).then_some(taken)
    }

    /// Tagged fields (KIP-482): their number, then tag, size and content of each.
    fn tagged(&mut self, tags: Tags, bytes: &[u8], sink: &mut impl Sink) -> Option<usize> {
        match tags.left {
            None => {
                let (left, taken) = self.number(unsigned(bytes))?;
                self.tags = Some(Tags { left: Some(left), ..tags });
                Some(taken)
            }
            Some(0) => {
                self.tags = None;
                if !tags.header {
                    self.element(sink);
                }
                Some(0)
            }
            Some(left) => {
                let (_, tag) = self.number(unsigned(bytes))?;
                let (size, len) = self.number(unsigned(bytes.get(tag..)?))?;
                self.skip = size;
                self.tags = Some(Tags { left: Some(left - 1), ..tags });
                Some(tag + len)
            }
        }
    }

    fn number(&mut self, number: Varint<u32>) -> Option<(u32, usize)> {
        match number {
            Varint::Value(value, len) => Some((value, len)),
            Varint::Need => None,
            Varint::Malformed => {
                self.progress = Progress::Malformed;
                None
            }
        }
    }

    /// A length, as its type and version write it: `None` in it for null. `short`: of two bytes.
    fn length(&mut self, bytes: &[u8], short: bool) -> Option<(Option<u32>, usize)> {
        if self.flexible {
            let (value, len) = self.number(unsigned(bytes))?;
            return Some((value.checked_sub(1), len));
        }
        let (value, len) = if short { (i32::from(int16(bytes)?), 2) } else { (int32(bytes)?, 4) };
        match u32::try_from(value) {
            Ok(value) => Some((Some(value), len)),
            Err(_) if value == -1 => Some((None, len)),
            Err(_) => {
                self.progress = Progress::Malformed;
                None
            }
        }
    }

    fn field(&mut self, field: Field, bytes: &[u8], sink: &mut impl Sink) -> Option<usize> {
        let depth = self.depth;
        let taken = match field.kind {
            Type::Int(size) => {
                let value = match size {
                    1 => i64::from(int8(bytes)?),
                    2 => i64::from(int16(bytes)?),
                    4 => i64::from(int32(bytes)?),
                    _ => int64(bytes)?,
                };
                sink.int(field.what, value);
                usize::from(size)
            }
            Type::Uuid => {
                sink.uuid(field.what, uuid(bytes)?);
                16
            }
            Type::Text => {
                let (len, from) = self.length(bytes, true)?;
                match len {
                    None => {
                        sink.text(field.what, None);
                        from
                    }
                    Some(len) if field.what == What::Other => {
                        self.skip = len;
                        from
                    }
                    Some(len) => {
                        let told = TEXT.min(len as usize);
                        sink.text(field.what, Some(bytes.get(from..from + told)?));
                        self.skip = len - told as u32;
                        from + told
                    }
                }
            }
            Type::Records => {
                let (len, from) = self.length(bytes, false)?;
                let len = len.unwrap_or(0);
                sink.begin(len);
                self.records = Some(len);
                from
            }
            Type::Ints => {
                let (count, from) = self.length(bytes, false)?;
                let Some(size) = count.unwrap_or(0).checked_mul(4) else { return self.malformed() };
                self.skip = size;
                from
            }
            Type::Array(fields) | Type::Plain(fields) => {
                let (count, from) = self.length(bytes, false)?;
                let plain = matches!(field.kind, Type::Plain(_));
                let left = count.unwrap_or(0);
                let Some(level) = self.levels.get_mut(depth + 1) else { return self.malformed() };
                *level = Some(Level { what: field.what, fields, at: 0, left, plain });
                self.depth += 1;
                from
            }
            Type::Rest => {
                self.progress = Progress::Rest;
                0
            }
        };
        self.next(depth);
        Some(taken)
    }
}
