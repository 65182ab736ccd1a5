//! Every field of every event, and every way of being none.

use std::mem::{offset_of, size_of};

use proptest::prelude::*;
use spandrel_common::{
    context::Cause,
    event::{Close, Conn, Data, Exec, Fork, Header, Kind, Listen, Notice, Withheld},
};

use super::{Event, Sequence, decode, encode};

/// Bytes that differ from their neighbours, with a kind in front and no payload.
fn numbered(kind: Kind, len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|at| (at as u8).wrapping_mul(7)).collect();
    bytes[0] = kind as u8;
    bytes[4..8].fill(0);
    bytes
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(bytes[at..at + 2].try_into().unwrap())
}

#[test]
fn headers() {
    let bytes = numbered(Kind::Exit, size_of::<Header>());
    let Some(Event::Exit(header)) = decode(&bytes) else { panic!() };
    assert_eq!(header.cpu, u16_at(&bytes, offset_of!(Header, cpu)));
    assert_eq!(header.seq, u64_at(&bytes, offset_of!(Header, seq)));
    assert_eq!(header.time_ns, u64_at(&bytes, offset_of!(Header, time_ns)));
    assert_eq!(header.tgid, u32_at(&bytes, offset_of!(Header, tgid)));
    assert_eq!(header.tid, u32_at(&bytes, offset_of!(Header, tid)));
}

#[test]
fn connections() {
    let mut bytes = numbered(Kind::Conn, size_of::<Conn>());
    bytes[offset_of!(Conn, role)] = 2;
    bytes[offset_of!(Conn, transport)] = 1;
    bytes[offset_of!(Conn, ip_version)] = 6;
    bytes[offset_of!(Conn, protocol)] = 1;
    let Some(Event::Conn(conn)) = decode(&bytes) else { panic!() };
    assert_eq!(conn.conn, u64_at(&bytes, offset_of!(Conn, conn)));
    assert_eq!(conn.seed[1], u64_at(&bytes, offset_of!(Conn, seed) + 8));
    assert_eq!(conn.netns, u32_at(&bytes, offset_of!(Conn, netns)));
    assert_eq!(conn.local_port, u16_at(&bytes, offset_of!(Conn, local_port)));
    assert_eq!(conn.peer_port, u16_at(&bytes, offset_of!(Conn, peer_port)));
    assert_eq!(conn.local_addr[..], bytes[offset_of!(Conn, local_addr)..][..16]);
    assert_eq!(conn.peer_addr[..], bytes[offset_of!(Conn, peer_addr)..][..16]);
    assert_eq!(encode::conn(&conn), bytes);
    for (at, value) in [
        (offset_of!(Conn, role), 3),
        (offset_of!(Conn, transport), 9),
        (offset_of!(Conn, ip_version), 5),
        (offset_of!(Conn, protocol), 99),
    ] {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        assert!(decode(&bytes).is_none());
    }
}

#[test]
fn moved_bytes() {
    let mut bytes = numbered(Kind::Data, size_of::<Data>());
    bytes[offset_of!(Data, dir)] = 1;
    bytes[offset_of!(Data, pos)..][..16].fill(1);
    bytes[4..8].copy_from_slice(&5_u32.to_ne_bytes());
    bytes.extend(b"hello, and more");
    let Some(Event::Data(data, payload)) = decode(&bytes) else { panic!() };
    assert_eq!(payload, b"hello");
    assert_eq!(data.conn, u64_at(&bytes, offset_of!(Data, conn)));
    assert_eq!(data.pos, u64_at(&bytes, offset_of!(Data, pos)));
    assert_eq!(data.len, u64_at(&bytes, offset_of!(Data, len)));
    assert_eq!(data.first_ns, u64_at(&bytes, offset_of!(Data, first_ns)));
    assert_eq!(data.last_ns, u64_at(&bytes, offset_of!(Data, last_ns)));
    assert_eq!(data.flags, u16_at(&bytes, offset_of!(Data, flags)));
    assert_eq!(data.role, bytes[offset_of!(Data, role)]);
    assert_eq!(data.decision, bytes[offset_of!(Data, decision)]);
    assert_eq!(data.unseen, bytes[offset_of!(Data, unseen)]);
    assert_eq!(data.orphans, bytes[offset_of!(Data, orphans)]);
    assert_eq!(data.wait_ns, u64_at(&bytes, offset_of!(Data, wait_ns)));
    assert_eq!(data.framing, u64_at(&bytes, offset_of!(Data, framing)));
    assert_eq!(data.other, u64_at(&bytes, offset_of!(Data, other)));
    let cause = offset_of!(Data, cause);
    assert_eq!(data.cause.trace_id[..], bytes[cause + offset_of!(Cause, trace_id)..][..16]);
    assert_eq!(data.cause.parent_id[..], bytes[cause + offset_of!(Cause, parent_id)..][..8]);
    assert_eq!(data.cause.flags, bytes[cause + offset_of!(Cause, flags)]);
    assert_eq!(data.cause.rule, bytes[cause + offset_of!(Cause, rule)]);
    assert_eq!(encode::data(&data, payload), bytes[..size_of::<Data>() + 5]);
}

#[test]
fn moved_bytes_that_cannot_be() {
    let data = Data {
        header: Header { kind: Kind::Data as u8, ..Header::default() },
        conn: 1,
        pos: u64::MAX - 4,
        len: 4,
        first_ns: 0,
        last_ns: 0,
        flags: 0,
        dir: 1,
        role: 1,
        decision: 0,
        unseen: 0,
        orphans: 0,
        reserved: 0,
        wait_ns: 0,
        framing: 0,
        other: 0,
        cause: Cause::NONE,
    };
    assert!(decode(&encode::data(&data, b"four")).is_some());
    assert!(decode(&encode::data(&data, b"fives")).is_none(), "more payload than bytes");
    assert!(decode(&encode::data(&Data { pos: u64::MAX, ..data }, b"")).is_none(), "beyond all positions");
    assert!(decode(&encode::data(&Data { dir: 2, ..data }, b"")).is_none(), "no such direction");
}

#[test]
fn closes() {
    let bytes = numbered(Kind::Close, size_of::<Close>());
    let Some(Event::Close(close)) = decode(&bytes) else { panic!() };
    assert_eq!(close.conn, u64_at(&bytes, offset_of!(Close, conn)));
    assert_eq!(close.pos[1], u64_at(&bytes, offset_of!(Close, pos) + 8));
    assert_eq!(close.last_ns[0], u64_at(&bytes, offset_of!(Close, last_ns)));
    assert_eq!(close.reason, bytes[offset_of!(Close, reason)]);
    assert_eq!(close.errno, u32_at(&bytes, offset_of!(Close, errno)));
    assert_eq!(encode::close(&close), bytes);
}

#[test]
fn programs() {
    let mut path = [0; 256];
    path[..7].copy_from_slice(b"/bin/sh");
    let exec = Exec {
        header: Header { kind: Kind::Exec as u8, ..Header::default() },
        parent: 5,
        state: 2,
        reserved: [0; 3],
        args: 6,
        reserved2: 0,
        path,
    };
    let bytes = encode::exec(&exec, b"sh\0-c\0A=1\0B=2\0");
    assert_eq!(u32_at(&bytes, offset_of!(Exec, parent)), 5);
    assert_eq!(bytes[offset_of!(Exec, state)], 2);
    assert_eq!(u32_at(&bytes, offset_of!(Exec, args)), 6);
    let Some(Event::Exec(found)) = decode(&bytes) else { panic!() };
    assert_eq!((found.parent, found.state, found.path), (5, 2, &b"/bin/sh"[..]));
    assert_eq!((found.args, found.environment), (&b"sh\0-c\0"[..], &b"A=1\0B=2\0"[..]));
    let bytes = encode::exec(&Exec { args: 999, ..exec }, b"sh\0");
    let Some(Event::Exec(found)) = decode(&bytes) else { panic!() };
    assert_eq!((found.args, found.environment), (&b"sh\0"[..], &b""[..]));
}

#[test]
fn forks_listens_and_notices() {
    let bytes = numbered(Kind::Fork, size_of::<Fork>());
    let Some(Event::Fork(fork)) = decode(&bytes) else { panic!() };
    assert_eq!(fork.child, u32_at(&bytes, offset_of!(Fork, child)));
    assert_eq!(fork.state, bytes[offset_of!(Fork, state)]);
    let bytes = numbered(Kind::Listen, size_of::<Listen>());
    let Some(Event::Listen(listen)) = decode(&bytes) else { panic!() };
    assert_eq!(listen.port, u16_at(&bytes, offset_of!(Listen, port)));
    let bytes = numbered(Kind::Notice, size_of::<Notice>());
    let Some(Event::Notice(notice)) = decode(&bytes) else { panic!() };
    assert_eq!(notice.cause, bytes[offset_of!(Notice, cause)]);
}

#[test]
fn withheld() {
    let bytes = numbered(Kind::Withheld, size_of::<Withheld>());
    let Some(Event::Withheld(event)) = decode(&bytes) else { panic!() };
    assert_eq!(event.conn, u64_at(&bytes, offset_of!(Withheld, conn)));
    assert_eq!(event.start_ns, u64_at(&bytes, offset_of!(Withheld, start_ns)));
    assert_eq!(event.end_ns, u64_at(&bytes, offset_of!(Withheld, end_ns)));
    assert_eq!(event.method, bytes[offset_of!(Withheld, method)..][..16]);
    assert_eq!(event.host, bytes[offset_of!(Withheld, host)..][..64]);
    assert_eq!(event.errno, u32_at(&bytes, offset_of!(Withheld, errno)));
    assert_eq!(event.status, u16_at(&bytes, offset_of!(Withheld, status)));
    assert_eq!(event.end, bytes[offset_of!(Withheld, end)]);
    assert_eq!(event.version, bytes[offset_of!(Withheld, version)]);
    let event = Withheld { header: Header { payload: 0, ..event.header }, ..event };
    assert_eq!(encode::withheld(&event)[8..], bytes[8..]);
}

#[test]
fn what_is_too_short_or_unknown_is_none() {
    for (kind, len) in [
        (Kind::Close, size_of::<Close>()),
        (Kind::Fork, size_of::<Fork>()),
        (Kind::Exit, size_of::<Header>()),
        (Kind::Listen, size_of::<Listen>()),
        (Kind::Notice, size_of::<Notice>()),
        (Kind::Withheld, size_of::<Withheld>()),
    ] {
        let bytes = numbered(kind, len);
        assert_eq!(decode(&bytes).unwrap().header().seq, u64_at(&bytes, offset_of!(Header, seq)));
        assert!((0..len).all(|len| decode(&bytes[..len]).is_none()));
    }
    let mut bytes = numbered(Kind::Exit, 400);
    for kind in [0, 10, 255] {
        bytes[0] = kind;
        assert!(decode(&bytes).is_none());
    }
}

#[test]
fn holes_are_counted_for_each_cpu() {
    let mut sequence = Sequence::default();
    let mut observe = |cpu, seq| sequence.observe(&Header { cpu, seq, ..Header::default() });
    assert_eq!(observe(0, 10), 0, "the first number of a CPU is where it starts");
    assert_eq!(observe(3, 500), 0);
    assert_eq!(observe(0, 11), 0);
    assert_eq!(observe(0, 15), 3);
    assert_eq!(observe(3, 501), 0);
    assert_eq!(observe(0, 14), 0, "a late one");
    assert_eq!(observe(0, 16), 0);
    assert_eq!(observe(u16::MAX, u64::MAX), 0);
    assert_eq!(observe(u16::MAX, u64::MAX), 0);
    assert_eq!(sequence.lost(), 2);
}

proptest! {
    #[test]
    fn nothing_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..500), kind in 0_u8..11, payload in 0_u32..200) {
        if bytes.len() >= 8 {
            bytes[0] = kind;
            bytes[4..8].copy_from_slice(&payload.to_ne_bytes());
        }
        decode(&bytes);
    }
}
