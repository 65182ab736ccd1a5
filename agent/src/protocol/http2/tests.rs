//! How frames become steps, however they are cut.

use super::*;
use crate::protocol::streams::Fields;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("a length").to_be_bytes();
    let mut frame = vec![len[1], len[2], len[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    if kind != DATA {
        frame.extend_from_slice(payload);
    }
    frame
}

/// `GET /a` at `example.org`, with a field that goes into the table.
fn get() -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04, 2];
    block.extend_from_slice(b"/a");
    block.extend_from_slice(&[0x01, 11]);
    block.extend_from_slice(b"example.org");
    block.extend_from_slice(&[0x40, 1, b'n', 1, b'v']);
    block
}

const GET: &str = "GET /a\r\nhost: example.org\r\nn: v\r\n";

fn steps(parser: &mut Http2, side: Side, bytes: &[u8], piece: usize) -> Vec<Step> {
    let mut out = Vec::new();
    for piece in bytes.chunks(piece) {
        parser.advance(side, piece, &mut out);
    }
    for step in &mut out {
        if let Step::Fields { carried, .. } = step {
            *carried = false;
        }
    }
    out
}

fn fields(text: &str, count: u32, status: Option<u16>, unknown: u32) -> Fields {
    Fields {
        request: text.contains("host:"),
        status,
        count,
        unknown,
        head: crate::protocol::message::Head::copy(text.as_bytes(), false),
    }
}

fn request(stream: u64, end: bool) -> Step {
    Step::Fields { side: Side::Request, stream, carried: false, fields: fields(GET, 5, None, 0), end }
}

/// Checks that bytes of the request side give steps, whole and in pieces of every size.
#[track_caller]
fn check(bytes: &[u8], expect: &[Step]) {
    for piece in 1..=bytes.len() {
        assert_eq!(steps(&mut Http2::default(), Side::Request, bytes, piece), expect, "pieces of {piece}");
    }
}

#[test]
fn a_request_with_content() {
    let mut bytes = frame(HEADERS, END_HEADERS, 1, &get());
    bytes.extend(frame(DATA, 0, 1, &[0; 500]));
    bytes.extend(frame(DATA, END_STREAM, 1, &[]));
    let content = |len, end| Step::Content { side: Side::Request, stream: 1, len, end };
    check(&bytes, &[request(1, false), content(500, false), content(0, true)]);
}

#[test]
fn a_block_in_pieces_with_padding_and_priority() {
    let block = get();
    let (first, rest) = block.split_at(5);
    let mut payload = vec![3, 0, 0, 0, 0, 16];
    payload.extend_from_slice(first);
    payload.extend_from_slice(&[0, 0, 0]);
    let mut bytes = frame(HEADERS, PADDED | PRIORITISED | END_STREAM, 3, &payload);
    bytes.extend(frame(CONTINUATION, 0, 3, &rest[..1]));
    bytes.extend(frame(CONTINUATION, 0, 3, &[]));
    bytes.extend(frame(CONTINUATION, END_HEADERS, 3, &rest[1..]));
    check(&bytes, &[request(3, true)]);
}

#[test]
fn resets_and_farewells() {
    let mut bytes = frame(RST_STREAM, 0, 5, &[0, 0, 0, 8]);
    bytes.extend(frame(GOAWAY, 0, 0, &[0, 0, 0, 7, 0, 0, 0, 0, b'b', b'y', b'e']));
    let reset = Step::Reset { side: Side::Request, stream: 5, code: 8 };
    check(&bytes, &[reset, Step::Refused { side: Side::Request, above: 7 }]);
}

#[test]
fn a_promise_is_nobodys_message_and_fills_the_table() {
    let mut payload = vec![0, 0, 0, 2];
    payload.extend_from_slice(&get());
    let mut bytes = frame(PUSH_PROMISE, END_HEADERS, 1, &payload);
    bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x88, 0xbe]));
    let answer = fields("200\r\nn: v\r\n", 2, Some(200), 0);
    let expect = Step::Fields { side: Side::Response, stream: 1, carried: false, fields: answer, end: true };
    assert_eq!(steps(&mut Http2::default(), Side::Response, &bytes, usize::MAX), [expect]);
}

#[test]
fn behind_a_gap_what_is_older_is_unknown() {
    let mut parser = Http2::default();
    steps(&mut parser, Side::Response, &frame(HEADERS, END_HEADERS, 1, &[0x88, 0x40, 1, b'n', 1, b'v']), 9);
    parser.advance(Side::Response, &frame(HEADERS, 0, 3, &[0x88])[..10], &mut Vec::new());
    assert!(parser.within(Side::Response));
    parser.gap(Side::Response);
    assert!(!parser.within(Side::Response));
    let newer = frame(HEADERS, END_HEADERS, 5, &[0x88, 0xbe, 0x40, 1, b'm', 1, b'w', 0xbe, 0xbf]);
    let answer = fields("200\r\nm: w\r\nm: w\r\n", 5, Some(200), 2);
    let expect = Step::Fields { side: Side::Response, stream: 5, carried: false, fields: answer, end: false };
    assert_eq!(steps(&mut parser, Side::Response, &newer, usize::MAX), [expect]);
}

#[test]
fn what_follows_no_rule_is_lost() {
    let lost = Step::Lost { side: Side::Request };
    check(&frame(CONTINUATION, END_HEADERS, 1, &get()), std::slice::from_ref(&lost));
    check(&frame(HEADERS, END_HEADERS, 1, &[0x80]), std::slice::from_ref(&lost));
    check(&frame(HEADERS, END_HEADERS | PADDED, 1, &[9, 0x82]), std::slice::from_ref(&lost));
    let mut bytes = frame(HEADERS, 0, 1, &get());
    bytes.extend(frame(RST_STREAM, 0, 1, &[0, 0, 0, 1]));
    check(&bytes, &[lost, Step::Reset { side: Side::Request, stream: 1, code: 1 }]);
}

#[test]
fn too_long_blocks_are_told_without_their_fields() {
    let mut bytes = frame(HEADERS, END_STREAM, 1, &get());
    for _ in 0..5 {
        bytes.extend(frame(CONTINUATION, 0, 1, &[0x82; 16_384]));
    }
    bytes.extend(frame(CONTINUATION, END_HEADERS, 1, &[0x82]));
    let found = steps(&mut Http2::default(), Side::Request, &bytes, 1000);
    let [Step::Fields { stream: 1, fields, end: true, .. }] = &found[..] else { panic!("{found:?}") };
    assert!(fields.head.truncated && fields.count == 0);
}

#[test]
fn line_ends_in_values_make_no_lines() {
    let mut block = get();
    block.extend_from_slice(&[0x00, 1, b'x', 5, b'a', b'\r', b'\n', b'b', 0]);
    let found = steps(&mut Http2::default(), Side::Request, &frame(HEADERS, END_HEADERS, 1, &block), 100);
    let [Step::Fields { fields, .. }] = &found[..] else { panic!("{found:?}") };
    assert!(fields.head.bytes().ends_with(b"n: v\r\nx: a  b \r\n"));
}

#[test]
fn requests_that_say_more() {
    let line = |fields: &[(&str, &str)]| {
        let mut lines = Lines::default();
        for (name, value) in fields {
            lines.field(Some(name.as_bytes()), Some(value.as_bytes()));
        }
        String::from_utf8(lines.finish(false).head.bytes().to_vec()).expect("text")
    };
    let (scheme, host) = ((":scheme", "https"), (":authority", "a:1"));
    assert_eq!(
        line(&[(":method", "GET"), scheme, host, (":path", "/x")]),
        "GET https://a:1/x\r\nhost: a:1\r\n"
    );
    assert_eq!(line(&[(":method", "CONNECT"), host]), "CONNECT a:1\r\nhost: a:1\r\n");
    assert_eq!(
        line(&[
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            host,
            (":path", "/c")
        ]),
        "CONNECT /c\r\nhost: a:1\r\n"
    );
    assert_eq!(line(&[(":path", "*"), (":method", "OPTIONS"), ("host", "b")]), "OPTIONS *\r\nhost: b\r\n");
}

/// What real programs sent: nginx with curl and nghttp, Node and Go with themselves.
#[test]
fn conversations_of_real_programs() {
    macro_rules! frames {
        ($name:literal) => {
            include_bytes!(concat!("../../../../tests/corpus/http2/", $name, ".frames")).as_slice()
        };
    }
    for (side, bytes, requests, answers, ends) in [
        (Side::Request, frames!("nginx_curl.req"), 1, 0, 1),
        (Side::Response, frames!("nginx_curl.resp"), 0, 1, 1),
        (Side::Request, frames!("nginx_nghttp_long.req"), 6, 0, 6),
        (Side::Response, frames!("nginx_nghttp_long.resp"), 0, 6, 6),
        (Side::Request, frames!("nginx_nghttp_padding.req"), 1, 0, 1),
        (Side::Response, frames!("nginx_nghttp_padding.resp"), 0, 1, 1),
        (Side::Request, frames!("node_grpc.req"), 13, 0, 13),
        (Side::Response, frames!("node_grpc.resp"), 0, 10, 10),
        (Side::Request, frames!("go_h2c.req"), 6, 0, 6),
        (Side::Response, frames!("go_h2c.resp"), 0, 6, 6),
    ] {
        let found = steps(&mut Http2::default(), side, bytes, 100);
        let (mut counts, mut over) = ([0, 0], 0);
        for step in &found {
            match step {
                Step::Fields { fields, end, .. } => {
                    assert_eq!(fields.unknown, 0);
                    counts[0] += usize::from(fields.request);
                    counts[1] += usize::from(fields.status.is_some());
                    over += usize::from(*end);
                }
                Step::Content { end, .. } => over += usize::from(*end),
                Step::Reset { .. } | Step::Refused { .. } => {}
                Step::Lost { .. } => panic!("{found:?}"),
            }
        }
        assert_eq!((counts, over), ([requests, answers], ends), "{side:?} {found:?}");
        for piece in [1, 7, 100_000] {
            assert_eq!(steps(&mut Http2::default(), side, bytes, piece), found);
        }
    }
}
