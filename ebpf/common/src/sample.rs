//! The sampling decision: one pure function, made once for a request, the same on both sides.
//!
//! `OTEL_TRACES_SAMPLER` gives a [`Policy`]; the root decision compares the low 56 bits of the trace id
//! with a rejection threshold, as the OpenTelemetry probability sampler does (trace/sdk.md,
//! "ProbabilitySampler"; tracestate-probability-sampling.md): keep if `R >= T`.

/// One more than the largest 56-bit randomness value: the threshold that rejects everything.
pub const NEVER: u64 = 1 << 56;

/// What the samplers of `OTEL_TRACES_SAMPLER` come down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Policy {
    /// Rejection threshold for roots: 0 keeps all, [`NEVER`] keeps none.
    pub threshold: u64,
    /// 1 if a parent's decision is honoured (the `parentbased_` forms), 0 if each request is judged alone.
    pub parent_based: u64,
}

impl Policy {
    /// `parentbased_always_on`, the default.
    pub const DEFAULT: Self = Self { threshold: 0, parent_based: 1 };

    /// The randomness of a trace id: its right-most 56 bits.
    pub const fn randomness(trace_id: [u8; 16]) -> u64 {
        let [_, _, _, _, _, _, _, _, _, a, b, c, d, e, f, g] = trace_id;
        u64::from_be_bytes([0, a, b, c, d, e, f, g])
    }

    /// Whether a root with this trace id is kept.
    pub const fn keeps_root(&self, trace_id: [u8; 16]) -> bool {
        Self::randomness(trace_id) >= self.threshold
    }

    /// The decision for a request. `parent` is the sampled flag of a valid `traceparent`, if there was one;
    /// `trace_id` is the parent's then, and the new one otherwise.
    pub const fn decide(&self, parent: Option<bool>, trace_id: [u8; 16]) -> bool {
        match parent {
            Some(sampled) if self.parent_based != 0 => sampled,
            _ => self.keeps_root(trace_id),
        }
    }
}
