//! Kafka: from message to message by their sizes, however calls cut them ([`spandrel_common::kafka`]).
//!
//! A connection is followed from its client's end: a request's header is what it is recognised by, and userspace, which
//! looks at the response, too, has the last word. A broker's end is left alone: `sendfile` shows nothing of what it sends,
//! and what its client's end tells is the same.

use spandrel_common::{
    event::{DECISION_OPEN, DIR_RX, DIR_TX, PROTOCOL_KAFKA, ROLE_CLIENT},
    kafka::{FIXED, LARGEST, SIZE, is_request},
    limits::{ANNOUNCE_EVERY_NS, MESSAGE_CAPTURE, MESSAGES},
    stats::Counter,
};

use super::tell::{TELL_CONN, TELL_REQUEST, spandrel_tell};
use crate::{
    call::gather,
    conn::{Flow, IGNORED, KAFKA, SIZED, State},
    emit, read,
    scratch::{self, Bytes, Scratch},
};

/// Of a step: go on.
const GO: u32 = 0;
/// The call is over, or nobody knows where the next message begins.
const STOP: u32 = 1;

/// Whether the first `len` bytes of the buffer begin a request.
#[inline(always)]
pub fn begins(bytes: Bytes, len: u64) -> bool {
    len >= FIXED && is_request(bytes.word(0), bytes.word(8))
}

/// The connection speaks Kafka from here on; the next byte of each direction is a message's first. `base` is the position
/// of the one that was sent.
#[inline(always)]
pub fn begin(state: &mut State, base: u64) {
    state.phase = KAFKA;
    state.role = ROLE_CLIENT;
    state.announced = 0;
    follow(&mut state.tx, base);
    let pos = state.rx.pos;
    follow(&mut state.rx, pos);
}

#[inline(always)]
fn follow(flow: &mut Flow, from: u64) {
    flow.mode = SIZED;
    flow.until = from;
    flow.sent = from;
    flow.shipped = 0;
    flow.chunk_phase = 0;
    flow.chunk_size = 0;
    flow.held = 0;
}

/// Follows the bytes that one call moved (sent, if `tx` is not 0), from an offset on.
///
/// A global function: the verifier checks it once, whoever calls it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_kafka(state: *mut State, tx: u32, from: u64) -> u32 {
    let (Some(state), Some(scratch)) = (State::given(state), scratch::held()) else { return 0 };
    scratch.frames.at = from;
    let given = core::ptr::from_mut(state);
    read::repeat(MESSAGES, |_| spandrel_kafka_step(given, tx));
    if scratch.frames.at < scratch.moved.len {
        state.phase = IGNORED;
        scratch.moved.left = 1;
        emit::count(Counter::MessagesLost);
    }
    0
}

/// One step of the walk: the rest of a message, a message from its size on, or part of a size that was cut.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spandrel_kafka_step(state: *mut State, tx: u32) -> u32 {
    let (Some(state), Some(scratch)) = (State::given(state), scratch::held()) else { return STOP };
    let own = if tx != 0 { &mut state.tx } else { &mut state.rx };
    let (at, len) = (scratch.frames.at, scratch.moved.len);
    if at >= len || own.mode != SIZED {
        return STOP;
    }
    let (pos, rest) = (scratch.moved.base + at, len - at);
    let mut what = 0;
    if own.until <= pos {
        if size(own, scratch, at, pos, rest) == 0 {
            return STOP;
        }
        if tx != 0 && own.shipped == 0 {
            what = TELL_REQUEST;
        }
    }
    let left = own.until - pos;
    part(state, scratch, tx, if left < rest { left } else { rest }, what)
}

/// Reads a message's size, or as much of it as there is, and finds where it ends. Returns 0 if there is none.
#[inline(always)]
fn size(own: &mut Flow, scratch: &Scratch, at: u64, pos: u64, rest: u64) -> u32 {
    let have = u64::from(own.chunk_phase) & 3;
    let want = if SIZE - have < rest { SIZE - have } else { rest };
    let call = scratch.moved.call;
    if call.unseen != 0 || gather(call.address, call.vectors, at, want) != want {
        return 0;
    }
    let mut size = own.chunk_size;
    let bytes = scratch.view();
    for index in 0..SIZE as u32 {
        if u64::from(index) < want {
            size = size << 8 | u64::from(bytes.byte(index));
        }
    }
    own.shipped = have as u32;
    if have + want < SIZE {
        own.chunk_size = size;
        own.chunk_phase = (have + want) as u8;
        own.until = pos + want;
        return 1;
    }
    own.chunk_size = 0;
    own.chunk_phase = 0;
    own.until = pos + want + size;
    u32::from(size <= LARGEST)
}

/// Tells the next `some` bytes, which belong to one message, as far as they are told.
#[inline(always)]
fn part(state: &mut State, scratch: &mut Scratch, tx: u32, some: u64, what: u32) -> u32 {
    let own = if tx != 0 { &mut state.tx } else { &mut state.rx };
    let at = scratch.frames.at;
    let end = scratch.moved.base + at + some;
    let shown = u64::from(own.shipped);
    let room = if shown < MESSAGE_CAPTURE { MESSAGE_CAPTURE - shown } else { 0 };
    let want = if some < room { some } else { room };
    let call = scratch.moved.call;
    let mut captured = 0;
    if want > 0 && call.unseen == 0 {
        captured = gather(call.address, call.vectors, at, want);
    }
    // What is missing in between cannot be told from what comes behind.
    own.shipped = if captured < want { MESSAGE_CAPTURE as u32 } else { (shown + captured) as u32 };
    scratch.frames.at = at + some;
    if captured == 0 && end < own.until {
        return GO;
    }
    let pos = own.sent;
    own.sent = end;
    let moved = &scratch.moved;
    let data = &mut scratch.data;
    let none = read::opaque(0);
    data.conn = state.id;
    data.pos = pos;
    data.len = end - pos;
    data.first_ns = moved.first_ns;
    data.last_ns = moved.last_ns;
    data.flags = none as u16;
    data.dir = if tx != 0 { DIR_TX } else { DIR_RX };
    data.role = state.role;
    data.decision = DECISION_OPEN;
    data.unseen = none as u8;
    data.orphans = none as u8;
    data.reserved = none as u8;
    data.wait_ns = none;
    data.framing = none;
    data.other = moved.other;
    data.cause.trace_id = u128::from(none).to_ne_bytes();
    data.cause.parent_id = none.to_ne_bytes();
    data.cause.flags = none as u8;
    data.cause.rule = none as u8;
    let now = moved.now;
    let mut what = what;
    if state.announced == 0 || now - state.announced_ns > ANNOUNCE_EVERY_NS {
        scratch.seed = state.seed;
        scratch.transport = u64::from(state.transport);
        scratch.protocol = u64::from(PROTOCOL_KAFKA);
        what |= TELL_CONN;
    }
    if spandrel_tell(captured, what) != 0 {
        state.announced = 1;
        if what & TELL_CONN != 0 {
            state.announced_ns = now;
        }
    }
    GO
}
