//! The `tracestate` of an inbound request, kept for the requests that it causes.

use spandrel_common::{
    context::Context,
    limits::HEAD_SCAN,
    stats::Counter,
    w3c::members::{Members, STATE_LEN},
};

use crate::{
    conn::State,
    emit,
    maps::{self, TRACESTATES},
    read,
    scratch::{self, STATES},
};

/// Of one request. A connection's head is read by one hook at a time.
#[repr(C)]
pub struct Tracestate {
    /// The members, checked and joined: see [`Members`].
    pub bytes: [u8; STATE_LEN],
    /// How many bytes that are, more than 0.
    pub len: u32,
    /// Next byte of the head to look at.
    place: u32,
    members: Members,
}

static EMPTY: Tracestate = Tracestate { bytes: [0; STATE_LEN], len: 0, place: 0, members: Members::EMPTY };

/// What goes along with a request of this context, if anything does.
#[inline(always)]
pub fn of(context: &Context) -> Option<&'static Tracestate> {
    if context.state == 0 {
        return None;
    }
    let state = maps::tracestate(context.state)?;
    (state.len > 0 && state.len <= STATE_LEN as u32).then_some(&*state)
}

/// Keeps the `tracestate` of the request whose head is in the scratch buffer, and whose context is in `state`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_tracestate(state: *mut State) -> u32 {
    let (Some(state), Some(scratch)) = (State::given(state), scratch::held()) else { return 0 };
    if TRACESTATES.insert(state.id, &EMPTY, 0).is_err() {
        emit::count(Counter::TracestatesFull);
        return 0;
    }
    if scratch.found.states > STATES as u32 {
        emit::count(Counter::TracestatesFull);
        return 0;
    }
    for index in 0..STATES as u32 {
        if index < scratch.found.states {
            let Some(kept) = maps::tracestate(state.id) else { return 0 };
            kept.place = scratch.found.state[index as usize & (STATES - 1)];
            spandrel_members(state.id);
        }
    }
    let Some(kept) = maps::tracestate(state.id) else { return 0 };
    let len = u32::from(kept.members.len());
    kept.len = len;
    state.context.state = if len > 0 { state.id } else { 0 };
    0
}

/// Takes one header of the connection `id`, from [`Tracestate::place`] to the end of the line.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spandrel_members(id: u64) -> u32 {
    read::repeat(HEAD_SCAN as u32, |_| spandrel_member(id));
    0
}

/// Takes one byte. Returns 1 at the end of the line.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spandrel_member(id: u64) -> u32 {
    let Some(scratch) = scratch::held() else { return 1 };
    let Some(kept) = maps::tracestate(id) else { return 1 };
    let byte = scratch.view().byte(kept.place);
    let last = byte == b'\r' || byte == b'\n';
    // The end of a header ends a member, too.
    let byte = if last { b',' } else { byte };
    kept.place += 1;
    let bytes = &mut kept.bytes;
    kept.members.push(byte, &mut |at, byte| read::put(bytes, u64::from(at), byte));
    u32::from(last)
}

/// Forgets what was kept of a connection's last request.
#[inline(always)]
pub fn forget(state: &mut State) {
    if state.context.state != 0 {
        // An entry that is not there is the wished-for state, too.
        let _ = TRACESTATES.remove(state.id);
        state.context.state = 0;
    }
}
