//! Who caused this request? One rule a file; a rule that has no sound evidence abstains.
//!
//! Capture tells of inbound requests ([`spandrel_inbound`]) and of their ends ([`spandrel_answered`]); whoever sees
//! the first byte of an outbound request first asks for its context ([`spandrel_outbound`]): the program that writes
//! the header, before the bytes leave, or else capture. The answer stays in the connection's state, so that both get
//! the same one.

pub mod go;
pub mod piece;
pub mod program;
pub mod single;
pub mod tracestate;
pub mod upstream;
pub mod worker;

use spandrel_common::{
    context::{Cause, Context, Rule},
    sample::Policy,
    stats::Counter,
};

use crate::{
    conn::State,
    decide::{DROP, KEEP, UNCLEAR},
    emit, globals,
    kernel::{
        sock::Sock,
        task::{self, Ids},
    },
    maps::{self, POLICY},
    read,
    scratch::{self, Scratch},
};

/// See [`spandrel_inbound`]; the head is in the scratch slot.
#[inline(always)]
pub fn inbound(state: &mut State, pos: u64, kept: u32, scratch: &Scratch) {
    // Beside the other and not below it, for the stack.
    if kept != UNCLEAR && scratch.found.states != 0 && state.context.rule == Rule::Carried as u8 {
        tracestate::spandrel_tracestate(state);
    }
    spandrel_inbound(state, pos, kept);
}

/// The head of the request at `pos` of a server connection was received. `kept` is the decision about it (see
/// [`crate::decide`]); if that is unclear, so is the request's context.
///
/// A global function, like all here: the verifier checks it once, whoever calls it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spandrel_inbound(state: *mut State, pos: u64, kept: u32) -> u32 {
    let (Some(state), Some(scratch)) = (State::given(state), scratch::held()) else { return 0 };
    let ids = task::ids();
    if kept == UNCLEAR {
        state.context.known = 0;
        state.context.pos = pos;
    }
    state.context.owner = (u64::from(ids.tgid) << 32) | u64::from(ids.tid);
    if read::swap(&raw mut state.open, 1) == 0 && globals::rule(Rule::Single) {
        program::begin(state, ids);
    }
    if globals::rule(Rule::Worker) || globals::rule(Rule::Upstream) {
        worker::bind(state, scratch.sk, ids);
    }
    if globals::rule(Rule::Goroutine) {
        go::bind(state, ids);
    }
    0
}

/// The response to the last request of a server connection is complete, or will never be: nothing that is sent from
/// now on was caused by it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_answered(state: *mut State) -> u32 {
    let Some(state) = State::given(state) else { return 0 };
    if state.open == 0 || read::swap(&raw mut state.open, 0) == 0 {
        return 0;
    }
    state.context.known = 0;
    worker::release(state.id, state.context.owner as u32);
    go::release(state);
    program::end(state, (state.context.owner >> 32) as u32);
    tracestate::forget(state);
    0
}

/// The response to an outbound request whose cause was found by [`single`] begins, or will never come.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_called(state: *mut State) -> u32 {
    if let Some(state) = State::given(state) {
        single::returned(state, (state.context.owner >> 32) as u32);
    }
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
        find(state, pos, policy);
    }
    // Userspace's rules decide about roots, so nothing is known of this one yet.
    if state.context.rule == Rule::None as u8 && policy.leaves_open(false) {
        state.context.known = 0;
        return UNCLEAR;
    }
    if state.context.sampled() { KEEP } else { DROP }
}

/// Asks the rules.
#[inline(always)]
fn find(state: &mut State, pos: u64, policy: &Policy) {
    let (seed, ids) = (state.seed, task::ids());
    let goroutine = if globals::rule(Rule::Goroutine) { go::client::cause(ids) } else { go::Found::NONE };
    // Plain variables, all of which always hold something: what an enum leaves undefined the verifier refuses.
    let (mut strong, mut rule, mut counter) = (None, Rule::None, Counter::Abstained);
    let mut inherits = false;
    if let Some(context) = goroutine.context {
        strong = Some(context);
        if goroutine.by_context() {
            (rule, counter) = (Rule::GoContext, Counter::CausedGoContext);
        } else {
            (rule, counter) = (Rule::Goroutine, Counter::CausedGoroutine);
        }
    } else if globals::rule(Rule::Worker)
        && let Some(cause) = worker::cause(ids)
    {
        (strong, rule, counter) = (Some(cause), Rule::Worker, Counter::CausedWorker);
    } else if globals::rule(Rule::Upstream) && !globals::strict() {
        (rule, counter) = (Rule::Upstream, Counter::CausedUpstream);
        match state.context.known {
            // It is in the state already, and a copy would need stack.
            upstream::ORIGIN => inherits = true,
            upstream::NO_ORIGIN => {}
            _ => strong = upstream::cause(ids),
        }
    }
    let only = if globals::rule(Rule::Single) { single::cause(state, pos, ids) } else { None };
    state.context.owner = (u64::from(ids.tgid) << 32) | u64::from(ids.tid);
    let contradicted = only.is_some_and(|only| {
        strong.is_some_and(|strong| strong.span_id != only.span_id)
            || (inherits && state.context.span_id != only.span_id)
    });
    if contradicted {
        emit::count(Counter::Conflicts);
        state.context.place(seed, pos, None, policy);
    } else if inherits {
        state.context.go_on(seed, pos, rule);
        emit::count(counter);
    } else if let Some(cause) = strong {
        state.context.follow(seed, pos, cause, rule);
        if !goroutine.still() {
            state.context.place(seed, pos, None, policy);
            emit::count(Counter::Abstained);
        } else {
            emit::count(counter);
        }
    } else if let Some(cause) = only {
        state.context.follow(seed, pos, cause, Rule::Single);
        single::called(state, ids);
        emit::count(Counter::CausedSingle);
    } else {
        if maps::program(ids.tgid).is_some_and(|program| program.open > 0) {
            emit::count(Counter::Abstained);
        }
        state.context.place(seed, pos, None, policy);
    }
    if globals::rule(Rule::Goroutine) {
        go::client::spent(ids);
    }
}

/// A connection that is not followed brought something: see [`program::opaque`].
#[inline(always)]
pub fn opaque(sock: Sock, ids: Ids) {
    if globals::rule(Rule::Single) {
        program::opaque(sock, ids);
    }
}

#[inline(always)]
fn has(context: &Context, pos: u64) -> bool {
    context.known == 1 && context.pos == pos
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
