//! The inverse of [`super::decode()`]: ring records for tests, fuzzing and benchmarks without a kernel.

use spandrel_common::event::{Close, Conn, Data, Exec, Header, Withheld};

/// A record under construction.
struct Record(Vec<u8>);

impl Record {
    fn new(header: &Header, payload: usize) -> Self {
        let mut record = Self(Vec::with_capacity(128 + payload));
        record
            .bytes(&[header.kind, header.reserved])
            .bytes(&header.cpu.to_ne_bytes())
            .bytes(&(payload as u32).to_ne_bytes())
            .u64s(&[header.seq, header.time_ns])
            .u32s(&[header.tgid, header.tid]);
        record
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u32s(&mut self, words: &[u32]) -> &mut Self {
        self.0.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        self
    }

    fn u64s(&mut self, words: &[u64]) -> &mut Self {
        self.0.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        self
    }
}

/// The record of a [`Conn`].
pub fn conn(conn: &Conn) -> Vec<u8> {
    let mut record = Record::new(&conn.header, 0);
    record
        .u64s(&[conn.conn])
        .u64s(&conn.seed)
        .u32s(&[conn.netns])
        .bytes(&[conn.role, conn.transport])
        .bytes(&conn.local_port.to_ne_bytes())
        .bytes(&conn.peer_port.to_ne_bytes())
        .bytes(&[conn.ip_version, conn.protocol])
        .bytes(&conn.reserved)
        .bytes(&conn.local_addr)
        .bytes(&conn.peer_addr);
    record.0
}

/// The record of a [`Data`] with these captured bytes.
pub fn data(data: &Data, payload: &[u8]) -> Vec<u8> {
    let mut record = Record::new(&data.header, payload.len());
    record
        .u64s(&[data.conn, data.pos, data.len, data.first_ns, data.last_ns])
        .bytes(&data.flags.to_ne_bytes())
        .bytes(&[data.dir, data.role, data.decision, data.unseen, data.orphans, data.reserved])
        .u64s(&[data.wait_ns, data.framing, data.other])
        .bytes(&data.cause.trace_id)
        .bytes(&data.cause.parent_id)
        .bytes(&[data.cause.flags, data.cause.rule])
        .bytes(&data.cause.reserved)
        .bytes(payload);
    record.0
}

/// The record of a [`Close`].
pub fn close(close: &Close) -> Vec<u8> {
    let mut record = Record::new(&close.header, 0);
    record
        .u64s(&[close.conn])
        .u64s(&close.pos)
        .u64s(&close.last_ns)
        .bytes(&[close.reason])
        .bytes(&close.reserved)
        .u32s(&[close.errno])
        .u64s(&[close.reserved2]);
    record.0
}

/// The record of a [`Withheld`].
pub fn withheld(withheld: &Withheld) -> Vec<u8> {
    let mut record = Record::new(&withheld.header, 0);
    record
        .u64s(&[withheld.conn, withheld.start_ns, withheld.end_ns])
        .bytes(&withheld.method)
        .bytes(&withheld.host)
        .u32s(&[withheld.errno])
        .bytes(&withheld.status.to_ne_bytes())
        .bytes(&[withheld.end, withheld.version]);
    record.0
}

/// The record of an [`Exec`] with this argument and environment area.
pub fn exec(exec: &Exec, area: &[u8]) -> Vec<u8> {
    let mut record = Record::new(&exec.header, area.len());
    record
        .u32s(&[exec.parent])
        .bytes(&[exec.state])
        .bytes(&exec.reserved)
        .u32s(&[exec.args, exec.reserved2])
        .bytes(&exec.path)
        .bytes(area);
    record.0
}

/// The record of an exit: the header alone.
pub fn exit(header: &Header) -> Vec<u8> {
    Record::new(header, 0).0
}
