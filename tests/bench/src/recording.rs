//! Ring records of many connections, as the kernel side writes them for whole exchanges.

use spandrel::decode::encode;
use spandrel_common::event::{
    Conn, DATA_BODY, DATA_END, DATA_START, DECISION_SAMPLED, DIR_RX, DIR_TX, Data, Header, Kind, ROLE_CLIENT,
    ROLE_SERVER, TRANSPORT_TCP,
};

/// Connections that take turns: more than fit a cache, as on a busy node.
pub const CONNECTIONS: u64 = 1000;
/// Processes that the connections belong to.
pub(crate) const PROCESSES: u32 = 4;
/// The first of their ids.
pub(crate) const FIRST_PROCESS: u32 = 100;

/// One kind of exchange.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// How it is called in results.
    pub name: &'static str,
    role: u8,
    request: &'static str,
    request_body: u64,
    response: &'static str,
    response_body: u64,
}

/// From the shortest heads to long ones.
pub const SAMPLES: [Sample; 3] = [
    Sample {
        name: "load generator to nginx",
        role: ROLE_SERVER,
        request: "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n",
        request_body: 0,
        response: "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Tue, 02 Jan 2024 10:00:00 GMT\r\n\
                   Content-Type: text/plain\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n",
        response_body: 3,
    },
    Sample {
        name: "browser through a proxy",
        role: ROLE_SERVER,
        request: "GET /api/items?page=2&size=50 HTTP/1.1\r\nHost: shop.example.org:8080\r\n\
                  User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0\r\n\
                  Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
                  Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n\
                  Connection: keep-alive\r\nCookie: session=0123456789abcdef0123456789abcdef\r\n\
                  traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\
                  X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nCache-Control: no-cache\r\n\r\n",
        request_body: 0,
        response: "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Tue, 02 Jan 2024 10:00:00 GMT\r\n\
                   Content-Type: text/html\r\nContent-Length: 612\r\n\
                   Last-Modified: Mon, 01 Jan 2024 10:00:00 GMT\r\nConnection: keep-alive\r\n\
                   ETag: \"65a1-267\"\r\nVary: Accept-Encoding\r\nAccept-Ranges: bytes\r\n\r\n",
        response_body: 612,
    },
    Sample {
        name: "service to service",
        role: ROLE_CLIENT,
        request: "POST /v1/orders/4711/items HTTP/1.1\r\nHost: orders.shop.svc.cluster.local:8080\r\n\
                  User-Agent: python-requests/2.31.0\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\n\
                  Connection: keep-alive\r\nContent-Type: application/json\r\nContent-Length: 128\r\n\
                  traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\
                  tracestate: vendor=opaque\r\n\r\n",
        request_body: 128,
        response: "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 64\r\n\
                   Date: Tue, 02 Jan 2024 10:00:00 GMT\r\nKeep-Alive: timeout=5\r\n\r\n",
        response_body: 64,
    },
];

/// Records one behind the other, as in the ring.
#[derive(Debug, Default)]
pub struct Recording {
    /// The connections' announcements.
    pub announcements: Vec<Vec<u8>>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    seq: u64,
    now_ns: u64,
}

impl Recording {
    /// `exchanges` of the given kinds in turn, on [`CONNECTIONS`] connections in turn.
    pub fn new(samples: &[Sample], exchanges: usize) -> Self {
        let mut recording = Self { now_ns: 1_000_000, ..Self::default() };
        // A connection keeps its kind: one role, one direction of requests.
        let kinds: Vec<(u64, &Sample)> = (0..CONNECTIONS).zip(samples.iter().cycle()).collect();
        for (index, sample) in &kinds {
            let conn = recording.conn(*index, sample);
            recording.announcements.push(encode::conn(&conn));
        }
        let mut positions = vec![[0_u64; 2]; kinds.len()];
        let turns = std::iter::repeat_with(|| 0..kinds.len()).flatten().take(exchanges);
        for turn in turns {
            let (Some((index, sample)), Some(at)) = (kinds.get(turn), positions.get_mut(turn)) else {
                continue;
            };
            let server = sample.role == ROLE_SERVER;
            let (request, response) = if server { (DIR_RX, DIR_TX) } else { (DIR_TX, DIR_RX) };
            recording.message(*index, sample, request, sample.request, sample.request_body, at);
            recording.message(*index, sample, response, sample.response, sample.response_body, at);
        }
        recording
    }

    /// The records, without the announcements.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).filter_map(|(start, end)| self.bytes.get(start..*end))
    }

    /// Bytes of all records.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn header(&mut self, kind: Kind, index: u64) -> Header {
        self.seq += 1;
        self.now_ns += 500;
        let tgid = FIRST_PROCESS + index as u32 % PROCESSES;
        Header { kind: kind as u8, seq: self.seq, time_ns: self.now_ns, tgid, tid: tgid, ..Header::default() }
    }

    fn conn(&mut self, index: u64, sample: &Sample) -> Conn {
        let mut local_addr = [0; 16];
        let mut peer_addr = [0; 16];
        local_addr[..4].copy_from_slice(&[10, 0, 0, 1]);
        peer_addr[..4].copy_from_slice(&[10, 0, 0, 2]);
        Conn {
            header: self.header(Kind::Conn, index),
            conn: id(index),
            seed: [index.wrapping_mul(0x9e37_79b9_7f4a_7c15), index],
            netns: 0,
            role: sample.role,
            transport: TRANSPORT_TCP,
            local_port: 8080,
            peer_port: 20_000 + index as u16,
            ip_version: 4,
            protocol: spandrel_common::event::PROTOCOL_HTTP1,
            reserved: [0; 4],
            local_addr,
            peer_addr,
        }
    }

    fn message(&mut self, index: u64, sample: &Sample, dir: u8, head: &str, body: u64, at: &mut [u64; 2]) {
        let header = self.header(Kind::Data, index);
        let Some(pos) = at.get_mut(usize::from(dir)) else { return };
        let len = head.len() as u64 + body;
        let data = Data {
            header,
            conn: id(index),
            pos: *pos,
            len,
            first_ns: header.time_ns,
            last_ns: header.time_ns + 100,
            flags: DATA_START | DATA_END | if body > 0 { DATA_BODY } else { 0 },
            dir,
            role: sample.role,
            decision: DECISION_SAMPLED,
            unseen: 0,
            orphans: 0,
            reserved: 0,
            wait_ns: 0,
            framing: 0,
            other: 0,
            cause: spandrel_common::context::Cause::NONE,
        };
        *pos += len;
        self.bytes.extend_from_slice(&encode::data(&data, head.as_bytes()));
        self.ends.push(self.bytes.len());
    }
}

/// Identities look like pointers: far apart, and never 0.
fn id(index: u64) -> u64 {
    index.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}
