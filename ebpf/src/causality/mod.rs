//! Who caused this request? One rule a file; a rule that has no sound evidence abstains.
//!
//! Capture tells of inbound requests ([`spandrel_inbound`]) and of their ends ([`spandrel_answered`]); whoever sees
//! the first byte of an outbound request first asks for its context ([`spandrel_outbound`]): the program that writes
//! the header, before the bytes leave, or else capture. The answer stays in the connection's state, so that both get
//! the same one.

pub mod go;

use spandrel_common::context::{Cause, Context, Rule};

use crate::{
    conn::State,
    decide::{DROP, KEEP, UNCLEAR},
    globals,
    kernel::task,
    maps::POLICY,
};

/// The head of the request at `pos` of a server connection was received. `kept` is the decision about it (see
/// [`crate::decide`]); if that is unclear, so is the request's context.
///
/// A global function, like all here: the verifier checks it once, whoever calls it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_inbound(state: *mut State, pos: u64, kept: u32) -> u32 {
    let Some(state) = State::given(state) else { return 0 };
    if kept == UNCLEAR {
        state.context.known = 0;
        state.context.pos = pos;
    }
    let ids = task::ids();
    if globals::rule(Rule::Goroutine)
        && let Some(program) = go::program(ids.tgid)
    {
        go::bind(state, program, ids);
    }
    0
}

/// The response to the last request of a server connection is complete, or will never be: nothing that is sent from
/// now on was caused by it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_answered(state: *mut State) -> u32 {
    let Some(state) = State::given(state) else { return 0 };
    state.context.known = 0;
    go::release(state);
    0
}

/// Makes the context of the outbound request that starts at `pos` of a client connection, unless it has it already.
/// Returns the decision about it.
///
/// To be called by the task that sends. Needs no scratch slot; may run in any program that may look up maps.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_outbound(state: *mut State, pos: u64) -> u32 {
    let (Some(state), Some(policy)) = (State::given(state), POLICY.get(0)) else { return UNCLEAR };
    if !has(&state.context, pos) {
        let (seed, ids) = (state.seed, task::ids());
        if !(globals::rule(Rule::Goroutine) && go::follow(state, pos, ids)) {
            state.context.place(seed, pos, None, policy);
        }
    }
    if state.context.sampled() { KEEP } else { DROP }
}

#[inline(always)]
fn has(context: &Context, pos: u64) -> bool {
    context.known != 0 && context.pos == pos
}

/// What an outbound request's event says about its cause.
#[inline(always)]
pub fn told(state: &State, pos: u64) -> Cause {
    let context = &state.context;
    // The others follow from the request's head and position.
    if !has(context, pos) || context.rule <= Rule::Carried as u8 {
        return Cause::NONE;
    }
    Cause {
        trace_id: context.trace_id,
        parent_id: context.parent_id,
        flags: context.flags,
        rule: context.rule,
        reserved: [0; 6],
    }
}
