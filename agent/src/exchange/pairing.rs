//! Requests and responses of one connection, matched in order (RFC 9112, section 9.3.2).
//!
//! A wrong match is worse than none. As long as every response was understood to its end, the next one
//! answers the oldest request. Behind bytes that are missing or not understood nobody can tell how many
//! responses were among them, so order proves nothing any more. What does is where each side stood when the
//! other one moved. A client that does not pipeline sends a request when it has the whole response to the one
//! before; so:
//!
//! - The response to a request begins at the very byte of the response side that was next when the request
//!   began ([`Begin::other`]). A response that begins exactly there, and not before its request, is its.
//! - When a request has begun, the exchanges before it are over. Those without a complete response end as
//!   [`Outcome::Unseen`].
//! - A response that begins anywhere else behind missing bytes is nobody's, and the request that was the
//!   newest then has missed its own.
//!
//! A client pipelines if two requests began at one place of the response side, or if the kernel side saw a
//! request while no byte of the response before had moved. Behind missing bytes nothing can be told of such a
//! connection, now or later: its exchanges end as [`Outcome::Unseen`] from then on.

use std::{collections::VecDeque, sync::Arc};

use spandrel_common::context::Cause;

use super::{Connection, Exchange, Outcome, Protocol};
use crate::protocol::message::Head;

/// Where a request began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Begin {
    pub(crate) pos: u64,
    pub(crate) tgid: u32,
    pub(crate) tid: u32,
    pub(crate) start_ns: u64,
    pub(crate) wait_ns: u64,
    pub(crate) sampled: Option<bool>,
    pub(crate) cause: Cause,
    /// Position of the response side when it began.
    pub(crate) other: u64,
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
    /// Where its response began was not seen: none that comes is its.
    missed: bool,
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
    /// One of several: the client pipelines, or responses were missed.
    Ambiguous,
}

/// Whose bytes of the response side are that come behind something that was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Nobody's who is known: they are older than every open request.
    Nobody,
    /// Of the exchange whose response is open.
    Answering,
    /// Of the request in this slot, and its response starts with them.
    Start(usize),
    /// Of the request in this slot, somewhere behind the start of its response.
    Within(usize),
    /// The client pipelines: nobody can tell.
    Unknown,
}

/// The exchanges of a connection that are open. The parser bounds them by giving up
/// ([`crate::protocol::http1::PIPELINE`]).
#[derive(Debug, Default)]
pub(crate) struct Pairing {
    slots: VecDeque<Slot>,
    answer: Answer,
    /// A request was sent while the response to an earlier one was awaited.
    pipelined: bool,
    /// Responses of a client that pipelines were missed: no response can be matched any more.
    doubt: bool,
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
        self.slots.push_back(Slot::Open(Open {
            begin,
            request: head,
            request_body: 0,
            sent: false,
            response: None,
            gap: self.doubt,
            missed: self.doubt,
        }));
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

    /// A final response's head is complete. `unseen`: responses before it may have moved unseen.
    pub(crate) fn response(&mut self, status: u16, head: Head, start_ns: u64, unseen: bool) -> Match {
        let begun = |slot: &Slot| matches!(slot, Slot::Open(open) if open.begin.start_ns <= start_ns);
        if self.slots.get(1).is_some_and(begun) {
            if unseen && !self.pipelined {
                self.answer = Answer::Orphan;
                return Match::Ambiguous;
            }
            self.pipelined = true;
        }
        match self.slots.front_mut() {
            Some(Slot::Open(open))
                if open.response.is_none() && !open.missed && open.begin.start_ns <= start_ns =>
            {
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

    /// A final response's head is complete, and nobody can tell which request it answers.
    pub(crate) fn orphan(&mut self) {
        self.answer = Answer::Orphan;
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

    /// The client pipelines.
    pub(crate) const fn pipelines(&mut self) {
        self.pipelined = true;
    }

    /// Bytes of the open response moved at `start_ns`: if the next request had begun, the client pipelines.
    pub(crate) fn overlaps(&mut self, start_ns: u64) {
        if let Some(Slot::Open(open)) = self.slots.get(1) {
            self.pipelined |= self.answer == Answer::First && open.begin.start_ns <= start_ns;
        }
    }

    /// Requests whose exchange is not over.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Whose the bytes are that moved at `start_ns` from `pos` of the response side on, where what came before
    /// was not understood.
    pub(crate) fn owner(&self, pos: u64, start_ns: u64) -> Owner {
        let begun = |slot: &Slot| matches!(slot, Slot::Open(open) if open.begin.start_ns <= start_ns);
        let Some(newest) = self.slots.iter().rposition(begun) else { return Owner::Nobody };
        if newest == 0 && self.answer == Answer::First {
            return Owner::Answering;
        }
        let mut last = None;
        for slot in self.slots.iter().take(newest + 1) {
            match slot {
                Slot::Open(open) if last.is_none_or(|last| last < open.begin.other) => {
                    last = Some(open.begin.other);
                }
                _ => return Owner::Unknown,
            }
        }
        match last {
            _ if self.pipelined => Owner::Unknown,
            Some(other) if other == pos => Owner::Start(newest),
            _ => Owner::Within(newest),
        }
    }

    /// The exchanges before a slot are over. `last_ns` is when the last byte of the response side moved that
    /// may be theirs.
    pub(crate) fn over(
        &mut self,
        slot: usize,
        connection: &Arc<Connection>,
        last_ns: u64,
        out: &mut Vec<Exchange>,
    ) {
        if slot > 0 && self.answer == Answer::First {
            self.answer = Answer::Orphan;
        }
        for slot in self.slots.drain(..slot.min(self.slots.len())) {
            out.extend(finish_unseen(slot, connection, last_ns));
        }
    }

    /// The response to the request in a slot cannot be found any more.
    pub(crate) fn miss(&mut self, slot: usize) {
        if let Some(Slot::Open(open)) = self.slots.get_mut(slot) {
            open.missed = true;
            open.gap = true;
        }
    }

    /// The last bytes of the response side were not seen: the newest request's response was among them.
    pub(crate) fn miss_newest(&mut self) {
        if self.answer == Answer::Nothing && !self.slots.is_empty() {
            self.miss(self.slots.len() - 1);
        }
    }

    /// Nothing can be told any more, of what is open and of what comes.
    pub(crate) fn abstain(&mut self, connection: &Arc<Connection>, last_ns: u64, out: &mut Vec<Exchange>) {
        self.doubt = true;
        self.over(self.slots.len(), connection, last_ns, out);
    }

    /// Whether nothing can be told any more.
    pub(crate) const fn doubts(&self) -> bool {
        self.doubt
    }

    /// If no response to the oldest request was found but it is over, because its client has sent another one:
    /// where the response side stood then.
    pub(crate) fn overtaken(&self) -> Option<u64> {
        match (self.slots.front(), self.slots.get(1)) {
            (Some(Slot::Open(first)), Some(Slot::Open(second)))
                if !self.pipelined && first.response.is_none() && first.begin.other < second.begin.other =>
            {
                Some(second.begin.other)
            }
            _ => None,
        }
    }

    /// Slots, of which none has its response.
    pub(crate) fn unanswered(&self) -> usize {
        self.slots.len() - usize::from(self.answer == Answer::First)
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
        // Who has sent another request had its response, whether it was seen or not.
        while self.overtaken().is_some()
            && let Some(slot) = self.slots.pop_front()
        {
            out.extend(finish_unseen(slot, connection, end.1));
        }
        for slot in std::mem::take(&mut self.slots) {
            let body = std::mem::take(&mut body);
            out.extend(match &slot {
                Slot::Open(open) if open.missed => finish_unseen(slot, connection, end.1),
                _ => finish(slot, connection, end, body),
            });
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
    let Begin { pos, tgid, tid, start_ns, wait_ns, sampled, cause, other: _ } = open.begin;
    Some(Exchange {
        connection: Arc::clone(connection),
        protocol: Protocol::Http1,
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
        trailers: None,
        outcome,
        gap: open.gap,
        sampled,
        cause,
    })
}
