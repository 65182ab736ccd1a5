//! The sampling decision for the request whose head is in the scratch buffer.

use spandrel_common::{
    ids,
    w3c::{self, TRACEPARENT_LEN},
};

use crate::{
    maps::POLICY,
    scratch::{self, Scratch},
};

/// It is not sampled.
pub const DROP: u32 = 0;
/// It is sampled.
pub const KEEP: u32 = 1;
/// Only userspace's parser may judge.
pub const UNCLEAR: u32 = 2;

/// Decides about the request that starts at `pos` of a connection, by the `traceparent` that
/// [`crate::head::spandrel_head`] found. `seed` is the second word of the connection's: the decision rests on
/// the lower half of the trace id, which depends on nothing else.
#[inline(always)]
pub fn decide(seed: u64, pos: u64, scratch: &Scratch) -> u32 {
    if scratch.found.traceparent != 0 {
        return spandrel_decide();
    }
    let Some(policy) = POLICY.get(0) else { return UNCLEAR };
    if policy.leaves_open(false) {
        return UNCLEAR;
    }
    u32::from(policy.threshold == 0 || ids::randomness(seed, pos) >= policy.threshold)
}

/// See [`decide`]: for a request that has a `traceparent`.
///
/// A global function: the verifier checks it once, and it has a stack frame of its own.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spandrel_decide() -> u32 {
    let (Some(policy), Some(scratch)) = (POLICY.get(0), scratch::held()) else { return UNCLEAR };
    let found = &scratch.found;
    if found.odd != 0 || policy.leaves_open(true) {
        return UNCLEAR;
    }
    let bytes = scratch.view();
    let value = found.traceparent + u32::from(bytes.byte(found.traceparent) == b' ');
    if !matches!(bytes.byte(value + TRACEPARENT_LEN as u32), b'\r' | b'\n') {
        return UNCLEAR;
    }
    match w3c::parse55(bytes.traceparent(value)) {
        Some(parent) if parent.version == 0 => {
            u32::from(policy.decide(Some(parent.sampled()), parent.trace_id))
        }
        _ => UNCLEAR,
    }
}
