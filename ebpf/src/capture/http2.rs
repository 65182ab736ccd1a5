//! HTTP/2 (RFC 9113): from frame header to frame header, however calls cut them, and what of each frame is told
//! ([`spandrel_common::http2`]). A frame that nobody needs costs a look at its header, however long it is.
//!
//! A connection is recognised by the preface of either end, or, if the agent came later, by several frames in a row of
//! which every byte is as RFC 9113 wants it, among them header fields that tell which end is the client. In the same way
//! a direction is found again whose place was lost because bytes were not seen.
//!
//! Both directions may move at once, and the hook of a send may run behind that of the receive of its answer. So each
//! hook writes its own direction's [`Flow`] only, and either end's preface will do.
//!
//! What a call moved is looked at through a window that is copied from the program's memory; what is told is gathered
//! in front of it. The walk knows nothing of streams but which one is the newest, to count what gets lost.
//!
//! This file begins and ends the walk of a call; [`walk`] takes its steps; [`window`] is what it looks through.

mod walk;
mod window;

use spandrel_common::{
    event::{
        DATA_CROSSED, DATA_START, DECISION_OPEN, DIR_RX, DIR_TX, PROTOCOL_HTTP2, ROLE_CLIENT, ROLE_SERVER,
    },
    http2::{FRAME_HEADER, PREFACE, SETTINGS, plausible, strict},
    limits::{ANNOUNCE_EVERY_NS, FRAME_STEPS},
    stats::Counter,
};

use self::walk::{STRIDE, spandrel_stride};
use super::tell::{TELL_CONN, TELL_MORE, TELL_REQUEST, spandrel_tell};
use crate::{
    causality,
    conn::{Ahead, FRAMES, Flow, HTTP2, IGNORED, METHOD_OTHER, MIDWAY, SEEK, START, State},
    emit, head,
    kernel::sock::Sock,
    read,
    scratch::{self, Moved, Scratch},
};

/// The walk through the frames of one call. In memory for the reason that [`scratch::Found`] is. Places count from the
/// call's start.
#[repr(C)]
pub struct Frames {
    /// Next byte to look at.
    pub(super) at: u64,
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
    /// The one in which it begins.
    first: u64,
    first_at: u64,
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

/// Of [`Frames::says`]: it carries requests.
const REQUESTS: u32 = 1;
/// It carries responses.
const RESPONSES: u32 = 2;
/// Where that is kept beside the number of frames in [`Flow::evidence`].
const SAYS: u32 = 6;

/// Of a step: go on.
const GO: u32 = 0;
/// The call is over.
const STOP: u32 = 1;
/// What was gathered has to be told first.
const FULL: u32 = 2;
/// The window has to be filled first.
const BLIND: u32 = 3;
/// A header is cut here.
const CUT: u32 = 4;

/// The connection speaks HTTP/2: the client's preface begins at the position `base` of a direction (what is sent, if `tx`
/// is not 0).
///
/// A global function, as the next ones are, for the stack of those that call it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_preface(state: *mut State, tx: u32, base: u64) -> u32 {
    let (Some(state), Some(scratch)) = (State::given(state), scratch::held()) else { return 0 };
    leave_held(&mut scratch.moved);
    begin(state, tx, tx != 0, base + PREFACE.len() as u64, scratch);
    0
}

/// Frames are walked through in what the call itself moved.
#[inline(always)]
fn leave_held(moved: &mut Moved) {
    if moved.held != 0 {
        moved.held = 0;
        moved.base += 1;
        moved.len -= 1;
    }
}

/// The bytes in the buffer are the first that a connection ever carried in a direction. If they are the server's preface, a
/// SETTINGS frame (RFC 9113, section 3.4), it speaks HTTP/2; then this returns 1.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_server_preface(state: *mut State, tx: u32, len: u64) -> u32 {
    let (Some(state), Some(scratch)) = (State::given(state), scratch::held()) else { return 0 };
    let bytes = scratch.view();
    let (header, last) = (bytes.word(0), bytes.byte(8));
    let (kind, flags, size) = ((header >> 24) as u8, (header >> 32) as u8, (header as u32).swap_bytes() >> 8);
    let settings = kind == SETTINGS && flags == 0 && header >> 40 == 0 && last == 0;
    if len < FRAME_HEADER as u64 || !settings || !(plausible(kind, size, 0) && strict(kind, flags, size)) {
        return 0;
    }
    let base = scratch.moved.base;
    if tx == 0 && scratch.moved.ahead != 0 {
        // The client's was sent by a call whose hook is still to run. Its number was taken from behind it.
        state.tx.seq_known = 0;
        state.ahead = Ahead { pos: 1, other: 0, time_ns: scratch.moved.now - 1 };
    }
    begin(state, tx, tx == 0, base, scratch);
    1
}

/// The connection speaks HTTP/2 from its first byte. In the direction that is looked at, a frame begins at a position.
#[inline(always)]
fn begin(state: &mut State, tx: u32, client: bool, from: u64, scratch: &Scratch) {
    state.role = if client { ROLE_CLIENT } else { ROLE_SERVER };
    state.method = METHOD_OTHER;
    follow(if tx != 0 { &mut state.tx } else { &mut state.rx }, from);
    state.phase = HTTP2;
    if !client {
        // To which of its streams an outbound request belongs, no rule of causality can tell.
        causality::opaque(Sock(scratch.sk), scratch.moved.ids);
    }
}

/// The preface begins at `offset` of a call, with a byte that was held, if the connection has carried nothing yet.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_held_preface(state: *mut State, tx: u32, offset: u64) -> u32 {
    let (Some(state), Some(scratch)) = (State::given(state), scratch::held()) else { return 0 };
    if state.announced != 0 {
        return 0;
    }
    let base = scratch.moved.base + offset;
    let other = if tx != 0 { &mut state.rx } else { &mut state.tx };
    if other.mode != FRAMES {
        other.mode = START;
        other.evidence = 0;
        other.chunk_phase = 0;
    }
    spandrel_preface(state, tx, base);
    1
}

/// A response was told that is an HTTP/1 connection's last: it agrees to something else. If that is HTTP/2, the one that
/// was asked for comes as the first stream's.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_tunnel(state: *mut State, tx: u32) -> u32 {
    let (Some(state), Some(scratch)) = (State::given(state), scratch::held()) else { return 0 };
    if head::status(scratch.view()) != SWITCHING || !head::upgrades_to_http2(scratch) {
        state.phase = IGNORED;
        return 0;
    }
    state.interim = 0;
    state.method = METHOD_OTHER;
    let (own, other) = if tx != 0 { (&mut state.tx, &mut state.rx) } else { (&mut state.rx, &mut state.tx) };
    let (until, pos) = (own.sent, other.pos);
    follow(own, until);
    follow(other, pos);
    state.announced = 0;
    state.phase = HTTP2;
    0
}

/// The status code that agrees to an upgrade.
const SWITCHING: u32 = 101;

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

/// The first bytes of a direction since the other one has told that the connection speaks HTTP/2. Frames that were only
/// counted until then have been walked through: the next one begins where that ended.
#[inline(always)]
fn joins(flow: &mut Flow, method: u8, from: u64) {
    let (until, cut, evidence) = (flow.until, flow.chunk_phase, flow.evidence);
    let walked = flow.walks() && until >= from;
    if method == MIDWAY {
        flow.mode = SEEK;
        flow.fresh = 0;
        return;
    }
    let (size, held_ns) = (flow.chunk_size, flow.held_ns);
    follow(flow, from);
    if walked {
        flow.until = until;
        flow.chunk_phase = cut;
        flow.chunk_size = size;
        flow.held_ns = held_ns;
        flow.sent = from.wrapping_sub(u64::from(cut));
        // Header fields among them were not told.
        flow.fresh = u8::from(evidence >> SAYS == 0);
    }
}

/// Follows the bytes that one call moved (sent, if `tx` is not 0), from a place in it on. On a connection that is not known
/// to speak HTTP/2, it looks for evidence, and the connection's phase says whether that was found.
///
/// A global function: the verifier checks it once, whoever calls it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_frames(state: *mut State, tx: u32, from: u64) -> u32 {
    spandrel_frames_start(state, tx, from);
    // Two loops, one in the other: the verifier walks through both turn by turn.
    read::repeat(FRAME_STEPS / STRIDE, |_| {
        let end = spandrel_stride();
        if end != FULL {
            return end;
        }
        spandrel_tell_frames(state, tx);
        GO
    });
    spandrel_frames_end(state, tx)
}

/// Where the walk stands at the beginning of a call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spandrel_frames_start(state: *mut State, tx: u32, from: u64) -> u32 {
    let (Some(state), Some(scratch)) = (State::given(state), scratch::held()) else { return 0 };
    let own = if tx != 0 { &mut state.tx } else { &mut state.rx };
    if scratch.moved.held != 0 {
        // It was no request's: nothing that is told begins with it.
        scratch.moved.first_ns = scratch.moved.last_ns;
        leave_held(&mut scratch.moved);
    }
    let base = scratch.moved.base;
    let known = state.phase == HTTP2;
    if known && own.mode == START {
        joins(own, state.method, base + from);
    }
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
    frames.first = none;
    frames.first_at = none;
    frames.out = none;
    frames.rest = none;
    frames.header[0] = own.chunk_size;
    frames.have = u32::from(own.chunk_phase);
    frames.ship = u32::from(own.quiet == 0);
    frames.begun = none as u32;
    frames.newest = own.shipped;
    frames.requests = none as u32;
    frames.lost = 1;
    frames.known = u64::from(known);
    frames.seeks = u32::from(!known || own.mode != FRAMES);
    frames.evidence = none as u32;
    frames.says = none as u32;
    frames.found = none as u32;
    if frames.seeks != 0 {
        frames.ship = none as u32;
        // Of another protocol, so far, only these fields are used.
        let goes_on = own.walks() && own.until >= base && (!known || own.mode == SEEK);
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
    0
}

/// Keeps what the next call has to know, and tells what was gathered.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spandrel_frames_end(state: *mut State, tx: u32) -> u32 {
    let (Some(state), Some(scratch)) = (State::given(state), scratch::held()) else { return 0 };
    if scratch.frames.found != 0 {
        found(state, tx, scratch);
    }
    if scratch.frames.out != 0 {
        spandrel_tell_frames(state, tx);
    }
    let own = if tx != 0 { &mut state.tx } else { &mut state.rx };
    let frames = &scratch.frames;
    if frames.lost != 0 {
        if frames.seeks == 0 {
            emit::count(Counter::FramesLost);
        }
        own.until = scratch.moved.base + frames.len;
        own.evidence = 0;
        own.chunk_phase = 0;
        if frames.known != 0 {
            own.mode = SEEK;
            own.quiet = 1;
        }
        return 0;
    }
    own.evidence = (frames.evidence | frames.says << SAYS) as u8;
    own.until = scratch.moved.base + frames.at + frames.left;
    own.chunk_size = frames.header[0];
    own.chunk_phase = frames.have as u8;
    if frames.known != 0 {
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
    let known = frames.known != 0;
    frames.known = 1;
    let own = if tx != 0 { &mut state.tx } else { &mut state.rx };
    own.sent = scratch.moved.base.wrapping_add(frames.from);
    own.fresh = 0;
    if known || state.phase == HTTP2 {
        return;
    }
    state.role = if client { ROLE_CLIENT } else { ROLE_SERVER };
    state.method = MIDWAY;
    state.phase = HTTP2;
    if !client {
        causality::opaque(Sock(scratch.sk), scratch.moved.ids);
    }
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
    if tx == 0 && moved.crossed != 0 {
        data.flags |= DATA_CROSSED;
    }
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
