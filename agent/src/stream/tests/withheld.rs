//! Exchanges of which only the duration is told.

use spandrel_common::event::{
    CLOSE_ERROR, CLOSE_GONE, CLOSE_LOCAL, CLOSE_PEER, Kind, WITHHELD_COMPLETE, WITHHELD_UNSEEN, Withheld,
};

use super::wire::{GET, OK, Wire};
use crate::{
    decode::{Event, decode, encode},
    exchange::{Addr, Outcome},
    stats::Count,
};

/// Tells of one on connection 1.
fn told(wire: &mut Wire, status: u16, end: u8, errno: u32) -> (Option<u16>, Outcome) {
    let event = Withheld {
        header: wire.header(Kind::Withheld),
        conn: 1,
        start_ns: wire.now,
        end_ns: wire.now + 5,
        status,
        end,
        errno,
        ..Withheld::NONE
    };
    let record = encode::withheld(&event);
    let Some(Event::Withheld(event)) = decode(&record) else { panic!() };
    let withheld = wire.table.withheld(&event).expect("a known connection");
    wire.bytes(&record);
    assert_eq!((withheld.tgid, withheld.end_ns - withheld.start_ns), (7, 5));
    assert_eq!(withheld.connection.local, Addr::Ip("127.0.0.1:80".parse().unwrap()));
    (withheld.response, withheld.outcome)
}

#[test]
fn how_they_end() {
    let mut wire = Wire::server();
    assert_eq!(told(&mut wire, 200, WITHHELD_COMPLETE, 0), (Some(200), Outcome::Complete));
    assert_eq!(told(&mut wire, 0, WITHHELD_UNSEEN, 0), (None, Outcome::Unseen));
    assert_eq!(told(&mut wire, 0, CLOSE_ERROR, 104), (None, Outcome::Failed(104)));
    assert_eq!(told(&mut wire, 0, CLOSE_LOCAL, 0), (None, Outcome::LocalClosed));
    // The peer was the first to go.
    wire.close(CLOSE_PEER, 0);
    assert_eq!(told(&mut wire, 0, CLOSE_LOCAL, 0), (None, Outcome::PeerClosed));
    wire.ledger(0);
    let mut wire = Wire::client();
    assert_eq!(told(&mut wire, 0, CLOSE_PEER, 0), (None, Outcome::PeerClosed));
    wire.exit();
    assert_eq!(told(&mut wire, 200, CLOSE_GONE, 0), (Some(200), Outcome::ProcessExit));
}

#[test]
fn what_is_withheld_is_not_missing() {
    let mut wire = Wire::server();
    told(&mut wire, 200, WITHHELD_COMPLETE, 0);
    wire.close_at(CLOSE_GONE, [GET.len() as u64, OK.len() as u64]);
    assert_eq!(wire.stats.counted(Count::Gaps), 0);
    assert!(wire.table.is_empty());
    let event = Withheld { conn: 1, ..Withheld::NONE };
    assert!(wire.table.withheld(&event).is_none());
    assert_eq!(wire.stats.counted(Count::UnknownConn), 1);
}
