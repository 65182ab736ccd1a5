//! Finds the end of a message head and the few fields that matter, eight bytes at a time.

use aya_ebpf::helpers::generated::bpf_loop;
use spandrel_common::limits::{HEAD_SCAN, SNIFF};

use crate::{
    conn::{METHOD_CONNECT, METHOD_HEAD, METHOD_OTHER},
    globals, read,
    scratch::{self, Found, Scratch},
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
}

/// How the body that follows a head is delimited.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes; none if neither a length nor a coding is given.
    Length(u64),
    Chunked,
    /// Not given: ends with the connection, if it is a response.
    Absent,
    /// Only userspace's parser may judge.
    Unclear,
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;
const LOWER: u64 = 0x2020_2020_2020_2020;
const NEWLINES: u64 = ONES * b'\n' as u64;

const fn word(text: &[u8; 8]) -> u64 {
    u64::from_le_bytes(*text)
}

/// Reads a word at an offset of the buffer. The mask keeps it inside whatever the caller computed.
#[inline(always)]
fn at(bytes: *const u8, offset: u32) -> u64 {
    let offset = read::opaque(u64::from(offset)) & (2 * HEAD_SCAN as u64 - 1);
    // SAFETY: the masked offset plus eight is inside the buffer, which is larger than twice HEAD_SCAN.
    unsafe { bytes.add(offset as usize).cast::<u64>().read_unaligned() }
}

/// Reads a byte at an offset of the buffer.
#[inline(always)]
pub fn byte(bytes: *const u8, offset: u32) -> u8 {
    let offset = read::opaque(u64::from(offset)) & (2 * HEAD_SCAN as u64 - 1);
    // SAFETY: as in `at`.
    unsafe { *bytes.add(offset as usize) }
}

/// Index of the lowest byte that is marked in `mask`.
#[inline(always)]
fn lowest(mask: u64) -> u32 {
    // The mark is bit 7 of its byte; the bits below it, spread over bytes and summed by a multiplication.
    ((((mask - 1) & ONES).wrapping_mul(ONES)) >> 56) as u32 - 1
}

/// What one step of the search needs.
struct Search {
    scratch: *mut Scratch,
    len: u64,
}

/// Words that one step of the search looks at: enough to make the step's own cost small.
const STEP: u32 = 4;

/// Searches the first `len` bytes (at most [`HEAD_SCAN`]) of this CPU's buffer and writes what it found to
/// [`scratch::Found`]. Finds nothing on kernels without `bpf_loop` (5.17): everything is shipped there.
///
/// A global function: the verifier checks it once, whoever calls it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_scan(len: u64) -> u32 {
    let Some(scratch) = scratch::held() else { return 0 };
    // SAFETY: the caller holds the slot; the borrow ends before the search begins.
    unsafe {
        (*scratch).found = Found {
            end: 0,
            traceparent: 0,
            length: 0,
            coding: 0,
            line: 0,
            odd: 0,
            upgrade: 0,
            reserved: 0,
        };
    }
    if !globals::has_loop() {
        return 0;
    }
    let mut search = Search { scratch, len };
    // SAFETY: `step` has the signature that the helper asks for, and `search` outlives the call.
    unsafe {
        bpf_loop(
            HEAD_SCAN as u32 / 8 / STEP,
            step as *mut core::ffi::c_void,
            (&raw mut search).cast(),
            0,
        )
    };
    1
}

/// Looks at [`STEP`] words. Returns 1 to end the search.
extern "C" fn step(index: u32, search: *mut Search) -> i64 {
    // SAFETY: the helper hands on the pointer that it was given.
    let (scratch, len) = unsafe { ((*search).scratch, (*search).len) };
    // SAFETY: the holder of the slot waits in `spandrel_scan`.
    let scratch = unsafe { &mut *scratch };
    let bytes = (&raw const scratch.bytes).cast::<u8>();
    let first = index * 8 * STEP;
    if u64::from(first) >= len {
        return 1;
    }
    for number in 0..STEP {
        let base = first + 8 * number;
        let diff = at(bytes, base) ^ NEWLINES;
        let mut marks = diff.wrapping_sub(ONES) & !diff & HIGH;
        // A line has three bytes at least ("a:" and its end), so a word holds three line ends at most.
        for _ in 0..3 {
            if marks == 0 {
                break;
            }
            if line(&mut scratch.found, bytes, base + lowest(marks) + 1, len) {
                return 1;
            }
            marks &= marks - 1;
        }
    }
    0
}

/// A line starts at `line`. Returns true if it is the empty one, or beyond `len`.
#[inline(always)]
fn line(found: &mut Found, bytes: *const u8, line: u32, len: u64) -> bool {
    if u64::from(line) > len {
        return true;
    }
    if found.line == 0 {
        found.line = line;
    }
    let first = at(bytes, line);
    if first as u8 == b'\n' && u64::from(line) < len {
        found.end = line + 1;
        return true;
    }
    if first as u16 == u16::from_le_bytes(*b"\r\n") && u64::from(line) + 1 < len {
        found.end = line + 2;
        return true;
    }
    if first as u8 == b' ' || first as u8 == b'\t' {
        found.odd = 1;
    }
    let lower = first | LOWER;
    if lower == word(b"content-") {
        if (at(bytes, line + 8) | LOWER) << 8 == word(b"\0length:") {
            found.odd |= u32::from(found.length != 0);
            found.length = line + 15;
        }
    } else if lower == word(b"tracepar") {
        if (at(bytes, line + 8) | LOWER) as u32 == u32::from_le_bytes(*b"ent:") {
            // Two of them are none (W3C): userspace says so.
            found.odd |= u32::from(found.traceparent != 0);
            found.traceparent = line + 12;
        }
    } else if lower == word(b"upgrade:") {
        found.upgrade = 1;
    } else if lower == word(b"transfer") && (at(bytes, line + 8) | LOWER) == word(b"-encodin") {
        found.odd |= u32::from(found.coding != 0);
        found.coding = line + 18;
    }
    false
}

/// This CPU's buffer.
#[inline(always)]
fn buffer() -> Option<*const u8> {
    scratch::bytes().map(<*mut u8>::cast_const)
}

/// What the first `len` bytes of the buffer look like.
#[inline(always)]
pub fn looks(len: u64) -> Looks {
    match spandrel_looks(len) {
        REQUEST => Looks::Request,
        SHORT => Looks::Short,
        _ => Looks::Other,
    }
}

const OTHER: u32 = 0;
const SHORT: u32 = 1;
const REQUEST: u32 = 2;

/// See [`looks`]. A global function, like every one here that has a loop.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_looks(len: u64) -> u32 {
    let Some(bytes) = buffer() else { return OTHER };
    let start = at(bytes, 0) as u32;
    if len >= 5 && (start == u32::from_le_bytes(*b"GET ") || start == u32::from_le_bytes(*b"POST")) {
        return REQUEST;
    }
    for index in 0..SNIFF as u32 {
        if u64::from(index) >= len {
            return SHORT;
        }
        let byte = byte(bytes, index);
        if byte == b' ' {
            return if index > 0 { REQUEST } else { OTHER };
        }
        if !byte.is_ascii_alphabetic() && byte != b'-' && byte != b'_' {
            return OTHER;
        }
    }
    OTHER
}

/// Whether the buffer starts with `HTTP/1.`.
#[inline(always)]
pub fn is_response(bytes: *const u8) -> bool {
    at(bytes, 0) << 8 == word(b"\0HTTP/1.")
}

/// The status code of a response line.
#[inline(always)]
pub fn status(bytes: *const u8) -> u32 {
    let text = at(bytes, 9);
    let digit = |shift: u32| (((text >> shift) as u8).wrapping_sub(b'0')) as u32;
    digit(0) * 100 + digit(8) * 10 + digit(16)
}

/// The methods whose responses differ.
#[inline(always)]
pub fn method(bytes: *const u8) -> u8 {
    let start = at(bytes, 0);
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
    let bytes = (&raw const scratch.bytes).cast::<u8>();
    let line = scratch.found.line;
    if line < 12 {
        return false;
    }
    let end = line - 1 - u32::from(byte(bytes, line - 2) == b'\r');
    at(bytes, end - 8) << 8 == word(b"\0HTTP/1.")
}

/// How the body behind the head is delimited.
#[inline(always)]
pub fn framing() -> Framing {
    match spandrel_framing() {
        UNCLEAR => Framing::Unclear,
        ABSENT => Framing::Absent,
        CHUNKS => Framing::Chunked,
        length => Framing::Length(length),
    }
}

const UNCLEAR: u64 = u64::MAX;
const ABSENT: u64 = u64::MAX - 1;
const CHUNKS: u64 = u64::MAX - 2;
/// Digits of a length: nothing that is real is longer, and nothing overflows.
const DIGITS: u32 = 15;

/// See [`framing`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_framing() -> u64 {
    let Some(scratch) = scratch::held() else { return UNCLEAR };
    // SAFETY: the caller holds the slot; the borrow ends with this function.
    let scratch = unsafe { &*scratch };
    let bytes = (&raw const scratch.bytes).cast::<u8>();
    let found = &scratch.found;
    if found.odd != 0 || (found.length != 0 && found.coding != 0) {
        return UNCLEAR;
    }
    if found.coding != 0 {
        let value = found.coding + u32::from(byte(bytes, found.coding) == b' ');
        let ends = matches!(byte(bytes, value + 7), b'\r' | b'\n');
        let chunked = (at(bytes, value) | LOWER) << 8 == word(b"\0chunked");
        return if chunked && ends { CHUNKS } else { UNCLEAR };
    }
    if found.length == 0 {
        return ABSENT;
    }
    let mut value = found.length + u32::from(byte(bytes, found.length) == b' ');
    let mut length = 0_u64;
    for index in 0..=DIGITS {
        let byte = byte(bytes, value);
        if byte == b'\r' || byte == b'\n' {
            return if index > 0 { length } else { UNCLEAR };
        }
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 || index == DIGITS {
            return UNCLEAR;
        }
        length = length * 10 + u64::from(digit);
        value += 1;
    }
    UNCLEAR
}
