//! How exchanges end when connections, processes, the table or the agent do.

use proptest::prelude::*;
use spandrel_common::event::{
    CLOSE_ERROR, CLOSE_GONE, CLOSE_LOCAL, CLOSE_OPAQUE, CLOSE_PEER, DATA_BODY, DATA_START, DATA_TO_CLOSE,
    ROLE_CLIENT, ROLE_SERVER, TRANSPORT_UNIX,
};

use super::wire::{GET, OK, Wire};
use crate::{
    protocol::Side::{Request, Response},
    stats::{Count, Drop},
};

const TO_CLOSE: &[u8] = b"HTTP/1.0 200 OK\r\n\r\nsome";

#[test]
fn bodies_that_end_with_the_connection() {
    let mut wire = Wire::client();
    wire.req(GET);
    wire.resp(TO_CLOSE);
    wire.resp(b" more");
    wire.close(CLOSE_PEER, 0);
    assert_eq!(wire.told(), "@0 200 0/9");
    wire.close(CLOSE_GONE, 0);
    wire.ledger(1);

    let mut wire = Wire::server();
    wire.req(GET);
    wire.resp(TO_CLOSE);
    wire.close(CLOSE_LOCAL, 0);
    assert_eq!(wire.told(), "@0 200 0/4");

    let mut wire = Wire::server();
    wire.req(GET);
    wire.resp(TO_CLOSE);
    wire.close(CLOSE_GONE, 0);
    assert_eq!(wire.told(), "@0 200 0/4");

    let mut wire = Wire::client();
    wire.req(GET);
    wire.resp(TO_CLOSE);
    wire.close(CLOSE_GONE, 0);
    assert_eq!(wire.told(), "@0 200 0/4 LocalClosed");

    let mut wire = Wire::client();
    wire.req(GET);
    wire.resp(TO_CLOSE);
    wire.close(CLOSE_ERROR, 104);
    wire.close(CLOSE_GONE, 0);
    assert_eq!(wire.told(), "@0 200 0/4 Failed(104)");
}

#[test]
fn requests_without_a_response() {
    for (role, reasons, outcome) in [
        (ROLE_CLIENT, &[(CLOSE_PEER, 0), (CLOSE_LOCAL, 0), (CLOSE_GONE, 0)][..], "PeerClosed"),
        (ROLE_CLIENT, &[(CLOSE_LOCAL, 0), (CLOSE_GONE, 0)], "LocalClosed"),
        (ROLE_CLIENT, &[(CLOSE_GONE, 0)], "LocalClosed"),
        (ROLE_CLIENT, &[(CLOSE_GONE, 110)], "Failed(110)"),
        (ROLE_CLIENT, &[(CLOSE_ERROR, 104), (CLOSE_LOCAL, 0), (CLOSE_GONE, 0)], "Failed(104)"),
        (ROLE_SERVER, &[(CLOSE_PEER, 0), (CLOSE_LOCAL, 0), (CLOSE_GONE, 0)], "PeerClosed"),
        (ROLE_SERVER, &[(CLOSE_LOCAL, 0), (CLOSE_GONE, 0)], "LocalClosed"),
        (ROLE_SERVER, &[(CLOSE_ERROR, 32), (CLOSE_GONE, 0)], "Failed(32)"),
        (ROLE_SERVER, &[(CLOSE_OPAQUE, 0)], "Unseen"),
    ] {
        let mut wire = Wire::new(role, 9);
        wire.open(1);
        wire.req(GET);
        for (reason, errno) in reasons {
            wire.close(*reason, *errno);
        }
        assert_eq!(wire.told(), format!("@0 0 0/0 {outcome}"), "{role} {reasons:?}");
        assert!(wire.table.is_empty() || reasons.last().is_none_or(|last| last.0 != CLOSE_GONE));
        wire.ledger(1);
    }
}

#[test]
fn a_half_closed_client_still_gets_its_response() {
    let mut wire = Wire::server();
    wire.req(GET);
    wire.close(CLOSE_PEER, 0);
    wire.resp(OK);
    assert_eq!(wire.told(), "@0 200 0/2");
    let mut wire = Wire::client();
    wire.req(GET);
    wire.close(CLOSE_LOCAL, 0);
    wire.resp(OK);
    assert_eq!(wire.told(), "@0 200 0/2");
}

#[test]
fn bodies_that_stay_incomplete() {
    let mut wire = Wire::client();
    wire.req(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc");
    wire.resp(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabcd");
    wire.close(CLOSE_PEER, 0);
    assert_eq!(wire.told(), "@0 200 3/4 PeerClosed");
    let mut wire = Wire::server();
    wire.req(b"GET /half HTTP/1.1\r\nHost");
    wire.close(CLOSE_PEER, 0);
    wire.close(CLOSE_GONE, 0);
    assert_eq!(wire.told(), "@0 0 0/0 PeerClosed");
    wire.ledger(1);
}

#[test]
fn a_refusal_of_half_a_request_is_its_response() {
    let mut wire = Wire::server();
    wire.req(b"GET /slow HTTP/1.1\r\nHost");
    wire.resp(b"HTTP/1.1 408 Request Time-out\r\nContent-Length: 0\r\n\r\n");
    wire.close(CLOSE_LOCAL, 0);
    assert_eq!(wire.told(), "@0 408 0/0");
    wire.ledger(1);
}

#[test]
fn the_end_of_a_process() {
    let mut wire = Wire::server();
    wire.open_by(2, TRANSPORT_UNIX);
    wire.open_by(3, TRANSPORT_UNIX);
    wire.req(GET);
    wire.data_of(2, Request, GET).send();
    wire.tgid = 8;
    wire.data_of(3, Request, GET).send();
    wire.exit();
    assert_eq!(wire.told(), "@0 0 0/0 ProcessExit");
    wire.exit();
    assert_eq!(wire.told(), "");
    wire.tgid = 7;
    wire.exit();
    assert_eq!(wire.told(), "@0 0 0/0 ProcessExit");
    wire.close(CLOSE_GONE, 0);
    assert_eq!(wire.told(), "@0 0 0/0 ProcessExit");
    assert_eq!(wire.table.len(), 2, "another process may hold the Unix sockets");
    wire.data_of(2, Response, OK).send();
    wire.data_of(2, Request, GET).send();
    wire.data_of(2, Response, OK).send();
    assert_eq!(wire.told(), "@27 200 0/2");
    wire.ledger(4);
}

/// Somebody stopped in the middle of a head: no success, whatever its status says.
#[test]
fn a_head_that_ends_with_the_connection() {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Le";
    for (reasons, outcome) in [
        (&[(CLOSE_PEER, 0), (CLOSE_GONE, 0)][..], "PeerClosed"),
        (&[(CLOSE_ERROR, 104), (CLOSE_GONE, 0)], "Failed(104)"),
        (&[(CLOSE_LOCAL, 0), (CLOSE_GONE, 0)], "LocalClosed"),
    ] {
        let mut wire = Wire::client();
        wire.req(GET);
        wire.resp(HEAD);
        for (reason, errno) in reasons {
            wire.close(*reason, *errno);
        }
        assert_eq!(wire.told(), format!("@0 200 0/0 {outcome}"));
        wire.ledger(1);
    }
    let mut wire = Wire::server();
    wire.req(GET);
    wire.resp(HEAD);
    wire.close(CLOSE_LOCAL, 0);
    assert_eq!(wire.told(), "@0 200 0/0 LocalClosed");
    // More of it was there than was told.
    let mut wire = Wire::client();
    wire.req(GET);
    wire.resp(HEAD);
    wire.close_at(CLOSE_PEER, [HEAD.len() as u64 + 9, GET.len() as u64]);
    wire.close(CLOSE_GONE, 0);
    assert_eq!(wire.told(), "@0 200 0/0 gap");
}

#[test]
fn who_closes_before_it_ends_has_cancelled() {
    let mut wire = Wire::client();
    wire.req(GET);
    wire.close(CLOSE_LOCAL, 0);
    wire.exit();
    wire.close(CLOSE_GONE, 0);
    assert_eq!(wire.told(), "@0 0 0/0 LocalClosed");
    wire.ledger(1);
}

#[test]
fn a_body_that_ends_with_the_connection_is_counted_by_its_end() {
    let mut wire = Wire::client();
    wire.req(GET);
    wire.data(Response, b"HTTP/1.0 200 OK\r\n\r\n").flags(DATA_START | DATA_BODY | DATA_TO_CLOSE).send();
    wire.close_at(CLOSE_PEER, [19 + 10_000, GET.len() as u64]);
    assert_eq!(wire.told(), "@0 200 0/10000");
    wire.ledger(1);
}

#[test]
fn another_process_goes_on_with_the_connection() {
    let mut wire = Wire::server();
    wire.req(GET);
    wire.exit();
    wire.tgid = 8;
    wire.resp(OK);
    assert_eq!(wire.told(), "@0 200 0/2");
}

#[test]
fn tunnels_end_with_the_response() {
    let mut wire = Wire::client();
    wire.req(b"GET /chat HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
    wire.resp(b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x05hello");
    wire.req(GET);
    wire.close(CLOSE_OPAQUE, 0);
    assert_eq!(wire.told(), "@0 101 0/0");
    assert_eq!(wire.counted(Count::Tunnels), 1);
    wire.ledger(1);
}

#[test]
fn the_oldest_gives_way() {
    let mut wire = Wire::new(ROLE_SERVER, 3);
    for id in 1..=3 {
        wire.open(id);
        wire.data_of(id, Request, GET).send();
    }
    wire.open(4);
    assert_eq!((wire.table.len(), wire.counted(Count::EvictedConns)), (3, 1));
    assert_eq!(wire.stats.dropped(Drop::Evicted), 1);
    // The first one went. One that was used since has a second chance.
    wire.data_of(2, Response, OK).send();
    wire.open(5);
    wire.data_of(2, Request, GET).send();
    wire.data_of(2, Response, OK).send();
    assert_eq!(wire.told(), "@0 200 0/2, @27 200 0/2");
    wire.table.flush(wire.now, &mut wire.out);
    assert_eq!(wire.stats.dropped(Drop::Evicted), 2);
    wire.ledger(2);
}

#[test]
fn the_end_of_the_agent() {
    let mut wire = Wire::server();
    wire.req(GET);
    wire.resp(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabcd");
    let now = wire.now + 1000;
    wire.table.flush(now, &mut wire.out);
    assert_eq!(wire.out[0].end_ns, now);
    assert_eq!(wire.told(), "@0 200 0/4 Unseen");
    assert!(wire.table.is_empty());
}

#[test]
fn idle_connections_are_forgotten_if_nothing_is_open() {
    let mut wire = Wire::server();
    wire.open(2);
    wire.req(GET);
    let later = wire.now + 1_000_000;
    assert_eq!(wire.table.expire(later, 2_000_000, &mut wire.out), 0);
    assert_eq!(wire.table.expire(later, 1000, &mut wire.out), 1);
    assert_eq!(wire.table.len(), 1);
    wire.resp(OK);
    assert_eq!(wire.table.expire(later * 2, 1000, &mut wire.out), 1);
    assert_eq!(wire.told(), "@0 200 0/2");
}

/// One step of a random life.
#[derive(Clone, Debug)]
enum Step {
    Data { id: u64, response: bool, what: usize, behind: u64, more: u64, flags: u16, orphans: u8 },
    Close { reason: u8 },
    Open(u64),
    Exit,
}

fn step() -> impl Strategy<Value = Step> {
    let data = (1..5_u64, any::<bool>(), 0..9_usize, 0..6_u64, 0..30_u64, 0..64_u16, 0..20_u8).prop_map(
        |(id, response, what, behind, more, flags, orphans)| Step::Data {
            id,
            response,
            what,
            behind: behind.saturating_sub(3) * 13,
            more: more.saturating_sub(20),
            flags: if flags < 32 { 0 } else { flags & 15 },
            orphans: orphans.saturating_sub(18),
        },
    );
    prop_oneof![
        20 => data,
        1 => (0..7_u8).prop_map(|reason| Step::Close { reason }),
        2 => (1..5_u64).prop_map(Step::Open),
        1 => Just(Step::Exit),
    ]
}

const PIECES: [&[u8]; 9] = [
    GET,
    OK,
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    b"cde\r\n0\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n",
    b"\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn the_ledger_closes_whatever_happens(
        client: bool,
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut wire = Wire::new(if client { ROLE_CLIENT } else { ROLE_SERVER }, 3);
        (1..4).for_each(|id| wire.open(id));
        let mut came_out = 0;
        for step in steps {
            match step {
                Step::Data { id, response, what, behind, more, flags, orphans } => {
                    let sent = wire.data_of(id, if response { Response } else { Request }, PIECES[what]);
                    sent.behind(behind).more(more).flags(flags).with(|data| data.orphans = orphans).send();
                }
                Step::Close { reason } => wire.close(reason, 0),
                Step::Open(id) => wire.open_by(id, if id == 2 { TRANSPORT_UNIX } else { 1 }),
                Step::Exit => wire.exit(),

            }
            came_out += wire.out.len() as u64;
            prop_assert!(wire.out.drain(..).all(|exchange| exchange.end_ns >= exchange.start_ns));
        }
        wire.table.flush(wire.now, &mut wire.out);
        wire.ledger(came_out + wire.out.len() as u64);
    }
}
