//! Ends of Unix sockets.

use spandrel_common::event::{CLOSE_EXIT, CLOSE_PEER};

use super::wire::{GET, OK, Wire};
use crate::protocol::Side::{Request, Response};

const SECOND: u64 = 1_000_000_000;
const INODE: u64 = 9000;

/// A server with the open request of connection 2, over a Unix socket.
fn asked() -> Wire {
    let mut wire = Wire::server();
    wire.open_inode(2, INODE);
    wire.data_of(2, Request, GET).send();
    wire
}

/// Asks as the agent does. Returns whether there was somebody to ask about.
fn ask(wire: &mut Wire, held: bool) -> bool {
    wire.now += SECOND;
    let now = wire.now;
    let doubts = wire.table.doubts(now);
    for doubt in &doubts {
        assert_eq!((doubt.conn, doubt.inode, doubt.tgid, doubt.netns), (2, INODE, 7, 3));
        wire.table.found(doubt.conn, held, false, now, &mut wire.out);
    }
    !doubts.is_empty()
}

#[test]
fn a_socket_that_is_missed_twice_has_ended() {
    let mut wire = asked();
    assert_eq!(wire.table.doubts(wire.now), [], "too soon");
    assert!(ask(&mut wire, true));
    let held = wire.now;
    assert!(ask(&mut wire, false) && ask(&mut wire, false));
    let [exchange] = &wire.out[..] else { panic!("{:?}", wire.out) };
    assert_eq!(exchange.end_ns, held, "when it was last known to be held");
    assert_eq!(wire.told(), "@0 0 0/0 LocalClosed");
    assert!(!ask(&mut wire, false));
    assert_eq!(wire.table.len(), 1);
    wire.ledger(1);
}

#[test]
fn what_is_used_is_held() {
    let mut wire = asked();
    assert!(ask(&mut wire, false));
    wire.data_of(2, Response, OK).send();
    wire.data_of(2, Request, GET).send();
    assert!(ask(&mut wire, false) && ask(&mut wire, true) && ask(&mut wire, false));
    wire.data_of(2, Response, OK).send();
    assert!(!ask(&mut wire, false), "nothing is open");
    assert_eq!(wire.told(), "@0 200 0/2, @27 200 0/2");
    wire.ledger(2);
}

#[test]
fn a_process_that_ends_holds_its_sockets_or_has_closed_them() {
    let mut wire = asked();
    wire.ended_of(2, CLOSE_EXIT, 0, [0; 2]);
    wire.exit();
    assert_eq!(wire.told(), "@0 0 0/0 ProcessExit");

    let mut wire = asked();
    wire.exit();
    // It is asked about at once, and for the last time.
    let doubts = wire.table.doubts(wire.now);
    assert_eq!(doubts.len(), 1);
    wire.table.found(2, false, true, wire.now, &mut wire.out);
    assert_eq!(wire.told(), "@0 0 0/0 LocalClosed");

    let mut wire = asked();
    wire.tgid = 8;
    wire.ended_of(2, CLOSE_EXIT, 0, [0; 2]);
    assert_eq!(wire.told(), "", "another process used it last");
}

#[test]
fn an_end_in_the_middle_of_a_response() {
    let mut wire = asked();
    wire.data_of(2, Response, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").send();
    assert!(ask(&mut wire, false) && ask(&mut wire, false));
    assert_eq!(wire.told(), "@0 200 0/4 LocalClosed gap", "how much of it was sent is not known");

    let mut wire = asked();
    wire.ended_of(2, CLOSE_PEER, 0, [0; 2]);
    assert!(ask(&mut wire, false) && ask(&mut wire, false));
    assert_eq!(wire.told(), "@0 0 0/0 PeerClosed");
}
