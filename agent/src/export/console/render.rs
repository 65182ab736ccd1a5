//! Traces as trees with a waterfall beside them.

use std::collections::{BTreeSet, HashMap};

use super::{
    forest::{Entry, Forest, Node},
    spent,
    style::{Ink, Line, duration, hex},
};
use crate::span::{Kind, Span, Status, Value};

/// Below this width there is no waterfall.
const WITH_BARS: usize = 72;
/// From this width on it is as wide as a trace id.
const WITH_LONG_BARS: usize = 96;
/// Columns of status and duration.
const FACTS: usize = 1 + 3 + 2 + 7;
/// A line is never cut below this width.
const NARROWEST: usize = 32;
/// Deeper levels are indented no further, so that text keeps its room.
const MAX_INDENT: usize = 10;
/// Larger traces are shown up to here, so that one runaway loop does not fill the screen.
const MAX_LINES: usize = 200;

/// Traces, in order of their first start: a single span as one line, several as a tree with a waterfall
/// and where the time went. `width` is in columns.
pub fn render(spans: &[Span], width: usize, colour: bool) -> String {
    let mut traces: Vec<Vec<&Span>> = Vec::new();
    let mut index = HashMap::new();
    for span in spans {
        let at = *index.entry(span.trace_id).or_insert(traces.len());
        match traces.get_mut(at) {
            Some(trace) => trace.push(span),
            None => traces.push(vec![span]),
        }
    }
    traces.sort_by_key(|trace| trace.iter().map(|span| span.start_ns).min());
    let page = Page::new(width, colour);
    let mut out = String::new();
    for trace in traces {
        match trace.as_slice() {
            [span] => page.single(span, &mut out),
            trace => page.tree(trace, &mut out),
        }
    }
    out
}

/// The columns.
#[derive(Clone, Copy, Debug)]
struct Page {
    colour: bool,
    width: usize,
    /// Where the facts start.
    facts: usize,
    /// Columns of the waterfall, or 0.
    bars: usize,
}

impl Page {
    fn new(width: usize, colour: bool) -> Self {
        let width = width.max(NARROWEST);
        let bars = match width {
            WITH_LONG_BARS.. => 32,
            WITH_BARS.. => 20,
            _ => 0,
        };
        let behind = if bars > 0 { bars + 2 } else { 0 };
        Self { colour, width, facts: width - behind - FACTS, bars }
    }

    /// A trace of one span: no header, and its trace id where others have their waterfall.
    fn single(&self, span: &Span, out: &mut String) {
        let mut line = Line::new(self.colour);
        self.label(&mut line, span, Ink::Plain, None, span.parent_id != [0; 8]);
        Self::facts(&mut line, span);
        if self.bars > 0 {
            line.put(Ink::Plain, "  ");
            line.put_fit(Ink::Quiet, &hex(&span.trace_id), self.bars);
        }
        line.end(out);
    }

    fn tree(&self, spans: &[&Span], out: &mut String) {
        let start = spans.iter().map(|span| span.start_ns).min().unwrap_or(0);
        let end = spans.iter().map(|span| span.end_ns).max().unwrap_or(0).max(start);
        let forest = Forest::new(spans);
        self.header(spans, &forest, end - start, out);
        // Whether a line goes on downwards at each level.
        let mut rails: Vec<bool> = Vec::new();
        for node in forest.nodes.iter().take(MAX_LINES) {
            let mut line = Line::new(self.colour);
            Self::indent(&mut line, node, &mut rails);
            let at = match node.entry {
                Entry::Span(at) => at,
                Entry::Unseen(id) => {
                    self.unseen(line, &id, out);
                    continue;
                }
            };
            let Some(span) = spans.get(at) else { continue };
            let ink = if node.depth == 0 { Ink::Bold } else { Ink::Plain };
            let above = forest.parents.get(at).copied().flatten().and_then(|at| spans.get(at));
            self.label(&mut line, span, ink, above.copied(), node.orphan);
            Self::facts(&mut line, span);
            self.bar(&mut line, span, start, end);
            line.end(out);
        }
        self.footer(spans, &forest, out);
    }

    fn header(&self, spans: &[&Span], forest: &Forest, took: u64, out: &mut String) {
        let services: BTreeSet<&str> = spans.iter().map(|span| &*span.resource.service).collect();
        let trace_id = spans.first().map(|span| hex(&span.trace_id)).unwrap_or_default();
        let (n, s) = (spans.len(), services.len());
        let mut line = Line::new(self.colour);
        line.put(Ink::Quiet, &duration(took));
        if let Some(failed) = failed(spans, forest) {
            line.put(Ink::Quiet, ", ");
            line.put_fit(Ink::Bad, &failed, self.width.saturating_sub(line.width()));
        }
        let size = format!(", {n} spans in {s} service{}", if s == 1 { "" } else { "s" });
        if line.width() + size.len() <= self.width {
            line.put(Ink::Quiet, &size);
        }
        if line.width() + 9 + trace_id.len() <= self.width {
            line.to(self.width - trace_id.len() - 6);
            line.put(Ink::Quiet, "trace ");
            line.put(Ink::Quiet, &trace_id);
        }
        line.end(out);
    }

    fn footer(&self, spans: &[&Span], forest: &Forest, out: &mut String) {
        let quiet = |text: String, out: &mut String| {
            let mut line = Line::new(self.colour);
            line.put_fit(Ink::Quiet, &text, self.width);
            line.end(out);
        };
        if spans.len() > MAX_LINES {
            quiet(format!("\u{2026} and {} spans more", spans.len() - MAX_LINES), out);
        }
        let places = spent::by_place(spans, forest);
        if places.len() > 1 {
            quiet(spent::line(&places, self.width), out);
        }
        out.push('\n');
    }

    /// The tree's lines in front of a label.
    fn indent(line: &mut Line, node: &Node, rails: &mut Vec<bool>) {
        rails.truncate(node.depth);
        for rail in rails.iter().skip(1).take(MAX_INDENT) {
            line.put(Ink::Quiet, if *rail { "\u{2502} " } else { "  " });
        }
        rails.push(!node.last);
        if node.depth > 0 {
            line.put(Ink::Quiet, if node.last { "\u{2514}\u{2574}" } else { "\u{251c}\u{2574}" });
        }
    }

    /// The line above spans whose common parent was not seen.
    fn unseen(&self, mut line: Line, id: &[u8], out: &mut String) {
        let text = format!("their caller's span {} was not seen", hex(id));
        line.put_fit(Ink::Quiet, &text, self.width - line.width());
        line.end(out);
    }

    /// Service and what was asked of it; for a client span, what it asked of whom. `above` is the parent.
    fn label(&self, line: &mut Line, span: &Span, ink: Ink, above: Option<&Span>, orphan: bool) {
        let room = |line: &Line| self.facts.saturating_sub(line.width());
        let service = &span.resource.service;
        match span.kind {
            Kind::Server => {
                line.put_fit(Ink::of(service), service, room(line) / 2);
                line.put(Ink::Plain, " ");
            }
            // Below its own service's span, a client's service goes without saying.
            Kind::Client | Kind::Producer if above.is_none_or(|above| above.resource.service != *service) => {
                line.put_fit(Ink::of(service), service, room(line) / 3);
                line.put(Ink::Quiet, " \u{2192} ");
            }
            Kind::Client | Kind::Producer => line.put(Ink::Quiet, "\u{2192} "),
        }
        line.put_fit(ink, &what(span), room(line));
        if let Some(error) = error(span) {
            let max = room(line);
            line.put_fit(Ink::Bad, &format!(" {error}"), max);
        }
        if orphan && room(line) > 17 {
            line.put(Ink::Quiet, " \u{b7} parent not seen");
        }
        line.to(self.facts);
    }

    fn facts(line: &mut Line, span: &Span) {
        let failed = span.status == Status::Error;
        let (text, ink) = match attribute(span, "http.response.status_code") {
            Some(Value::Int(status)) => {
                let ink = match status {
                    _ if failed => Ink::Bad,
                    400.. => Ink::Warn,
                    _ => Ink::Good,
                };
                (format!("{status:>4}"), ink)
            }
            _ if failed => ("   \u{2717}".to_owned(), Ink::Bad),
            _ => ("   \u{2013}".to_owned(), Ink::Quiet),
        };
        line.put_fit(ink, &text, 4);
        let took = duration(span.end_ns.saturating_sub(span.start_ns));
        let indent = FACTS.saturating_sub(4 + took.chars().count());
        line.put(Ink::Plain, &format!("{:indent$}{took}", ""));
    }

    /// When the span was open, within its trace.
    fn bar(&self, line: &mut Line, span: &Span, start: u64, end: u64) {
        if self.bars == 0 {
            return;
        }
        // In half columns: a heavy line can begin and end in the middle of one.
        let halves = self.bars as f64 * 2.0;
        let at = |ns: u64| (ns.saturating_sub(start) as f64 / (end - start).max(1) as f64 * halves) as usize;
        let from = at(span.start_ns).min(self.bars * 2 - 1);
        let to = at(span.end_ns).clamp(from + 1, self.bars * 2);
        let cells =
            (0..self.bars).map(|cell| match (covers(from, to, cell * 2), covers(from, to, cell * 2 + 1)) {
                (true, true) => '\u{2501}',
                (true, false) => '\u{2578}',
                (false, true) => '\u{257a}',
                (false, false) => ' ',
            });
        let cells: String = cells.collect();
        line.put(Ink::Plain, "  ");
        let skip = cells.len() - cells.trim_start().len();
        line.put(Ink::Plain, &" ".repeat(skip));
        let ink = if span.status == Status::Error { Ink::Bad } else { Ink::of(&span.resource.service) };
        line.put(ink, cells.trim());
    }
}

const fn covers(from: usize, to: usize, half: usize) -> bool {
    from <= half && half < to
}

fn attribute<'a>(span: &'a Span, key: &str) -> Option<&'a Value> {
    span.attributes.iter().find(|a| a.key == key).map(|a| &a.value)
}

fn text<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    match attribute(span, key)? {
        Value::Static(value) => Some(value),
        Value::Str(value) => Some(value),
        _ => None,
    }
}

/// The request: the span's name, and the path unless the name already has a target.
fn what(span: &Span) -> String {
    let name = &span.name;
    match span.kind {
        Kind::Client | Kind::Producer => match text(span, "url.full") {
            Some(url) => {
                let target = url.split_once("://").map_or(url, |(_, rest)| rest);
                format!("{name} {target}")
            }
            None => format!("{name} {}", spent::peer(span)),
        },
        Kind::Server if name.contains(' ') => name.to_string(),
        Kind::Server => {
            let path = text(span, "url.path").unwrap_or_default();
            let query = text(span, "url.query").map(|query| format!("?{query}")).unwrap_or_default();
            format!("{name} {path}{query}")
        }
    }
}

/// Where a failure began: the failed spans in which no other failed.
fn failed(spans: &[&Span], forest: &Forest) -> Option<String> {
    let failed = |at: &usize| spans.get(*at).is_some_and(|span| span.status == Status::Error);
    let handed_on: BTreeSet<usize> =
        (0..spans.len()).filter(failed).filter_map(|at| forest.within.get(at).copied().flatten()).collect();
    let in_order = forest.nodes.iter().filter_map(|node| match node.entry {
        Entry::Span(at) => Some(at),
        Entry::Unseen(_) => None,
    });
    let mut origins = in_order.filter(failed);
    let mut origins = origins.by_ref().filter(|at| !handed_on.contains(at));
    let first = *spans.get(origins.next()?)?;
    let place = match first.kind {
        Kind::Server => first.resource.service.to_string(),
        Kind::Client | Kind::Producer => spent::peer(first),
    };
    Some(match origins.count() {
        0 => format!("failed at {place}"),
        more => format!("failed at {place} and {more} more"),
    })
}

/// What went wrong, if the status does not say it.
fn error(span: &Span) -> Option<&str> {
    text(span, "error.type").filter(|error| !error.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
