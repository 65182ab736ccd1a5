//! The sampling room: what `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` come down to, and the
//! decision of [`spandrel_common::sample`] for what the kernel side left open.
//!
//! A ratio keeps a trace if the right-most 56 bits of its id are not below a threshold, as the
//! OpenTelemetry probability sampler does. The older `TraceIdRatioBased` samplers of the SDKs each have a
//! rule of their own; `tests/sampling` measures which samplers agree with ours.

mod rules;

use spandrel_common::{sample::Policy, w3c::TraceParent};

pub use self::rules::{Asked, Rule, RuleCounts, Rules};

/// The default of `OTEL_TRACES_SAMPLER`.
pub const DEFAULT_SAMPLER: &str = "parentbased_always_on";

/// Why a sampler cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SamplerError {
    /// A name that the specification does not know.
    #[error(
        "OTEL_TRACES_SAMPLER={0:?} is not known: use always_on, always_off, traceidratio, or one of them \
         behind parentbased_"
    )]
    Unknown(String),
    /// A name that the specification knows and that needs a service that we do not ask.
    #[error("OTEL_TRACES_SAMPLER={0:?} is not supported: use parentbased_traceidratio with a ratio instead")]
    Unsupported(String),
    /// An argument that is no share.
    #[error("OTEL_TRACES_SAMPLER_ARG={0:?} is not a number between 0 and 1, as traceidratio needs it")]
    Ratio(String),
}

/// The policy for the values of `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`. Names are read
/// without regard to case, and an empty value is one that is not set (configuration/sdk-environment-variables.md).
pub fn policy(sampler: Option<&str>, arg: Option<&str>) -> Result<Policy, SamplerError> {
    let given =
        |value: Option<&str>| value.map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned);
    let name = given(sampler).unwrap_or_else(|| DEFAULT_SAMPLER.to_owned()).to_ascii_lowercase();
    let (root, parent_based) =
        name.strip_prefix("parentbased_").map_or((name.as_str(), false), |root| (root, true));
    let policy = match root {
        "always_on" => Policy::ALWAYS_ON,
        "always_off" => Policy::ALWAYS_OFF,
        "traceidratio" => {
            let arg = given(arg).unwrap_or_else(|| "1".to_owned());
            let policy = arg.parse().ok().and_then(Policy::from_ratio);
            policy.ok_or(SamplerError::Ratio(arg))?
        }
        "jaeger_remote" => return Err(SamplerError::Unsupported(name)),
        "xray" if !parent_based => return Err(SamplerError::Unsupported(name)),
        _ => return Err(SamplerError::Unknown(name)),
    };
    Ok(if parent_based { policy.parent_based() } else { policy })
}

/// Whether a request is recorded. Where the kernel side has decided (`kernel`), that stands: it is the
/// decision that went out on the wire.
pub fn keeps(policy: Policy, kernel: Option<bool>, parent: Option<TraceParent>, trace_id: [u8; 16]) -> bool {
    kernel.unwrap_or_else(|| policy.decide(parent.map(|parent| parent.sampled()), trace_id))
}

#[cfg(test)]
mod tests {
    use spandrel_common::sample::NEVER;

    use super::*;

    #[test]
    fn names_and_arguments() {
        let half = Policy { threshold: NEVER / 2, parent_based: 0 };
        for (sampler, arg, expect) in [
            (None, None, Policy::DEFAULT),
            (Some(""), Some(""), Policy::DEFAULT),
            (Some("  "), Some("0.5"), Policy::DEFAULT),
            (Some("always_on"), None, Policy::ALWAYS_ON),
            (Some("ALWAYS_OFF"), Some("junk"), Policy::ALWAYS_OFF),
            (Some("traceidratio"), None, Policy::ALWAYS_ON),
            (Some("traceidratio"), Some("0.5"), half),
            (Some(" TraceIdRatio "), Some(" 5e-1 "), half),
            (Some("traceidratio"), Some("0"), Policy::ALWAYS_OFF),
            (Some("parentbased_always_on"), None, Policy::DEFAULT),
            (Some("parentbased_always_off"), None, Policy::ALWAYS_OFF.parent_based()),
            (Some("ParentBased_TraceIdRatio"), Some("0.5"), half.parent_based()),
            (Some("parentbased_traceidratio"), Some("1"), Policy::DEFAULT),
        ] {
            assert_eq!(policy(sampler, arg), Ok(expect), "{sampler:?} {arg:?}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (sampler, arg, part) in [
            ("sometimes", "", "is not known"),
            ("parentbased_", "", "is not known"),
            ("parentbased_xray", "", "is not known"),
            ("parentbased_parentbased_always_on", "", "is not known"),
            ("jaeger_remote", "", "not supported"),
            ("parentbased_jaeger_remote", "", "not supported"),
            ("xray", "", "not supported"),
            ("traceidratio", "half", "\"half\""),
            ("traceidratio", "1.01", "between 0 and 1"),
            ("parentbased_traceidratio", "-0.1", "between 0 and 1"),
            ("traceidratio", "NaN", "between 0 and 1"),
            ("traceidratio", "inf", "between 0 and 1"),
        ] {
            let error = policy(Some(sampler), Some(arg)).expect_err(sampler).to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn the_kernels_decision_stands() {
        let id = [0; 16];
        assert!(keeps(Policy::ALWAYS_OFF, Some(true), None, id));
        assert!(!keeps(Policy::ALWAYS_OFF, None, None, id));
        assert!(!keeps(Policy::ALWAYS_ON, Some(false), None, id));
        let parent = TraceParent { trace_id: id, parent_id: [1; 8], flags: 1, version: 0 };
        assert!(keeps(Policy::ALWAYS_OFF.parent_based(), None, Some(parent), id));
        assert!(!keeps(Policy::DEFAULT, None, Some(TraceParent { flags: 2, ..parent }), id));
    }

    /// The ids of tests/sampling: `ebpf/common/examples/decide.rs` makes them.
    fn id(pos: u64) -> [u8; 16] {
        spandrel_common::ids::trace_id([0x5eed_0000_0000_0001, 0x5eed_0000_0000_0002], pos)
    }

    #[test]
    fn the_threshold_samplers_of_the_sdks_decide_as_we_do() {
        let fixture = include_str!("../../tests/sampling/decisions.txt");
        let decisions: Vec<_> = fixture.lines().filter_map(|line| line.split_once(' ')).collect();
        let decisions = decisions.into_iter().filter(|(ratio, _)| *ratio != "#");
        let mut ratios = 0;
        for (ratio, digits) in decisions {
            let policy = Policy::from_ratio(ratio.parse().unwrap()).unwrap();
            let kept = digits.chars().flat_map(|digit| {
                let nibble = digit.to_digit(16).unwrap();
                (0..4).rev().map(move |bit| nibble >> bit & 1 == 1)
            });
            for (pos, kept) in kept.enumerate() {
                assert_eq!(policy.keeps_root(id(pos as u64)), kept, "{ratio} {pos}");
            }
            assert_eq!(digits.len(), 1024);
            ratios += 1;
        }
        assert_eq!(ratios, 5);
    }

    #[test]
    fn the_rust_sdk_has_another_rule() {
        use opentelemetry::trace::{SpanKind, TraceId};
        use opentelemetry_sdk::trace::{Sampler, SamplingDecision, ShouldSample};
        // opentelemetry_sdk 0.33.1 has no probability sampler: its TraceIdRatioBased keeps what is low in
        // the right-most 64 bits without the last one, and agrees with a threshold rule only by chance.
        const IDS: u64 = 1_000_000;
        for ratio in [0.5, 0.1, 0.01] {
            let (sdk, ours) = (Sampler::TraceIdRatioBased(ratio), Policy::from_ratio(ratio).unwrap());
            let bound = (ratio * (1_u64 << 63) as f64) as u64;
            let mut agree = 0;
            for pos in 0..IDS {
                let id = id(pos);
                let asked = TraceId::from_bytes(id);
                let decision = sdk.should_sample(None, asked, "", &SpanKind::Server, &[], &[]).decision;
                let kept = decision == SamplingDecision::RecordAndSample;
                assert_eq!(kept, u128::from_be_bytes(id) as u64 >> 1 < bound);
                agree += u64::from(kept == ours.keeps_root(id));
            }
            let chance = ratio * ratio + (1.0 - ratio) * (1.0 - ratio);
            let share = agree as f64 / IDS as f64;
            assert!((share - chance).abs() < 0.002, "{ratio}: {share}");
        }
    }
}
