//! Where a trace's time went: each instant belongs to the innermost spans that were open then.

use std::collections::{BTreeMap, BTreeSet};

use unicode_width::UnicodeWidthStr as _;

use super::forest::Forest;
use crate::span::{Kind, Span, Value};

/// A share below this is noise.
const LEAST: f64 = 0.01;

/// Nanoseconds by place, the largest first. An instant with several innermost spans is divided evenly
/// among them, so that the sum is the time in which anything was open.
pub(super) fn by_place(spans: &[&Span], forest: &Forest) -> Vec<(String, f64)> {
    let mut edges: Vec<(u64, bool, usize)> = Vec::with_capacity(spans.len() * 2);
    for (at, span) in spans.iter().enumerate().filter(|(_, span)| span.end_ns > span.start_ns) {
        // At one instant what ends comes before what starts.
        edges.extend([(span.start_ns, true, at), (span.end_ns, false, at)]);
    }
    edges.sort_unstable();
    let child_service = child_services(spans, forest);
    let mut open = vec![false; spans.len()];
    let mut open_inside = vec![0_usize; spans.len()];
    let mut leaves = BTreeSet::new();
    let mut sums: BTreeMap<usize, f64> = BTreeMap::new();
    let mut before = 0;
    for (now, starts, at) in edges {
        let share = (now - before) as f64 / leaves.len().max(1) as f64;
        for leaf in &leaves {
            *sums.entry(*leaf).or_default() += share;
        }
        before = now;
        if let Some(open) = open.get_mut(at) {
            *open = starts;
        }
        let around = forest.within.get(at).copied().flatten();
        if let Some(count) = around.and_then(|around| open_inside.get_mut(around)) {
            *count = if starts { *count + 1 } else { count.saturating_sub(1) };
        }
        for touched in [Some(at), around].into_iter().flatten() {
            let innermost = open.get(touched) == Some(&true) && open_inside.get(touched) == Some(&0);
            if innermost {
                leaves.insert(touched)
            } else {
                leaves.remove(&touched)
            };
        }
    }
    let mut places: BTreeMap<String, f64> = BTreeMap::new();
    for (at, ns) in sums {
        if let Some(span) = spans.get(at) {
            *places.entry(place(span, child_service.get(&at).copied())).or_default() += ns;
        }
    }
    let mut places: Vec<_> = places.into_iter().filter(|(_, ns)| *ns > 0.0).collect();
    places.sort_by(|a, b| b.1.total_cmp(&a.1));
    places
}

/// For client spans, the service that answered, if it was seen.
fn child_services<'a>(spans: &[&'a Span], forest: &Forest) -> BTreeMap<usize, &'a str> {
    let answered = forest.parents.iter().enumerate().filter_map(|(at, parent)| {
        let (child, parent_at) = (spans.get(at)?, (*parent)?);
        let both = spans.get(parent_at)?.kind == Kind::Client && child.kind == Kind::Server;
        both.then(|| (parent_at, &*child.resource.service))
    });
    answered.collect()
}

/// What a span's own time is called.
fn place(span: &Span, answered_by: Option<&str>) -> String {
    let service = &span.resource.service;
    match (span.kind, answered_by) {
        (Kind::Server, _) => service.to_string(),
        (Kind::Client | Kind::Producer, Some(other)) => format!("{service} \u{2192} {other}"),
        (Kind::Client | Kind::Producer, None) => format!("waiting for {}", peer(span)),
    }
}

/// Whom a client span called.
pub(super) fn peer(span: &Span) -> String {
    let text = |key| span.attributes.iter().find(|a| a.key == key).map(|a| &a.value);
    let address = match text("server.address").or_else(|| text("network.peer.address")) {
        Some(Value::Str(address)) => address,
        Some(Value::Static(address)) => *address,
        _ => return "a server".to_owned(),
    };
    match text("server.port") {
        Some(Value::Int(port)) if *port != 80 => format!("{address}:{port}"),
        _ => address.to_owned(),
    }
}

/// The largest places in one line of at most `max` columns: `time: cart 62 %, waiting for db:5432 20 %`.
pub(super) fn line(places: &[(String, f64)], max: usize) -> String {
    let total: f64 = places.iter().map(|(_, ns)| ns).sum();
    let mut line = "time:".to_owned();
    for (n, (place, ns)) in places.iter().enumerate().filter(|(_, (_, ns))| *ns >= total * LEAST) {
        let comma = if n == 0 { "" } else { "," };
        let more = format!("{comma} {place} {:.0} %", ns / total * 100.0);
        if n > 0 && line.width() + more.width() > max {
            break;
        }
        line.push_str(&more);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::testing;

    /// Kind, service, parent (its number), start and end.
    fn trace(rows: &[(Kind, &str, usize, u64, u64)]) -> Vec<Span> {
        let build = |(n, (kind, service, parent, start, end)): (usize, &(Kind, &str, usize, u64, u64))| {
            let mut span = testing::server_span(0, &testing::resource(n as u64, service));
            span.kind = *kind;
            span.span_id = [n as u8 + 1; 8];
            span.parent_id = [*parent as u8; 8];
            (span.start_ns, span.end_ns) = (*start, *end);
            span
        };
        rows.iter().enumerate().map(build).collect()
    }

    fn spent(rows: &[(Kind, &str, usize, u64, u64)]) -> Vec<(String, f64)> {
        let spans = trace(rows);
        let spans: Vec<&Span> = spans.iter().collect();
        by_place(&spans, &Forest::new(&spans))
    }

    #[test]
    fn own_time_is_what_children_leave() {
        let got = spent(&[
            (Kind::Server, "shop", 0, 0, 100),
            (Kind::Client, "shop", 1, 10, 90),
            (Kind::Server, "cart", 2, 20, 80),
        ]);
        let expected = [("cart", 60.0), ("shop", 20.0), ("shop \u{2192} cart", 20.0)];
        assert_eq!(got, expected.map(|(place, ns)| (place.to_owned(), ns)));
    }

    #[test]
    fn parallel_calls_share_their_time() {
        let got = spent(&[
            (Kind::Server, "shop", 0, 0, 100),
            (Kind::Client, "shop", 1, 0, 100),
            (Kind::Client, "shop", 1, 0, 50),
        ]);
        assert_eq!(got, [("waiting for shop.example.com:8080".to_owned(), 100.0)]);
    }

    #[test]
    fn a_child_that_outlives_its_parent_keeps_its_own_time() {
        let got = spent(&[(Kind::Server, "a", 0, 0, 50), (Kind::Server, "b", 1, 25, 100)]);
        assert_eq!(got, [("b".to_owned(), 75.0), ("a".to_owned(), 25.0)]);
        assert_eq!(line(&got, 80), "time: b 75 %, a 25 %");
        assert_eq!(line(&got, 15), "time: b 75 %");
    }

    #[test]
    fn spans_without_duration_took_no_time() {
        assert_eq!(spent(&[(Kind::Server, "a", 0, 5, 5)]), []);
    }
}
