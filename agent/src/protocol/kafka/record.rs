//! Walks over the records of one batch, unpacked, and keeps what their headers say of traces
//! (implementation/message-format, "Record").

use spandrel_common::w3c::{TraceParent, parse};

use super::primitive::{Varint, long, signed};

/// Bytes of a `tracestate` that are kept: what W3C Trace Context asks to be handed on at least (section
/// 3.3.1.5). What is longer is left out, as if it had not come.
pub const STATE: usize = 512;

/// The longest value of a `traceparent` that is looked at; a future version may append fields.
const PARENT: usize = 128;

/// The largest beginning of a record up to its key: length, attributes, two deltas and the key's length.
const PREFIX: usize = 5 + 1 + 10 + 5 + 5;

/// One record.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) offset_delta: i32,
    pub(super) null_value: bool,
    pub(super) parent: Option<TraceParent>,
    pub(super) state: Box<[u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Prefix,
    Value,
    Headers,
    /// So many headers are to come, the next one's key first.
    Key(i32),
    /// The value of a header nobody looks at.
    Other(i32),
    Broken,
}

/// The walk.
#[derive(Debug)]
pub(super) struct Walk {
    state: State,
    /// Bytes of keys and values, which nobody looks at.
    skip: u32,
    /// Bytes of the record that are to come.
    left: u32,
    found: Found,
}

impl Default for Walk {
    fn default() -> Self {
        Self { state: State::Prefix, skip: 0, left: 0, found: Found::default() }
    }
}

impl Walk {
    /// Whether the bytes are not records.
    pub(super) fn broken(&self) -> bool {
        self.state == State::Broken
    }

    /// Whether a record ends here.
    pub(super) fn between(&self) -> bool {
        self.state == State::Prefix && self.skip == 0
    }

    /// So many bytes are missing. Whether they were some that nobody looks at.
    pub(super) const fn pass(&mut self, len: u32) -> bool {
        if len > self.skip {
            return false;
        }
        self.skip -= len;
        true
    }

    /// Takes bytes; gives how many. Those that it leaves come again with more behind them, unless it is
    /// `broken`.
    pub(super) fn advance(&mut self, bytes: &[u8], found: &mut impl FnMut(Found)) -> usize {
        let mut at = 0;
        while self.state != State::Broken
            && let Some(rest) = bytes.get(at..)
            && !rest.is_empty()
        {
            if self.skip > 0 {
                let taken = rest.len().min(self.skip as usize);
                self.skip -= taken as u32;
                at += taken;
                continue;
            }
            let Some(taken) = self.step(rest, found) else { break };
            at += taken;
        }
        at
    }

    fn step(&mut self, bytes: &[u8], found: &mut impl FnMut(Found)) -> Option<usize> {
        match self.state {
            State::Prefix => self.prefix(bytes),
            State::Value => {
                let (len, taken) = self.length(bytes)?;
                self.found.null_value = len.is_none();
                self.spend(taken, len.unwrap_or(0))?;
                self.state = State::Headers;
                Some(taken)
            }
            State::Headers => {
                let (count, taken) = self.number(signed(bytes))?;
                self.spend(taken, 0)?;
                // A header takes two bytes at least.
                if count < 0 || count as u32 > self.left {
                    return self.fail();
                }
                self.header(count, found);
                Some(taken)
            }
            State::Key(left) => self.key(left, bytes, found),
            State::Other(left) => {
                let (len, taken) = self.length(bytes)?;
                self.spend(taken, len.unwrap_or(0))?;
                self.header(left - 1, found);
                Some(taken)
            }
            State::Broken => None,
        }
    }

    fn fail<T>(&mut self) -> Option<T> {
        self.state = State::Broken;
        None
    }

    /// Goes on with so many headers to come.
    fn header(&mut self, left: i32, found: &mut impl FnMut(Found)) {
        if left > 0 {
            self.state = State::Key(left);
        } else if self.left == 0 {
            self.state = State::Prefix;
            found(std::mem::take(&mut self.found));
        } else {
            self.state = State::Broken;
        }
    }

    /// Takes bytes off the record, and lets some of them be skipped.
    fn spend(&mut self, taken: usize, skip: u32) -> Option<()> {
        let spent = u32::try_from(taken).ok().and_then(|taken| taken.checked_add(skip));
        match spent.and_then(|spent| self.left.checked_sub(spent)) {
            Some(left) => {
                self.left = left;
                self.skip = skip;
                Some(())
            }
            None => self.fail(),
        }
    }

    fn number<T>(&mut self, number: Varint<T>) -> Option<(T, usize)> {
        match number {
            Varint::Value(value, len) => Some((value, len)),
            Varint::Need => None,
            Varint::Malformed => self.fail(),
        }
    }

    /// A length, `None` in it for null.
    fn length(&mut self, bytes: &[u8]) -> Option<(Option<u32>, usize)> {
        let (value, taken) = self.number(signed(bytes))?;
        match u32::try_from(value) {
            Ok(value) => Some((Some(value), taken)),
            Err(_) if value == -1 => Some((None, taken)),
            Err(_) => self.fail(),
        }
    }

    fn prefix(&mut self, bytes: &[u8]) -> Option<usize> {
        let window = bytes.get(..PREFIX).unwrap_or(bytes);
        let (len, first) = self.number(signed(window))?;
        let Ok(len) = u32::try_from(len) else { return self.fail() };
        let ((), time) = self.number(long(window.get(first + 1..)?))?;
        let mut at = first + 1 + time;
        let (offset_delta, taken) = self.number(signed(window.get(at..)?))?;
        at += taken;
        let (key, taken) = self.length(window.get(at..)?)?;
        at += taken;
        self.left = len;
        self.spend(at - first, key.unwrap_or(0))?;
        self.found = Found { offset_delta, ..Found::default() };
        self.state = State::Value;
        Some(at)
    }

    fn key(&mut self, left: i32, bytes: &[u8], found: &mut impl FnMut(Found)) -> Option<usize> {
        let (len, taken) = self.number(signed(bytes))?;
        let Ok(len) = u32::try_from(len) else { return self.fail() };
        let most = match len {
            10 => STATE,
            11 => PARENT,
            _ => return self.pass_key(left, taken, len),
        };
        let value_at = taken + len as usize;
        let key = bytes.get(taken..value_at)?;
        if !matches!(key, b"traceparent" | b"tracestate") {
            return self.pass_key(left, taken, len);
        }
        let (value_len, value_taken) = self.length(bytes.get(value_at..)?)?;
        let from = value_at + value_taken;
        let value_len = value_len.unwrap_or(0);
        if value_len as usize > most {
            self.spend(from, value_len)?;
            self.header(left - 1, found);
            return Some(from);
        }
        let value = bytes.get(from..from + value_len as usize)?;
        self.spend(from + value.len(), 0)?;
        // Of headers with one key, readers take the last.
        if key == b"traceparent" {
            self.found.parent = parse(value);
        } else {
            self.found.state = value.into();
        }
        self.header(left - 1, found);
        Some(from + value.len())
    }

    fn pass_key(&mut self, left: i32, taken: usize, len: u32) -> Option<usize> {
        self.spend(taken, len)?;
        self.state = State::Other(left);
        Some(taken)
    }
}
