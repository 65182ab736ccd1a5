//! Sampled and unsampled requests mixed on one connection.

use crate::stage::{agree, by_both, options, play};

#[track_caller]
fn mixed(sampler: &str) {
    by_both(|profile| {
        let options = options(profile).env("OTEL_TRACES_SAMPLER", sampler);
        let options =
            if sampler == "traceidratio" { options.env("OTEL_TRACES_SAMPLER_ARG", "0.5") } else { options };
        let played = play(options, "mixed", &[sampler]);
        agree(profile, &played.truth, &played.finished);
        for span in &played.finished.spans {
            let id = span.path().split(['-', '/']).find(|word| word.len() == 32).expect("an id in the path");
            let named = span.parent_id.as_deref() == Some("0123456789abcdef");
            assert!(
                !named || span.trace_id == id,
                "{profile} {sampler}: not the trace of its parent: {span:?}"
            );
            assert_eq!(span.flags & 1, 1, "{profile} {sampler}: {span:?}");
            assert!(named || sampler == "parentbased_always_on", "{profile} {sampler}: {span:?}");
        }
    });
}

#[test]
fn by_the_parent_else_always() {
    mixed("parentbased_always_on");
}

#[test]
fn by_the_parent_else_never() {
    mixed("parentbased_always_off");
}

#[test]
fn by_the_trace_id() {
    mixed("traceidratio");
}

#[test]
fn never() {
    mixed("always_off");
}
