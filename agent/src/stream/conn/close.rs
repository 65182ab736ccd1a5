//! How a connection ends, and what that means for the exchanges that are open.

use spandrel_common::event::{self, CLOSE_ERROR, CLOSE_GONE, CLOSE_LOCAL, CLOSE_OPAQUE, CLOSE_PEER};

use super::{Conn, Context};
use crate::{
    exchange::{Outcome, Role},
    protocol::{Input, Parser, Side},
    stats::Count,
};

impl Conn {
    /// Nothing more comes from a side.
    fn eof(&mut self, side: Side, close: &event::Close, context: &mut Context<'_>) {
        if std::mem::replace(&mut self.half(side).ended, true) {
            return;
        }
        let [received_ns, sent_ns] = close.last_ns;
        let moved_ns = if side == self.peer_side() { received_ns } else { sent_ns };
        let last_ns = moved_ns.max(self.half(side).last_ns);
        self.cut(side, last_ns, context);
        self.untold(side, close, last_ns, context);
        // What is short of a head has no end.
        if side == Side::Request || !self.short {
            self.feed(side, Input::Eof, last_ns, context);
        }
    }

    /// Bytes that moved and that no event told of: body that the kernel side only counted, or a gap.
    fn untold(&mut self, side: Side, close: &event::Close, now_ns: u64, context: &mut Context<'_>) {
        let [received, sent] = close.pos;
        let pos = if side == self.peer_side() { received } else { sent };
        let len = pos.saturating_sub(self.half(side).next);
        if len == 0 {
            return;
        }
        if self.parser.within(side) && self.parser.knows(side) {
            self.feed(side, Input::Body { len, end: false }, now_ns, context);
        } else if self.told {
            self.gap(side, len, now_ns, context);
            if side == Side::Response {
                self.pairing.miss_newest();
            }
        }
        self.half(side).next = pos;
    }

    /// Whether all bytes of an incomplete head are here: then its sender left it so.
    fn ends_short(&self, close: &event::Close) -> bool {
        let [received, sent] = close.pos;
        let pos = if self.peer_side() == Side::Response { received } else { sent };
        !self.response.waiting.is_empty() && pos <= self.response.next && close.reason != CLOSE_OPAQUE
    }

    /// One or both directions ended.
    pub(in crate::stream) fn close(&mut self, close: &event::Close, context: &mut Context<'_>) {
        let now_ns = close.header.time_ns;
        self.last_ns = self.last_ns.max(now_ns);
        self.release_last(now_ns, context);
        context.out.extend(self.upgraded().map(|exchange| *exchange));
        if self.over {
            return;
        }
        self.short |= self.ends_short(close);
        match close.reason {
            CLOSE_PEER => {
                self.ended.get_or_insert(Outcome::PeerClosed);
                self.eof(self.peer_side(), close, context);
                // Nothing can be answered any more.
                if self.info.role == Role::Client {
                    self.end_exchanges((self.outcome(), now_ns), context);
                }
            }
            CLOSE_LOCAL => {
                self.ended.get_or_insert(Outcome::LocalClosed);
                self.eof(self.own_side(), close, context);
                if self.info.role == Role::Server {
                    self.end_exchanges((self.outcome(), now_ns), context);
                }
            }
            CLOSE_ERROR => {
                self.ended = Some(Outcome::Failed(close.errno));
                // What this end had written by then was written, even if the hook of that call is yet to run.
                let own = self.own_side();
                let last_ns = self.half(own).last_ns.max(now_ns);
                if self.held.is_empty() && self.parser.within(own) && self.parser.knows(own) {
                    self.untold(own, close, last_ns, context);
                }
                self.end((Outcome::Failed(close.errno), now_ns), context);
                self.over = true;
            }
            CLOSE_GONE => {
                if close.errno != 0 {
                    self.ended = Some(Outcome::Failed(close.errno));
                }
                self.ended.get_or_insert(Outcome::LocalClosed);
                self.eof(self.own_side(), close, context);
                let peer = self.peer_side();
                self.cut(peer, now_ns, context);
                self.untold(peer, close, now_ns, context);
                self.end((self.outcome(), now_ns), context);
            }
            CLOSE_OPAQUE => self.end((Outcome::Unseen, now_ns), context),
            _ => context.stats.count(Count::Undecodable),
        }
    }

    /// How exchanges end that are still open when the connection does.
    pub(super) fn outcome(&self) -> Outcome {
        match self.ended {
            Some(Outcome::Failed(errno)) => Outcome::Failed(errno),
            _ if self.orphan => Outcome::ProcessExit,
            Some(outcome) => outcome,
            None => Outcome::Unseen,
        }
    }

    /// Everything that is open ends.
    pub(in crate::stream) fn end(&mut self, end: (Outcome, u64), context: &mut Context<'_>) {
        self.release_last(end.1, context);
        self.cut(Side::Request, end.1, context);
        self.cut(Side::Response, end.1, context);
        self.end_exchanges(end, context);
        context.out.extend(self.upgraded().map(|exchange| *exchange));
        // Another process may go on, with the responses to what is told of already.
        self.unsure = true;
        self.awaited(context);
    }

    /// Ends the open exchanges.
    pub(super) fn end_exchanges(&mut self, end: (Outcome, u64), context: &mut Context<'_>) {
        // Where nobody knows where the response ends, its last byte may have come long ago.
        if self.pairing.answering() && self.parser.is_cut(Side::Response) && !self.short {
            self.answered((Outcome::Unseen, self.response.last_ns), 0, context);
        }
        let bodies = [self.parser.body(Side::Request), self.parser.body(Side::Response)];
        self.pairing.end_all(&self.info, end, bodies, context.out);
    }
}
