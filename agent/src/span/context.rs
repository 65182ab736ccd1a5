//! Where a span belongs: its ids, its parent and its flags, from the context that the request carried and
//! the seed of its connection.

use spandrel_common::{
    context::Rule,
    ids::{SpanId, TraceId, span_id, trace_id},
    sample::{PARENT_BASED, Policy},
    w3c::{Context, FLAG_RANDOM, FLAG_SAMPLED},
};

use crate::{exchange::Exchange, sample};

/// A span's place in its trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    /// All zeros for a root.
    pub(super) parent_id: SpanId,
    /// The parent is known from a header.
    pub(super) remote: bool,
    pub(super) flags: u8,
    pub(super) state: Box<str>,
    /// How the parent is known, if not from a header.
    pub(super) rule: Option<Rule>,
}

/// Whether the kernel side has decided: rules can only be tried then.
pub(super) type Decided = bool;

/// The place of a request's span, or `None` if it is not sampled.
///
/// The random flag of a trace that began elsewhere stays as it came (W3C Trace Context Level 2, section
/// 3.2.2.5.2); the traces that begin here are random by [`spandrel_common::ids`].
/// `rules` is asked about a root, and decides about it before the policy does, if it decides at all.
///
/// What a request says itself counts more than what the kernel side found out: the span that its header names is
/// the application's own. The decision about what an inbound request caused is that about the inbound request.
pub(super) fn place(
    exchange: &Exchange,
    context: &Context<'_>,
    policy: Policy,
    rules: impl FnOnce(TraceId, Decided) -> Option<bool>,
) -> Option<Place> {
    let seed = exchange.connection.seed;
    let cause = exchange.cause;
    let rule = Rule::from_u8(cause.rule);
    if context.parent.is_none() && rule != Rule::None {
        return (cause.flags & FLAG_SAMPLED != 0).then(|| Place {
            trace_id: cause.trace_id,
            span_id: span_id(seed, exchange.pos),
            parent_id: cause.parent_id,
            remote: false,
            flags: cause.flags & (FLAG_SAMPLED | FLAG_RANDOM),
            state: Box::default(),
            rule: Some(rule),
        });
    }
    let (trace_id, parent_id, random) = match context.parent {
        Some(parent) => (parent.trace_id, parent.parent_id, parent.flags & FLAG_RANDOM),
        None => (trace_id(seed, exchange.pos), SpanId::default(), FLAG_RANDOM),
    };
    let follows = context.parent.is_some() && policy.parent_based & PARENT_BASED != 0;
    let ruled = if follows { None } else { rules(trace_id, exchange.sampled.is_some()) };
    let keeps = ruled.unwrap_or_else(|| sample::keeps(policy, exchange.sampled, context.parent, trace_id));
    keeps.then(|| Place {
        trace_id,
        span_id: span_id(seed, exchange.pos),
        parent_id,
        remote: context.parent.is_some(),
        flags: FLAG_SAMPLED | random,
        state: context.state.as_ref().map(|state| joined(state.members())).unwrap_or_default(),
        rule: None,
    })
}

/// The members of a `tracestate` as one header. They are ASCII: the parser saw to it.
pub(super) fn joined(members: &[&[u8]]) -> Box<str> {
    let mut text =
        String::with_capacity(members.iter().map(|member| member.len() + 1).sum::<usize>().saturating_sub(1));
    for (i, member) in members.iter().enumerate() {
        if i > 0 {
            text.push(',');
        }
        text.push_str(&String::from_utf8_lossy(member));
    }
    text.into()
}
