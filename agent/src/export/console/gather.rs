//! Traces on their way to the screen: the spans of one trace end at different times and places.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use spandrel_common::ids::TraceId;

use crate::span::Span;

/// A trace whose root has ended is shown when nothing came for this long: its other spans have ended
/// before it and are only on their way.
const SETTLE: Duration = Duration::from_millis(150);
/// A trace without a root waits longer, since what it belongs to may still be running here.
const SETTLE_ROOTLESS: Duration = Duration::from_secs(1);
/// No trace waits longer, however busy it is: a person is watching.
const LONGEST: Duration = Duration::from_secs(5);
/// Spans that wait at most; above it the oldest trace is shown as it is. More than a screen can hold, less
/// than 10 MB.
const MAX_SPANS: usize = 4_096;

#[derive(Debug)]
struct Trace {
    spans: Vec<Span>,
    rooted: bool,
    first: Instant,
    due: Instant,
}

/// Spans by trace, until their trace is due.
#[derive(Debug, Default)]
pub(super) struct Gather {
    traces: HashMap<TraceId, Trace>,
    /// Traces by arrival.
    order: VecDeque<TraceId>,
    spans: usize,
}

impl Gather {
    /// Adds a span that came at `now`.
    pub(super) fn push(&mut self, span: Span, now: Instant) {
        let id = span.trace_id;
        let trace = self.traces.entry(id).or_insert_with(|| {
            self.order.push_back(id);
            Trace { spans: Vec::new(), rooted: false, first: now, due: now }
        });
        trace.rooted |= span.parent_id == [0; 8];
        trace.spans.push(span);
        self.spans += 1;
        let settle = if trace.rooted { SETTLE } else { SETTLE_ROOTLESS };
        trace.due = (now + settle).min(trace.first + LONGEST);
    }

    /// The next trace that is due at `now`, if any.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Vec<Span>> {
        let full = self.spans > MAX_SPANS;
        let due = |id: &TraceId| full || self.traces.get(id).is_none_or(|trace| trace.due <= now);
        let at = self.order.iter().position(due)?;
        let id = self.order.remove(at)?;
        let spans = self.traces.remove(&id)?.spans;
        self.spans -= spans.len();
        Some(spans)
    }

    /// Any trace, the oldest first: nothing comes any more.
    pub(super) fn pop_any(&mut self) -> Option<Vec<Span>> {
        let id = self.order.pop_front()?;
        let spans = self.traces.remove(&id)?.spans;
        self.spans -= spans.len();
        Some(spans)
    }

    /// When the next trace is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.traces.values().map(|trace| trace.due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::testing;

    fn span(trace: u8, root: bool) -> Span {
        let mut span = testing::spans(1).remove(0);
        span.trace_id = [trace; 16];
        span.parent_id = if root { [0; 8] } else { [7; 8] };
        span
    }

    #[test]
    fn a_trace_is_due_when_it_is_quiet() {
        let (mut gather, start) = (Gather::default(), Instant::now());
        assert_eq!(gather.due(), None);
        gather.push(span(1, false), start);
        assert_eq!(gather.due(), Some(start + SETTLE_ROOTLESS));
        let later = start + SETTLE;
        gather.push(span(1, true), later);
        gather.push(span(2, false), later);
        assert!(gather.pop(later).is_none());
        assert_eq!(gather.pop(later + SETTLE).map(|spans| spans.len()), Some(2));
        assert!(gather.pop(later + SETTLE).is_none());
        assert_eq!(gather.pop_any().map(|spans| spans.len()), Some(1));
        assert!(gather.pop_any().is_none());
        assert_eq!(gather.spans, 0);
    }

    #[test]
    fn a_busy_trace_does_not_wait_for_ever() {
        let (mut gather, start) = (Gather::default(), Instant::now());
        for n in 0..60 {
            gather.push(span(1, true), start + Duration::from_millis(n * 100));
        }
        assert_eq!(gather.due(), Some(start + LONGEST));
    }

    #[test]
    fn beyond_the_bound_the_oldest_is_shown() {
        let (mut gather, now) = (Gather::default(), Instant::now());
        for n in 0..=MAX_SPANS {
            gather.push(span((n % 3) as u8 + 1, true), now);
        }
        let first = gather.pop(now).unwrap();
        assert_eq!(first[0].trace_id, [1; 16]);
        assert!(gather.pop(now).is_none());
    }
}
