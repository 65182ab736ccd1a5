//! Events to exchanges: which bytes of which connection come next, what is missing, and when it all moved.

mod calls;
mod conn;
mod followed;
mod half;
pub mod held;
mod multiplexed;
mod slots;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;
use spandrel_common::event::{self, TRANSPORT_UNIX};

use self::{conn::Context, followed::Followed, slots::Slots};
use crate::{
    decode::Event,
    exchange::{Exchange, Outcome, Withheld, kafka::Call},
    protocol::Message,
    stats::{Count, Drop, Stats},
};

/// The connections that are followed.
#[derive(Debug)]
pub struct Table {
    stats: Arc<Stats>,
    conns: Slots<Followed>,
    /// Connections by the process that used them last, so that the end of a process without any costs nothing.
    users: HashMap<u32, u32, RandomState>,
    /// Kept for its memory.
    messages: Vec<Message>,
    /// Calls that are over, until they are taken.
    calls: Vec<Call>,
}

impl Table {
    /// A table of at most `limit` connections (at least one).
    pub fn new(stats: Arc<Stats>, limit: usize) -> Self {
        Self {
            stats,
            conns: Slots::new(limit.max(1)),
            users: HashMap::default(),
            messages: Vec::new(),
            calls: Vec::new(),
        }
    }

    /// Connections that are followed.
    pub fn len(&self) -> usize {
        self.conns.len()
    }

    /// Whether no connection is followed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes an event and appends the exchanges that it ends to `out`. Events about processes are ignored,
    /// but for their end; for withheld exchanges there is [`Self::withheld`].
    pub fn handle(&mut self, event: &Event<'_>, out: &mut Vec<Exchange>) {
        match event {
            Event::Data(data, payload) => self.data(data, payload, out),
            Event::Conn(conn) => self.announce(conn, out),
            Event::Close(close) => self.close(close, out),
            Event::Exit(header) => self.exit(header, out),
            Event::Exec(_) | Event::Fork(_) | Event::Listen(_) | Event::Notice(_) | Event::Withheld(_) => {}
        }
    }

    /// Takes the calls to Kafka brokers that events have ended.
    pub fn take_calls(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.calls)
    }

    /// What the kernel side tells of an exchange that it withheld; `None` if the connection is not known.
    pub fn withheld(&mut self, event: &event::Withheld) -> Option<Withheld> {
        let conn = self.conns.touch(event.conn);
        if conn.is_none() {
            self.stats.count(Count::UnknownConn);
        }
        conn?.passed(event)
    }

    /// Ends everything that is open, because the agent stops.
    pub fn flush(&mut self, now_ns: u64, out: &mut Vec<Exchange>) {
        let mut context = Context::new(&self.stats, &mut self.messages, &mut self.calls, out);
        for mut conn in self.conns.drain() {
            conn.end((Outcome::Unseen, now_ns), &mut context);
        }
        self.users.clear();
    }

    /// Forgets connections that have been idle for `idle_ns` and have no open exchange, or none that can still be answered.
    /// Returns how many.
    pub fn expire(&mut self, now_ns: u64, idle_ns: u64, out: &mut Vec<Exchange>) -> usize {
        let idle = |conn: &Followed| {
            now_ns.saturating_sub(conn.last_ns()) >= idle_ns && (conn.open() == 0 || conn.is_closing())
        };
        let gone: Vec<u64> = self.conns.iter().filter(|(_, conn)| idle(conn)).map(|(id, _)| id).collect();
        for id in &gone {
            self.remove(*id, |conn, context| conn.end((Outcome::Unseen, now_ns), context), out);
        }
        gone.len()
    }

    fn announce(&mut self, event: &event::Conn, out: &mut Vec<Exchange>) {
        let mut upgraded = None;
        if let Some(conn) = self.conns.touch(event.conn) {
            if conn.is(event) {
                return;
            }
            upgraded = conn.upgraded();
            let end = (Outcome::Unseen, event.header.time_ns);
            self.remove(event.conn, |conn, context| conn.end(end, context), out);
        }
        *self.users.entry(event.header.tgid).or_insert(0) += 1;
        let mut conn = Followed::new(event);
        if let Some(exchange) = upgraded {
            conn.adopt(*exchange, &mut Context::new(&self.stats, &mut self.messages, &mut self.calls, out));
        }
        if let Some(evicted) = self.conns.insert(event.conn, conn) {
            self.stats.count(Count::EvictedConns);
            Stats::drop(&self.stats, Drop::Evicted, evicted.counted());
            self.unuse(evicted.tgid());
        }
    }

    fn data(&mut self, data: &event::Data, payload: &[u8], out: &mut Vec<Exchange>) {
        let Some(conn) = self.conns.touch(data.conn) else {
            self.stats.count(Count::UnknownConn);
            return;
        };
        let before = conn.tgid();
        conn.data(data, payload, &mut Context::new(&self.stats, &mut self.messages, &mut self.calls, out));
        let after = conn.tgid();
        if before != after {
            *self.users.entry(after).or_insert(0) += 1;
            self.unuse(before);
        }
    }

    fn close(&mut self, close: &event::Close, out: &mut Vec<Exchange>) {
        if close.reason == event::CLOSE_EXIT {
            self.held_to_the_end(close, out);
        } else if matches!(close.reason, event::CLOSE_GONE | event::CLOSE_OPAQUE) {
            self.remove(close.conn, |conn, context| conn.close(close, context), out);
        } else if let Some(conn) = self.conns.touch(close.conn) {
            conn.close(close, &mut Context::new(&self.stats, &mut self.messages, &mut self.calls, out));
        }
    }

    /// A process ended. The kernel closes its TCP sockets right after, or another process goes on with them. Of the
    /// Unix sockets that it held it was told just before; the others were closed or handed on.
    fn exit(&mut self, header: &event::Header, out: &mut Vec<Exchange>) {
        if !self.users.contains_key(&header.tgid) {
            return;
        }
        let mut open = Vec::new();
        for (id, conn) in self.conns.iter_mut().filter(|(_, conn)| conn.tgid() == header.tgid) {
            if conn.transport() != TRANSPORT_UNIX {
                conn.orphan();
            } else if conn.holding().inode != 0 {
                conn.holding_mut().leave();
            } else if conn.open() > 0 {
                open.push(id);
            }
        }
        // Another process may hold the socket and go on with it.
        let end = (Outcome::ProcessExit, header.time_ns);
        for id in open {
            if let Some(conn) = self.conns.touch(id) {
                conn.end(end, &mut Context::new(&self.stats, &mut self.messages, &mut self.calls, out));
            }
        }
    }

    fn remove(
        &mut self,
        id: u64,
        last: impl FnOnce(&mut Followed, &mut Context<'_>),
        out: &mut Vec<Exchange>,
    ) {
        if let Some(mut conn) = self.conns.remove(id) {
            last(&mut conn, &mut Context::new(&self.stats, &mut self.messages, &mut self.calls, out));
            self.unuse(conn.tgid());
        }
    }

    fn unuse(&mut self, tgid: u32) {
        if let Some(count) = self.users.get_mut(&tgid) {
            *count -= 1;
            if *count == 0 {
                self.users.remove(&tgid);
            }
        }
    }
}
