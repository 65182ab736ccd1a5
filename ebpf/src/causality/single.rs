//! One request in flight: the process works on one inbound request and on nothing else that is known, so what it
//! sends was probably caused by that. Weak: a background task can send at any time. So it is said in the span, does not
//! hold under `strict`, and does not hold
//!
//! - for a destination that the process has called while it worked on nothing;
//! - for a process that serves something else, too;
//! - for Go programs, whose goroutines tell more, and which often have some that work for nobody's request;
//! - for a process that has answered while a call was open that was thought to be a part of the work: for good.

use spandrel_common::{context::Context, runtime::Runtime};

use crate::{
    conn::State,
    emit,
    kernel::{
        sock::Sock,
        task::{self, Ids},
    },
    maps::{self, DESTINATIONS},
    read,
};

/// The inbound request that probably caused what the process sends from `pos` on through the connection of `state`.
#[inline(always)]
pub fn cause(state: &mut State, pos: u64, ids: Ids) -> Option<&'static Context> {
    if spandrel_called_at_work(state) == 0 || maps::runtime(ids.tgid) == Runtime::Go {
        return None;
    }
    // Capture asks when the bytes have left, and knows when that was.
    let sent_ns = if state.tx.pos > pos { state.tx.last_ns } else { emit::now() };
    maps::program(ids.tgid)?.only(sent_ns)
}

/// Whether the running process calls the destination of a connection while it works on something, and has never called
/// it otherwise. A global function: what it needs of the stack is free again for who asks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spandrel_called_at_work(state: *mut State) -> u32 {
    let Some(state) = State::given(state).filter(|state| state.sk != 0) else { return 0 };
    let ids = task::ids();
    let key = [u64::from(ids.tgid), Sock(state.sk).peer_hash()];
    let idle = maps::called_idle(key);
    match maps::program(ids.tgid) {
        Some(program) if program.open != 0 => u32::from(!idle && program.demoted == 0),
        _ => {
            if !idle {
                // Without room it is believed: see the map.
                let _ = DESTINATIONS.insert(key, 1, 0);
            }
            0
        }
    }
}

/// An outbound request was found to be caused so.
#[inline(always)]
pub fn called(state: &mut State, ids: Ids) {
    if let Some(program) = maps::program(ids.tgid) {
        read::fetch_add(&raw mut program.calls, 1);
        state.single = 1;
    }
}

/// Its response has begun, or will never be.
#[inline(always)]
pub fn returned(state: &mut State, tgid: u32) {
    state.single = 0;
    if let Some(program) = maps::program(tgid)
        && program.demoted == 0
        && program.calls != 0
    {
        read::fetch_add(&raw mut program.calls, u64::MAX);
    }
}
