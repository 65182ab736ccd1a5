//! The context of the request whose head is in the scratch buffer, with the sampling decision about it.

use spandrel_common::{
    sample::Policy,
    w3c::{self, TRACEPARENT_LEN, TraceParent},
};

use crate::{
    conn::State,
    maps::POLICY,
    read,
    scratch::{self, Bytes, Scratch},
};

/// It is not sampled.
pub const DROP: u32 = 0;
/// It is sampled.
pub const KEEP: u32 = 1;
/// Only userspace's parser may judge.
pub const UNCLEAR: u32 = 2;

/// Whitespace around a `traceparent` that is passed over. The specifications allow any; nobody sends more than one.
const WHITESPACE: u32 = 4;

/// Makes the context of the request that starts at `pos` of a connection, by the `traceparent` that
/// [`crate::head::spandrel_head`] found in its head, which is complete and without oddities.
#[inline(always)]
pub fn decide(state: &mut State, pos: u64, scratch: &Scratch) -> u32 {
    if scratch.found.traceparent != 0 {
        return spandrel_decide(state, pos);
    }
    let Some(policy) = POLICY.get(0) else { return UNCLEAR };
    if policy.leaves_open(false) {
        state.context.known = 0;
        return UNCLEAR;
    }
    let seed = state.seed;
    state.context.place(seed, pos, None, policy);
    u32::from(state.context.sampled())
}

/// 1 if what is dropped is told of, because rules are tried on it.
///
/// A global function: it has a stack frame of its own.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_dry_run() -> u32 {
    u32::from(POLICY.get(0).is_some_and(Policy::is_dry_run))
}

/// Whether durations of what is dropped are wanted.
#[inline(always)]
pub fn is_measured() -> bool {
    POLICY.get(0).is_some_and(Policy::is_measured)
}

/// See [`decide`]: for a request that has a `traceparent`.
///
/// A global function: the verifier checks it once, and it has a stack frame of its own.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spandrel_decide(state: *mut State, pos: u64) -> u32 {
    let (Some(state), Some(policy)) = (State::given(state), POLICY.get(0)) else { return UNCLEAR };
    let Some(scratch) = scratch::held() else { return UNCLEAR };
    // Of two parents neither is certain.
    let parent =
        if scratch.found.parents == 1 { parent(scratch.view(), scratch.found.traceparent) } else { None };
    if policy.leaves_open(parent.is_some()) {
        state.context.known = 0;
        return UNCLEAR;
    }
    state.context.place(state.seed, pos, parent.as_ref(), policy);
    u32::from(state.context.sampled())
}

/// The valid `traceparent` whose value is at an offset.
#[inline(always)]
fn parent(bytes: Bytes, at: u32) -> Option<TraceParent> {
    let value = behind_whitespace(bytes, at);
    let parent = w3c::parse55(bytes.traceparent(value))?;
    let end = value + TRACEPARENT_LEN as u32;
    if parent.version != 0 && bytes.byte(end) == b'-' {
        return Some(parent);
    }
    matches!(bytes.byte(behind_whitespace(bytes, end)), b'\r' | b'\n').then_some(parent)
}

/// The place behind the whitespace at an offset.
#[inline(always)]
fn behind_whitespace(bytes: Bytes, at: u32) -> u32 {
    let word = bytes.word(at);
    let (mut end, mut all) = (at, 1);
    for index in 0..WHITESPACE {
        let byte = (word >> (8 * index)) & 0xff;
        let other = read::opaque((byte ^ u64::from(b' ')) * (byte ^ u64::from(b'\t')));
        // Without a branch: each would double the verifier's work.
        all &= !(read::opaque(other.wrapping_neg()) >> 63) as u32;
        end += all;
    }
    end
}
