//! Chunked bodies (RFC 9112, section 7.1): from size line to size line, without looking at what lies
//! between. What is known in the middle of a line is kept from call to call, because calls end anywhere.

use spandrel_common::limits::{CHUNK_WINDOW, CHUNKS};

use crate::{
    call::{Call, gather},
    conn::Flow,
    read,
    scratch::{self, Scratch},
};

/// Where a walk ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Inside the body: the next byte to look at is beyond the call.
    Inside,
    /// The body ends at this place.
    Ended,
    /// What stands at this place is no chunk, or there are too many of them.
    Unclear,
}

const INSIDE: u32 = 0;
const ENDED: u32 = 1;
const UNCLEAR: u32 = 2;

/// The walk through one call, in memory for the reason that [`scratch::Found`] is.
#[repr(C)]
pub struct Walk {
    address: u64,
    /// Next byte to look at, and the end of the call; both count from the call's start.
    place: u64,
    len: u64,
    /// Value of the digits so far.
    size: u64,
    /// Bytes so far that are not content.
    framing: u64,
    vectors: u32,
    /// One of the phases below.
    phase: u32,
    how: u32,
    reserved: u32,
}

/// Before the first digit of a size line.
const FIRST: u32 = 0;
/// After a digit.
const SIZE: u32 = 1;
/// In an extension or its line end: nothing counts until the line feed.
const EXTENSION: u32 = 2;
/// At the start of a line of the trailer section.
const TRAILER: u32 = 3;
/// After a carriage return there.
const LAST: u32 = 4;
/// In a trailer field: nothing counts until the line feed.
const FIELD: u32 = 5;

/// Value above which a further digit would be more than any real chunk: 16 TiB.
const LARGEST: u64 = 1 << 44;

/// Walks on through a call of `len` bytes from `place`, and leaves in `flow` what the next call has to know.
#[inline(always)]
pub fn walk(flow: &mut Flow, scratch: &mut Scratch, call: &Call, place: u64, len: u64) -> (How, u64) {
    scratch.walk = Walk {
        address: call.address,
        place,
        len,
        size: flow.chunk_size,
        framing: 0,
        vectors: call.vectors,
        phase: u32::from(flow.chunk_phase),
        how: UNCLEAR,
        reserved: 0,
    };
    spandrel_walk();
    flow.framing += scratch.walk.framing;
    flow.chunk_size = scratch.walk.size;
    flow.chunk_phase = scratch.walk.phase as u8;
    let how = match scratch.walk.how {
        INSIDE => How::Inside,
        ENDED => How::Ended,
        _ => How::Unclear,
    };
    (how, scratch.walk.place)
}

/// The walk that [`scratch::Scratch::walk`] describes.
///
/// A global function: the verifier checks it once, whoever calls it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_walk() -> u32 {
    read::repeat(CHUNKS, |_| spandrel_chunk());
    0
}

/// Looks at one window. Returns 1 to end the walk.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_chunk() -> u32 {
    let Some(scratch) = scratch::held() else { return 1 };
    let (place, len) = (scratch.walk.place, scratch.walk.len);
    if place >= len {
        scratch.walk.how = INSIDE;
        return 1;
    }
    let left = len - place;
    let want = if left < CHUNK_WINDOW as u64 { left } else { CHUNK_WINDOW as u64 };
    if gather(scratch.walk.address, scratch.walk.vectors, place, want) != want {
        return 1;
    }
    spandrel_window(want as u32)
}

/// Looks at the first `len` bytes of the buffer, which stand at the walk's place. Returns 1 to end the walk.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_window(len: u32) -> u32 {
    let Some(scratch) = scratch::held() else { return 1 };
    let bytes = scratch.view();
    let walk = &mut scratch.walk;
    for index in 0..CHUNK_WINDOW as u32 {
        if index >= len {
            return 0;
        }
        let byte = bytes.byte(index);
        walk.place += 1;
        walk.framing += 1;
        let feed = byte == b'\n';
        match walk.phase {
            FIRST | SIZE => {
                let digit = byte.wrapping_sub(b'0');
                let letter = (byte | 0x20).wrapping_sub(b'a');
                if digit < 10 || letter < 6 {
                    let value = if digit < 10 { digit } else { letter + 10 };
                    walk.size = (walk.size << 4) | u64::from(value);
                    walk.phase = SIZE;
                    if walk.size > LARGEST {
                        return unclear(walk);
                    }
                    continue;
                }
                if walk.phase == FIRST {
                    return unclear(walk);
                }
                if !feed {
                    // Extensions begin with ";", after white space that is not allowed but met.
                    if !matches!(byte, b'\r' | b';' | b' ' | b'\t') {
                        return unclear(walk);
                    }
                    walk.phase = EXTENSION;
                    continue;
                }
            }
            EXTENSION => {
                if !feed {
                    continue;
                }
            }
            LAST => {
                if !feed {
                    return unclear(walk);
                }
                return ended(walk);
            }
            FIELD => {
                if feed {
                    walk.phase = TRAILER;
                }
                continue;
            }
            _ => {
                if feed {
                    return ended(walk);
                }
                walk.phase = if byte == b'\r' { LAST } else { FIELD };
                continue;
            }
        }
        // The line feed of a size line.
        if walk.size == 0 {
            walk.phase = TRAILER;
            continue;
        }
        // The data, and the line end behind it.
        walk.place += walk.size + 2;
        walk.framing += 2;
        walk.size = 0;
        walk.phase = FIRST;
        return 0;
    }
    0
}

#[inline(always)]
fn unclear(walk: &mut Walk) -> u32 {
    walk.how = UNCLEAR;
    walk.place -= 1;
    walk.framing -= 1;
    walk.size = 0;
    walk.phase = FIRST;
    1
}

#[inline(always)]
fn ended(walk: &mut Walk) -> u32 {
    walk.how = ENDED;
    walk.size = 0;
    walk.phase = FIRST;
    1
}
