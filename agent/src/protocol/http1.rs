//! HTTP/1.0 and HTTP/1.1 (RFC 9110, RFC 9112).
//!
//! Strict about what decides where a message starts and ends, indifferent to everything else. Heads are
//! copied once; bodies are only counted. Behind CONNECT and Upgrade nothing is looked at any more.

mod chunk;
mod half;
mod head;
mod start;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use spandrel_common::limits::HEAD_CAPTURE;

use self::{
    half::{Half, State, Taken},
    head::{Coding, Parsed, Read},
    start::{Method, Start},
};
use super::{
    Detect, Input, Parser, Side,
    message::{GiveUp, Head, Message},
};

/// Requests of one connection whose responses are awaited at once. No client is known to pipeline more
/// than a hundred; one that does is given up, because responses could not be matched.
pub const PIPELINE: usize = 256;

/// Answered requests that are remembered, in case that the answers turn out to be those to others.
const KEPT: usize = 7;

/// What a request means for its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    method: Method,
    upgrade: bool,
}

impl Asked {
    /// A request that was not seen.
    const UNSEEN: Self = Self { method: Method::Other, upgrade: false };

    /// Whether the connection may turn into something else by its response.
    const fn turns(self) -> bool {
        self.upgrade || matches!(self.method, Method::Connect)
    }
}

/// The parser of one connection.
#[derive(Debug, Default)]
pub struct Http1 {
    request: Half,
    response: Half,
    /// Requests: [`KEPT`] whose final response has begun, and those whose has not.
    asked: VecDeque<Asked>,
    /// How many of them are answered.
    answered: usize,
    /// A tunnel, or given up.
    over: bool,
}

impl Parser for Http1 {
    fn detect(side: Side, head: &[u8]) -> Detect {
        match head.get(start::empty_lines(head)..) {
            None | Some([]) => Detect::Need(1),
            Some(head) => start::detect(side, head),
        }
    }

    fn advance(&mut self, side: Side, input: Input<'_>, out: &mut Vec<Message>) -> usize {
        if self.over {
            return match input {
                Input::Bytes(bytes) | Input::Last(bytes) => bytes.len(),
                _ => 0,
            };
        }
        match input {
            Input::Bytes(bytes) => return self.bytes(side, bytes, out),
            Input::Last(bytes) => return self.last(side, bytes, out),
            Input::Body { len, end } => self.half(side).body(side, len, end, out),
            Input::Gap { len } => self.half(side).gap(side, len, out),
            Input::Start => self.half(side).start(side, out),
            Input::Eof => self.half(side).eof(side, out),
            Input::Withheld { requests } => {
                for _ in 0..requests {
                    self.ask(Asked::UNSEEN, out);
                }
            }
            Input::Awaited { requests } => {
                let requests = requests.min(PIPELINE);
                while self.asked.len() < requests {
                    self.asked.push_front(Asked::UNSEEN);
                }
                self.answered = self.asked.len() - requests;
                self.resume();
            }
        }
        0
    }

    fn knows(&self, side: Side) -> bool {
        match side {
            Side::Request => self.request.knows(),
            Side::Response => self.response.knows(),
        }
    }

    fn within(&self, side: Side) -> bool {
        match side {
            Side::Request => self.request.open(),
            Side::Response => self.response.open(),
        }
    }

    fn certain(&self, side: Side) -> u64 {
        match side {
            Side::Request => self.request.certain(),
            Side::Response => self.response.certain(),
        }
    }

    fn body(&self, side: Side) -> u64 {
        match side {
            Side::Request => self.request.body,
            Side::Response => self.response.body,
        }
    }
}

impl Http1 {
    /// Whether bytes are one request beyond doubt, from the first of them to the last that came. Asked of what is body
    /// by the framing of the message before, and may be there because the rest of that moved unseen: bodies can hold
    /// requests, but a call seldom begins and ends with one that they hold.
    pub fn is_one_request(bytes: &[u8]) -> bool {
        let mut parser = Self::default();
        parser.request.state = State::Lost;
        let mut messages = Vec::new();
        let taken = parser.bytes(Side::Request, bytes, &mut messages);
        let requests = messages.iter().filter(|message| matches!(message, Message::Request { .. })).count();
        requests == 1 && !parser.over && taken == bytes.len()
    }

    /// Whether the open message of a side had a head that was cut short, so that nobody knows where it ends.
    pub fn is_cut(&self, side: Side) -> bool {
        let half = match side {
            Side::Request => &self.request,
            Side::Response => &self.response,
        };
        half.state == State::Unknown
    }

    const fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        }
    }

    fn give_up(&mut self, why: GiveUp, out: &mut Vec<Message>) {
        self.over = true;
        self.asked = VecDeque::new();
        self.answered = 0;
        out.push(Message::GiveUp(why));
    }

    fn ask(&mut self, asked: Asked, out: &mut Vec<Message>) {
        if self.asked.len().saturating_sub(self.answered) >= PIPELINE {
            return self.give_up(GiveUp::TooDeep, out);
        }
        let old = self.answered.saturating_sub(KEPT);
        self.asked.drain(..old.min(self.asked.len()));
        self.answered -= old;
        self.asked.push_back(asked);
    }

    /// The oldest request that waits for its response, which has begun.
    fn answer(&mut self) -> Asked {
        let Some(asked) = self.asked.get(self.answered) else { return Asked::UNSEEN };
        self.answered += 1;
        *asked
    }

    /// Lets the request side go on if it waited for a response that is decided now.
    fn resume(&mut self) {
        if !self.asked.iter().skip(self.answered).any(|asked| asked.turns()) {
            self.request.resume();
        }
    }

    fn bytes(&mut self, side: Side, bytes: &[u8], out: &mut Vec<Message>) -> usize {
        let mut at = 0;
        while !self.over
            && let Some(rest) = bytes.get(at..)
            && !rest.is_empty()
        {
            match self.half(side).take(side, rest, at, out) {
                Taken::Bytes(taken) => at += taken,
                Taken::Wait => return at,
                Taken::Malformed => self.give_up(GiveUp::Malformed, out),
                Taken::Head => {
                    let waiting = self.request.state == State::Waiting;
                    match self.head(side, rest, at, out) {
                        Some(taken) => at += taken,
                        None => return at,
                    }
                    // What waited comes before the responses to it.
                    if waiting && self.request.state != State::Waiting && !self.over {
                        return at;
                    }
                }
            }
        }
        if self.over { bytes.len() } else { at }
    }

    /// Reads the head that starts `bytes`; `None` if more of it is needed.
    fn head(&mut self, side: Side, bytes: &[u8], at: usize, out: &mut Vec<Message>) -> Option<usize> {
        let half = self.half(side);
        match head::read(side, bytes, &mut half.scanned) {
            Read::Need => return None,
            Read::Head { len, head } => {
                let bytes = bytes.get(..len).unwrap_or(bytes);
                if half.sure() || head::certain(bytes, &head) {
                    half.found(side, out);
                    self.complete(side, bytes, &head, at, out);
                    return Some(len);
                }
            }
            Read::Truncated { start } if half.sure() || head::certain_so_far(side, bytes, start) => {
                half.found(side, out);
                let taken = bytes.len().min(HEAD_CAPTURE);
                self.truncated(side, bytes.get(..taken).unwrap_or(bytes), start, at, out);
                return Some(taken);
            }
            Read::No | Read::Truncated { .. } => {}
        }
        if half.sure() {
            let why = if half.fresh { GiveUp::NotHttp } else { GiveUp::Malformed };
            self.give_up(why, out);
        } else {
            half.scanned = 0;
        }
        Some(bytes.len())
    }

    /// A complete head.
    fn complete(&mut self, side: Side, bytes: &[u8], parsed: &Parsed, at: usize, out: &mut Vec<Message>) {
        let head = Head::copy(bytes, false);
        let fields = parsed.fields;
        let end = at + bytes.len();
        match parsed.start {
            Start::Request(method) => {
                let asked = Asked { method, upgrade: fields.upgrade };
                out.push(Message::Request { at, head });
                self.ask(asked, out);
                self.request.turns = asked.turns();
                // Without a final `chunked` the length of a request is unknown (RFC 9112, section 6.3, item 4).
                let malformed = fields.malformed || fields.coding == Coding::Other;
                let length = fields.length.unwrap_or(0);
                self.enter(side, (fields.conflict, malformed), fields.coding, Some(length), end, out);
            }
            Start::Response(status) => {
                let interim = (100..200).contains(&status) && status != 101;
                let asked = if interim { Asked::UNSEEN } else { self.answer() };
                if interim {
                    out.push(Message::Informational { at, status });
                    return;
                }
                out.push(Message::Response { at, head, status });
                if status == 101 || (asked.method == Method::Connect && (200..300).contains(&status)) {
                    out.push(Message::End { side, at: end, body: 0 });
                    out.push(Message::Tunnel);
                    self.over = true;
                    return;
                }
                if asked.turns() {
                    self.resume();
                }
                if asked.method == Method::Head || matches!(status, 204 | 304) {
                    self.enter(side, (false, fields.malformed), Coding::None, Some(0), end, out);
                } else {
                    let problems = (fields.conflict, fields.malformed);
                    self.enter(side, problems, fields.coding, fields.length, end, out);
                }
            }
        }
    }

    /// Enters the body behind a head; `problems` are a conflict and a malformed field.
    fn enter(
        &mut self,
        side: Side,
        problems: (bool, bool),
        coding: Coding,
        length: Option<u64>,
        at: usize,
        out: &mut Vec<Message>,
    ) {
        match problems {
            _ if self.over => {}
            (true, _) => self.give_up(GiveUp::ConflictingLength, out),
            (false, true) => self.give_up(GiveUp::Malformed, out),
            (false, false) => {
                let state = match (coding, length) {
                    (Coding::Chunked, _) => State::Chunked(chunk::Chunk::START),
                    (Coding::None, Some(0)) => {
                        return self.half(side).end(side, at, out);
                    }
                    (Coding::None, Some(left)) => State::Length { left },
                    (Coding::Other, _) | (Coding::None, None) => State::ToClose,
                };
                self.half(side).state = state;
            }
        }
    }

    /// A head that is cut short. Its framing is unknown.
    fn truncated(
        &mut self,
        side: Side,
        bytes: &[u8],
        start: Option<Start>,
        at: usize,
        out: &mut Vec<Message>,
    ) {
        let head = Head::copy(bytes, true);
        match (start, side) {
            (Some(Start::Request(method)), _) => {
                out.push(Message::Request { at, head });
                let asked = Asked { method, upgrade: false };
                self.ask(asked, out);
                self.request.turns = asked.turns();
            }
            // A target that alone fills the limit: the method tells enough.
            (None, Side::Request) => {
                out.push(Message::Request { at, head });
                self.ask(Asked { method: Method::Known, upgrade: false }, out);
            }
            (Some(Start::Response(status)), _) if (100..200).contains(&status) => {
                out.push(Message::Informational { at, status });
            }
            (Some(Start::Response(status)), _) => {
                self.answer();
                self.resume();
                out.push(Message::Response { at, head, status });
            }
            (None, Side::Response) => return self.give_up(GiveUp::Malformed, out),
        }
        if !self.over {
            self.half(side).state = State::Unknown;
        }
    }

    /// The unconsumed bytes of a side, behind which some are missing.
    fn last(&mut self, side: Side, bytes: &[u8], out: &mut Vec<Message>) -> usize {
        let half = self.half(side);
        half.scanned = 0;
        if matches!(half.state, State::Idle)
            && half.sure()
            && let Some(start) = head::start_of(side, bytes)
        {
            half.found(side, out);
            self.truncated(side, bytes, Some(start), 0, out);
        }
        bytes.len()
    }
}
