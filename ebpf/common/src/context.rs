//! What a request belongs to: its place in a trace, how that is known, and what goes out on the wire for it.
//!
//! The kernel side makes one [`Context`] for a request, where it is first seen. It goes out as `traceparent`,
//! and to userspace as the [`Cause`] in the request's event, so that both say the same.

use core::mem::{offset_of, size_of};

use crate::{
    ids::{self, SpanId, TraceId},
    sample::Policy,
    w3c::{FLAG_RANDOM, FLAG_SAMPLED, TraceParent},
};

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $value:literal $label:literal;)*) => {
        /// How the parent of a request is known. The value of [`Context::rule`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Rule { $($(#[$doc])* $name = $value,)* }

        impl Rule {
            /// Every rule.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The rule for a byte of the ring; unknown ones are [`Rule::None`].
            pub const fn from_u8(byte: u8) -> Self {
                match byte { $($value => Self::$name,)* _ => Self::None }
            }

            /// How the rule is called in attributes, metrics and configuration.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

rules! {
    /// No parent: the trace starts here.
    None = 0 "none";
    /// The request carries a `traceparent` of its own.
    Carried = 1 "carried";
    /// The thread that sends has read the inbound request and works on nothing else.
    Worker = 2 "worker";
    /// The goroutine that sends has read the inbound request, or was started by the one that did.
    Goroutine = 3 "goroutine";
    /// The request carries an identifier that exactly one inbound request carried.
    Identifier = 4 "identifier";
    /// nginx made the upstream request for an inbound request.
    Upstream = 5 "upstream";
    /// The process works on one inbound request only.
    Single = 6 "single_in_flight";
    /// The Go context that the request is sent with was made from the inbound request's own.
    GoContext = 7 "go_context";
}

/// In the mask of rules that are on: only evidence counts that is sound by itself.
pub const STRICT: u32 = 1 << 31;

/// In [`Cause::rule`]: what the ids name is a candidate for a link, and no parent.
pub const CANDIDATE: u8 = 0x80;

/// The place of a request in its trace. 64 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Context {
    /// Position of the request in its direction's stream.
    pub pos: u64,
    /// Connection of the inbound request whose `tracestate` belongs to this trace; 0 if there is none.
    pub state: u64,
    pub trace_id: TraceId,
    /// Of the request's own span, as [`ids::span_id`] makes it.
    pub span_id: SpanId,
    /// All zeros for a root.
    pub parent_id: SpanId,
    /// W3C trace flags. The sampled flag is the decision about this request.
    pub flags: u8,
    /// A [`Rule`].
    pub rule: u8,
    /// 1 if the rest says something: about the request at `pos`.
    pub known: u8,
    pub reserved: [u8; 5],
    /// Process and thread ids of whoever works on it, or 0.
    pub owner: u64,
}

impl Context {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self {
        pos: 0,
        state: 0,
        trace_id: [0; 16],
        span_id: [0; 8],
        parent_id: [0; 8],
        flags: 0,
        rule: 0,
        known: 0,
        reserved: [0; 5],
        owner: 0,
    };

    /// Whether the request is recorded.
    pub const fn sampled(&self) -> bool {
        self.flags & FLAG_SAMPLED != 0
    }

    /// Makes this the context of the request at `pos` of a connection that a header or a rule gives this
    /// parent, or none; decides about it. The random flag of a trace stays as it came (W3C Trace Context
    /// Level 2, section 3.2.2.5.2).
    #[inline]
    pub fn place(&mut self, seed: [u64; 2], pos: u64, parent: Option<&TraceParent>, policy: &Policy) {
        self.pos = pos;
        self.state = 0;
        self.known = 1;
        self.span_id = ids::span_id(seed, pos);
        if let Some(parent) = parent {
            self.trace_id = parent.trace_id;
            self.parent_id = parent.parent_id;
            self.flags = parent.flags & FLAG_RANDOM;
            self.rule = Rule::Carried as u8;
        } else {
            self.trace_id = ids::trace_id(seed, pos);
            self.parent_id = [0; 8];
            self.flags = FLAG_RANDOM;
            self.rule = Rule::None as u8;
        }
        if policy.decide(parent.map(TraceParent::sampled), self.trace_id) {
            self.flags |= FLAG_SAMPLED;
        }
    }

    /// Makes this the context of the request at `pos` of a connection that the request of `cause` caused. The
    /// decision is that one's.
    #[inline]
    pub fn follow(&mut self, seed: [u64; 2], pos: u64, cause: &Self, rule: Rule) {
        self.state = cause.state;
        self.trace_id = cause.trace_id;
        self.span_id = cause.span_id;
        self.flags = cause.flags;
        self.go_on(seed, pos, rule);
    }

    /// The same, where this has been the context of the causing request.
    #[inline]
    pub fn go_on(&mut self, seed: [u64; 2], pos: u64, rule: Rule) {
        self.parent_id = self.span_id;
        self.pos = pos;
        self.known = 1;
        self.span_id = ids::span_id(seed, pos);
        self.rule = rule as u8;
    }
}

/// In the event of an outbound request: the trace and the span that caused it. 32 bytes. All zeros where nothing is
/// known besides what the request's head and [`ids`] say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Cause {
    pub trace_id: TraceId,
    pub parent_id: SpanId,
    /// W3C trace flags, as they went out.
    pub flags: u8,
    /// A [`Rule`], and perhaps [`CANDIDATE`].
    pub rule: u8,
    pub reserved: [u8; 6],
}

impl Cause {
    /// Nothing is known.
    pub const NONE: Self = Self { trace_id: [0; 16], parent_id: [0; 8], flags: 0, rule: 0, reserved: [0; 6] };
}

const _: () = assert!(size_of::<Context>() == 64 && offset_of!(Context, flags) == 48);
const _: () = assert!(size_of::<Cause>() == 32 && offset_of!(Cause, flags) == 24);

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: [u64; 2] = [0x1234_5678_9abc_def0, 0x0fed_cba9_8765_4321];

    #[test]
    fn a_root_has_the_ids_of_its_connection() {
        let mut context = Context::UNKNOWN;
        context.place(SEED, 7, None, &Policy::DEFAULT);
        assert_eq!(context.trace_id, ids::trace_id(SEED, 7));
        assert_eq!(context.span_id, ids::span_id(SEED, 7));
        assert_eq!((context.parent_id, context.flags), ([0; 8], FLAG_RANDOM | FLAG_SAMPLED));
        context.place(SEED, 7, None, &Policy::ALWAYS_OFF);
        assert_eq!(context.flags, FLAG_RANDOM);
    }

    #[test]
    fn a_parent_decides_and_keeps_its_flags() {
        for flags in 0..4 {
            let parent = TraceParent { trace_id: [1; 16], parent_id: [2; 8], flags, version: 0 };
            let mut context = Context::UNKNOWN;
            context.place(SEED, 7, Some(&parent), &Policy::DEFAULT);
            assert_eq!((context.trace_id, context.parent_id, context.flags), ([1; 16], [2; 8], flags));
            context.place(SEED, 7, Some(&parent), &Policy::ALWAYS_ON);
            assert_eq!(context.flags, flags | FLAG_SAMPLED);
        }
    }

    #[test]
    fn what_was_caused_follows() {
        let (mut cause, mut caused) = (Context::UNKNOWN, Context::UNKNOWN);
        cause.place(SEED, 7, None, &Policy::ALWAYS_OFF);
        cause.state = 9;
        caused.follow([5, 6], 11, &cause, Rule::Worker);
        assert_eq!((caused.trace_id, caused.parent_id), (cause.trace_id, cause.span_id));
        assert_eq!((caused.flags, caused.state, caused.rule), (cause.flags, 9, Rule::Worker as u8));
        assert_eq!(caused.span_id, ids::span_id([5, 6], 11));
    }
}
