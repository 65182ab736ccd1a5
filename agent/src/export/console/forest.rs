//! The spans of one trace as trees.

use std::collections::HashMap;

use crate::span::Span;

/// One span's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// Index of the span.
    pub span: usize,
    /// Parents above it.
    pub depth: usize,
    /// No sibling comes behind it.
    pub last: bool,
    /// It names a parent that is not among the spans.
    pub orphan: bool,
}

/// Parents and children of the spans of one trace.
#[derive(Debug)]
pub(super) struct Forest {
    /// The parent of each span, by index.
    pub parents: Vec<Option<usize>>,
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

        let mut children: HashMap<Option<usize>, Vec<usize>> = HashMap::new();
        for at in &order {
            children.entry(parents.get(*at).copied().flatten()).or_default().push(*at);
        }
        let mut nodes = Vec::with_capacity(spans.len());
        let mut stack = Vec::new();
        let mut push = |stack: &mut Vec<Node>, of, depth| {
            let siblings = children.remove(&of).unwrap_or_default();
            for (n, span) in siblings.into_iter().rev().enumerate() {
                let named = spans.get(span).is_some_and(|span| span.parent_id != [0; 8]);
                stack.push(Node { span, depth, last: n == 0, orphan: of.is_none() && named });
            }
        };
        push(&mut stack, None, 0);
        while let Some(node) = stack.pop() {
            push(&mut stack, Some(node.span), node.depth + 1);
            nodes.push(node);
        }
        Self { parents, nodes }
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

    fn shape(ids: &[(u8, u8)]) -> Vec<(usize, usize, bool, bool)> {
        let spans = spans(ids);
        let forest = Forest::new(&spans.iter().collect::<Vec<_>>());
        forest.nodes.iter().map(|n| (n.span, n.depth, n.last, n.orphan)).collect()
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
            places.sort_unstable();
            prop_assert_eq!(places, (0..ids.len()).collect::<Vec<_>>());
        }
    }
}
