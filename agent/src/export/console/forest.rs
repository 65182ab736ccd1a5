//! The spans of one trace as trees.

use std::collections::HashMap;

use spandrel_common::ids::SpanId;

use crate::span::Span;

/// What a line of the tree is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Entry {
    /// A span, by index.
    Span(usize),
    /// The parent that several spans name and that is not among the spans.
    Unseen(SpanId),
}

/// One line's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub entry: Entry,
    /// Entries above it.
    pub depth: usize,
    /// No sibling comes behind it.
    pub last: bool,
    /// A span that names a parent that is not above it.
    pub orphan: bool,
}

/// Parents and children of the spans of one trace.
#[derive(Debug)]
pub(super) struct Forest {
    /// The parent of each span, by index.
    pub parents: Vec<Option<usize>>,
    /// What each span lies in: its parent, or if that was not seen, the latest of its siblings that is
    /// open for as long as it is. That says when, not why, and is for sums only.
    pub within: Vec<Option<usize>>,
    /// Depth first, parents before children, siblings by start.
    pub nodes: Vec<Node>,
}

impl Forest {
    /// Whatever the ids say, each span has exactly one place: of equal ids the first span is the parent,
    /// and a circle is cut at its earliest span.
    pub(super) fn new(spans: &[&Span]) -> Self {
        let mut by_id = HashMap::with_capacity(spans.len());
        for (at, span) in spans.iter().enumerate() {
            by_id.entry(span.span_id).or_insert(at);
        }
        let parent = |(at, span): (usize, &&Span)| by_id.get(&span.parent_id).copied().filter(|p| *p != at);
        let mut parents: Vec<Option<usize>> = spans.iter().enumerate().map(parent).collect();
        let mut order: Vec<usize> = (0..spans.len()).collect();
        order.sort_by_key(|at| spans.get(*at).map(|span| (span.start_ns, u64::MAX - span.end_ns, *at)));
        cut_circles(&mut parents, &order);

        let mut unseen: HashMap<SpanId, Vec<usize>> = HashMap::new();
        for at in &order {
            if let Some(span) = spans.get(*at)
                && span.parent_id != [0; 8]
                && !by_id.contains_key(&span.parent_id)
            {
                unseen.entry(span.parent_id).or_default().push(*at);
            }
        }
        let mut within = parents.clone();
        for siblings in unseen.values() {
            enclose(spans, siblings, &mut within);
        }
        let shared = |at: usize| {
            let id = spans.get(at)?.parent_id;
            unseen.get(&id).is_some_and(|siblings| siblings.len() > 1).then_some(Entry::Unseen(id))
        };
        let mut children: HashMap<Option<Entry>, Vec<Entry>> = HashMap::new();
        for at in order {
            let above = parents.get(at).copied().flatten().map(Entry::Span).or_else(|| shared(at));
            if above.is_some_and(|entry| matches!(entry, Entry::Unseen(_)) && !children.contains_key(&above))
            {
                children.entry(None).or_default().extend(above);
            }
            children.entry(above).or_default().push(Entry::Span(at));
        }
        let nodes = walk(children, |entry| match entry {
            Entry::Span(at) => spans.get(at).is_some_and(|span| span.parent_id != [0; 8]),
            Entry::Unseen(_) => false,
        });
        Self { parents, within, nodes }
    }
}

/// All entries, depth first. `named` says whether one names a parent.
fn walk(mut children: HashMap<Option<Entry>, Vec<Entry>>, named: impl Fn(Entry) -> bool) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut stack = Vec::new();
    let mut push = |stack: &mut Vec<Node>, above: Option<Entry>, depth| {
        let siblings = children.remove(&above).unwrap_or_default();
        for (n, entry) in siblings.into_iter().rev().enumerate() {
            stack.push(Node { entry, depth, last: n == 0, orphan: above.is_none() && named(entry) });
        }
    };
    push(&mut stack, None, 0);
    while let Some(node) = stack.pop() {
        push(&mut stack, Some(node.entry), node.depth + 1);
        nodes.push(node);
    }
    nodes
}

/// Finds for each of the siblings, which are in order, the latest one before it that ends no earlier.
fn enclose(spans: &[&Span], siblings: &[usize], within: &mut [Option<usize>]) {
    let mut open: Vec<(usize, u64)> = Vec::new();
    for at in siblings {
        let Some(span) = spans.get(*at) else { continue };
        while open.pop_if(|(_, end)| *end <= span.start_ns).is_some() {}
        if let Some(place) = within.get_mut(*at) {
            *place = open.iter().rev().find(|(_, end)| *end >= span.end_ns).map(|(at, _)| *at);
        }
        open.push((*at, span.end_ns));
    }
}

/// Makes roots of the earliest spans of circles.
fn cut_circles(parents: &mut [Option<usize>], order: &[usize]) {
    // 0: not looked at, otherwise the walk in which it was.
    let mut walk_of = vec![0_usize; parents.len()];
    for (walk, start) in order.iter().enumerate() {
        let mut at = Some(*start);
        while let Some(here) = at {
            match walk_of.get_mut(here) {
                Some(seen @ 0) => *seen = walk + 1,
                Some(seen) if *seen == walk + 1 => {
                    // `start` is the earliest span that leads into this circle; cut where it was entered.
                    if let Some(parent) = parents.get_mut(here) {
                        *parent = None;
                    }
                    break;
                }
                _ => break,
            }
            at = parents.get(here).copied().flatten();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::export::testing;

    fn spans(ids: &[(u8, u8)]) -> Vec<Span> {
        let mut spans = testing::spans(ids.len() as u64);
        for (span, (id, parent)) in spans.iter_mut().zip(ids) {
            span.span_id = [*id; 8];
            span.parent_id = [*parent; 8];
        }
        spans
    }

    /// For the parent that was not seen.
    const UNSEEN: usize = 99;

    fn shape(ids: &[(u8, u8)]) -> Vec<(usize, usize, bool, bool)> {
        let spans = spans(ids);
        let forest = Forest::new(&spans.iter().collect::<Vec<_>>());
        let number = |entry| match entry {
            Entry::Span(at) => at,
            Entry::Unseen(_) => UNSEEN,
        };
        forest.nodes.iter().map(|n| (number(n.entry), n.depth, n.last, n.orphan)).collect()
    }

    #[test]
    fn parents_before_children_in_order_of_start() {
        let expected = [(0, 0, true, false), (1, 1, false, false), (3, 2, true, false), (2, 1, true, false)];
        assert_eq!(shape(&[(1, 0), (2, 1), (3, 1), (4, 2)]), expected);
    }

    #[test]
    fn a_parent_that_was_not_seen_makes_an_orphan() {
        assert_eq!(shape(&[(1, 9), (2, 1)]), [(0, 0, true, true), (1, 1, true, false)]);
    }

    #[test]
    fn spans_that_name_the_same_unseen_parent_are_together() {
        let expected = [
            (UNSEEN, 0, false, false),
            (0, 1, false, false),
            (3, 2, true, false),
            (2, 1, true, false),
            (1, 0, true, true),
        ];
        assert_eq!(shape(&[(1, 9), (2, 8), (3, 9), (4, 1)]), expected);
    }

    #[test]
    fn siblings_of_an_unseen_parent_lie_in_one_another() {
        let mut spans = spans(&[(1, 9), (2, 9), (3, 9), (4, 9), (5, 3), (6, 9)]);
        let times = [(0, 100), (10, 50), (20, 30), (40, 60), (0, 99), (100, 120)];
        for (span, (start, end)) in spans.iter_mut().zip(times) {
            (span.start_ns, span.end_ns) = (start, end);
        }
        let forest = Forest::new(&spans.iter().collect::<Vec<_>>());
        assert_eq!(forest.within, [None, Some(0), Some(1), Some(0), Some(2), None]);
        assert_eq!(forest.parents, [None, None, None, None, Some(2), None]);
    }

    #[test]
    fn circles_and_equal_ids_lose_nothing() {
        assert_eq!(shape(&[(1, 1)]), [(0, 0, true, true)]);
        assert_eq!(shape(&[(1, 2), (2, 1)]), [(0, 0, true, true), (1, 1, true, false)]);
        assert_eq!(shape(&[(1, 0), (1, 0), (2, 1)]).len(), 3);
    }

    proptest! {
        #[test]
        fn every_span_has_one_place(ids in proptest::collection::vec((1..20_u8, 0..20_u8), 0..40)) {
            let nodes = shape(&ids);
            let mut places: Vec<usize> = nodes.iter().map(|n| n.0).collect();
            places.retain(|place| *place != UNSEEN);
            places.sort_unstable();
            prop_assert_eq!(places, (0..ids.len()).collect::<Vec<_>>());
        }
    }
}
