//! A head that comes in pieces: they are put together beside the connection, until the program has all of it. Before
//! that, nothing can have been caused by it.

use spandrel_common::{limits::HEAD_SCAN, stats::Counter};

use crate::{
    call::gather,
    causality::{self, spandrel_answered},
    conn::State,
    decide::{self, UNCLEAR},
    emit, head,
    maps::{self, HEADS},
    read,
    scratch::{self, Scratch},
};

/// What came of a head so far. A connection's requests are read by one hook at a time.
#[repr(C)]
pub struct Head {
    /// Twice the limit, for the verifier: a piece at any place inside the first half.
    bytes: [u8; 2 * HEAD_SCAN],
    len: u64,
    /// Position of the request.
    pos: u64,
}

static EMPTY: Head = Head { bytes: [0; 2 * HEAD_SCAN], len: 0, pos: 0 };

/// The first piece of the head at `pos` is in the scratch buffer.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_first_piece(state: *mut State, pos: u64, len: u64) -> u32 {
    let (Some(state), Some(scratch)) = (State::given(state), scratch::held()) else { return 0 };
    state.pieces = 0;
    if len >= HEAD_SCAN as u64 {
        return 0;
    }
    if HEADS.insert(state.id, &EMPTY, 0).is_err() {
        emit::count(Counter::CausalityFull);
        return 0;
    }
    let Some(head) = maps::head(state.id) else { return 0 };
    head.pos = pos;
    if append(head, scratch, len) {
        state.pieces = 1;
    }
    0
}

/// The call that is being looked at may bring the rest.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_next_piece(state: *mut State) -> u32 {
    let (Some(state), Some(scratch)) = (State::given(state), scratch::held()) else { return 0 };
    let Some(head) = maps::head(state.id) else { return 0 };
    let (len, room) = (scratch.moved.len, HEAD_SCAN as u64 - 1);
    let want = if len < room { len } else { room };
    let call = scratch.moved.call;
    let got = if call.unseen == 0 { gather(call.address, call.vectors, 0, want) } else { 0 };
    if got < want || !append(head, scratch, got) {
        forget(state);
        return 0;
    }
    let total = read::at_most(head.len, HEAD_SCAN as u64 - 1);
    if !read::copy(scratch.room(), total as u32, (&raw const head.bytes).cast()) {
        return 0;
    }
    head::spandrel_search(total);
    if scratch.found.end == 0 {
        return 0;
    }
    let pos = head.pos;
    forget(state);
    if scratch.found.odd == 0 {
        spandrel_answered(state);
        let kept = decide::decide(state, pos, scratch);
        if kept != UNCLEAR {
            causality::inbound(state, pos, kept, scratch);
        }
    }
    0
}

/// Puts the first `len` bytes of the scratch buffer behind what is there. False if there is no room.
#[inline(always)]
fn append(head: &mut Head, scratch: &Scratch, len: u64) -> bool {
    let at = head.len;
    if at + len >= HEAD_SCAN as u64 {
        return false;
    }
    let at = read::opaque(at) & (HEAD_SCAN as u64 - 1);
    let len = read::at_most(len, HEAD_SCAN as u64 - 1);
    let to = (&raw mut head.bytes).cast::<u8>().wrapping_add(at as usize);
    head.len = at + len;
    // Place and length are both below half of the room.
    read::copy(to, len as u32, (&raw const scratch.bytes).cast())
}

/// Nothing more is awaited.
#[inline(always)]
pub fn forget(state: &mut State) {
    state.pieces = 0;
    // One that is not there is the wished-for state, too.
    let _ = HEADS.remove(state.id);
}
