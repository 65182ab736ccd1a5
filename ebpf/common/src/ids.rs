//! Trace and span ids: pure functions of a connection's random seed and a request's place in its stream.
//!
//! The kernel side draws the seed when it first meets a connection and announces it ([`crate::event::Conn`]).
//! From then on both sides compute the same ids for the request that starts at a position, also for
//! requests that only userspace tells apart (several in one read), and nothing has to be sent for it.
//! Every bit of an id depends on a 64-bit random word through a bijection, so the right-most seven bytes of
//! a trace id are random in the sense of W3C Trace Context Level 2, section 3.2.2.3.

use crate::sample::NEVER;

/// The 16 bytes of a trace id.
pub type TraceId = [u8; 16];
/// The 8 bytes of a span id.
pub type SpanId = [u8; 8];

/// The finaliser of SplitMix64: a bijection in which every input bit changes half of the output bits.
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Never zero: W3C forbids ids of zeros only.
const fn nonzero(x: u64) -> u64 {
    if x == 0 { 1 } else { x }
}

/// The trace id of a trace that starts with the request at `pos`.
pub const fn trace_id(seed: [u64; 2], pos: u64) -> TraceId {
    let high = mix(seed[0].wrapping_add(pos.wrapping_mul(0x9e37_79b9_7f4a_7c15))).to_be_bytes();
    let low = low(seed[1], pos).to_be_bytes();
    [
        high[0], high[1], high[2], high[3], high[4], high[5], high[6], high[7], low[0], low[1], low[2],
        low[3], low[4], low[5], low[6], low[7],
    ]
}

/// What [`crate::sample::Policy::randomness`] is of the trace id at `pos`, which only the second word of the seed bears on.
pub const fn randomness(seed: u64, pos: u64) -> u64 {
    low(seed, pos) & (NEVER - 1)
}

const fn low(seed: u64, pos: u64) -> u64 {
    nonzero(mix(seed.wrapping_add(pos.wrapping_mul(0xd1b5_4a32_d192_ed03))))
}

/// The span id of the request at `pos`.
pub const fn span_id(seed: [u64; 2], pos: u64) -> SpanId {
    let word = seed[0].rotate_left(32) ^ seed[1].wrapping_mul(0xff51_afd7_ed55_8ccd);
    nonzero(mix(word.wrapping_add(pos.wrapping_mul(0x8cb9_2ba7_2f3d_8dd7)))).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::sample::Policy;

    #[test]
    fn ids_are_stable_distinct_and_never_zero() {
        let mut traces = HashSet::new();
        let mut spans = HashSet::new();
        for seed in 0..64_u64 {
            for pos in 0..256_u64 {
                let seed = [mix(seed), mix(seed ^ 0xdead)];
                assert_ne!(trace_id(seed, pos), [0; 16]);
                assert_ne!(span_id(seed, pos), [0; 8]);
                assert_eq!(randomness(seed[1], pos), Policy::randomness(trace_id(seed, pos)));
                assert!(traces.insert(trace_id(seed, pos)));
                assert!(spans.insert(span_id(seed, pos)));
            }
        }
    }

    #[test]
    fn the_low_seven_bytes_look_random() {
        // Mean of the low 56 bits over many consecutive positions of one connection is close to one half.
        let n = 100_000_u64;
        let sum: f64 = (0..n)
            .map(|pos| {
                let id = trace_id([0x1234_5678_9abc_def0, 0x0fed_cba9_8765_4321], pos * 97);
                let low = id[9..].iter().fold(0_u64, |x, b| (x << 8) | u64::from(*b));
                low as f64 / (1_u64 << 56) as f64
            })
            .sum();
        assert!((sum / n as f64 - 0.5).abs() < 0.01);
    }
}
