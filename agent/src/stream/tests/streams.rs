//! Connections whose exchanges overlap: whose is what, when it moved, and what is told of what was missed.

use spandrel_common::{
    event::{
        CLOSE_ERROR, CLOSE_GONE, CLOSE_LOCAL, CLOSE_OPAQUE, CLOSE_PEER, DATA_CROSSED, DATA_START,
        PROTOCOL_HTTP1, PROTOCOL_HTTP2, ROLE_CLIENT, ROLE_SERVER,
    },
    http2::{DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, place},
};

use super::wire::{GET, OK, Wire};
use crate::{exchange::Exchange, protocol::Side, stats::Count};

const LAST: u8 = END_HEADERS | END_STREAM;

/// A frame as it is told, with so much payload on the wire.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8], len: usize) -> Vec<u8> {
    let len = u32::try_from(len).expect("a length").to_be_bytes();
    let mut frame = vec![len[1], len[2], len[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn fields(flags: u8, stream: u32, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, flags, stream, block, block.len())
}

/// `GET /` on a stream.
fn get(stream: u32) -> Vec<u8> {
    fields(LAST, stream, &[0x82, 0x84, 0x86])
}

/// 200 without content on a stream.
fn ok(stream: u32) -> Vec<u8> {
    fields(LAST, stream, &[0x88])
}

fn wire(role: u8) -> Wire {
    let mut wire = Wire::new(role, 100);
    wire.protocol = PROTOCOL_HTTP2;
    wire.open(1);
    wire
}

/// What came out, as stream, status, what was odd.
fn told(wire: &mut Wire) -> String {
    let told: Vec<String> = wire
        .out
        .drain(..)
        .map(|exchange| {
            let Exchange { pos, start_ns, end_ns, response, outcome, gap, .. } = exchange;
            assert!(end_ns >= start_ns);
            let status = response.map_or(0, |(status, _)| status);
            format!("{} {status} {outcome:?}{}", pos - place(0), if gap { " gap" } else { "" })
        })
        .collect();
    told.join(", ")
}

/// The first event of a side.
fn begin(wire: &mut Wire, side: Side, bytes: &[u8]) {
    wire.data(side, bytes).flags(DATA_START).send();
}

/// The same, with bytes that moved at a moment.
fn begin_at(wire: &mut Wire, time_ns: u64, side: Side, bytes: &[u8]) {
    let at = |data: &mut spandrel_common::event::Data| (data.first_ns, data.last_ns) = (time_ns, time_ns);
    wire.data(side, bytes).flags(DATA_START).with(at).send();
}

#[test]
fn answers_in_any_order() {
    for role in [ROLE_SERVER, ROLE_CLIENT] {
        let mut wire = wire(role);
        begin(&mut wire, Side::Request, &[get(1), get(3), get(5)].concat());
        begin(&mut wire, Side::Response, &[ok(5), fields(END_HEADERS, 1, &[0x88])].concat());
        wire.resp(&[frame(DATA, 0, 1, &[], 700), ok(3)].concat());
        wire.resp(&frame(DATA, END_STREAM, 1, &[], 0));
        assert_eq!(wire.out[2].response_body, 700);
        assert_eq!((wire.out[0].start_ns, wire.out[0].end_ns), (1010, 1025));
        assert_eq!((wire.out[2].start_ns, wire.out[2].end_ns), (1010, 1045));
        assert_eq!(told(&mut wire), "5 200 Complete, 3 200 Complete, 1 200 Complete");
        wire.ledger(3);
    }
}

#[test]
fn fields_in_pieces_begin_when_their_first_byte_moved() {
    let mut wire = wire(ROLE_SERVER);
    let bytes = get(1);
    begin(&mut wire, Side::Request, &bytes[..10]);
    wire.req(&bytes[10..11]);
    wire.req(&[&bytes[11..], &get(3)[..]].concat());
    begin(&mut wire, Side::Response, &[ok(1), ok(3)].concat());
    assert_eq!((wire.out[0].start_ns, wire.out[1].start_ns), (1010, 1030));
    assert_eq!(told(&mut wire), "1 200 Complete, 3 200 Complete");
}

#[test]
fn an_answer_may_be_told_before_its_request() {
    let mut wire = wire(ROLE_CLIENT);
    begin(&mut wire, Side::Response, &[ok(1), ok(3)].concat());
    begin(&mut wire, Side::Request, &get(1));
    assert_eq!(told(&mut wire), "1 200 Complete");
    wire.req(&get(3));
    assert_eq!(told(&mut wire), "3 200 Complete");
    wire.ledger(2);
}

#[test]
fn a_request_that_is_told_behind_its_answer_has_all_its_content() {
    let mut wire = wire(ROLE_CLIENT);
    begin(&mut wire, Side::Response, &[ok(1), ok(3)].concat());
    let request =
        |stream| [fields(END_HEADERS, stream, &[0x83, 0x84, 0x86]), frame(DATA, 0, stream, &[], 30)];
    let end = |stream| frame(DATA, END_STREAM, stream, &[], 20);
    begin(&mut wire, Side::Request, &[request(1).concat(), end(1)].concat());
    assert_eq!((wire.out[0].request_body, told(&mut wire)), (50, "1 200 Complete".to_owned()));
    wire.req(&[request(3).concat(), end(3)].concat());
    assert_eq!((wire.out[0].request_body, told(&mut wire)), (50, "3 200 Complete".to_owned()));
    // The last of it alone is late.
    wire.req(&request(5).concat());
    wire.data(Side::Response, &ok(5)).flags(DATA_CROSSED).send();
    assert_eq!(told(&mut wire), "");
    let received_ns = wire.now - 5;
    wire.req(&end(5));
    assert_eq!((wire.out[0].request_body, wire.out[0].end_ns), (50, received_ns));
    assert_eq!(told(&mut wire), "5 200 Complete");
    wire.ledger(3);
}

#[test]
fn an_answer_that_is_told_behind_the_reset_that_followed_it() {
    let reset = |stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 8], 4);
    let mut wire = wire(ROLE_SERVER);
    begin(&mut wire, Side::Request, &[get(1), get(3), get(5)].concat());
    let sent_ns = wire.now;
    wire.now += 100;
    wire.data(Side::Request, &[reset(1), reset(3), reset(5)].concat()).flags(DATA_CROSSED).send();
    assert_eq!(told(&mut wire), "");
    let answers = [ok(1), fields(END_HEADERS, 3, &[0x88])].concat();
    begin_at(&mut wire, sent_ns, Side::Response, &answers);
    let expect = "1 200 Complete, 3 200 Reset { by: Request, code: 8 }, 5 0 Reset { by: Request, code: 8 }";
    assert_eq!(told(&mut wire), expect);
    // Nothing is sent behind it.
    wire.req(&[get(7), get(9)].concat());
    wire.data(Side::Request, &reset(7)).flags(DATA_CROSSED).send();
    wire.now += 2_000_000_000;
    wire.req(&get(11));
    wire.data(Side::Request, &reset(9)).flags(DATA_CROSSED).send();
    wire.close(CLOSE_GONE, 0);
    let reset = "Reset { by: Request, code: 8 }";
    assert_eq!(told(&mut wire), format!("7 0 {reset}, 9 0 {reset}, 11 0 LocalClosed"));
    wire.ledger(6);
}

#[test]
fn answers_before_their_requests_are_bounded() {
    let mut wire = wire(ROLE_CLIENT);
    begin(&mut wire, Side::Response, &fields(END_HEADERS, 1, &[0x88]));
    for _ in 0..1000 {
        wire.resp(&frame(DATA, 0, 1, &[], 10));
    }
    wire.resp(&ok(1));
    begin(&mut wire, Side::Request, &get(1));
    assert_eq!((wire.out[0].response_body, told(&mut wire)), (10_000, "1 200 Complete".to_owned()));
    for stream in 1..400 {
        wire.resp(&ok(2 * stream + 1));
    }
    // The first of them are given up, and with them any certainty.
    wire.req(&[get(3), get(801)].concat());
    assert_eq!(told(&mut wire), "");
    wire.now += 2_000_000_000;
    wire.req(&get(803));
    assert_eq!(told(&mut wire), "3 0 Unseen gap, 801 0 Unseen gap");
    wire.resp(&ok(803));
    assert_eq!(told(&mut wire), "803 200 Complete");
    wire.ledger(4);
}

#[test]
fn interim_answers_and_trailers() {
    let mut wire = wire(ROLE_SERVER);
    begin(&mut wire, Side::Request, &get(1));
    begin(&mut wire, Side::Response, &fields(END_HEADERS, 1, &[0x08, 3, b'1', b'0', b'3']));
    wire.resp(&fields(END_HEADERS, 1, &[0x88]));
    wire.resp(&fields(LAST, 1, &[0x00, 1, b't', 1, b'v']));
    assert_eq!(wire.out[0].trailers.as_ref().expect("trailers").bytes(), b"t: v\r\n");
    assert_eq!(told(&mut wire), "1 200 Complete");
}

#[test]
fn broken_off_streams() {
    let mut wire = wire(ROLE_CLIENT);
    begin(&mut wire, Side::Request, &[get(1), get(3), get(5), get(7)].concat());
    wire.req(&frame(RST_STREAM, 0, 3, &[0, 0, 0, 8], 4));
    begin(&mut wire, Side::Response, &frame(RST_STREAM, 0, 1, &[0, 0, 0, 2], 4));
    assert_eq!(told(&mut wire), "3 0 Reset { by: Request, code: 8 }, 1 0 Reset { by: Response, code: 2 }");
    wire.resp(&frame(GOAWAY, 0, 0, &[0, 0, 0, 5, 0, 0, 0, 0], 8));
    assert_eq!(told(&mut wire), "7 0 Reset { by: Response, code: 7 }");
    // It left before the client had read that.
    wire.req(&get(9));
    assert_eq!(told(&mut wire), "9 0 Reset { by: Response, code: 7 }");
    wire.close(CLOSE_PEER, 0);
    assert_eq!(told(&mut wire), "5 0 PeerClosed");
    wire.ledger(5);
}

#[test]
fn answers_to_what_is_over() {
    let mut wire = wire(ROLE_SERVER);
    begin(&mut wire, Side::Response, &ok(1));
    begin(&mut wire, Side::Request, &[get(3), frame(RST_STREAM, 0, 3, &[0, 0, 0, 8], 4)].concat());
    wire.resp(&ok(3));
    assert_eq!(told(&mut wire), "3 0 Reset { by: Request, code: 8 }");
    // Only the first one answers a request that was missed.
    assert_eq!(wire.counted(Count::OrphanResponses), 1);
    wire.ledger(1);
}

#[test]
fn connections_end() {
    for (reason, errno, expect) in [
        (CLOSE_ERROR, 104, "1 0 Failed(104)"),
        (CLOSE_GONE, 0, "1 0 LocalClosed"),
        (CLOSE_OPAQUE, 0, "1 0 Unseen gap"),
    ] {
        let mut wire = wire(ROLE_SERVER);
        begin(&mut wire, Side::Request, &get(1));
        wire.close(reason, errno);
        assert_eq!(told(&mut wire), expect);
        wire.ledger(1);
    }
}

#[test]
fn half_closed_and_forgotten() {
    let mut wire = wire(ROLE_CLIENT);
    begin(&mut wire, Side::Request, &get(1));
    wire.close(CLOSE_LOCAL, 0);
    assert_eq!(told(&mut wire), "");
    let closed_ns = wire.now;
    let later = closed_ns + 5_000_000_000;
    assert_eq!(wire.table.expire(later, 10_000_000_000, &mut wire.out), 0);
    assert_eq!(wire.table.expire(later, 1_000_000_000, &mut wire.out), 1);
    assert!(wire.out[0].end_ns <= closed_ns);
    assert_eq!(told(&mut wire), "1 0 LocalClosed");
    wire.ledger(1);
}

#[test]
fn events_that_are_lost() {
    let mut wire = wire(ROLE_SERVER);
    begin(&mut wire, Side::Request, &[get(1), get(3)].concat());
    begin(&mut wire, Side::Response, &fields(END_HEADERS, 1, &[0x88]));
    wire.data(Side::Response, &ok(3)).lose();
    wire.data(Side::Request, &get(5)).lose();
    // The rest of a frame, and fields that name what may have been in the gap.
    let rest = fields(LAST, 7, &[0x82, 0x84, 0x86, 0xbe]);
    wire.data(Side::Request, &[&[1, 2, 3], &rest[..]].concat()).with(|data| data.framing = 3).send();
    wire.resp(&[ok(7), frame(DATA, END_STREAM, 1, &[], 0), ok(5)].concat());
    assert_eq!(told(&mut wire), "7 200 Complete gap, 1 200 Complete gap");
    assert_eq!((wire.counted(Count::Gaps), wire.counted(Count::UnknownFields)), (2, 1));
    assert_eq!(wire.counted(Count::OrphanResponses), 1);
    // Nothing is heard of the third stream any more.
    wire.now += 2_000_000_000;
    wire.req(&get(9));
    assert_eq!(told(&mut wire), "3 0 Unseen gap");
    wire.resp(&ok(9));
    assert_eq!(told(&mut wire), "9 200 Complete");
    wire.ledger(4);
}

#[test]
fn joined_in_the_middle() {
    let mut wire = wire(ROLE_CLIENT);
    wire.resp(&ok(11));
    wire.req(&fields(LAST, 13, &[0x82, 0xbe, 0xc0]));
    wire.resp(&ok(13));
    assert_eq!(told(&mut wire), "13 200 Complete gap");
    wire.ledger(1);
}

#[test]
fn from_one_protocol_to_another() {
    let mut wire = Wire::server();
    assert_eq!(wire.protocol, PROTOCOL_HTTP1);
    wire.req(GET);
    wire.resp(OK);
    assert_eq!(wire.told(), "@0 200 0/2");
    wire.protocol = PROTOCOL_HTTP2;
    wire.open(1);
    begin(&mut wire, Side::Request, &get(3));
    wire.open(1);
    begin(&mut wire, Side::Response, &ok(3));
    assert_eq!(told(&mut wire), "3 200 Complete");
    wire.ledger(2);
}

#[test]
fn an_upgrade_is_answered_on_the_first_stream() {
    for announced in [true, false] {
        let mut wire = Wire::server();
        wire.req(b"GET /a?b HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
        wire.resp(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
        assert!(wire.out.is_empty());
        if announced {
            wire.protocol = PROTOCOL_HTTP2;
            wire.open(1);
            begin(&mut wire, Side::Response, &[fields(END_HEADERS, 1, &[0x88])].concat());
            begin(&mut wire, Side::Request, &get(3));
            wire.resp(&[frame(DATA, END_STREAM, 1, &[], 5), ok(3)].concat());
            assert!(wire.out[0].request.bytes().starts_with(b"GET /a?b\r\nHost: x\r\n"));
            assert_eq!((wire.out[0].pos, wire.out[0].response_body, wire.out[0].start_ns), (0, 5, 1010));
            assert_eq!(wire.out.len(), 2);
            wire.ledger(2);
        } else {
            wire.close(CLOSE_GONE, 0);
            assert_eq!(wire.told(), "@0 101 0/0");
            wire.ledger(1);
        }
    }
}

#[test]
fn heads_are_bounded() {
    let mut wire = wire(ROLE_SERVER);
    begin(&mut wire, Side::Request, &[]);
    // Each names a field of 4,000 bytes some fifteen times.
    let mut block = vec![0x82, 0x84, 0x86, 0x40, 1, b'n', 0x7f, 0xa1, 0x1e];
    block.extend_from_slice(&[b'v'; 4000]);
    wire.req(&fields(LAST, 1, &block));
    let again = [[0x82, 0x84, 0x86].as_slice(), &[0xbe; 15]].concat();
    for stream in 1..200 {
        wire.req(&fields(LAST, 2 * stream + 1, &again));
    }
    let over = wire.out.len();
    assert!((120..150).contains(&over), "{over}");
    assert!(told(&mut wire).split(", ").all(|told| told.ends_with("0 Unseen gap")));
    wire.close(CLOSE_GONE, 0);
    wire.ledger(200);
}
