//! Ids, parents, sampling and times.

use spandrel_common::{
    context::{Cause, Rule},
    ids,
};

use super::*;

#[test]
fn roots() {
    let span = build(&server(&["GET / HTTP/1.1", "tracestate: a=1"]));
    assert_eq!(span.trace_id, ids::trace_id(SEED, 0));
    assert_eq!(span.span_id, ids::span_id(SEED, 0));
    assert_eq!((span.parent_id, span.parent_remote), ([0; 8], false));
    assert_eq!(span.flags, 3);
    assert_eq!(&*span.trace_state, "");
}

#[test]
fn children_of_the_caller() {
    for role in [Role::Server, Role::Client] {
        let lines = ["GET / HTTP/1.1", PARENT, "tracestate: b=2 , a=1", "Tracestate: c=3"];
        let mut exchange = exchange(role, request(&lines));
        exchange.pos = 99;
        let span = build(&exchange);
        assert_eq!(span.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes());
        assert_eq!(span.parent_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
        assert_eq!(span.span_id, ids::span_id(SEED, 99));
        assert!(span.parent_remote);
        // Not random, because the caller did not say so.
        assert_eq!(span.flags, 1);
        assert_eq!(&*span.trace_state, "b=2,a=1,c=3");
    }
    let random = PARENT.replace("-01", "-03");
    assert_eq!(build(&server(&["GET / HTTP/1.1", &random])).flags, 3);
    let spoiled = build(&server(&["GET / HTTP/1.1", PARENT, "tracestate: b=2,B=1"]));
    assert!(spoiled.parent_remote && spoiled.trace_state.is_empty());
}

#[test]
fn bad_parents_are_counted_and_forgotten() {
    let builder = builder(SpanPolicy::default(), Policy::DEFAULT);
    let upper = PARENT.replace("4bf9", "4BF9");
    for lines in [&["GET / HTTP/1.1", &upper, "tracestate: a=1"][..], &["GET / HTTP/1.1", PARENT, PARENT]] {
        let span = builder.build(&server(lines), Arc::default()).unwrap();
        assert_eq!((span.parent_id, &*span.trace_state, span.flags), ([0; 8], "", 3));
    }
    assert_eq!(builder.stats.counted(Count::BadTraceparent), 2);
}

#[test]
fn sampling() {
    let unsampled = PARENT.replace("-01", "-00");
    let lines = |parent: &str| server(&["GET / HTTP/1.1", parent]);
    let based_off = Policy::ALWAYS_OFF.parent_based();
    for (sampler, exchange, kept) in [
        (Policy::DEFAULT, lines("x: y"), true),
        (Policy::DEFAULT, lines(PARENT), true),
        (Policy::DEFAULT, lines(&unsampled), false),
        (Policy::ALWAYS_ON, lines(&unsampled), true),
        (Policy::ALWAYS_OFF, lines(PARENT), false),
        (based_off, lines(PARENT), true),
        (based_off, lines("x: y"), false),
    ] {
        let builder = builder(SpanPolicy::default(), sampler);
        builder.stats.saw();
        let span = builder.build(&exchange, Arc::default());
        assert_eq!(span.is_some(), kept, "{sampler:?}");
        assert_eq!(builder.stats.unsampled.load(std::sync::atomic::Ordering::Relaxed), u64::from(!kept));
        assert!(span.is_none_or(|span| span.flags & 1 == 1));
    }
}

#[test]
fn the_kernel_and_userspace_agree() {
    // What the kernel side keeps by the shared function, userspace keeps as well when it is asked anew.
    for ratio in [0.0, 0.01, 0.5, 1.0] {
        let sampler = Policy::from_ratio(ratio).unwrap().parent_based();
        let builder = builder(SpanPolicy::default(), sampler);
        for pos in 0..2_000 {
            let mut exchange = server(&["GET / HTTP/1.1"]);
            exchange.pos = pos;
            let kernel = sampler.decide(None, ids::trace_id(SEED, pos));
            assert_eq!(builder.build(&exchange, Arc::default()).is_some(), kernel);
            exchange.sampled = Some(true);
            assert!(builder.build(&exchange, Arc::default()).is_some());
        }
    }
}

#[test]
fn times() {
    let builder = builder(SpanPolicy::default(), Policy::DEFAULT);
    let mut exchange = server(&["GET / HTTP/1.1"]);
    let span = builder.build(&exchange, Arc::default()).unwrap();
    assert_eq!(span.start_ns, 1_700_000_000_000_001_000);
    assert_eq!(span.end_ns, 1_700_000_000_000_004_000);
    exchange.start_ns = 500;
    let span = builder.build(&exchange, Arc::default()).unwrap();
    assert_eq!(span.start_ns, 1_699_999_999_999_999_500);
    assert_eq!(builder.stats.counted(Count::TimesAdjusted), 0);
    exchange.end_ns = 499;
    let span = builder.build(&exchange, Arc::default()).unwrap();
    assert_eq!(span.start_ns, span.end_ns);
    assert_eq!(builder.stats.counted(Count::TimesAdjusted), 1);
    for (mono_ns, unix_ns, time) in [(0, u64::MAX, 5), (u64::MAX, 0, 5), (5, 5, u64::MAX)] {
        let clock = ClockAnchor { mono_ns, unix_ns };
        assert!(clock.unix(time) <= clock.unix(time.saturating_add(1)));
    }
}

#[test]
fn the_unix_clock_is_followed_by_steps_alone() {
    let mut builder = builder(SpanPolicy::default(), Policy::DEFAULT);
    let exchange = server(&["GET / HTTP/1.1"]);
    let mut start = |unix_ns: u64| {
        builder.set_clock(ClockAnchor { mono_ns: 1_000, unix_ns: 1_700_000_000_000_000_000 + unix_ns });
        builder.build(&exchange, Arc::default()).unwrap().start_ns - 1_700_000_000_000_001_000
    };
    // The reading was interrupted.
    assert_eq!([start(0), start(400_000), start(900_000)], [0, 0, 0]);
    assert_eq!([start(5_000_000), start(4_500_000)], [5_000_000, 5_000_000]);
    assert_eq!(start(0), 0);
}

#[test]
fn children_of_what_caused_them() {
    let cause =
        Cause { trace_id: [7; 16], parent_id: [8; 8], flags: 1, rule: Rule::Worker as u8, ..Cause::NONE };
    let mut caused = exchange(Role::Client, request(&["GET / HTTP/1.1"]));
    caused.cause = cause;
    let span = build(&caused);
    assert_eq!((span.trace_id, span.parent_id, span.flags), ([7; 16], [8; 8], 1));
    assert!(!span.parent_remote);
    let rule = span.attributes.iter().find(|attribute| attribute.key == attr::SPANDREL_PARENT_RULE);
    assert_eq!(rule.map(|rule| &rule.value), Some(&Value::Static("worker")));
    // The decision is that about the cause, whatever the sampler would say.
    caused.cause.flags = 2;
    let builder = builder(SpanPolicy::default(), Policy::ALWAYS_ON);
    assert!(builder.build(&caused, Arc::default()).is_none());
    // What the request says itself counts more.
    caused.cause = cause;
    caused.request = request(&["GET / HTTP/1.1", PARENT]);
    let own = build(&caused);
    assert_eq!(own.parent_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    assert!(own.attributes.iter().all(|attribute| attribute.key != attr::SPANDREL_PARENT_RULE));
}
