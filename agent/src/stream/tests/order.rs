//! What is matched with what, and whose it is.

use spandrel_common::event::{DATA_BODY, DATA_END, DATA_START, DECISION_SAMPLED, ROLE_CLIENT, ROLE_SERVER};

use super::wire::{GET, OK, Wire};
use crate::{
    exchange::{Addr, Role},
    protocol::Side::{Request, Response},
    stats::Count,
};

#[test]
fn one_exchange_is_told_completely() {
    let mut wire = Wire::server();
    let start = wire.now;
    wire.data(Request, GET)
        .flags(DATA_START | DATA_END)
        .with(|data| {
            data.decision = DECISION_SAMPLED;
            data.wait_ns = 42;
        })
        .send();
    wire.tgid = 9;
    let end = wire.now + 5;
    wire.resp(OK);
    let [exchange] = &wire.out[..] else { panic!("{:?}", wire.out) };
    assert_eq!((exchange.tgid, exchange.tid), (7, 8), "of who read the request");
    assert_eq!((exchange.start_ns, exchange.end_ns, exchange.wait_ns), (start, end, 42));
    assert_eq!(exchange.request.bytes(), GET);
    assert_eq!(exchange.connection.role, Role::Server);
    assert_eq!(exchange.connection.local, Addr::Ip("127.0.0.1:80".parse().unwrap()));
    assert_eq!(exchange.sampled, Some(true));
    assert_eq!(wire.told(), "@0 200 0/2");
    wire.ledger(1);
}

#[test]
fn keep_alive_and_pipelining() {
    let mut wire = Wire::server();
    wire.req(GET);
    wire.resp(OK);
    wire.req(&[GET, GET, GET].concat());
    wire.resp(&OK[..5]);
    wire.resp(&[&OK[5..], OK].concat());
    wire.req(GET);
    wire.resp(&[OK, OK].concat());
    assert_eq!(wire.told(), "@0 200 0/2, @27 200 0/2, @54 200 0/2, @81 200 0/2, @108 200 0/2");
    wire.ledger(5);
}

#[test]
fn only_the_first_request_of_an_event_has_its_decision() {
    let mut wire = Wire::client();
    wire.data(Request, &GET[..10]).with(|data| data.decision = DECISION_SAMPLED).send();
    wire.req(&[&GET[10..], GET].concat());
    wire.resp(&[OK, OK].concat());
    let sampled: Vec<_> = wire.out.iter().map(|exchange| exchange.sampled).collect();
    assert_eq!(sampled, [Some(true), None]);
}

#[test]
fn the_first_of_many_pieces_tells_when_and_who() {
    let mut wire = Wire::client();
    let start = wire.now;
    for piece in GET.chunks(1) {
        wire.req(piece);
        wire.tgid = 99;
    }
    let mut end = 0;
    for piece in OK.chunks(1) {
        end = wire.now + 5;
        wire.resp(piece);
    }
    let [exchange] = &wire.out[..] else { panic!("{:?}", wire.out) };
    assert_eq!((exchange.tgid, exchange.start_ns, exchange.end_ns), (7, start, end));
    wire.ledger(1);
}

#[test]
fn a_response_that_overtakes_its_request_waits() {
    let mut wire = Wire::client();
    let request = wire.data(Request, b"HEAD / HTTP/1.1\r\n\r\n").record();
    wire.resp(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n");
    wire.resp(b"\r\n");
    assert_eq!(wire.told(), "");
    wire.bytes(&request);
    assert_eq!(wire.told(), "@0 200 0/0");
    let request = wire.data(Request, GET).record();
    wire.resp(OK);
    wire.bytes(&request);
    assert_eq!(wire.told(), "@19 200 0/2");
    assert_eq!(wire.counted(Count::OrphanResponses), 0);
    wire.ledger(2);
}

#[test]
fn a_response_older_than_any_request_is_an_orphan() {
    let mut wire = Wire::client();
    wire.resp(OK);
    wire.req(GET);
    wire.resp(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(wire.told(), "@0 404 0/0");
    assert_eq!(wire.counted(Count::OrphanResponses), 1);
    wire.ledger(1);
}

#[test]
fn responses_that_wait_are_few() {
    let mut wire = Wire::client();
    for _ in 0..100 {
        wire.resp(OK);
    }
    assert!(wire.counted(Count::OrphanResponses) >= 84);
    wire.req(GET);
    wire.resp(OK);
    assert_eq!(wire.told(), "@0 200 0/2");
    assert_eq!(wire.counted(Count::OrphanResponses), 100);
}

#[test]
fn an_early_response_takes_what_was_sent_so_far() {
    let mut wire = Wire::client();
    wire.req(b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\nabc");
    wire.resp(OK);
    assert_eq!(wire.told(), "@0 200 3/2");
    wire.data(Request, b"").more(97).flags(DATA_BODY | DATA_END).send();
    wire.req(GET);
    wire.resp(OK);
    assert_eq!(wire.told(), "@140 200 0/2");
    wire.ledger(2);
}

#[test]
fn withheld_bodies_are_counted() {
    let mut wire = Wire::server();
    wire.data(Request, b"PUT / HTTP/1.1\r\nContent-Length: 1000\r\n\r\nabc").more(97).flags(DATA_BODY).send();
    wire.data(Request, b"").more(900).flags(DATA_BODY | DATA_END).send();
    wire.data(Response, b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n").flags(DATA_START).send();
    let end = wire.now + 5;
    wire.data(Response, b"").more(70_000).flags(DATA_BODY | DATA_END).send();
    assert_eq!(wire.out[0].end_ns, end);
    assert_eq!(wire.told(), "@0 200 1000/70000");
    assert_eq!(wire.counted(Count::Gaps), 0);
}

#[test]
fn responses_of_withheld_requests_are_skipped() {
    let mut wire = Wire::server();
    wire.data(Request, GET).behind(54).flags(DATA_START).with(|data| data.orphans = 2).send();
    wire.resp(&[OK, OK].concat());
    assert_eq!(wire.told(), "");
    wire.resp(b"HTTP/1.1 201 Made\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(wire.told(), "@54 201 0/0");
    assert_eq!(wire.counted(Count::OrphanResponses), 0);
    wire.ledger(1);
}

#[test]
fn withheld_exchanges_leave_no_gap() {
    for role in [ROLE_SERVER, ROLE_CLIENT] {
        let mut wire = Wire::new(role, 9);
        wire.open(1);
        for _ in 0..3 {
            wire.data(Request, GET)
                .behind(500)
                .flags(DATA_START | DATA_END)
                .with(|data| data.other += 7000)
                .send();
            wire.data(Response, OK).behind(7000).flags(DATA_START).send();
        }
        assert_eq!(wire.told(), "@500 200 0/2, @1027 200 0/2, @1554 200 0/2");
        assert_eq!((wire.counted(Count::Gaps), wire.counted(Count::Resyncs)), (0, 0));
    }
}

#[test]
fn duplicates_are_ignored_and_overlaps_trimmed() {
    let mut wire = Wire::server();
    let record = wire.data(Request, GET).record();
    wire.bytes(&record);
    wire.bytes(&record);
    assert_eq!(wire.counted(Count::LateEvents), 1);
    wire.data(Response, OK).send();
    wire.data(Request, &[GET, GET].concat()).with(|data| data.pos = 0).send();
    wire.resp(OK);
    assert_eq!(wire.told(), "@0 200 0/2, @27 200 0/2");
    wire.ledger(2);
}

#[test]
fn unannounced_and_repeated_connections() {
    let mut wire = Wire::server();
    wire.data_of(5, Request, GET).send();
    assert_eq!(wire.counted(Count::UnknownConn), 1);
    wire.req(GET);
    wire.open(1);
    wire.resp(OK);
    assert_eq!(wire.told(), "@0 200 0/2");
    assert_eq!(wire.table.len(), 1);
}

#[test]
fn requests_behind_a_refused_upgrade_are_answered_by_the_same_read() {
    let upgrade = b"GET /h2 HTTP/1.1\r\nUpgrade: h2c\r\n\r\n";
    let mut wire = Wire::client();
    wire.req(&[&upgrade[..], upgrade, GET].concat());
    wire.resp(&[OK, OK, OK].concat());
    assert_eq!(wire.told(), "@0 200 0/2, @34 200 0/2, @68 200 0/2");
    wire.ledger(3);
}
