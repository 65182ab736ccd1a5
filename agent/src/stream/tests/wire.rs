//! A connection as the kernel side tells it. Every event goes through its ring form.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use spandrel_common::event::{
    Close, Conn, DIR_RX, DIR_TX, Data, Header, Kind, PROTOCOL_HTTP1, ROLE_CLIENT, ROLE_SERVER, TRANSPORT_TCP,
    TRANSPORT_UNIX,
};

use crate::{
    decode::{decode, encode},
    exchange::{Exchange, Outcome},
    protocol::Side,
    stats::{Count, Drop, Stats},
    stream::Table,
};

pub(super) const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
pub(super) const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

/// A table, what came out of it, and a clock that ticks with every event.
pub(super) struct Wire {
    pub(super) table: Table,
    pub(super) stats: Arc<Stats>,
    pub(super) out: Vec<Exchange>,
    pub(super) now: u64,
    role: u8,
    pub(super) tgid: u32,
    /// `PROTOCOL_*` of connections that are opened from now on.
    pub(super) protocol: u8,
    /// Next positions, by connection: requests, responses.
    next: std::collections::HashMap<u64, [u64; 2]>,
}

impl Wire {
    pub(super) fn new(role: u8, limit: usize) -> Self {
        let stats = Arc::new(Stats::default());
        let table = Table::new(Arc::clone(&stats), limit);
        let next = std::collections::HashMap::new();
        Self { table, stats, out: Vec::new(), now: 1000, role, tgid: 7, protocol: PROTOCOL_HTTP1, next }
    }

    /// A server with one announced connection, number 1.
    pub(super) fn server() -> Self {
        let mut wire = Self::new(ROLE_SERVER, 100);
        wire.open(1);
        wire
    }

    /// A client with one announced connection, number 1.
    pub(super) fn client() -> Self {
        let mut wire = Self::new(ROLE_CLIENT, 100);
        wire.open(1);
        wire
    }

    pub(super) fn header(&self, kind: Kind) -> Header {
        Header {
            kind: kind as u8,
            time_ns: self.now,
            tgid: self.tgid,
            tid: self.tgid + 1,
            ..Header::default()
        }
    }

    pub(super) fn bytes(&mut self, record: &[u8]) {
        let event = decode(record).expect("an event");
        self.table.handle(&event, &mut self.out);
        self.now += 10;
    }

    pub(super) fn open(&mut self, id: u64) {
        self.open_by(id, TRANSPORT_TCP);
    }

    pub(super) fn open_by(&mut self, id: u64, transport: u8) {
        let unknown = [0; 16];
        let local = [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        self.open_at(id, transport, if transport == TRANSPORT_TCP { local } else { unknown });
    }

    /// A Unix socket with an inode.
    pub(super) fn open_inode(&mut self, id: u64, inode: u64) {
        let mut local = [0; 16];
        local[..8].copy_from_slice(&inode.to_ne_bytes());
        self.open_at(id, TRANSPORT_UNIX, local);
    }

    fn open_at(&mut self, id: u64, transport: u8, local_addr: [u8; 16]) {
        self.bytes(&encode::conn(&Conn {
            header: self.header(Kind::Conn),
            conn: id,
            seed: [id, 2],
            netns: 3,
            role: self.role,
            transport,
            local_port: 80,
            peer_port: 4000,
            ip_version: 4,
            protocol: self.protocol,
            reserved: [0; 4],
            local_addr,
            peer_addr: [0; 16],
        }));
    }

    /// The next event of a side.
    pub(super) fn data(&mut self, side: Side, payload: &[u8]) -> Sent<'_> {
        self.data_of(1, side, payload)
    }

    pub(super) fn data_of(&mut self, id: u64, side: Side, payload: &[u8]) -> Sent<'_> {
        let pos = self.next.entry(id).or_default()[side as usize];
        let peer = (side == Side::Request) == (self.role == ROLE_SERVER);
        let data = Data {
            header: self.header(Kind::Data),
            conn: id,
            pos,
            len: payload.len() as u64,
            first_ns: self.now,
            last_ns: self.now + 5,
            flags: 0,
            dir: if peer { DIR_RX } else { DIR_TX },
            role: self.role,
            decision: 0,
            unseen: 0,
            orphans: 0,
            reserved: 0,
            wait_ns: 0,
            framing: 0,
            other: self.next.entry(id).or_default()[usize::from(side == Side::Request)],
            cause: spandrel_common::context::Cause::NONE,
        };
        Sent { data, payload: payload.to_vec(), side, wire: self }
    }

    pub(super) fn req(&mut self, payload: &[u8]) {
        self.data(Side::Request, payload).send();
    }

    pub(super) fn resp(&mut self, payload: &[u8]) {
        self.data(Side::Response, payload).send();
    }

    /// An end that tells how many bytes moved, received and sent.
    pub(super) fn close_at(&mut self, reason: u8, pos: [u64; 2]) {
        self.ended(reason, 0, pos);
    }

    pub(super) fn close(&mut self, reason: u8, errno: u32) {
        self.ended(reason, errno, [0; 2]);
    }

    fn ended(&mut self, reason: u8, errno: u32, pos: [u64; 2]) {
        self.ended_of(1, reason, errno, pos);
    }

    pub(super) fn ended_of(&mut self, conn: u64, reason: u8, errno: u32, pos: [u64; 2]) {
        self.bytes(&encode::close(&Close {
            header: self.header(Kind::Close),
            conn,
            pos,
            last_ns: [self.now; 2],
            reason,
            reserved: [0; 3],
            errno,
            reserved2: 0,
        }));
    }

    pub(super) fn exit(&mut self) {
        self.bytes(&encode::exit(&self.header(Kind::Exit)));
    }

    /// The exchanges so far, in short: status, bodies, outcome, `gap`.
    pub(super) fn told(&mut self) -> String {
        let told: Vec<String> = self
            .out
            .drain(..)
            .map(|exchange| {
                assert!(exchange.end_ns >= exchange.start_ns);
                let status = exchange.response.map_or(0, |(status, _)| status);
                let gap = if exchange.gap { " gap" } else { "" };
                let outcome = match exchange.outcome {
                    Outcome::Complete => String::new(),
                    outcome => format!(" {outcome:?}"),
                };
                let bodies = (exchange.request_body, exchange.response_body);
                format!("@{} {status} {}/{}{outcome}{gap}", exchange.pos, bodies.0, bodies.1)
            })
            .collect();
        told.join(", ")
    }

    /// Checks that every request seen came out or was dropped.
    pub(super) fn ledger(&self, came_out: u64) {
        let dropped = self.stats.dropped(Drop::Evicted);
        assert_eq!(self.stats.seen.load(Relaxed), came_out + dropped);
        assert_eq!(self.stats.open.load(Relaxed), came_out as i64);
    }

    pub(super) fn counted(&self, what: Count) -> u64 {
        self.stats.counted(what)
    }
}

/// An event that is about to be sent.
pub(super) struct Sent<'a> {
    pub(super) data: Data,
    pub(super) payload: Vec<u8>,
    side: Side,
    wire: &'a mut Wire,
}

impl Sent<'_> {
    /// Bytes behind the captured ones.
    pub(super) fn more(mut self, len: u64) -> Self {
        self.data.len += len;
        self
    }

    pub(super) fn flags(mut self, flags: u16) -> Self {
        self.data.flags |= flags;
        self
    }

    /// Bytes before these that no event covers.
    pub(super) fn behind(mut self, len: u64) -> Self {
        self.data.pos += len;
        self
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Data)) -> Self {
        change(&mut self.data);
        self
    }

    /// The ring has no room for it.
    pub(super) fn lose(self) {
        self.wire.next.entry(self.data.conn).or_default()[self.side as usize] = self.data.pos + self.data.len;
        self.wire.now += 10;
    }

    /// Its ring form, not sent.
    pub(super) fn record(self) -> Vec<u8> {
        self.wire.next.entry(self.data.conn).or_default()[self.side as usize] = self.data.pos + self.data.len;
        self.wire.now += 10;
        encode::data(&self.data, &self.payload)
    }

    pub(super) fn send(self) {
        self.wire.next.entry(self.data.conn).or_default()[self.side as usize] = self.data.pos + self.data.len;
        let record = encode::data(&self.data, &self.payload);
        self.wire.bytes(&record);
    }
}
