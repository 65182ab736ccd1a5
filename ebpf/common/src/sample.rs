//! The sampling decision: one pure function, made once for a request, the same on both sides.
//!
//! `OTEL_TRACES_SAMPLER` gives a [`Policy`]; the root decision compares the low 56 bits of the trace id
//! with a rejection threshold, as the OpenTelemetry probability sampler does (trace/sdk.md,
//! "ProbabilitySampler"; tracestate-probability-sampling.md): keep if `R >= T`.

/// One more than the largest 56-bit randomness value: the threshold that rejects everything.
pub const NEVER: u64 = 1 << 56;

/// The rejection threshold that keeps this share of all traces: `2^56 - round(ratio * 2^56)`, which is how
/// the SDKs compute it (they do not round it to the few digits that `th` shows). `None` for what is no
/// share: below 0, above 1, or not a number. Below `2^-57` nothing is kept.
#[cfg(not(target_arch = "bpf"))]
pub fn threshold(ratio: f64) -> Option<u64> {
    if !(0.0..=1.0).contains(&ratio) {
        return None;
    }
    // A power of two scales exactly. Above 2^53 there are no fractions, and adding a half would round to
    // an even neighbour; below 2^53 the sum is exact enough to round correctly, half up.
    let scaled = ratio * NEVER as f64;
    let kept = if scaled < (1_u64 << 52) as f64 { (scaled + 0.5) as u64 } else { scaled as u64 };
    Some(NEVER - kept)
}

/// The hexadecimal digits of a `th` value: 1 to 14 of them.
#[cfg(not(target_arch = "bpf"))]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Th {
    digits: [u8; 14],
    len: usize,
}

#[cfg(not(target_arch = "bpf"))]
impl Th {
    /// The value of `th` for a share of all traces, rounded to `precision` hexadecimal digits behind its
    /// leading `f`s or zeros, as tracestate-probability-sampling.md recommends with a precision of 4.
    /// `None` for shares that have no `th`: 0 and less, above 1, and those of which nothing is kept.
    pub fn of(ratio: f64, precision: u32) -> Option<Self> {
        let exact = threshold(ratio)?;
        if exact >= NEVER {
            return None;
        }
        let zeros = |bits: u64| bits.leading_zeros().saturating_sub(8) / 4;
        let leading = zeros(exact).max(zeros(NEVER - 1 - exact));
        let dropped = 4 * 14_u32.saturating_sub(leading + precision.clamp(1, 14));
        let half = if dropped == 0 { 0 } else { 1_u64 << (dropped - 1) };
        let rounded = ((exact + half) >> dropped) << dropped;
        // Rounding up must not turn "little" into "nothing".
        Some(Self::exactly(if rounded >= NEVER { exact } else { rounded }))
    }

    /// The digits of a threshold below [`NEVER`], trailing zeros left out.
    fn exactly(threshold: u64) -> Self {
        let mut out = Self { digits: *b"00000000000000", len: 1 };
        for (i, digit) in out.digits.iter_mut().enumerate() {
            let nibble = (threshold >> (4 * (13 - i as u32)) & 15) as u8;
            if nibble != 0 {
                *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
                out.len = i + 1;
            }
        }
        out
    }

    /// As it is written behind `th:`.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.digits.get(..self.len).unwrap_or_default()).unwrap_or_default()
    }
}

#[cfg(not(target_arch = "bpf"))]
impl core::fmt::Debug for Th {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the samplers of `OTEL_TRACES_SAMPLER` come down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Policy {
    /// Rejection threshold for roots: 0 keeps all, [`NEVER`] keeps none.
    pub threshold: u64,
    /// [`PARENT_BASED`] if a parent's decision is honoured (the `parentbased_` forms), else each request is judged
    /// alone; [`OPEN`] if rules that only userspace can judge come before the threshold; [`DRY_RUN`], [`MEASURED`].
    pub parent_based: u64,
}

/// A parent's decision is honoured.
pub const PARENT_BASED: u64 = 1;
/// What no parent decides is left to userspace.
pub const OPEN: u64 = 2;
/// Rules are tried: what is not sampled is told of all the same, with the decision about it.
pub const DRY_RUN: u64 = 4;
/// Durations are wanted: of what is withheld, the end is told.
pub const MEASURED: u64 = 8;

impl Policy {
    /// `parentbased_always_on`, the default.
    pub const DEFAULT: Self = Self { threshold: 0, parent_based: 1 };

    /// `always_on`.
    pub const ALWAYS_ON: Self = Self { threshold: 0, parent_based: 0 };
    /// `always_off`.
    pub const ALWAYS_OFF: Self = Self { threshold: NEVER, parent_based: 0 };

    /// `traceidratio`; `None` if the ratio is not between 0 and 1.
    #[cfg(not(target_arch = "bpf"))]
    pub fn from_ratio(ratio: f64) -> Option<Self> {
        Some(Self { threshold: threshold(ratio)?, parent_based: 0 })
    }

    /// The `parentbased_` form.
    #[must_use]
    pub const fn parent_based(self) -> Self {
        Self { parent_based: self.parent_based | PARENT_BASED, ..self }
    }

    /// The form that leaves to userspace what no parent decides.
    #[must_use]
    pub const fn open(self) -> Self {
        Self { parent_based: self.parent_based | OPEN, ..self }
    }

    /// The form that tells userspace of what it drops, for rules that are only tried.
    #[must_use]
    pub const fn dry_run(self) -> Self {
        Self { parent_based: self.parent_based | DRY_RUN, ..self }
    }

    /// The form that tells userspace how what it drops ended.
    #[must_use]
    pub const fn measured(self) -> Self {
        Self { parent_based: self.parent_based | MEASURED, ..self }
    }

    /// Whether what is dropped is told of.
    pub const fn is_dry_run(&self) -> bool {
        self.parent_based & DRY_RUN != 0
    }

    /// Whether the end of what is withheld is told.
    pub const fn is_measured(&self) -> bool {
        self.parent_based & MEASURED != 0
    }

    /// Whether a request is left to userspace, if it has a parent with a valid `traceparent` or not.
    pub const fn leaves_open(&self, parent: bool) -> bool {
        self.parent_based & OPEN != 0 && !(parent && self.parent_based & PARENT_BASED != 0)
    }

    /// The randomness of a trace id: its right-most 56 bits.
    pub const fn randomness(trace_id: [u8; 16]) -> u64 {
        let id = trace_id;
        u64::from_be_bytes([0, id[9], id[10], id[11], id[12], id[13], id[14], id[15]])
    }

    /// Whether a root with this trace id is kept.
    pub const fn keeps_root(&self, trace_id: [u8; 16]) -> bool {
        Self::randomness(trace_id) >= self.threshold
    }

    /// The decision for a request. `parent` is the sampled flag of a valid `traceparent`, if there was one;
    /// `trace_id` is the parent's then, and the new one otherwise.
    pub const fn decide(&self, parent: Option<bool>, trace_id: [u8; 16]) -> bool {
        match parent {
            Some(sampled) if self.parent_based & PARENT_BASED != 0 => sampled,
            _ => self.keeps_root(trace_id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(randomness: u64) -> [u8; 16] {
        // The upper bits are set: they must not matter.
        ((u128::MAX << 56) | u128::from(randomness)).to_be_bytes()
    }

    #[test]
    fn th_is_what_the_specification_tabulates() {
        // tracestate-probability-sampling.md, the table for one in N at four digits.
        for (n, th) in [
            (1.0, "0"),
            (2.0, "8"),
            (3.0, "aaab"),
            (4.0, "c"),
            (5.0, "cccd"),
            (8.0, "e"),
            (10.0, "e666"),
            (16.0, "f"),
            (100.0, "fd70a"),
            (1_000.0, "ffbe77"),
            (10_000.0, "fff9724"),
            (100_000.0, "ffff583a"),
            (1_000_000.0, "ffffef39"),
        ] {
            assert_eq!(Th::of(1.0 / n, 4).expect("has a threshold").as_str(), th, "1 in {n}");
        }
    }

    #[test]
    fn th_has_as_many_digits_as_it_needs() {
        assert_eq!(Th::of(1.0 / 3.0, 14).unwrap().as_str(), "aaaaaaaaaaaaac");
        assert_eq!(Th::of(1.0 / 3.0, 3).unwrap().as_str(), "aab");
        assert_eq!(Th::of(1.0 / 3.0, 5).unwrap().as_str(), "aaaab");
        assert_eq!(Th::of(1.0 / NEVER as f64, 4).unwrap().as_str(), "ffffffffffffff");
        assert_eq!(Th::of(0.0, 4), None);
        assert_eq!(Th::of(1.5, 4), None);
        // Rounding this to one digit would keep nothing at all.
        assert_eq!(Th::of(0.01, 1).unwrap().as_str(), "fd");
        for ratio in 1..10_000 {
            for precision in 0..20 {
                assert!(Th::of(f64::from(ratio) / 10_000.0, precision).is_some());
            }
        }
    }

    #[test]
    fn thresholds_of_ratios() {
        assert_eq!(threshold(1.0), Some(0));
        assert_eq!(threshold(0.0), Some(NEVER));
        assert_eq!(threshold(-0.0), Some(NEVER));
        assert_eq!(threshold(0.5), Some(NEVER / 2));
        assert_eq!(threshold(0.25), Some(NEVER / 4 * 3));
        assert_eq!(threshold(1.0 / NEVER as f64), Some(NEVER - 1));
        assert_eq!(threshold(0.6 / NEVER as f64), Some(NEVER - 1));
        assert_eq!(threshold(0.4 / NEVER as f64), Some(NEVER));
        assert_eq!(threshold(1.0 - f64::EPSILON / 2.0), Some(8));
        for ratio in [-f64::EPSILON, 1.0 + f64::EPSILON, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(threshold(ratio), None, "{ratio}");
        }
    }

    #[test]
    fn a_root_is_kept_from_its_threshold_on() {
        let half = Policy::from_ratio(0.5).unwrap();
        assert!(!half.keeps_root(id(NEVER / 2 - 1)));
        assert!(half.keeps_root(id(NEVER / 2)));
        assert!(half.keeps_root(id(NEVER - 1)));
        for r in [0, 1, NEVER / 2, NEVER - 1] {
            assert!(Policy::ALWAYS_ON.keeps_root(id(r)));
            assert!(Policy::from_ratio(1.0).unwrap().keeps_root(id(r)));
            assert!(!Policy::ALWAYS_OFF.keeps_root(id(r)));
            assert!(!Policy::from_ratio(0.0).unwrap().keeps_root(id(r)));
        }
    }

    #[test]
    fn a_parent_decides_only_for_the_parent_based() {
        let (low, high) = (id(0), id(NEVER - 1));
        let alone = Policy::from_ratio(0.5).unwrap();
        let based = alone.parent_based();
        for (parent, id, alone_keeps, based_keeps) in [
            (None, low, false, false),
            (None, high, true, true),
            (Some(true), low, false, true),
            (Some(true), high, true, true),
            (Some(false), low, false, false),
            (Some(false), high, true, false),
        ] {
            assert_eq!(alone.decide(parent, id), alone_keeps, "{parent:?}");
            assert_eq!(based.decide(parent, id), based_keeps, "{parent:?}");
        }
        assert_eq!(Policy::DEFAULT, Policy::ALWAYS_ON.parent_based());
        assert!(!Policy::ALWAYS_OFF.parent_based().decide(None, high));
        assert!(Policy::ALWAYS_OFF.parent_based().decide(Some(true), low));
    }

    #[test]
    fn an_open_policy_decides_only_for_parents() {
        let open = Policy::DEFAULT.open();
        assert!(open.leaves_open(false) && !open.leaves_open(true));
        assert!(Policy::ALWAYS_ON.open().leaves_open(true));
        assert!(!Policy::DEFAULT.leaves_open(false));
        assert!(!open.decide(Some(false), id(0)) && open.decide(Some(true), id(0)));
        assert!(!Policy::ALWAYS_OFF.open().decide(Some(false), id(NEVER - 1)));
    }

    #[test]
    fn what_else_is_told_decides_nothing() {
        let policy = Policy::ALWAYS_OFF.dry_run().measured();
        assert!(policy.is_dry_run() && policy.is_measured() && !policy.leaves_open(false));
        assert!(!policy.decide(Some(true), id(NEVER - 1)) && policy.parent_based().decide(Some(true), id(0)));
        assert!(!Policy::DEFAULT.is_dry_run() && !Policy::DEFAULT.open().is_measured());
    }

    #[test]
    fn a_higher_ratio_keeps_what_a_lower_one_keeps() {
        for i in 0..1000_u64 {
            let id = crate::ids::trace_id([i, !i], i);
            let mut kept = false;
            for ratio in [0.001, 0.01, 0.1, 1.0 / 3.0, 0.5, 0.9, 1.0] {
                let keeps = Policy::from_ratio(ratio).unwrap().keeps_root(id);
                assert!(keeps || !kept, "{ratio} drops what a lower ratio keeps");
                kept = keeps;
            }
        }
    }
}
