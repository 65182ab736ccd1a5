//! Chunked bodies: from size line to size line, without looking at what lies between.

use spandrel_common::limits::{CHUNK_LINE, CHUNKS};

use crate::{
    call::{Call, spandrel_gather},
    head::byte,
    scratch,
};

/// Where a walk ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Walk {
    /// Inside the body: the next size line is at this place, which is beyond the call.
    Inside,
    /// The body ends at this place.
    Ended,
    /// The size line at this place is in two calls, or not plain, or trailers follow, or there are too many.
    Unclear,
}

const INSIDE: u64 = 0;
const ENDED: u64 = 1;
const UNCLEAR: u64 = 2;

/// Walks from the size line at `place` through a call of `len` bytes; places count from the call's start.
#[inline(always)]
pub fn walk(call: &Call, place: u64, len: u64) -> (Walk, u64) {
    let packed = spandrel_walk(call.address, call.vectors, place, len);
    let how = match packed & 3 {
        INSIDE => Walk::Inside,
        ENDED => Walk::Ended,
        _ => Walk::Unclear,
    };
    (how, packed >> 2)
}

/// See [`walk`]: place and end packed into 62 and 2 bits.
///
/// A global function: the verifier checks it once, whoever calls it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_walk(address: u64, vectors: u32, place: u64, len: u64) -> u64 {
    let mut place = place;
    for _ in 0..CHUNKS {
        if place >= len {
            return (place << 2) | INSIDE;
        }
        let left = len - place;
        let want = if left < CHUNK_LINE as u64 { left } else { CHUNK_LINE as u64 };
        if spandrel_gather(address, vectors, place, want) != want {
            break;
        }
        let packed = spandrel_chunk(want);
        let (size, line, close) = (packed >> 16, (packed >> 8) & 0xff, packed & 0xff);
        if line == 0 {
            break;
        }
        if size > 0 {
            place += line + size + 2;
        } else if close > 0 {
            return ((place + line + close) << 2) | ENDED;
        } else {
            break;
        }
    }
    (place << 2) | UNCLEAR
}

/// Hexadecimal digits of a chunk's size that are followed: 16 TiB.
const DIGITS: u32 = 11;

/// The size line that starts the buffer, of which the first `len` bytes count: size, length of the line (0 if
/// it is not complete or not plain) and length of the line end that follows a last chunk without trailers,
/// packed into 48, 8 and 8 bits.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_chunk(len: u64) -> u64 {
    let Some(bytes) = scratch::bytes().map(<*mut u8>::cast_const) else { return 0 };
    let mut size = 0_u64;
    let mut digits = 0_u32;
    for index in 0..=DIGITS {
        let byte = byte(bytes, index);
        let digit = byte.wrapping_sub(b'0');
        let letter = (byte | 0x20).wrapping_sub(b'a');
        if digit < 10 && index < DIGITS {
            size = (size << 4) | u64::from(digit);
        } else if letter < 6 && index < DIGITS {
            size = (size << 4) | u64::from(letter + 10);
        } else {
            digits = index;
            break;
        }
    }
    let Some(end) = line_end(bytes, digits) else { return 0 };
    let line = digits + end;
    if digits == 0 || u64::from(line) > len {
        return 0;
    }
    let close = line_end(bytes, line).unwrap_or(0);
    let close = if u64::from(line + close) > len { 0 } else { close };
    (size << 16) | (u64::from(line) << 8) | u64::from(close)
}

/// Length of the line end at an offset, if there is one.
#[inline(always)]
fn line_end(bytes: *const u8, offset: u32) -> Option<u32> {
    match byte(bytes, offset) {
        b'\n' => Some(1),
        b'\r' if byte(bytes, offset + 1) == b'\n' => Some(2),
        _ => None,
    }
}
