//! The sampling decision for the request whose head is in the scratch buffer.

use spandrel_common::{
    ids,
    limits::HEAD_SCAN,
    w3c::{self, TRACEPARENT_LEN},
};

use crate::{head::byte, maps::POLICY, read, scratch};

/// It is not sampled.
pub const DROP: u32 = 0;
/// It is sampled.
pub const KEEP: u32 = 1;
/// Only userspace's parser may judge.
pub const UNCLEAR: u32 = 2;

/// Decides about the request that starts at `pos` of a connection, by the `traceparent` that
/// [`crate::head::spandrel_scan`] found. `seed` is the second word of the connection's: the decision rests on
/// the lower half of the trace id, which depends on nothing else.
///
/// A global function: the verifier checks it once, and it has a stack frame of its own.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_decide(seed: u64, pos: u64) -> u32 {
    let (Some(policy), Some(scratch)) = (POLICY.get(0), scratch::held()) else { return UNCLEAR };
    // SAFETY: the caller holds the slot; the borrow ends with this function.
    let scratch = unsafe { &*scratch };
    let found = &scratch.found;
    if found.traceparent == 0 {
        if policy.threshold == 0 {
            return KEEP;
        }
        return u32::from(policy.decide(None, ids::trace_id([0, seed], pos)));
    }
    if found.odd != 0 {
        return UNCLEAR;
    }
    let bytes = (&raw const scratch.bytes).cast::<u8>();
    let value = found.traceparent + u32::from(byte(bytes, found.traceparent) == b' ');
    if !matches!(byte(bytes, value + TRACEPARENT_LEN as u32), b'\r' | b'\n') {
        return UNCLEAR;
    }
    let value = read::opaque(u64::from(value)) & (2 * HEAD_SCAN as u64 - 1);
    // SAFETY: the masked offset plus 55 is inside the buffer, which is larger than twice HEAD_SCAN.
    let text = unsafe { &*bytes.add(value as usize).cast::<[u8; TRACEPARENT_LEN]>() };
    match w3c::parse55(text) {
        Some(parent) if parent.version == 0 => {
            u32::from(policy.decide(Some(parent.sampled()), parent.trace_id))
        }
        _ => UNCLEAR,
    }
}
