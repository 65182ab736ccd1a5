//! The event decoder and what follows it: any record is decoded or refused, and the ledger closes whatever
//! the events say.

use std::sync::Arc;

use spandrel::{
    decode::{Event, decode, encode},
    stats::{Drop, Stats},
    stream::Table,
};
use spandrel_common::event::{Close, Conn, Data, Header, Kind, Withheld};

/// So few connections that eviction is met too.
const CONNECTIONS: usize = 3;

/// The bytes are one record of the ring; and they are a script of events, each a few numbers and a payload.
pub fn event(data: &[u8]) {
    let stats = Arc::new(Stats::default());
    let mut table = Table::new(Arc::clone(&stats), CONNECTIONS);
    let mut exchanges = Vec::new();
    if let Some(event) = decode(data) {
        table.handle(&event, &mut exchanges);
    }
    let mut rest = data;
    let mut time = 0;
    while let Some((step, more)) = rest.split_first_chunk::<6>() {
        let payload = more.get(..usize::from(step[5]).min(more.len())).unwrap_or_default();
        rest = &more[payload.len()..];
        time += u64::from(step[4]);
        let record = record(*step, payload, time);
        let Some(event) = decode(&record) else { continue };
        assert!(!matches!(event, Event::Data(data, _) if data.header.payload as usize != payload.len()));
        if let Event::Withheld(withheld) = &event {
            let known = table.withheld(withheld);
            assert!(known.is_none_or(|known| known.start_ns <= known.end_ns), "it ended before it began");
        }
        table.handle(&event, &mut exchanges);
    }
    table.flush(time, &mut exchanges);
    for exchange in &exchanges {
        assert!(exchange.start_ns <= exchange.end_ns, "it ended before it began");
    }
    let seen = stats.seen.load(std::sync::atomic::Ordering::Relaxed);
    let told = exchanges.len() as u64 + stats.dropped(Drop::Evicted);
    assert_eq!(seen, told, "requests seen, and exchanges told or dropped");
}

fn record(step: [u8; 6], payload: &[u8], time_ns: u64) -> Vec<u8> {
    let [what, who, flags, length, ..] = step;
    let header =
        |kind: Kind| Header { kind: kind as u8, time_ns, tgid: 1 + u32::from(who >> 6), ..Header::default() };
    let conn = u64::from(who & 7);
    match what % 8 {
        0 => encode::conn(&Conn {
            header: header(Kind::Conn),
            conn,
            seed: [u64::from(flags), 1],
            netns: 0,
            role: flags & 3,
            transport: 1 + (flags >> 7),
            local_port: 1,
            peer_port: 2,
            ip_version: 4,
            protocol: (what >> 3) & 1,
            reserved: Default::default(),
            local_addr: Default::default(),
            peer_addr: Default::default(),
        }),
        1 => encode::close(&Close {
            header: header(Kind::Close),
            conn,
            pos: [u64::from(length), u64::from(flags >> 4)],
            last_ns: [time_ns; 2],
            reason: flags & 7,
            reserved: Default::default(),
            errno: u32::from(flags & 8),
            reserved2: 0,
        }),
        2 => encode::exit(&header(Kind::Exit)),
        3 => encode::withheld(&Withheld {
            header: header(Kind::Withheld),
            conn,
            start_ns: time_ns.saturating_sub(u64::from(length)),
            end_ns: time_ns.saturating_sub(u64::from(flags)),
            end: flags & 7,
            ..Withheld::NONE
        }),
        _ => encode::data(
            &Data {
                header: header(Kind::Data),
                conn,
                pos: u64::from(length >> 4),
                len: payload.len() as u64 + u64::from(length & 15),
                first_ns: time_ns,
                last_ns: time_ns,
                flags: u16::from(flags),
                dir: (what >> 3) & 1,
                role: (what >> 4) & 3,
                decision: length & 3,
                unseen: length >> 6,
                orphans: (flags >> 6) & 1,
                reserved: 0,
                wait_ns: 0,
                framing: 0,
                other: u64::from(length),
                cause: spandrel_common::context::Cause::NONE,
            },
            payload,
        ),
    }
}
