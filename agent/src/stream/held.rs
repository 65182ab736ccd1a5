//! Ends of Unix sockets. No event tells of them: they are found by asking, now and then, whether a program still holds
//! the socket.
//!
//! Asked is only about connections with an open exchange that have been silent for a while, or whose process has
//! ended. A socket counts as released when it was not found twice, with nothing heard of it in between: what it moved
//! before it was released may have been on its way, and a list that is read while it changes may lack one. The
//! exchange ends when the socket was last known to be held, so that it is never told to have taken longer than it did.

use spandrel_common::event::{CLOSE_GONE, Close, Header, TRANSPORT_UNIX};

use super::{
    Table,
    conn::{Conn, Context},
    followed::Followed,
};
use crate::{
    exchange::{Exchange, Outcome},
    protocol::{Parser as _, Side},
};

/// How long a Unix connection with an open exchange is silent before it is asked about: most answers come sooner.
const SILENT_NS: u64 = 1_000_000_000;

/// A connection of which it is not known whether anybody still holds its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    pub conn: u64,
    /// The socket's inode number.
    pub inode: u64,
    /// The process that used it last.
    pub tgid: u32,
    /// Inode of the network namespace, 0 if unknown.
    pub netns: u32,
}

/// What is known of a Unix socket's holders.
#[derive(Debug, Default)]
pub(super) struct Holding {
    /// Inode number; 0 if there is nobody to ask.
    pub(super) inode: u64,
    /// When it was last found to be held, nanoseconds.
    found_ns: u64,
    /// It was not found when last asked about, and not heard of since.
    missed: bool,
    /// Its process has ended and did not hold it any more.
    left: bool,
}

impl Holding {
    pub(super) fn of(transport: u8, local_addr: [u8; 16]) -> Self {
        let inode = local_addr.first_chunk().filter(|_| transport == TRANSPORT_UNIX);
        Self { inode: inode.map_or(0, |bytes| u64::from_ne_bytes(*bytes)), ..Self::default() }
    }

    /// Bytes moved: somebody holds it.
    pub(super) const fn used(&mut self) {
        self.missed = false;
        self.left = false;
    }

    /// When it was last found to be held, nanoseconds; 0 if nobody was asked.
    pub(super) const fn found_ns(&self) -> u64 {
        self.found_ns
    }

    /// Its process has ended, and may have released it before.
    pub(super) const fn leave(&mut self) {
        self.left = true;
    }
}

impl Table {
    /// Connections to ask about.
    pub fn doubts(&self, now_ns: u64) -> Vec<Doubt> {
        let asks = |conn: &Followed| {
            let silent = now_ns.saturating_sub(conn.last_ns()) >= SILENT_NS;
            conn.holding().inode != 0 && conn.open() > 0 && (silent || conn.holding().left)
        };
        let doubtful = self.conns.iter().filter(|(_, conn)| asks(conn));
        doubtful
            .map(|(id, conn)| Doubt {
                conn: id,
                inode: conn.holding().inode,
                tgid: conn.tgid(),
                netns: conn.netns(),
            })
            .collect()
    }

    /// Whether the socket of a connection was found to be held at `now_ns`. With `last` nobody will ask again.
    pub fn found(&mut self, conn: u64, held: bool, last: bool, now_ns: u64, out: &mut Vec<Exchange>) {
        let Some(known) = self.conns.touch(conn) else { return };
        if held {
            known.holding_mut().found_ns = now_ns;
            known.holding_mut().used();
        } else if known.holding().missed || last {
            self.remove(conn, Followed::released, out);
        } else {
            known.holding_mut().missed = true;
        }
    }

    /// The process that ends still holds the socket.
    pub(super) fn held_to_the_end(&mut self, close: &Close, out: &mut Vec<Exchange>) {
        let end = (Outcome::ProcessExit, close.header.time_ns);
        // Another process may hold it, too, and be the one that uses it.
        if let Some(conn) = self.conns.touch(close.conn)
            && conn.tgid() == close.header.tgid
            && conn.open() > 0
        {
            conn.end(end, &mut Context::new(&self.stats, &mut self.messages, &mut self.calls, out));
        }
    }
}

impl Conn {
    /// Nobody holds the socket any more.
    pub(super) fn released(&mut self, context: &mut Context<'_>) {
        for side in [Side::Request, Side::Response] {
            // How much of a body had moved when the end came, nobody tells.
            if self.parser.within(side) && self.parser.certain(side) != u64::MAX {
                self.untold_rest(side);
            }
        }
        let time_ns = self.holding.found_ns.max(self.last_ns());
        let close = Close {
            header: Header { time_ns, ..Header::default() },
            conn: 0,
            pos: [0; 2],
            last_ns: [0; 2],
            reason: CLOSE_GONE,
            reserved: [0; 3],
            errno: 0,
            reserved2: 0,
        };
        self.close(&close, context);
    }
}
