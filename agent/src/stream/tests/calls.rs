//! Requests to Kafka brokers, as the kernel side tells of them: every byte, of which the first ones of each message show.

use spandrel_common::event::{CLOSE_GONE, CLOSE_PEER, PROTOCOL_KAFKA, ROLE_CLIENT};

use super::wire::Wire;
use crate::{
    exchange::{Outcome, kafka::Call},
    protocol::Side,
    stats::Count,
};

fn client() -> Wire {
    let mut wire = Wire::new(ROLE_CLIENT, 100);
    wire.protocol = PROTOCOL_KAFKA;
    wire.open(1);
    wire
}

/// A request of an API of which nothing is read.
fn ask(correlation: u8) -> Vec<u8> {
    let mut message = vec![0, 0, 0, 13, 0, 18, 0, 0, 0, 0, 0, correlation, 0, 1, b'c'];
    message.extend([0, 0]);
    message
}

fn answer(correlation: u8, body: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 4 + body.len() as u8, 0, 0, 0, correlation], body].concat()
}

#[track_caller]
fn told(wire: &mut Wire) -> Vec<(i32, u64, Outcome, bool)> {
    let line = |call: Call| {
        assert!(call.end_ns >= call.start_ns && call.tgid == 7);
        (call.header.correlation, call.pos, call.outcome, call.gap)
    };
    assert!(wire.out.is_empty());
    wire.table.take_calls().into_iter().map(line).collect()
}

#[test]
fn responses_find_their_requests() {
    let mut wire = client();
    wire.req(&ask(1));
    wire.req(&[ask(2), ask(3)].concat());
    wire.resp(&answer(1, b""));
    wire.resp(&answer(2, b"abc"));
    assert_eq!(told(&mut wire), [(1, 0, Outcome::Complete, false), (2, 17, Outcome::Complete, false)]);
    wire.resp(&answer(3, b""));
    assert_eq!(told(&mut wire), [(3, 34, Outcome::Complete, false)]);
    wire.ledger(0);
}

#[test]
fn times_are_those_of_the_first_and_the_last_byte() {
    let mut wire = client();
    let start = wire.now;
    wire.data(Side::Request, &ask(1)[..4]).send();
    wire.data(Side::Request, &ask(1)[4..]).send();
    let whole = answer(1, &[7; 20]);
    wire.resp(&whole[..4]);
    wire.resp(&whole[4..10]);
    let last = wire.now;
    wire.resp(&whole[10..]);
    let calls = wire.table.take_calls();
    assert_eq!((calls.len(), calls[0].start_ns, calls[0].end_ns), (1, start, last + 5));
}

#[test]
fn a_response_that_is_told_first_waits_for_its_request() {
    let mut wire = client();
    let request = wire.data(Side::Request, &ask(1)).record();
    wire.resp(&answer(1, b""));
    assert!(told(&mut wire).is_empty());
    wire.bytes(&request);
    assert_eq!(told(&mut wire), [(1, 0, Outcome::Complete, false)]);
}

#[test]
fn what_was_not_captured_is_no_gap_where_nobody_looks_at_it() {
    let mut wire = client();
    wire.req(&ask(1));
    let whole = answer(1, &[7; 100]);
    wire.data(Side::Response, &whole[..20]).more(whole.len() as u64 - 20).send();
    wire.req(&ask(2));
    wire.resp(&answer(2, b""));
    assert_eq!(told(&mut wire), [(1, 0, Outcome::Complete, false), (2, 17, Outcome::Complete, false)]);
}

#[test]
fn a_lost_response_is_told_as_unseen() {
    let mut wire = client();
    wire.req(&ask(1));
    wire.resp(&answer(1, b""));
    wire.req(&ask(2));
    wire.data(Side::Response, &answer(2, b"")).lose();
    wire.req(&ask(3));
    wire.resp(&answer(3, b""));
    let expect =
        [(1, 0, Outcome::Complete, false), (2, 17, Outcome::Unseen, true), (3, 34, Outcome::Complete, false)];
    assert_eq!(told(&mut wire), expect);
    assert_eq!((wire.counted(Count::Gaps), wire.counted(Count::Resyncs)), (1, 1));
}

#[test]
fn what_is_open_ends_with_the_connection() {
    let mut wire = client();
    wire.req(&ask(1));
    wire.resp(&answer(1, b""));
    wire.req(&ask(2));
    wire.close(CLOSE_PEER, 0);
    wire.close(CLOSE_GONE, 0);
    assert_eq!(told(&mut wire), [(1, 0, Outcome::Complete, false), (2, 17, Outcome::PeerClosed, false)]);
}

#[test]
fn what_was_never_proved_says_nothing() {
    let mut wire = client();
    wire.req(&ask(1));
    wire.close(CLOSE_GONE, 0);
    assert!(told(&mut wire).is_empty());
    let mut wire = client();
    wire.req(&ask(1));
    wire.resp(&answer(9, b""));
    wire.req(&ask(2));
    wire.resp(&answer(2, b""));
    assert!(told(&mut wire).is_empty());
    assert_eq!(wire.counted(Count::NotKafka), 1);
}

#[test]
fn a_connection_that_is_forgotten_leaves_the_ledger_alone() {
    let mut wire = Wire::new(ROLE_CLIENT, 1);
    wire.protocol = PROTOCOL_KAFKA;
    wire.open(1);
    wire.req(&ask(1));
    wire.open(2);
    wire.ledger(0);
}
