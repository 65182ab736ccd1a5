//! Any events through the table: no panic, and every request seen comes out or is dropped.
//!
//! Each event is made of a control block of 12 bytes and the payload that it asks for.
#![no_main]

use std::sync::{Arc, atomic::Ordering::Relaxed};

use libfuzzer_sys::fuzz_target;
use spandrel::{
    decode::{decode, encode},
    stats::{Drop, Stats},
    stream::Table,
};
use spandrel_common::event::{Close, Conn, Data, Header, Kind};

/// Payloads, so that the fuzzer need not invent HTTP for each.
const PIECES: [&[u8]; 8] = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    b"cde\r\n0\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\n\r\n",
];

fuzz_target!(|bytes: &[u8]| {
    let stats = Arc::new(Stats::default());
    let mut table = Table::new(Arc::clone(&stats), 3);
    let (mut out, mut came_out) = (Vec::new(), 0);
    let mut now = 0;
    let mut next = [[0_u64; 2]; 4];
    let mut rest = bytes;
    while let Some((control, tail)) = rest.split_first_chunk::<12>() {
        let [what, conn, side, flags, piece, own, behind, more, back, orphans, time, tgid] = *control;
        now += u64::from(time);
        let header = |kind: Kind| Header {
            kind: kind as u8,
            time_ns: now,
            tgid: u32::from(tgid & 3),
            ..Header::default()
        };
        let (own, tail) = tail.split_at(usize::from(own).min(tail.len()));
        rest = tail;
        let conn = conn & 3;
        let record = match what {
            0..=20 => encode::conn(&Conn {
                header: header(Kind::Conn),
                conn: conn.into(),
                seed: [(side & 1).into(), 0],
                netns: 0,
                role: 1 + (flags & 1),
                transport: 1 + (piece & 1),
                local_port: 0,
                peer_port: 0,
                ip_version: 6,
                protocol: spandrel_common::event::PROTOCOL_HTTP1,
                reserved: [0; 4],
                local_addr: [0; 16],
                peer_addr: [0; 16],
            }),
            21..=30 => encode::close(&Close {
                header: header(Kind::Close),
                conn: conn.into(),
                pos: [0; 2],
                last_ns: [now; 2],
                reason: flags & 7,
                reserved: [0; 3],
                errno: more.into(),
                reserved2: 0,
            }),
            31..=33 => encode::exit(&header(Kind::Exit)),
            34 => continue,
            35 => {
                table.expire(now, 100, &mut out);
                continue;
            }
            _ => {
                let payload = if own.is_empty() { PIECES[usize::from(piece) % 8] } else { own };
                let next = &mut next[usize::from(conn)][usize::from(side & 1)];
                let pos = next.saturating_add(behind.into()).saturating_sub(back.into());
                let len = payload.len() as u64 + u64::from(more);
                *next = pos + len;
                encode::data(
                    &Data {
                        header: header(Kind::Data),
                        conn: conn.into(),
                        pos,
                        len,
                        first_ns: now,
                        last_ns: now + u64::from(time),
                        flags: flags.into(),
                        dir: side & 1,
                        role: 0,
                        decision: flags >> 7,
                        unseen: 0,
                        orphans,
                        reserved: 0,
                        wait_ns: 0,
                        framing: 0,
                        other: u64::from(time),
                        cause: spandrel_common::context::Cause::NONE,
                    },
                    payload,
                )
            }
        };
        let event = decode(&record).expect("what was encoded is decoded");
        table.handle(&event, &mut out);
        came_out += out.len() as u64;
        assert!(out.drain(..).all(|exchange| exchange.end_ns >= exchange.start_ns));
    }
    table.flush(now, &mut out);
    came_out += out.len() as u64;
    assert_eq!(stats.seen.load(Relaxed), came_out + stats.dropped(Drop::Evicted));
    assert_eq!(stats.open.load(Relaxed), came_out as i64);
    assert!(table.is_empty());
});
