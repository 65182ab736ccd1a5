//! The steps of the walk: what a frame's header says, and what of the frame is gathered.

use spandrel_common::{
    http2::{FRAME_HEADER, HEADERS, PADDED, PRIORITISED, PRIORITY_FIELDS, Told, plausible, strict, told},
    limits::{FRAME_WINDOW, HEAD_CAPTURE},
};

use super::{
    BLIND, CUT, FULL, Frames, GO, REQUESTS, RESPONSES, SAYS, STOP, window::spandrel_window_of_frames,
};
use crate::{
    read,
    scratch::{self, Scratch},
};

impl Frames {
    /// The walk's place in the window.
    #[inline(always)]
    fn place(&self) -> u32 {
        (self.at - self.window) as u32 & (FRAME_WINDOW as u32 - 1)
    }
}

/// Frames in a row that prove a direction's place, on a connection that is not known, and on one that is. One frame
/// header that is right by chance, in random bytes, is one of some ten millions.
const PROVEN: u32 = 3;
const PROVEN_AGAIN: u32 = 2;

/// Bytes that one event tells. A frame header more would not go beyond what the verifier is told by a mask.
const ROOM: u64 = HEAD_CAPTURE as u64 - 16;

/// What comes behind the bytes of a preface that fill a frame header.
const PREFACE_REST: u64 = 15;

/// Steps that are taken in one turn.
pub(super) const STRIDE: u32 = 64;

/// Takes some steps. Returns what the last one said.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn spandrel_stride() -> u32 {
    for _ in 0..STRIDE {
        let mut end = spandrel_frame(0);
        if end == BLIND {
            end = if spandrel_window_of_frames() == 0 { STOP } else { spandrel_frame(1) };
        }
        if end == CUT {
            end = spandrel_piece();
        }
        if end != GO {
            return end;
        }
    }
    GO
}

/// One step of the walk: a frame's header and what the window has of its payload, or more of a payload. Says where a
/// header is cut. If `looks` is 0, it does not go beyond what the window has of a header.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spandrel_frame(looks: u32) -> u32 {
    let Some(scratch) = scratch::held() else { return STOP };
    let frames = &mut scratch.frames;
    if frames.at >= frames.len {
        frames.lost = 0;
        return STOP;
    }
    let rest = frames.len - frames.at;
    if frames.left > 0 && frames.ship == 0 {
        let some = if frames.left < rest { frames.left } else { rest };
        frames.at += some;
        frames.left -= some;
        return GO;
    }
    if ROOM - frames.out < FRAME_HEADER as u64 {
        return FULL;
    }
    let seen = frames.window + frames.filled;
    let short = seen < frames.at + FRAME_HEADER as u64 && seen < frames.len;
    if looks == 0 && (short || frames.at < frames.window) {
        return BLIND;
    }
    if frames.left > 0 {
        return payload(scratch, 0);
    }
    let seen = frames.window + frames.filled - frames.at;
    if frames.have == 0 && seen >= FRAME_HEADER as u64 {
        let place = frames.place();
        let bytes = scratch.window_view();
        let header = (bytes.word(place), bytes.byte(place + 8));
        let peeks = seen > FRAME_HEADER as u64 + PRIORITY_FIELDS as u64;
        return match judge(scratch, header, if peeks { place } else { NOWHERE }) {
            WRONG => STOP,
            UNTOLD => {
                scratch.frames.at += FRAME_HEADER as u64;
                GO
            }
            _ => payload(scratch, FRAME_HEADER as u64),
        };
    }
    CUT
}

/// Takes one byte of a header that was cut.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spandrel_piece() -> u32 {
    let Some(scratch) = scratch::held() else { return STOP };
    let byte = scratch.window_view().byte(scratch.frames.place());
    let frames = &mut scratch.frames;
    frames.at += 1;
    frames.have += 1;
    if frames.have < FRAME_HEADER as u32 {
        let before = if frames.have == 1 { 0 } else { frames.header[0] };
        frames.header[0] = before | u64::from(byte) << ((8 * (frames.have - 1)) & 63);
        return GO;
    }
    frames.header[1] = u64::from(byte);
    let header = (frames.header[0], byte);
    match judge(scratch, header, NOWHERE) {
        WRONG => return STOP,
        UNTOLD => {}
        _ => {
            let out = read::opaque(scratch.frames.out) & (HEAD_CAPTURE as u64 - 1);
            let to = scratch.room().wrapping_add(out as usize);
            if !read::copy(to, FRAME_HEADER as u32, (&raw const scratch.frames.header).cast()) {
                return STOP;
            }
            scratch.frames.out += FRAME_HEADER as u64;
        }
    }
    GO
}

/// Of a header: it is none.
const WRONG: u32 = 0;
/// Its frame is passed over.
const UNTOLD: u32 = 1;
/// It is told.
const TOLD: u32 = 2;

/// In place of a place in the window.
const NOWHERE: u32 = u32::MAX;

/// Begins the frame of which the header is given: eight bytes, the first in the lowest bits, and one. If it is in the window
/// with what is behind it, its place there is given, too.
#[inline(always)]
fn judge(scratch: &mut Scratch, (header, last): (u64, u8), place: u32) -> u32 {
    let len = (header as u32).swap_bytes() >> 8;
    let kind = (header >> 24) as u8;
    let stream = ((header >> 40) as u32 | u32::from(last) << 24).swap_bytes();
    let reserved = stream >> 31;
    let stream = stream & 0x7fff_ffff;
    let bytes = scratch.window_view();
    let frames = &mut scratch.frames;
    // Of the header, so many bytes lie before the walk's place.
    let behind = u64::from(frames.have);
    frames.have = 0;
    if len == PREFACE_LEN && kind == b' ' {
        frames.left = PREFACE_REST;
        frames.ship = 0;
        return UNTOLD;
    }
    if !plausible(kind, len, stream) {
        return WRONG;
    }
    if frames.seeks != 0 {
        let flags = (header >> 32) as u8;
        if !strict(kind, flags, len) || reserved != 0 {
            return WRONG;
        }
        if frames.evidence < (1 << SAYS) - 1 {
            frames.evidence += 1;
        }
        if place != NOWHERE && kind == HEADERS && frames.says == 0 && flags & PADDED == 0 {
            let more = if flags & PRIORITISED != 0 { PRIORITY_FIELDS } else { 0 };
            frames.says = says(u32::from(bytes.byte(place + (FRAME_HEADER + more) as u32)));
        }
        let enough = if frames.known != 0 { PROVEN_AGAIN } else { PROVEN };
        if frames.evidence < enough || frames.says == 0 {
            frames.left = u64::from(len);
            frames.ship = 0;
            return UNTOLD;
        }
        frames.seeks = 0;
        frames.found = 1;
        frames.from = frames.at.wrapping_sub(behind);
        frames.newest = 0;
    }
    let told = told(kind);
    frames.left = u64::from(len);
    frames.ship = u32::from(matches!(told, Told::Whole));
    if matches!(told, Told::Nothing) {
        return UNTOLD;
    }
    if frames.begun == 0 {
        frames.begun = 1;
        frames.rest = frames.out;
    }
    if frames.says == REQUESTS && kind == HEADERS && stream > frames.newest {
        frames.newest = stream;
        frames.requests += 1;
    }
    TOLD
}

/// Whose fields begin with this byte (RFC 7541, section 6 and appendix A): a request's with one of its pseudo-header
/// fields by their places in the static table, a response's with its status. 0 if it does not tell.
#[inline(always)]
fn says(first: u32) -> u32 {
    let place = if first & 0x80 != 0 {
        first & 0x7f
    } else if first & 0x40 != 0 {
        first & 0x3f
    } else if first & 0x20 != 0 {
        0
    } else {
        first & 0xf
    };
    match place {
        1..=7 => REQUESTS,
        8..=14 => RESPONSES,
        _ => 0,
    }
}

/// `PRI`, read as the length of a frame.
const PREFACE_LEN: u32 = (b'P' as u32) << 16 | (b'R' as u32) << 8 | b'I' as u32;

/// Gathers `front` bytes of a header and as much of the payload behind as the window has and there is room for.
#[inline(always)]
fn payload(scratch: &mut Scratch, front: u64) -> u32 {
    let frames = &mut scratch.frames;
    let seen = frames.window + frames.filled - frames.at - front;
    let room = ROOM - frames.out - front;
    let some = if frames.ship == 0 { 0 } else { frames.left };
    let some = if some < seen { some } else { seen };
    let some = if some < room { some } else { room };
    let len = read::at_most(front + some, 2 * FRAME_WINDOW as u64 - 1);
    let place = frames.place();
    let out = read::opaque(frames.out) & (HEAD_CAPTURE as u64 - 1);
    frames.at += len;
    frames.out += len;
    frames.left -= some;
    let from = scratch.window().wrapping_add(place as usize);
    let to = scratch.room().wrapping_add(out as usize);
    if read::copy(to, len as u32, from) { GO } else { STOP }
}
