//! Exchanges that are withheld because they are not sampled, where durations are measured all the same: the response
//! is followed from its head to its end as that of a sampled one is, but nothing is copied out, and one small event
//! tells how it went.
//!
//! Where the framing of the response is not clear (a head in several calls, bytes that were not seen), its end is the
//! last byte that moved before the next request began or the connection ended.

use spandrel_common::{
    event::{
        CLOSE_ERROR, CLOSE_GONE, CLOSE_LOCAL, CLOSE_OPAQUE, CLOSE_PEER, ROLE_CLIENT, WITHHELD_COMPLETE,
        WITHHELD_UNSEEN,
    },
    limits::HEAD_SCAN,
};

use super::{message::chunks, tell::spandrel_announce};
use crate::{
    conn::{BODY, CHUNKED, METHOD_HEAD, SHIP, START, State, TO_CLOSE, WITHHELD},
    decide, emit,
    head::{self, Framing, spandrel_head},
    read,
    scratch::{self, Scratch},
};

/// A request was withheld, whose head is in the scratch slot.
#[inline(always)]
pub fn begin<const TX: bool>(state: &mut State) {
    // One after the other, for the stack.
    if spandrel_withheld(state, u32::from(TX)) != 0 {
        spandrel_announce(state);
    }
}

/// See [`begin`]. Returns 1 if durations are wanted. A global function: what it needs of the stack is given back.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spandrel_withheld(state: *mut State, tx: u32) -> u32 {
    const HOST: u64 = u64::from_le_bytes(*b"host:\0\0\0");
    const LOWER: u64 = 0x20_2020_2020;
    const NAME: u64 = 0xff_ffff_ffff;
    let (Some(state), Some(scratch)) = (State::given(state), scratch::held()) else { return 0 };
    if !decide::is_measured() {
        return 0;
    }
    let bytes = scratch.view();
    let line = scratch.found.line;
    let event = &mut state.withheld;
    event.header.tgid = scratch.moved.ids.tgid;
    event.header.tid = scratch.moved.ids.tid;
    event.start_ns = scratch.moved.first_ns;
    event.status = 0;
    copy(&mut event.method, bytes.at(0));
    let end = line - 1 - u32::from(bytes.byte(line - 2) == b'\r');
    event.version = bytes.byte(end - 1);
    event.host[0] = 0;
    // Nearly all clients write it first, as RFC 9110 (section 7.2) asks them to.
    if tx != 0 && (bytes.word(line) | LOWER) & NAME == HOST {
        copy(&mut event.host, bytes.at(line + 5));
    }
    state.answer_at = scratch.moved.other;
    let flow = state.responses();
    flow.mode = START;
    flow.quiet = 1;
    read::swap(&raw mut state.measuring, 1);
    1
}

/// Copies as many bytes as there is room for; none, if they cannot be read.
#[inline(always)]
fn copy<const N: usize>(to: &mut [u8; N], from: *const u8) {
    if !read::copy(to.as_mut_ptr(), N as u32, from) {
        to[0] = 0;
    }
}

/// Takes what it understands of the sent bytes from `offset` on, which belong to the response, and returns how many
/// those were; 0 for all.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_withheld_tx(state: *mut State, offset: u64) -> u64 {
    match (State::given(state), scratch::held()) {
        (Some(state), Some(scratch)) => follow::<true>(state, offset, scratch),
        _ => 0,
    }
}

/// The same for received bytes.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_withheld_rx(state: *mut State, offset: u64) -> u64 {
    match (State::given(state), scratch::held()) {
        (Some(state), Some(scratch)) => follow::<false>(state, offset, scratch),
        _ => 0,
    }
}

#[inline(always)]
fn follow<const TX: bool>(state: &mut State, offset: u64, scratch: &mut Scratch) -> u64 {
    let (base, len, last_ns) = (scratch.moved.base, scratch.moved.len, scratch.moved.last_ns);
    let (at, rest) = (base + offset, len - offset);
    if at < state.answer_at {
        // The response before it, by a call that another CPU was late to tell of.
        let before = state.answer_at - at;
        return if before < rest { before } else { 0 };
    }
    let (own, _) = state.flows::<TX>();
    match own.mode {
        START => answer::<TX>(state, offset, scratch),
        BODY => {
            let left = own.until.wrapping_sub(at);
            if left > rest {
                return 0;
            }
            over(state, WITHHELD_COMPLETE, 0, last_ns);
            left
        }
        CHUNKED => {
            let done = chunks::<TX>(state, offset, scratch);
            let (own, _) = state.flows::<TX>();
            if own.mode == SHIP {
                own.mode = WITHHELD;
                return 0;
            }
            if own.mode == START {
                over(state, WITHHELD_COMPLETE, 0, last_ns);
            }
            done
        }
        SHIP => {
            own.mode = WITHHELD;
            0
        }
        _ => 0,
    }
}

/// The response begins at `offset`.
#[inline(always)]
fn answer<const TX: bool>(state: &mut State, offset: u64, scratch: &mut Scratch) -> u64 {
    let (at, rest) = (scratch.moved.base + offset, scratch.moved.len - offset);
    let last_ns = scratch.moved.last_ns;
    state.flows::<TX>().0.mode = WITHHELD;
    if scratch.moved.call.unseen != 0 {
        return 0;
    }
    let want = if rest < HEAD_SCAN as u64 { rest } else { HEAD_SCAN as u64 };
    let got = spandrel_head(offset, want);
    let bytes = scratch.view();
    if got < 12 || !head::is_response(bytes) {
        return 0;
    }
    let status = head::status(bytes);
    let end = u64::from(scratch.found.end);
    state.interim = u8::from(status < 200);
    if status < 200 {
        if end != 0 && status != 101 {
            state.flows::<TX>().0.mode = START;
        }
        return end;
    }
    if status < 1000 {
        state.withheld.status = status as u16;
    }
    if end == 0 {
        return 0;
    }
    state.answer_at = at + end;
    let empty = status == 204 || status == 304 || state.method == METHOD_HEAD;
    let framing = if empty { Framing::EMPTY } else { head::framing(&scratch.found) };
    let (own, _) = state.flows::<TX>();
    match framing {
        Framing::CHUNKED => {
            own.chunked(at + end);
            end
        }
        Framing::ABSENT => {
            own.mode = TO_CLOSE;
            0
        }
        Framing::UNCLEAR => 0,
        Framing(length) if end + length > rest => {
            own.mode = BODY;
            own.until = at + end + length;
            0
        }
        Framing(length) => {
            over(state, WITHHELD_COMPLETE, 0, last_ns);
            end + length
        }
    }
}

/// The next request begins.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_overtaken(state: *mut State) -> u32 {
    let Some(state) = State::given(state) else { return 0 };
    let end = if state.withheld.status == 0 { WITHHELD_UNSEEN } else { WITHHELD_COMPLETE };
    let last_ns = state.responses().last_ns;
    over(state, end, 0, last_ns);
    // It may go on: what belongs to it is withheld.
    state.responses().mode = WITHHELD;
    0
}

/// The connection ends, in one or both directions, by a `CLOSE_*`.
#[inline(always)]
pub fn closed(state: &mut State, reason: u8, errno: u32) {
    let client = state.role == ROLE_CLIENT;
    let answered = state.withheld.status != 0;
    let content_at = state.answer_at;
    let flow = state.responses();
    let last_ns = flow.last_ns;
    // The end of the connection is the end of the response.
    let delimits = match reason {
        CLOSE_PEER => client,
        CLOSE_LOCAL | CLOSE_GONE => !client,
        _ => false,
    };
    // Something came, and not even the status was to be seen.
    let unseen = reason == CLOSE_OPAQUE || matches!(flow.mode, WITHHELD | SHIP) && !answered;
    let complete = match flow.mode {
        TO_CLOSE => delimits,
        // Who has read the head and nothing of the content wanted no more.
        BODY | CHUNKED if client && reason == CLOSE_GONE && flow.pos == content_at => true,
        BODY => flow.pos >= flow.until,
        // Where it ends was not clear.
        WITHHELD | SHIP => reason != CLOSE_ERROR,
        _ => false,
    };
    if delimits || matches!(reason, CLOSE_GONE | CLOSE_ERROR | CLOSE_OPAQUE) {
        if unseen {
            over(state, WITHHELD_UNSEEN, 0, last_ns);
        } else if complete {
            over(state, WITHHELD_COMPLETE, 0, last_ns);
        } else {
            over(state, reason, errno, emit::now());
        }
    }
}

/// The exchange is over.
#[inline(always)]
fn over(state: &mut State, end: u8, errno: u32, end_ns: u64) {
    spandrel_over(state, u32::from(end), errno, end_ns);
}

/// See [`over`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spandrel_over(state: *mut State, end: u32, errno: u32, end_ns: u64) -> u32 {
    let Some(state) = State::given(state) else { return 0 };
    if read::swap(&raw mut state.measuring, 0) == 0 {
        return 0;
    }
    let flow = state.responses();
    flow.mode = START;
    flow.quiet = 0;
    flow.sent = flow.pos;
    state.withheld.conn = state.id;
    state.withheld.end = end as u8;
    state.withheld.errno = errno;
    state.withheld.end_ns = end_ns;
    emit::withheld(&mut state.withheld);
    0
}
