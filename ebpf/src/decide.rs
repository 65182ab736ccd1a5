//! The context of the request whose head is in the scratch buffer, with the sampling decision about it.

use spandrel_common::w3c::{self, TRACEPARENT_LEN, TraceParent};

use crate::{
    conn::State,
    maps::POLICY,
    scratch::{self, Bytes},
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
/// [`crate::head::spandrel_scan`] found in its head, which is complete and without oddities.
///
/// A global function: the verifier checks it once, and it has a stack frame of its own.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_decide(state: *mut State, pos: u64) -> u32 {
    let (Some(state), Some(policy)) = (State::given(state), POLICY.get(0)) else { return UNCLEAR };
    let Some(scratch) = scratch::held() else { return UNCLEAR };
    // Of two parents neither is certain.
    let parent =
        if scratch.found.parents == 1 { parent(scratch.view(), scratch.found.traceparent) } else { None };
    state.context.place(state.seed, pos, parent.as_ref(), policy);
    u32::from(state.context.sampled())
}

/// The valid `traceparent` whose value is at an offset.
#[inline(always)]
fn parent(bytes: Bytes, at: u32) -> Option<TraceParent> {
    let mut value = at;
    for _ in 0..WHITESPACE {
        value += u32::from(matches!(bytes.byte(value), b' ' | b'\t'));
    }
    let parent = w3c::parse55(bytes.traceparent(value))?;
    let mut end = value + TRACEPARENT_LEN as u32;
    if parent.version != 0 && bytes.byte(end) == b'-' {
        return Some(parent);
    }
    for _ in 0..WHITESPACE {
        end += u32::from(matches!(bytes.byte(end), b' ' | b'\t'));
    }
    matches!(bytes.byte(end), b'\r' | b'\n').then_some(parent)
}
