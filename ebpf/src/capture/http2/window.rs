//! The window through which the walk looks at what a call moved.

use spandrel_common::limits::{FRAME_WINDOW, IOVECS};

use crate::{read, scratch};

/// Fills the window from the walk's place on. Returns how many bytes are in it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn spandrel_window_of_frames() -> u64 {
    let Some(scratch) = scratch::held() else { return 0 };
    let call = scratch.moved.call;
    let frames = &mut scratch.frames;
    frames.window = frames.at;
    frames.filled = 0;
    if call.unseen != 0 {
        return 0;
    }
    if call.vectors > 0 {
        frames.vector = frames.first;
        frames.vector_at = frames.first_at;
        read::repeat(IOVECS, |_| spandrel_vector_of_frames());
        return scratch.frames.filled;
    }
    let rest = frames.len - frames.at;
    let want = if rest < FRAME_WINDOW as u64 { rest } else { FRAME_WINDOW as u64 };
    let want = read::at_most(want, 2 * FRAME_WINDOW as u64 - 1);
    let from = call.address + frames.at;
    if !read::user_bytes(scratch.window(), want as u32, from) {
        return 0;
    }
    scratch.frames.filled = want;
    want
}

/// Fills the window further from one vector. The next window begins in this one or behind it, so no vector is passed more
/// than twice. Returns 1 to end.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spandrel_vector_of_frames() -> u32 {
    let Some(scratch) = scratch::held() else { return 1 };
    let call = scratch.moved.call;
    let frames = &mut scratch.frames;
    let at = frames.at + frames.filled;
    if frames.filled >= FRAME_WINDOW as u64 || at >= frames.len || frames.vector >= u64::from(call.vectors) {
        return 1;
    }
    let Some([base, len]) = read::user::<[u64; 2]>(call.address + 16 * frames.vector) else { return 1 };
    let skip = at - frames.vector_at;
    if skip >= len {
        frames.vector += 1;
        frames.vector_at += len;
        if frames.filled == 0 {
            frames.first = frames.vector;
            frames.first_at = frames.vector_at;
        }
        return 0;
    }
    let (room, left, rest) = (FRAME_WINDOW as u64 - frames.filled, len - skip, frames.len - at);
    let piece = if left < room { left } else { room };
    let piece = if piece < rest { piece } else { rest };
    let piece = read::at_most(piece, 2 * FRAME_WINDOW as u64 - 1);
    let to = read::opaque(frames.filled) & (FRAME_WINDOW as u64 - 1);
    frames.filled += piece;
    let to = scratch.window().wrapping_add(to as usize);
    if read::user_bytes(to, piece as u32, base + skip) {
        return 0;
    }
    scratch.frames.filled -= piece;
    1
}
