//! A message head: its end, its start line, and the few fields that decide where the message ends (RFC
//! 9112, section 6). All other fields are for the span room.

use spandrel_common::{http1::is_token, limits::HEAD_CAPTURE};

use super::{
    super::{Detect, Side},
    start::{self, Method, Start},
};

/// What the first bytes of a message are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// The head goes on.
    Need,
    /// Not a head of this protocol.
    No,
    /// A head of `len` bytes.
    Head { len: usize, head: Parsed },
    /// More than the capture limit without an end. `start` if the start line is complete.
    Truncated { start: Option<Start> },
}

/// What a complete head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) start: Start,
    pub(super) fields: Fields,
}

/// The fields that decide about framing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) length: Option<u64>,
    pub(super) coding: Coding,
    /// An `Upgrade` field is there.
    pub(super) upgrade: bool,
    /// Lengths that disagree, or a length beside a coding.
    pub(super) conflict: bool,
    /// A framing field that cannot be read, a NUL, or a carriage return that ends no line.
    pub(super) malformed: bool,
}

/// `Transfer-Encoding`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Coding {
    #[default]
    None,
    /// `chunked` is the last coding.
    Chunked,
    /// Another coding is the last one.
    Other,
}

/// Reads a head. `scanned` is where the line begins that earlier calls found incomplete; 0 for the first.
pub(super) fn read(side: Side, bytes: &[u8], scanned: &mut usize) -> Read {
    let window = bytes.get(..HEAD_CAPTURE).unwrap_or(bytes);
    if *scanned == 0 || ends(window, scanned) {
        match parse(side, window) {
            Walk::Head { len, head } => {
                *scanned = 0;
                return Read::Head { len, head };
            }
            Walk::No => return Read::No,
            Walk::Need { line } => *scanned = line,
        }
    }
    if window.len() < HEAD_CAPTURE {
        return Read::Need;
    }
    *scanned = 0;
    match start_of(side, window) {
        None if start::detect(side, window) != Detect::Yes => Read::No,
        start => Read::Truncated { start },
    }
}

/// Whether an empty line ends the head, in what follows the lines that were scanned.
fn ends(bytes: &[u8], scanned: &mut usize) -> bool {
    let from = *scanned;
    let Some(tail) = bytes.get(from..) else { return false };
    for end in memchr::memchr_iter(b'\n', tail) {
        let line = bytes.get(*scanned..from + end);
        if matches!(line, Some([] | [b'\r'])) {
            return true;
        }
        *scanned = from + end + 1;
    }
    false
}

/// The start line, if it is complete and valid.
pub(super) fn start_of(side: Side, bytes: &[u8]) -> Option<Start> {
    let line = bytes.get(..memchr::memchr(b'\n', bytes)?)?;
    start::parse(side, line.strip_suffix(b"\r").unwrap_or(line))
}

/// What one walk over the lines found.
enum Walk {
    /// The line that begins at `line` is incomplete.
    Need {
        line: usize,
    },
    No,
    Head {
        len: usize,
        head: Parsed,
    },
}

fn parse(side: Side, bytes: &[u8]) -> Walk {
    let mut ends = memchr::memchr_iter(b'\n', bytes);
    let Some(first) = ends.next() else {
        return if start::detect(side, bytes) == Detect::No { Walk::No } else { Walk::Need { line: 0 } };
    };
    let line = bytes.get(..first).unwrap_or(bytes);
    let stripped = line.strip_suffix(b"\r");
    let Some(start) = start::parse(side, stripped.unwrap_or(line)) else { return Walk::No };
    let mut returns = usize::from(stripped.is_some());
    let mut fields = Fields::default();
    let mut from = first + 1;
    // The framing field whose value is being collected: a fold (RFC 9112, section 5.2) may continue it.
    let mut open: Option<(Field, usize, usize)> = None;
    for end in ends {
        let line = bytes.get(from..end).unwrap_or_default();
        let line = match line.strip_suffix(b"\r") {
            Some(line) => {
                returns += 1;
                line
            }
            None => line,
        };
        if let Some(b' ' | b'\t') = line.first() {
            match &mut open {
                Some((_, _, value_end)) => *value_end = end,
                // White space behind the start line: who reads it as what is anybody's guess.
                None if from == first + 1 => fields.malformed = true,
                None => {}
            }
            from = end + 1;
            continue;
        }
        if let Some((field, from, end)) = open.take() {
            fields.take(field, bytes.get(from..end).unwrap_or_default());
        }
        if line.is_empty() {
            let len = end + 1;
            let head = bytes.get(..len).unwrap_or(bytes);
            fields.malformed |= stray(head, returns);
            return Walk::Head { len, head: Parsed { start, fields } };
        }
        if let Some((field, name)) = Field::of(line) {
            open = Some((field, from + name, end));
        }
        from = end + 1;
    }
    Walk::Need { line: from }
}

/// Whether there is a NUL, or a carriage return besides those that end lines: one of them more than `returns`. Counted
/// without a branch so that the compiler can use vectors.
fn stray(head: &[u8], returns: usize) -> bool {
    let count = |part: &[u8]| part.iter().map(|byte| u8::from(matches!(byte, b'\r' | 0))).sum::<u8>();
    head.chunks(128).map(|part| usize::from(count(part))).sum::<usize>() != returns
}

/// A field that decides about framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    ContentLength,
    TransferEncoding,
    Upgrade,
    /// White space between one of these names and the colon: smuggling (RFC 9112, section 5.1).
    Spaced,
}

impl Field {
    /// The field of a line, if it is one of these, and where its value begins.
    #[inline]
    fn of(line: &[u8]) -> Option<(Self, usize)> {
        let (field, name): (_, &[u8]) = match line.first()? {
            b'c' | b'C' => (Self::ContentLength, b"Content-Length"),
            b't' | b'T' => (Self::TransferEncoding, b"Transfer-Encoding"),
            b'u' | b'U' => (Self::Upgrade, b"Upgrade"),
            _ => return None,
        };
        // The byte behind the name is compared first: it tells most other fields apart.
        let (field, from) = match line.get(name.len())? {
            b':' => (field, name.len() + 1),
            b' ' | b'\t' | b'\r' => (Self::Spaced, name.len()),
            _ => return None,
        };
        let given = line.get(..name.len())?;
        // The usual spelling is compared at once, others byte by byte.
        (given == name || given.eq_ignore_ascii_case(name)).then_some((field, from))
    }
}

impl Fields {
    fn take(&mut self, field: Field, value: &[u8]) {
        match field {
            Field::ContentLength => match content_length(value) {
                Some(length) => {
                    self.conflict |= self.length.is_some_and(|earlier| earlier != length);
                    self.length = Some(length);
                }
                None if disagrees(value) => self.conflict = true,
                None => self.malformed = true,
            },
            Field::TransferEncoding => self.codings(value),
            Field::Upgrade => self.upgrade = true,
            Field::Spaced => self.malformed = true,
        }
        self.conflict |= self.length.is_some() && self.coding != Coding::None;
    }

    fn codings(&mut self, value: &[u8]) {
        for coding in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            match coding {
                [] => {}
                // Nothing may follow `chunked`, not even itself (RFC 9112, section 6.1).
                _ if self.coding == Coding::Chunked => self.malformed = true,
                _ if coding.eq_ignore_ascii_case(b"chunked") => self.coding = Coding::Chunked,
                _ => self.coding = Coding::Other,
            }
        }
        if self.coding == Coding::None {
            self.malformed = true;
        }
    }
}

/// The value of a `Content-Length`; a list of equal ones is one (RFC 9112, section 6.3).
fn content_length(value: &[u8]) -> Option<u64> {
    let mut lengths = value.split(|byte| *byte == b',').map(|part| decimal(part.trim_ascii()));
    let first = lengths.next()??;
    lengths.all(|length| length == Some(first)).then_some(first)
}

/// Whether a list holds valid lengths that are not equal.
fn disagrees(value: &[u8]) -> bool {
    value.split(|byte| *byte == b',').all(|part| decimal(part.trim_ascii()).is_some())
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let (first, rest) = digits.split_first()?;
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    rest.iter().try_fold(digit(first)?, |value, byte| value.checked_mul(10)?.checked_add(digit(byte)?))
}

/// Whether a complete head is beyond doubt: what a resynchronisation asks for. The method is known, every
/// line is a field with a proper name or a fold.
pub(super) fn certain(head: &[u8], parsed: &Parsed) -> bool {
    !parsed.fields.malformed && parsed.start != Start::Request(Method::Other) && fields(head)
}

/// The same of a head that is cut short, by what of it is there; where that is less than its first line, of a request's.
pub(super) fn certain_so_far(side: Side, bytes: &[u8], start: Option<Start>) -> bool {
    let head = bytes.get(..HEAD_CAPTURE).unwrap_or(bytes);
    match start {
        Some(Start::Request(Method::Other)) => false,
        Some(_) => fields(memchr::memrchr(b'\n', head).and_then(|end| head.get(..=end)).unwrap_or_default()),
        None => {
            let target = memchr::memchr(b' ', head).and_then(|space| head.get(space + 1..));
            side == Side::Request
                && target.is_some_and(|target| target.iter().all(|byte| *byte > b' ' && *byte != 0x7f))
        }
    }
}

/// Whether every line but the first is a field with a proper name, a fold, or empty.
fn fields(head: &[u8]) -> bool {
    head.split(|byte| *byte == b'\n').skip(1).all(|line| match line {
        [] | [b'\r'] | [b' ' | b'\t', ..] => true,
        _ => memchr::memchr(b':', line).is_some_and(|colon| {
            colon > 0 && line.get(..colon).is_some_and(|name| name.iter().all(|byte| is_token(*byte)))
        }),
    })
}
