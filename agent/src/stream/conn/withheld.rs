//! Exchanges that the kernel side withheld, of which only the duration is told.

use spandrel_common::event::{self, CLOSE_ERROR, CLOSE_GONE, CLOSE_LOCAL, CLOSE_PEER, WITHHELD_COMPLETE};

use super::Conn;
use crate::exchange::{Outcome, Withheld};

impl Conn {
    /// What the kernel side tells, with what is known of the connection.
    pub(in crate::stream) fn passed(&mut self, event: &event::Withheld) -> Withheld {
        self.holding.used();
        self.told = false;
        self.last_ns = self.last_ns.max(event.end_ns);
        Withheld {
            connection: self.info.clone(),
            tgid: event.header.tgid,
            start_ns: event.start_ns,
            end_ns: event.end_ns.max(event.start_ns),
            method: event.method,
            host: event.host,
            version: event.version,
            response: (event.status != 0).then_some(event.status),
            outcome: self.ended_by(event),
        }
    }

    /// The end of the connection itself is told behind this event: what was heard before counts more.
    fn ended_by(&self, event: &event::Withheld) -> Outcome {
        let first = |outcome| match self.outcome() {
            Outcome::Unseen => outcome,
            known => known,
        };
        match event.end {
            WITHHELD_COMPLETE => Outcome::Complete,
            CLOSE_ERROR => Outcome::Failed(event.errno),
            CLOSE_PEER => first(Outcome::PeerClosed),
            CLOSE_LOCAL | CLOSE_GONE => first(Outcome::LocalClosed),
            _ => Outcome::Unseen,
        }
    }
}
