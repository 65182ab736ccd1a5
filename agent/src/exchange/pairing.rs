//! Requests and responses of one connection, matched in order (RFC 9112, section 9.3.2).
//!
//! A wrong match is worse than none. Where responses are missing, an exchange ends as
//! [`Outcome::Unseen`] unless only one answer is possible.

use std::{collections::VecDeque, sync::Arc};

use super::{Connection, Exchange, Outcome};
use crate::protocol::message::Head;

/// Where a request began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Begin {
    pub(crate) pos: u64,
    pub(crate) tgid: u32,
    pub(crate) tid: u32,
    pub(crate) start_ns: u64,
    pub(crate) wait_ns: u64,
    pub(crate) sampled: bool,
    /// Bytes before it are missing: earlier exchanges were withheld or lost.
    pub(crate) jumped: bool,
    /// How often the ring had lost events when it was seen.
    pub(crate) epoch: u32,
}

/// A request whose response is not complete.
#[derive(Debug)]
struct Open {
    begin: Begin,
    request: Head,
    request_body: u64,
    /// The request is complete, or its end was not seen.
    sent: bool,
    response: Option<(u16, Head)>,
    gap: bool,
}

/// What waits for a response.
#[derive(Debug)]
enum Slot {
    /// A request that was withheld.
    Withheld,
    Open(Open),
}

/// To what the message that is open in the response side belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Answer {
    #[default]
    Nothing,
    /// To a request that was withheld or is not known.
    Orphan,
    /// To the first slot.
    First,
}

/// What a response found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    Request,
    Withheld,
    Orphan,
}

/// Bytes of the response side are missing before what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// By what the kernel side says a message starts behind them: they were withheld, or lost.
    Messages,
    /// The same, but a message was open that had its rest among them.
    Rest,
    /// Nothing is known about them.
    Bytes,
}

/// The exchanges of a connection that are open. The parser bounds them by giving up
/// ([`crate::protocol::http1::PIPELINE`]).
#[derive(Debug, Default)]
pub(crate) struct Pairing {
    slots: VecDeque<Slot>,
    answer: Answer,
    /// A request was sent while the response to an earlier one was awaited.
    pipelined: bool,
}

impl Pairing {
    /// Whether a response that begins now would find a request.
    pub(crate) fn awaits(&self) -> bool {
        let begun = usize::from(self.answer == Answer::First);
        self.slots.len() > begun
    }

    /// Whether the response side is inside a message.
    pub(crate) fn answering(&self) -> bool {
        self.answer != Answer::Nothing
    }

    /// Open exchanges.
    pub(crate) fn open(&self) -> u64 {
        self.slots.iter().filter(|slot| matches!(slot, Slot::Open(_))).count() as u64
    }

    /// Withheld requests whose responses are to come.
    pub(crate) fn withheld(&self) -> usize {
        self.slots.iter().filter(|slot| matches!(slot, Slot::Withheld)).count()
    }

    /// A request was withheld.
    pub(crate) fn withhold(&mut self) {
        self.slots.push_back(Slot::Withheld);
    }

    /// A request's head is complete.
    pub(crate) fn request(&mut self, begin: Begin, head: Head) {
        if let Some(open) = self.sending() {
            open.sent = true;
        }
        if self.slots.capacity() == 0 {
            self.slots.reserve_exact(1);
        }
        let request = Open { begin, request: head, request_body: 0, sent: false, response: None, gap: false };
        self.slots.push_back(Slot::Open(request));
    }

    /// The request whose end was not seen yet.
    fn sending(&mut self) -> Option<&mut Open> {
        match self.slots.back_mut() {
            Some(Slot::Open(open)) if !open.sent => Some(open),
            _ => None,
        }
    }

    /// The request is complete.
    pub(crate) fn sent(&mut self, body: u64) {
        if let Some(open) = self.sending() {
            open.sent = true;
            open.request_body = body;
        }
    }

    /// Bytes of the request side are missing.
    pub(crate) fn request_gap(&mut self) {
        if let Some(open) = self.sending() {
            open.gap = true;
        }
    }

    /// Bytes of the response side are missing.
    pub(crate) fn response_gap(&mut self) {
        if let (Answer::First, Some(Slot::Open(open))) = (self.answer, self.slots.front_mut()) {
            open.gap = true;
        }
    }

    /// The end of the open request will not be seen.
    pub(crate) fn request_lost(&mut self) {
        if let Some(open) = self.sending() {
            open.sent = true;
            open.gap = true;
        }
    }

    /// A final response's head is complete.
    pub(crate) fn response(&mut self, status: u16, head: Head, start_ns: u64) -> Match {
        if self.slots.len() > 1 && self.answer == Answer::Nothing {
            self.pipelined = true;
        }
        match self.slots.front_mut() {
            Some(Slot::Open(open)) if open.response.is_none() && open.begin.start_ns <= start_ns => {
                open.response = Some((status, head));
                self.answer = Answer::First;
                Match::Request
            }
            Some(Slot::Withheld) => {
                self.slots.pop_front();
                self.answer = Answer::Orphan;
                Match::Withheld
            }
            _ => {
                self.answer = Answer::Orphan;
                Match::Orphan
            }
        }
    }

    /// The open response ended. `sending` is how much content of an unfinished request was seen.
    pub(crate) fn answered(
        &mut self,
        connection: &Arc<Connection>,
        end: (Outcome, u64),
        body: u64,
        sending: u64,
    ) -> Option<Exchange> {
        let answer = std::mem::take(&mut self.answer);
        match (answer, self.slots.front_mut()) {
            (Answer::First, Some(Slot::Open(open))) => {
                open.gap |= end.0 == Outcome::Unseen;
                if !open.sent {
                    open.request_body = sending;
                }
                let slot = self.slots.pop_front()?;
                finish(slot, connection, end, body)
            }
            _ => None,
        }
    }

    /// Decides, before a response whose predecessors may be missing, which requests can no longer be
    /// answered by it. Calls `out` with those and returns how many slots they were, from the oldest on.
    pub(crate) fn realign(
        &mut self,
        connection: &Arc<Connection>,
        missing: Missing,
        epoch: u32,
        now_ns: u64,
        out: &mut Vec<Exchange>,
    ) -> usize {
        if self.answering() {
            return 0;
        }
        let keep = match (self.slots.len(), self.slots.back_mut()) {
            (0, _) | (_, None) => return 0,
            // Who pipelines may have any of its responses missing.
            _ if self.pipelined => 0,
            // Who does not has sent its last request after the response to the one before.
            (_, Some(Slot::Open(open))) if missing == Missing::Bytes => {
                open.gap = true;
                1
            }
            // Missing messages are those of earlier exchanges only if there were such.
            (1, Some(Slot::Open(open))) => {
                let explained = open.begin.jumped || missing == Missing::Rest;
                usize::from(explained && open.begin.epoch == epoch)
            }
            (_, Some(Slot::Open(_))) => 1,
            (_, Some(Slot::Withheld)) => 0,
        };
        let gone = self.slots.len() - keep;
        for slot in self.slots.drain(..gone) {
            out.extend(finish_unseen(slot, connection, now_ns));
        }
        gone
    }

    /// Everything that is open ends. `bodies` are the content bytes seen of an unfinished request and an
    /// unfinished response.
    pub(crate) fn end_all(
        &mut self,
        connection: &Arc<Connection>,
        end: (Outcome, u64),
        bodies: [u64; 2],
        out: &mut Vec<Exchange>,
    ) {
        let [sending, answering] = bodies;
        if let Some(open) = self.sending() {
            open.request_body = sending;
        }
        let mut body = if self.answer == Answer::First { answering } else { 0 };
        self.answer = Answer::Nothing;
        for slot in std::mem::take(&mut self.slots) {
            out.extend(finish(slot, connection, end, std::mem::take(&mut body)));
        }
    }
}

fn finish_unseen(slot: Slot, connection: &Arc<Connection>, now_ns: u64) -> Option<Exchange> {
    let mut exchange = finish(slot, connection, (Outcome::Unseen, now_ns), 0)?;
    exchange.gap = true;
    Some(exchange)
}

fn finish(
    slot: Slot,
    connection: &Arc<Connection>,
    (outcome, end_ns): (Outcome, u64),
    response_body: u64,
) -> Option<Exchange> {
    let Slot::Open(open) = slot else { return None };
    let Begin { pos, tgid, tid, start_ns, wait_ns, sampled, jumped: _, epoch: _ } = open.begin;
    Some(Exchange {
        connection: Arc::clone(connection),
        tgid,
        tid,
        pos,
        start_ns,
        end_ns: end_ns.max(start_ns),
        wait_ns,
        request: open.request,
        request_body: open.request_body,
        response: open.response,
        response_body,
        outcome,
        gap: open.gap,
        sampled,
    })
}
