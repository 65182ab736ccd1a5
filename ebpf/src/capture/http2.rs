//! HTTP/2 (RFC 9113): from frame header to frame header, however calls cut them, and what of each frame is told
//! ([`spandrel_common::http2`]). A frame that nobody needs costs a look at its header, however long it is.
//!
//! A connection is recognised by its preface, or, if the agent came later, by several frames in a row of which every
//! byte is as RFC 9113 wants it, among them header fields that tell which end is the client. In the same way a direction
//! is found again whose place was lost because bytes were not seen.
//!
//! What a call moved is looked at through a window that is copied from the program's memory; what is told is gathered
//! in front of it. The walk knows nothing of streams but which one is the newest, to count what gets lost.

use spandrel_common::{
    event::{DATA_START, DECISION_OPEN, DIR_RX, DIR_TX, PROTOCOL_HTTP2, ROLE_CLIENT, ROLE_SERVER},
    http2::{
        FRAME_HEADER, HEADERS, PADDED, PREFACE, PRIORITISED, PRIORITY_FIELDS, Told, plausible, strict, told,
    },
    limits::{ANNOUNCE_EVERY_NS, FRAME_STEPS, FRAME_WINDOW, HEAD_CAPTURE, IOVECS},
    stats::Counter,
};

use super::tell::{TELL_CONN, TELL_MORE, TELL_REQUEST, spandrel_tell};
use crate::{
    causality,
    conn::{FRAMES, Flow, HTTP2, SEEK, State},
    emit,
    kernel::sock::Sock,
    read,
    scratch::{self, Scratch},
};

/// The walk through the frames of one call. In memory for the reason that [`scratch::Found`] is. Places count from the
/// call's start.
#[repr(C)]
pub struct Frames {
    /// Next byte to look at.
    at: u64,
    /// Bytes of the call.
    len: u64,
    /// Bytes of the current frame's payload from `at` on.
    left: u64,
    /// Place of the window, and bytes in it.
    window: u64,
    filled: u64,
    /// The vector in which the window ends: its number and its place.
    vector: u64,
    vector_at: u64,
    /// Bytes that are to be told.
    out: u64,
    /// Of them, the rest of a frame that an earlier event began.
    rest: u64,
    /// A frame header that has come in part.
    header: [u64; 2],
    /// Bytes of it.
    have: u32,
    /// The current frame's payload is told.
    ship: u32,
    /// A frame begins in what is to be told.
    begun: u32,
    /// The newest stream that this direction has opened.
    newest: u32,
    /// Requests that begin in what is to be told.
    requests: u32,
    /// The end of the call was not reached: nobody knows where the next frame begins.
    lost: u32,
    /// Frames are only counted, as evidence: so many came in a row.
    seeks: u32,
    evidence: u32,
    /// Whose messages this direction carries: see [`REQUESTS`].
    says: u32,
    /// With `found`: the place of the first frame that is more than evidence.
    found: u32,
    from: u64,
    /// The connection is known to speak HTTP/2.
    known: u64,
}

impl Frames {
    /// The walk's place in the window.
    #[inline(always)]
    fn place(&self) -> u32 {
        (self.at - self.window) as u32 & (FRAME_WINDOW as u32 - 1)
    }
}

/// Of [`Frames::says`]: it carries requests.
const REQUESTS: u32 = 1;
/// It carries responses.
const RESPONSES: u32 = 2;
/// Where that is kept beside the number of frames in [`Flow::evidence`].
const SAYS: u32 = 6;

/// Frames in a row that prove a direction's place, on a connection that is not known, and on one that is. One frame
/// header that is right by chance, in random bytes, is one of some ten millions.
const PROVEN: u32 = 3;
const PROVEN_AGAIN: u32 = 2;

/// Of a step: go on.
const GO: u32 = 0;
/// The call is over.
const STOP: u32 = 1;
/// What was gathered has to be told first.
const FULL: u32 = 2;

/// Bytes that one event tells. A frame header more would not go beyond what the verifier is told by a mask.
const ROOM: u64 = HEAD_CAPTURE as u64 - 16;

/// What comes behind the bytes of a preface that fill a frame header.
const PREFACE_REST: u64 = 15;

/// The connection speaks HTTP/2: its preface begins at the position `base` of the direction that `TX` names. The next byte of
/// the other one is a frame's first.
#[inline(always)]
pub fn begin<const TX: bool>(state: &mut State, base: u64, scratch: &Scratch) {
    state.phase = HTTP2;
    state.role = if TX { ROLE_CLIENT } else { ROLE_SERVER };
    state.announced = 0;
    let (own, other) = state.flows::<TX>();
    follow(own, base + PREFACE.len() as u64);
    let pos = other.pos;
    follow(other, pos);
    if !TX {
        // To which of its streams an outbound request belongs, no rule of causality can tell.
        causality::opaque(Sock(scratch.sk), scratch.moved.ids);
    }
}

/// The connection speaks HTTP/2 behind a response that ends at the position `until` of the direction that `TX` names.
/// That response was the answer to an upgrade; the one that was asked for comes as the first stream's.
#[inline(always)]
pub fn turn<const TX: bool>(state: &mut State, until: u64) {
    state.phase = HTTP2;
    state.announced = 0;
    state.interim = 0;
    let (own, other) = state.flows::<TX>();
    follow(own, until);
    let pos = other.pos;
    follow(other, pos);
}

#[inline(always)]
fn follow(flow: &mut Flow, from: u64) {
    flow.mode = FRAMES;
    flow.until = from;
    flow.sent = from;
    flow.shipped = 0;
    flow.quiet = 1;
    flow.chunk_phase = 0;
    flow.chunk_size = 0;
    flow.held = 0;
    flow.fresh = 1;
}

/// Follows the bytes that one call moved (sent, if `tx` is not 0), from a place in it on. On a connection that is not known to speak HTTP/2, it
/// looks for evidence, and the connection's phase says whether that was found.
///
/// A global function: the verifier checks it once, whoever calls it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_frames(state: *mut State, tx: u32, from: u64) -> u32 {
    let (Some(state), Some(scratch)) = (State::given(state), scratch::held()) else { return 0 };
    let own = if tx != 0 { &mut state.tx } else { &mut state.rx };
    let base = scratch.moved.base;
    let frames = &mut scratch.frames;
    // A number that the compiler does not know: it would make one call of many zeros, to a loop over bytes.
    let none = read::opaque(0);
    frames.at = from;
    frames.len = scratch.moved.len;
    frames.left = own.until.saturating_sub(base + from);
    frames.window = none;
    frames.filled = none;
    frames.vector = none;
    frames.vector_at = none;
    frames.out = none;
    frames.rest = none;
    frames.header[0] = own.chunk_size;
    frames.have = u32::from(own.chunk_phase);
    frames.ship = u32::from(own.quiet == 0);
    frames.begun = none as u32;
    frames.newest = own.shipped;
    frames.requests = none as u32;
    frames.lost = 1;
    let known = state.phase == HTTP2;
    frames.known = u64::from(known);
    frames.seeks = u32::from(!known || own.mode != FRAMES);
    frames.evidence = none as u32;
    frames.says = none as u32;
    frames.found = none as u32;
    if frames.seeks != 0 {
        frames.ship = none as u32;
        // Of another protocol, so far, only these fields are used.
        let goes_on = own.evidence != 0 && own.until >= base && (!known || own.mode == SEEK);
        if goes_on {
            frames.evidence = u32::from(own.evidence) & ((1 << SAYS) - 1);
            frames.says = u32::from(own.evidence) >> SAYS;
        } else {
            frames.left = none;
            frames.have = none as u32;
        }
    }
    if known {
        frames.says = if scratch.moved.request != 0 { REQUESTS } else { RESPONSES };
    }
    if frames.have != 0 {
        scratch.moved.first_ns = own.held_ns;
    } else {
        own.held_ns = scratch.moved.first_ns;
    }
    let given = core::ptr::from_mut(state);
    // Two loops, one in the other: the verifier walks through both turn by turn.
    read::repeat(FRAME_STEPS / STRIDE, |_| {
        let end = spandrel_stride();
        if end != FULL {
            return end;
        }
        spandrel_tell_frames(given, tx);
        GO
    });
    finish(state, tx, scratch)
}

/// Keeps what the next call has to know, and tells what was gathered.
#[inline(always)]
fn finish(state: &mut State, tx: u32, scratch: &mut Scratch) -> u32 {
    if scratch.frames.found != 0 {
        found(state, tx, scratch);
    }
    if scratch.frames.out != 0 {
        spandrel_tell_frames(state, tx);
    }
    let known = state.phase == HTTP2;
    let own = if tx != 0 { &mut state.tx } else { &mut state.rx };
    let frames = &scratch.frames;
    if frames.lost != 0 {
        if frames.seeks == 0 {
            emit::count(Counter::FramesLost);
        }
        own.until = scratch.moved.base + frames.len;
        own.evidence = 0;
        own.chunk_phase = 0;
        if known {
            own.mode = SEEK;
            own.quiet = 1;
        }
        return 0;
    }
    own.evidence = (frames.evidence | frames.says << SAYS) as u8;
    own.until = scratch.moved.base + frames.at + frames.left;
    own.chunk_size = frames.header[0];
    own.chunk_phase = frames.have as u8;
    if known {
        own.mode = if frames.seeks != 0 { SEEK } else { FRAMES };
        own.quiet = u8::from(frames.ship == 0);
        own.shipped = frames.newest;
    }
    0
}

/// There is evidence enough: from here on, frames are told.
#[inline(always)]
fn found(state: &mut State, tx: u32, scratch: &mut Scratch) {
    let frames = &mut scratch.frames;
    frames.found = 0;
    let client = (tx != 0) == (frames.says == REQUESTS);
    let known = state.phase == HTTP2;
    let (own, other) = if tx != 0 { (&mut state.tx, &mut state.rx) } else { (&mut state.rx, &mut state.tx) };
    own.sent = scratch.moved.base.wrapping_add(frames.from);
    own.fresh = 0;
    if known {
        return;
    }
    other.fresh = 0;
    other.mode = SEEK;
    state.phase = HTTP2;
    state.role = if client { ROLE_CLIENT } else { ROLE_SERVER };
    state.announced = 0;
    if !client {
        causality::opaque(Sock(scratch.sk), scratch.moved.ids);
    }
}

/// Steps that are taken in one turn.
const STRIDE: u32 = 64;

/// Takes some steps. Returns what the last one said.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spandrel_stride() -> u32 {
    for _ in 0..STRIDE {
        let end = spandrel_frame();
        if end != GO {
            return end;
        }
    }
    GO
}

/// One step of the walk: a frame's header and what the window has of its payload, or more of a payload, or a byte of a
/// header that was cut.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spandrel_frame() -> u32 {
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
    if (short || frames.at < frames.window) && spandrel_window_of_frames() == 0 {
        return STOP;
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
    piece(scratch)
}

/// Takes one byte of a header that was cut.
#[inline(always)]
fn piece(scratch: &mut Scratch) -> u32 {
    let byte = scratch.window_view().byte(scratch.frames.place());
    let frames = &mut scratch.frames;
    frames.at += 1;
    frames.have += 1;
    if frames.have < FRAME_HEADER as u32 {
        let before = if frames.have == 1 { 0 } else { frames.header[0] };
        frames.header[0] = before | u64::from(byte) << (8 * (frames.have - 1) & 63);
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

/// Fills the window from the walk's place on. Returns how many bytes are in it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spandrel_window_of_frames() -> u64 {
    let Some(scratch) = scratch::held() else { return 0 };
    let call = scratch.moved.call;
    let frames = &mut scratch.frames;
    frames.window = frames.at;
    frames.filled = 0;
    if call.unseen != 0 {
        return 0;
    }
    if call.vectors > 0 {
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

/// Fills the window further from one vector. The next window begins where this one ends, so that every vector is passed
/// once. Returns 1 to end.
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

/// Tells what was gathered: everything up to the walk's place.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spandrel_tell_frames(state: *mut State, tx: u32) -> u32 {
    let (Some(state), Some(scratch)) = (State::given(state), scratch::held()) else { return 0 };
    if scratch.frames.found != 0 {
        found(state, tx, scratch);
    }
    let moved = &scratch.moved;
    let frames = &mut scratch.frames;
    let own = if tx != 0 { &mut state.tx } else { &mut state.rx };
    let data = &mut scratch.data;
    let none = read::opaque(0);
    data.conn = state.id;
    data.pos = own.sent;
    // A header that has come in part is told with the event that has all of it.
    own.sent = moved.base + frames.at - u64::from(frames.have);
    data.len = own.sent - data.pos;
    data.first_ns = moved.first_ns;
    data.last_ns = moved.last_ns;
    data.flags = if own.fresh != 0 { DATA_START } else { 0 };
    own.fresh = 0;
    data.dir = if tx != 0 { DIR_TX } else { DIR_RX };
    data.role = state.role;
    data.decision = DECISION_OPEN;
    data.unseen = none as u8;
    data.orphans = none as u8;
    data.reserved = none as u8;
    data.wait_ns = if frames.says == REQUESTS { moved.wait_ns } else { 0 };
    data.framing = if frames.begun != 0 { frames.rest } else { frames.out };
    data.other = moved.other;
    data.cause.trace_id = u128::from(none).to_ne_bytes();
    data.cause.parent_id = none.to_ne_bytes();
    data.cause.flags = none as u8;
    data.cause.rule = none as u8;
    let captured = frames.out;
    let mut what = if frames.requests == 0 { 0 } else { TELL_REQUEST | (frames.requests - 1) << TELL_MORE };
    frames.out = 0;
    frames.begun = 0;
    frames.requests = 0;
    if state.announced == 0 || moved.now - state.announced_ns > ANNOUNCE_EVERY_NS {
        scratch.seed = state.seed;
        scratch.transport = u64::from(state.transport);
        scratch.protocol = u64::from(PROTOCOL_HTTP2);
        what |= TELL_CONN;
    }
    let now = scratch.moved.now;
    if spandrel_tell(captured, what) != 0 {
        state.announced = 1;
        if what & TELL_CONN != 0 {
            state.announced_ns = now;
        }
    }
    0
}
