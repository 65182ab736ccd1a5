//! Finds the end of a message head and the few fields that matter, 64 bytes at a time.

use spandrel_common::{
    feeds,
    limits::{HEAD_SCAN, SNIFF},
};

use crate::{
    call::{gather, gather_first},
    conn::{METHOD_CONNECT, METHOD_HEAD, METHOD_OTHER},
    read,
    scratch::{self, Bytes, Found, STATES, Scratch},
};

/// What the first bytes of a turn may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Looks {
    /// Not the start of a request.
    Other,
    /// Too few bytes to tell.
    Short,
    /// The start of a request.
    Request,
    /// The preface of HTTP/2, or its beginning.
    Preface,
}

/// How the body that follows a head is delimited: a length (0 if neither a length nor a coding is given), or one of
/// the numbers below, which no length reaches. An enum would leave the length of the others unwritten, and kernels
/// before 6.3 refuse a program that carries such a word along.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Framing(pub u64);

impl Framing {
    /// No body.
    pub const EMPTY: Self = Self(0);
    pub const CHUNKED: Self = Self(u64::MAX - 2);
    /// Not given: ends with the connection, if it is a response.
    pub const ABSENT: Self = Self(u64::MAX - 1);
    /// Only userspace's parser may judge.
    pub const UNCLEAR: Self = Self(u64::MAX);
}

const LOWER: u64 = 0x2020_2020_2020_2020;

const fn word(text: &[u8; 8]) -> u64 {
    u64::from_le_bytes(*text)
}

/// Words that one step of the search looks at: one bit of a word for each of their bytes.
const STEP: u32 = 8;
/// Lines that may end in one step. Where more do, no end is found, and the head is shipped.
const LINES: u32 = 8;

/// Bytes of a response that are looked at first, if there are more: most heads end within, and content behind
/// them need not be copied.
const RESPONSE_FIRST: u64 = 1024;

/// Copies the start of what the call moved from `skip` on, at most `want` bytes (at most [`HEAD_SCAN`]), to this
/// CPU's buffer, and searches it as [`scan`] does. Returns how many bytes came: fewer than there are, if
/// the end of a head is among them.
///
/// A global function: the verifier checks it once, whoever calls it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_head(skip: u64, want: u64) -> u64 {
    let Some(scratch) = scratch::held() else { return 0 };
    let call = scratch.moved.call;
    let first = if scratch.moved.request == 0 && want > RESPONSE_FIRST { RESPONSE_FIRST } else { want };
    // A byte that was held back comes first: only the whole copy knows of it.
    let held = scratch.moved.held != 0;
    let got = if held { 0 } else { gather_first(call.address, call.vectors, skip, first, scratch) };
    if got > 0 {
        scan(scratch, got);
        if got >= want || scratch.found.end != 0 {
            return got;
        }
    }
    let got = gather(call.address, call.vectors, skip, want);
    scan(scratch, got);
    got
}

/// Searches the first `len` bytes (at most [`HEAD_SCAN`]) of this CPU's buffer and writes what it found to
/// [`scratch::Found`].
#[inline(always)]
fn scan(scratch: &mut Scratch, len: u64) {
    // A number that the compiler does not know: it would make one call of many zeros, to a loop over bytes.
    let none = read::opaque(0) as u32;
    let found = &mut scratch.found;
    found.end = none;
    found.traceparent = none;
    found.length = none;
    found.coding = none;
    found.line = none;
    found.odd = none;
    found.upgrade = none;
    found.len = len as u32;
    found.parents = none;
    found.states = none;
    read::repeat(HEAD_SCAN as u32 / 8 / STEP, |index| spandrel_lines(index));
}

/// Searches the first `len` bytes of this CPU's buffer once more: what was put there is one head.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_search(len: u64) -> u32 {
    if let Some(scratch) = scratch::held() {
        scan(scratch, len);
    }
    0
}

/// Looks at [`STEP`] words. Returns 1 to end the search.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spandrel_lines(index: u32) -> u32 {
    let Some(scratch) = scratch::held() else { return 1 };
    let bytes = scratch.view();
    let first = index * 8 * STEP;
    if first >= scratch.found.len {
        return 1;
    }
    let mut feeds = 0;
    for word in 0..STEP {
        // One after the other: the compiler would keep all words on the stack, of which little is left here.
        feeds = read::opaque(feeds | feeds::of(bytes.word(first + 8 * word)) << (8 * word));
    }
    for _ in 0..LINES {
        if feeds == 0 {
            return 0;
        }
        if line(&mut scratch.found, bytes, first + feeds::lowest(feeds) + 1) {
            return 1;
        }
        feeds &= feeds - 1;
    }
    u32::from(feeds != 0)
}

/// A line starts at `line`. Returns true if it is the empty one, or beyond what is searched.
#[inline(always)]
fn line(found: &mut Found, bytes: Bytes, line: u32) -> bool {
    let len = found.len;
    if line > len {
        return true;
    }
    if found.line == 0 {
        found.line = line;
    }
    let first = bytes.word(line);
    if first as u8 == b'\n' && line < len {
        found.end = line + 1;
        return true;
    }
    if first as u16 == u16::from_le_bytes(*b"\r\n") && line + 1 < len {
        found.end = line + 2;
        return true;
    }
    if first as u8 == b' ' || first as u8 == b'\t' {
        found.odd = 1;
    }
    let lower = first | LOWER;
    if lower == word(b"content-") {
        if (bytes.word(line + 8) | LOWER) << 8 == word(b"\0length:") {
            found.odd |= u32::from(found.length != 0);
            found.length = line + 15;
        }
    } else if lower == word(b"tracepar") {
        if (bytes.word(line + 8) | LOWER) as u32 == u32::from_le_bytes(*b"ent:") {
            found.parents += 1;
            found.traceparent = line + 12;
        }
    } else if lower == word(b"tracesta") {
        if (bytes.word(line + 8) | LOWER) << 40 == word(b"\0\0\0\0\0te:") {
            if found.states < STATES as u32 {
                found.state[found.states as usize & (STATES - 1)] = line + 11;
            }
            found.states += 1;
        }
    } else if lower == word(b"upgrade:") {
        found.upgrade = line + 8;
    } else if lower == word(b"transfer") && (bytes.word(line + 8) | LOWER) == word(b"-encodin") {
        found.odd |= u32::from(found.coding != 0);
        found.coding = line + 18;
    }
    false
}

/// What the first `len` bytes of the buffer look like.
#[inline(always)]
pub fn looks(bytes: Bytes, len: u64) -> Looks {
    let start = bytes.word(0) as u32;
    if len >= 5 && (start == u32::from_le_bytes(*b"GET ") || start == u32::from_le_bytes(*b"POST")) {
        return Looks::Request;
    }
    match spandrel_looks(len) {
        REQUEST => Looks::Request,
        SHORT => Looks::Short,
        PREFACE => Looks::Preface,
        _ => Looks::Other,
    }
}

const OTHER: u32 = 0;
const SHORT: u32 = 1;
const REQUEST: u32 = 2;
const PREFACE: u32 = 3;

/// See [`looks`]. A global function, like every one here that has a loop.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_looks(len: u64) -> u32 {
    let Some(scratch) = scratch::held() else { return OTHER };
    let bytes = scratch.view();
    if is_preface(bytes, len) {
        return PREFACE;
    }
    let blank = blank(bytes) as u32;
    for index in blank..blank + SNIFF as u32 {
        if u64::from(index) >= len {
            return SHORT;
        }
        let byte = bytes.byte(index);
        if byte == b' ' {
            return if index > blank { REQUEST } else { OTHER };
        }
        if !byte.is_ascii_alphabetic() && byte != b'-' && byte != b'_' {
            return OTHER;
        }
    }
    OTHER
}

/// Bytes of the preface that are enough to recognise it: `PRI` and a space. No other protocol has that method.
const PREFACE_LEAST: u64 = 4;

/// Whether the first `len` bytes of the buffer are the preface of HTTP/2, as far as sixteen of its bytes go.
#[inline(always)]
fn is_preface(bytes: Bytes, len: u64) -> bool {
    let differ = |at: u32, expect: &[u8; 8]| {
        let seen = len.saturating_sub(u64::from(at));
        let unseen = if seen >= 8 { 0 } else { 64 - 8 * seen };
        let differ = bytes.word(at) ^ word(expect);
        // Bytes that did not come differ in nothing.
        unseen < 64 && differ << unseen != 0
    };
    len >= PREFACE_LEAST && !differ(0, b"PRI * HT") && !differ(8, b"TP/2.0\r\n")
}

/// Line ends in front of a request line, which a server ignores (RFC 9112, section 2.2): how many bytes, of
/// the first four.
#[inline(always)]
pub fn blank(bytes: Bytes) -> u64 {
    let mut count = 0;
    for index in 0..4 {
        if !matches!(bytes.byte(index), b'\r' | b'\n') {
            break;
        }
        count += 1;
    }
    count
}

/// Whether the buffer starts with `HTTP/1.`.
#[inline(always)]
pub fn is_response(bytes: Bytes) -> bool {
    bytes.word(0) << 8 == word(b"\0HTTP/1.")
}

/// The status code of a response line.
#[inline(always)]
pub fn status(bytes: Bytes) -> u32 {
    let text = bytes.word(9);
    let digit = |shift: u32| (((text >> shift) as u8).wrapping_sub(b'0')) as u32;
    digit(0) * 100 + digit(8) * 10 + digit(16)
}

/// Whether the `Upgrade` field of the head that was searched names HTTP/2 (RFC 7540, section 3.2).
#[inline(always)]
pub fn upgrades_to_http2(scratch: &Scratch) -> bool {
    let bytes = scratch.view();
    let value = scratch.found.upgrade + u32::from(bytes.byte(scratch.found.upgrade) == b' ');
    scratch.found.upgrade != 0
        && (bytes.word(value) as u32 | LOWER as u32) == u32::from_le_bytes(*b"h2c\r") | 0x2000_0000
}

/// The methods whose responses differ.
#[inline(always)]
pub fn method(bytes: Bytes) -> u8 {
    let start = bytes.word(0);
    if start << 24 == word(b"\0\0\0HEAD ") {
        METHOD_HEAD
    } else if start == word(b"CONNECT ") {
        METHOD_CONNECT
    } else {
        METHOD_OTHER
    }
}

/// Whether the first line, if its end was found, ends as a request line of HTTP/1 does.
#[inline(always)]
pub fn is_request_line(scratch: &Scratch) -> bool {
    let bytes = scratch.view();
    let line = scratch.found.line;
    if line < 12 {
        return false;
    }
    let end = line - 1 - u32::from(bytes.byte(line - 2) == b'\r');
    bytes.word(end - 8) << 8 == word(b"\0HTTP/1.")
}

/// Whether the buffer starts with a method of RFC 9110 or 5789 without its first byte.
#[inline(always)]
pub fn lacks_first_byte(bytes: Bytes) -> bool {
    const CUT: [&[u8]; 9] =
        [b"ET ", b"EAD ", b"OST ", b"UT ", b"ELETE ", b"ONNECT ", b"PTIONS ", b"RACE ", b"ATCH "];
    let start = bytes.word(0);
    CUT.iter().any(|cut| start << (64 - 8 * cut.len()) == shifted(cut))
}

/// A text of at most eight bytes as the highest ones of a word.
const fn shifted(text: &[u8]) -> u64 {
    let (mut word, mut at) = (0, 0);
    while at < text.len() {
        word = word >> 8 | (text[at] as u64) << 56;
        at += 1;
    }
    word
}

/// How the body behind the head is delimited.
#[inline(always)]
pub fn framing(found: &Found) -> Framing {
    if found.odd | found.length | found.coding == 0 {
        return Framing::ABSENT;
    }
    Framing(spandrel_framing())
}

/// Digits of a length: nothing that is real is longer, and nothing overflows.
const DIGITS: u32 = 15;

/// See [`framing`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_framing() -> u64 {
    let Some(scratch) = scratch::held() else { return Framing::UNCLEAR.0 };
    let bytes = scratch.view();
    let found = &scratch.found;
    if found.odd != 0 || (found.length != 0 && found.coding != 0) {
        return Framing::UNCLEAR.0;
    }
    if found.coding != 0 {
        let value = found.coding + u32::from(bytes.byte(found.coding) == b' ');
        let ends = matches!(bytes.byte(value + 7), b'\r' | b'\n');
        let chunked = (bytes.word(value) | LOWER) << 8 == word(b"\0chunked");
        return if chunked && ends { Framing::CHUNKED.0 } else { Framing::UNCLEAR.0 };
    }
    if found.length == 0 {
        return Framing::ABSENT.0;
    }
    let value = found.length + u32::from(bytes.byte(found.length) == b' ');
    let mut length = 0_u64;
    for index in 0..=DIGITS {
        let byte = bytes.byte(value + index);
        if byte == b'\r' || byte == b'\n' {
            return if index > 0 { length } else { Framing::UNCLEAR.0 };
        }
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 || index == DIGITS {
            return Framing::UNCLEAR.0;
        }
        length = length * 10 + u64::from(digit);
    }
    Framing::UNCLEAR.0
}
