//! What a person sees.

use std::sync::Arc;

use proptest::prelude::*;
use unicode_width::UnicodeWidthStr as _;

use super::*;
use crate::{discover::resource::Resource, export::testing, span::Attribute};

const MS: u64 = 1_000_000;

/// Kind, service, path, own number, parent's number, start and end in milliseconds, status.
type Row<'a> = (Kind, &'a str, &'a str, u8, u8, u64, u64, i64);

fn span(row: &Row<'_>) -> Span {
    let (kind, service, path, id, parent, start, end, status) = *row;
    let mut span = testing::server_span(1, &testing::resource(1, service));
    span.kind = kind;
    span.span_id = [id; 8];
    span.parent_id = [parent; 8];
    span.start_ns = 1_790_000_000_000_000_000 + start * MS;
    span.end_ns = 1_790_000_000_000_000_000 + end * MS;
    span.attributes = match kind {
        Kind::Server => vec![testing::text("url.path", path)],
        Kind::Client | Kind::Producer => vec![testing::text("url.full", &format!("http://{path}"))],
    };
    span.attributes.push(match kind {
        Kind::Server => testing::text("server.address", "shop.example.com"),
        Kind::Client | Kind::Producer => {
            testing::text("server.address", path.split(['/', ':']).next().unwrap())
        }
    });
    if status != 0 {
        span.attributes.push(testing::attribute("http.response.status_code", Value::Int(status)));
    }
    if status >= 500 {
        span.status = Status::Error;
        span.attributes.push(testing::text("error.type", &status.to_string()));
    }
    span
}

fn shop() -> Vec<Span> {
    let rows: [Row<'_>; 6] = [
        (Kind::Server, "nginx", "/checkout", 1, 0, 0, 214, 500),
        (Kind::Client, "nginx", "cart:8000/checkout", 2, 1, 1, 213, 500),
        (Kind::Server, "cart", "/checkout", 3, 2, 3, 211, 500),
        (Kind::Client, "cart", "price:8001/price?sku=1", 4, 3, 10, 30, 200),
        (Kind::Server, "price", "/price", 5, 4, 12, 28, 200),
        (Kind::Client, "cart", "bank.example/pay", 6, 3, 40, 200, 503),
    ];
    rows.iter().map(span).collect()
}

#[track_caller]
fn check(spans: &[Span], width: usize, expected: &str) {
    let got = render(spans, width, false);
    assert_eq!(got, expected.trim_start_matches('\n'), "\n{got}");
}

#[test]
fn a_tree_with_its_waterfall() {
    check(
        &shop(),
        100,
        "
214 ms, failed at bank.example, 6 spans in 3 services         trace 0000000000000001123456789abcdef0
nginx GET /checkout                                   500   214 ms  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━
└╴→ GET cart:8000/checkout                            500   212 ms  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╸
  └╴cart GET /checkout                                500   208 ms  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╸
    ├╴→ GET price:8001/price?sku=1                    200  20.0 ms   ━━━
    │ └╴price GET /price                              200  16.0 ms   ╺━━
    └╴→ GET bank.example/pay                          503   160 ms       ╺━━━━━━━━━━━━━━━━━━━━━━━╸
time: waiting for bank.example 75 %, cart 13 %, price 7 %, cart → price 2 %, nginx → cart 2 %

",
    );
}

/// The same requests, when the caller's header is only handed on.
fn handed_on() -> Vec<Span> {
    let mut spans = shop();
    for span in &mut spans {
        span.parent_id = [0xc0; 8];
    }
    spans
}

#[test]
fn spans_of_one_unseen_caller_lie_in_one_another() {
    check(
        &handed_on(),
        100,
        "
214 ms, failed at bank.example, 6 spans in 3 services         trace 0000000000000001123456789abcdef0
their caller's span c0c0c0c0c0c0c0c0 was not seen
├╴nginx GET /checkout                                 500   214 ms  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━
├╴nginx → GET cart:8000/checkout                      500   212 ms  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╸
├╴cart GET /checkout                                  500   208 ms  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╸
├╴cart → GET price:8001/price?sku=1                   200  20.0 ms   ━━━
├╴price GET /price                                    200  16.0 ms   ╺━━
└╴cart → GET bank.example/pay                         503   160 ms       ╺━━━━━━━━━━━━━━━━━━━━━━━╸
time: waiting for bank.example 75 %, cart 13 %, price 7 %, waiting for cart 2 %

",
    );
}

#[test]
fn a_narrow_terminal_has_no_waterfall() {
    check(
        &shop(),
        50,
        "
214 ms, failed at bank.example
nginx GET /checkout                   500   214 ms
└╴→ GET cart:8000/checkout            500   212 ms
  └╴cart GET /checkout                500   208 ms
    ├╴→ GET price:8001/price?sku=1    200  20.0 ms
    │ └╴price GET /price              200  16.0 ms
    └╴→ GET bank.example/pay          503   160 ms
time: waiting for bank.example 75 %, cart 13 %

",
    );
}

#[test]
fn single_spans_take_one_line_each() {
    let mut one = span(&(Kind::Server, "shop", "/", 1, 0, 0, 3, 200));
    one.trace_id = [1; 16];
    let mut three = span(&(Kind::Server, "shop", "/cart", 3, 9, 7, 9, 404));
    three.trace_id = [3; 16];
    let mut two = span(&(Kind::Client, "shop", "db.example:9200/_search", 2, 9, 5, 9, 0));
    two.trace_id = [2; 16];
    two.status = Status::Error;
    two.attributes.push(testing::text("error.type", "connection_reset"));
    check(
        &[three, two, one],
        100,
        "
shop GET /                                            200  3.00 ms  01010101010101010101010101010101
shop → GET db.example:9200/_search connection_reset     ✗  4.00 ms  02020202020202020202020202020202
shop GET /cart · parent not seen                      404  2.00 ms  03030303030303030303030303030303
",
    );
}

#[test]
fn colour_only_when_wanted() {
    assert!(!render(&shop(), 100, false).contains('\x1b'));
    let colour = render(&shop(), 100, true);
    assert!(colour.contains("\x1b[31m"));
    // Without the colours it is the same text.
    let mut plain = String::new();
    let mut rest = colour.as_str();
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    plain.push_str(rest);
    assert_eq!(plain, render(&shop(), 100, false));
}

#[test]
fn hostile_text_stays_text() {
    let resource = Resource { id: 1, service: "evil\x1b]0;x\x07".into(), attributes: Vec::new() };
    let mut spans = shop();
    for span in &mut spans {
        span.resource =
            Arc::new(Resource { id: 1, service: resource.service.clone(), ..Resource::default() });
        span.name = "GET\x1b[2J\n".into();
        span.attributes.push(Attribute { key: "error.type".into(), value: Value::Str("\r\nroot#".into()) });
    }
    let text = render(&spans, 100, false);
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text}");
    assert_eq!(text.lines().count(), render(&shop(), 100, false).lines().count(), "{text}");
}

proptest! {
    #[test]
    fn no_line_is_wider_than_the_terminal(mut spans in testing::any_spans(), width in 32..160_usize, parents in any::<[u8; 12]>()) {
        // One trace, with some of the spans under others.
        for (n, span) in spans.iter_mut().enumerate() {
            span.trace_id = [7; 16];
            span.span_id = [n as u8 + 1; 8];
            span.parent_id = [parents[n] % 14; 8];
        }
        for line in render(&spans, width, false).lines() {
            prop_assert!(line.width() <= width, "{} > {width}: {line}", line.width());
        }
    }
}
