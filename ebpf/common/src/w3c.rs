//! W3C Trace Context Level 2: the `traceparent` header, parsed strictly and without allocation.

use crate::ids::{SpanId, TraceId};

/// Length of a version 00 `traceparent` value.
pub const TRACEPARENT_LEN: usize = 55;
/// `trace-flags`: sampled.
pub const FLAG_SAMPLED: u8 = 1;
/// `trace-flags`: the right-most seven bytes of the trace id are random (Level 2).
pub const FLAG_RANDOM: u8 = 2;

/// What a `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    pub trace_id: TraceId,
    pub parent_id: SpanId,
    /// Only the bits that Level 2 defines.
    pub flags: u8,
    /// The version that the sender spoke.
    pub version: u8,
}

impl TraceParent {
    /// Whether the sender recorded its trace.
    pub const fn sampled(&self) -> bool {
        self.flags & FLAG_SAMPLED != 0
    }
}

/// Values of the lower-case hexadecimal digits (upper case is not allowed by section 3.2.2), 0xff for all
/// other bytes. A table, because the kernel's verifier would walk both sides of every comparison.
static NIBBLES: [u8; 256] = nibbles();

const fn nibbles() -> [u8; 256] {
    let mut table = [0xff; 256];
    let mut value = 0;
    while value < 16 {
        table[b"0123456789abcdef"[value] as usize] = value as u8;
        value += 1;
    }
    table
}

#[inline(always)]
fn nibble(byte: u8) -> u8 {
    NIBBLES[byte as usize]
}

/// Parses the first 55 bytes of a value. What follows them is the caller's to judge ([`follows`]).
#[inline(always)]
pub fn parse55(value: &[u8; TRACEPARENT_LEN]) -> Option<TraceParent> {
    let mut bad = (value[2] ^ b'-') | (value[35] ^ b'-') | (value[52] ^ b'-');
    let mut any_trace = 0_u8;
    let mut any_span = 0_u8;
    let mut out = TraceParent { trace_id: [0; 16], parent_id: [0; 8], flags: 0, version: 0 };
    let mut i = 0;
    while i < 16 {
        let (high, low) = (nibble(value[3 + 2 * i]), nibble(value[4 + 2 * i]));
        bad |= (high | low) & 0xf0;
        out.trace_id[i] = (high << 4) | (low & 0x0f);
        any_trace |= out.trace_id[i];
        i += 1;
    }
    i = 0;
    while i < 8 {
        let (high, low) = (nibble(value[36 + 2 * i]), nibble(value[37 + 2 * i]));
        bad |= (high | low) & 0xf0;
        out.parent_id[i] = (high << 4) | (low & 0x0f);
        any_span |= out.parent_id[i];
        i += 1;
    }
    let (v1, v0) = (nibble(value[0]), nibble(value[1]));
    let (f1, f0) = (nibble(value[53]), nibble(value[54]));
    bad |= (v1 | v0 | f1 | f0) & 0xf0;
    out.version = (v1 << 4) | (v0 & 0x0f);
    out.flags = ((f1 << 4) | (f0 & 0x0f)) & (FLAG_SAMPLED | FLAG_RANDOM);
    if bad != 0 || any_trace == 0 || any_span == 0 || out.version == 0xff {
        return None;
    }
    Some(out)
}
