//! Apache Kafka's protocol (the protocol guide; message definitions of Kafka 2.8 to 4.3).
//!
//! Every message says its size, so where messages begin and end is known whatever they hold: of an API or a
//! version that is not known, the header and the times are told. What is read of the others is in `schema`;
//! it is read as it comes, and nothing is kept of it but what spans need.
//!
//! A connection is taken for Kafka's when a response carries the correlation id of a request whose header was
//! one, or when a whole Produce request was what its version says to the last byte.

pub mod api;
mod compression;
pub mod content;
pub mod error;
mod frame;
mod half;
pub mod message;
mod primitive;
pub mod read;
pub mod record;
pub mod records;
mod schema;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::VecDeque;

use self::{
    frame::Read,
    half::{Half, Open, State},
    read::{Positions, Reader},
};
use super::{Detect, Input, Side};
pub use message::{GiveUp, Header, Message, Seen};

/// Requests of one connection whose responses are awaited at once. Clients send five by default, librdkafka
/// as many as its queue of messages gives; one that goes beyond is given up.
pub const PIPELINE: usize = 1024;

/// A request that waits for its response.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    correlation: i32,
    key: i16,
    version: i16,
}

/// The parser of one connection.
#[derive(Debug, Default)]
pub struct Kafka {
    request: Half,
    response: Half,
    awaited: VecDeque<Awaited>,
    positions: Positions,
    /// It is this protocol beyond doubt.
    sure: bool,
    /// A SaslHandshake of version 0 was sent: tokens without headers may follow (KIP-152).
    tokens: bool,
    over: bool,
}

impl Kafka {
    /// Whether `head`, the first bytes of a side, may be this protocol.
    pub fn detect(side: Side, head: &[u8]) -> Detect {
        match side {
            Side::Request => frame::detect(head),
            // Nothing in a response says what it is but the request.
            Side::Response => Detect::No,
        }
    }

    /// Whether a response or a request proved that it is this protocol. Until then, nothing it told has to be
    /// true.
    pub const fn sure(&self) -> bool {
        self.sure
    }

    /// Whether it is known what the next byte of `side` is.
    pub fn knows(&self, side: Side) -> bool {
        !matches!(self.half_of(side).state, State::Lost)
    }

    /// Whether `side` is inside a message.
    pub fn within(&self, side: Side) -> bool {
        matches!(self.half_of(side).state, State::Open(_))
    }

    /// How many of the next bytes of `side` are nothing that is looked at, for certain.
    pub fn certain(&self, side: Side) -> u64 {
        self.half_of(side).certain()
    }

    /// Takes what comes next, as [`super::Parser::advance`] does.
    pub fn advance(&mut self, side: Side, input: Input<'_>, out: &mut Vec<Message>) -> usize {
        match input {
            Input::Bytes(bytes) | Input::Last(bytes) if self.over => return bytes.len(),
            _ if self.over => {}
            Input::Bytes(bytes) => return self.bytes(side, bytes, out),
            Input::Last(bytes) => {
                let taken = self.bytes(side, bytes, out);
                self.missing(side, bytes.len().saturating_sub(taken) as u64, out);
                return bytes.len();
            }
            Input::Body { len, end } => {
                self.missing(side, len, out);
                if end {
                    self.end(side, 0, out);
                }
            }
            Input::Gap { len } => self.missing(side, len, out),
            Input::Start => {
                let half = self.half(side);
                if matches!(half.state, State::Open(_)) {
                    out.push(Message::Lost { side });
                }
                half.state = State::Between;
            }
            // All requests are told, and what waits for an end is the caller's to judge.
            Input::Eof | Input::Withheld { .. } | Input::Awaited { .. } => {}
        }
        0
    }

    const fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        }
    }

    const fn half_of(&self, side: Side) -> &Half {
        match side {
            Side::Request => &self.request,
            Side::Response => &self.response,
        }
    }

    fn give_up(&mut self, why: GiveUp, out: &mut Vec<Message>) {
        *self = Self { over: true, ..Self::default() };
        out.push(Message::GiveUp(why));
    }

    fn bytes(&mut self, side: Side, bytes: &[u8], out: &mut Vec<Message>) -> usize {
        let mut at = 0;
        while !self.over
            && let Some(rest) = bytes.get(at..)
            && !rest.is_empty()
        {
            let taken = match &self.half(side).state {
                State::Open(_) => self.open(side, rest, at, out),
                State::Between | State::Lost => match side {
                    Side::Request => self.request(rest, at, out),
                    Side::Response => self.response(rest, at, out),
                },
            };
            match taken {
                Some(taken) => at += taken,
                None => break,
            }
        }
        if self.over { bytes.len() } else { at }
    }

    /// Bytes of the open message.
    fn open(&mut self, side: Side, bytes: &[u8], at: usize, out: &mut Vec<Message>) -> Option<usize> {
        let (half, positions) = match side {
            Side::Request => (&mut self.request, &mut self.positions),
            Side::Response => (&mut self.response, &mut self.positions),
        };
        let State::Open(open) = &mut half.state else { return None };
        let taken = open.advance(bytes, positions);
        if open.over() {
            self.end(side, at + taken, out);
            return Some(taken);
        }
        (taken > 0).then_some(taken)
    }

    /// Bytes that are missing.
    fn missing(&mut self, side: Side, len: u64, out: &mut Vec<Message>) {
        if len == 0 {
            return;
        }
        let (half, positions) = match side {
            Side::Request => (&mut self.request, &mut self.positions),
            Side::Response => (&mut self.response, &mut self.positions),
        };
        let State::Open(open) = &mut half.state else {
            half.state = State::Lost;
            return;
        };
        let rest = open.pass(len, positions);
        if open.over() {
            self.end(side, 0, out);
        }
        if rest > 0 {
            self.half(side).state = State::Lost;
        }
    }

    /// The open message is complete.
    fn end(&mut self, side: Side, at: usize, out: &mut Vec<Message>) {
        let half = self.half(side);
        if !matches!(half.state, State::Open(_)) {
            return;
        }
        let State::Open(open) = std::mem::replace(&mut half.state, State::Between) else { return };
        let Open { correlation, key, .. } = *open;
        let (reader, seen, exact) = open.finish();
        let Some(correlation) = correlation else { return };
        match side {
            Side::Request => {
                let last = reader.unanswered();
                if last {
                    self.awaited.retain(|awaited| awaited.correlation != correlation);
                    // Arrays in arrays that end with the message, around batches: nothing else looks like it.
                    self.sure |= exact && key == api::PRODUCE;
                }
                out.push(Message::Asked { at, correlation, asked: reader.asked(), seen, last });
            }
            Side::Response => {
                out.push(Message::Told { at, correlation, told: reader.told(), seen });
            }
        }
    }

    /// The beginning of a request.
    fn request(&mut self, bytes: &[u8], at: usize, out: &mut Vec<Message>) -> Option<usize> {
        let lost = matches!(self.request.state, State::Lost);
        let begun = match frame::request(bytes) {
            Read::Need(_) if lost && frame::detect(bytes) == Detect::No => return Some(bytes.len()),
            Read::Need(_) => return None,
            Read::Header(begun) if self.accepts(&begun.header, lost) => begun,
            Read::Header(_) | Read::No | Read::Strange(_) if lost => return Some(bytes.len()),
            Read::Header(begun) if self.tokens => {
                self.request.state = State::Open(Open::unread(begun.left + begun.taken as u32));
                return Some(0);
            }
            Read::Strange(whole) if self.tokens => {
                self.request.state = State::Open(Open::unread(whole as u32));
                return Some(0);
            }
            Read::Header(_) | Read::No | Read::Strange(_) if self.sure => {
                self.request.state = State::Lost;
                return Some(bytes.len());
            }
            Read::Header(_) | Read::No | Read::Strange(_) => {
                self.give_up(GiveUp::NotKafka, out);
                return None;
            }
        };
        let Header { key, version, correlation, .. } = begun.header;
        if self.awaited.len() >= PIPELINE {
            self.give_up(GiveUp::TooDeep, out);
            return None;
        }
        if lost {
            out.push(Message::Resync { side: Side::Request });
        }
        self.tokens = key == api::SASL_HANDSHAKE && version == 0;
        self.request.last = Some(correlation);
        self.awaited.push_back(Awaited { correlation, key, version });
        let shape = api::shape(Side::Request, key, version);
        self.request.state = State::Open(Open::new(
            correlation,
            key,
            begun.left,
            begun.taken,
            shape,
            version,
            Reader::new(Side::Request, key),
        ));
        out.push(Message::Request { at, header: begun.header });
        if begun.left == 0 {
            self.end(Side::Request, at + begun.taken, out);
        }
        Some(begun.taken)
    }

    /// Whether a request with this header may come now.
    fn accepts(&self, header: &Header, lost: bool) -> bool {
        if !self.sure || lost || self.tokens {
            let follows = self.request.last.is_none_or(|last| header.correlation.wrapping_sub(last) > 0);
            return frame::first(header) && follows;
        }
        true
    }

    /// The beginning of a response.
    fn response(&mut self, bytes: &[u8], at: usize, out: &mut Vec<Message>) -> Option<usize> {
        let lost = matches!(self.response.state, State::Lost);
        let (left, correlation) = match frame::response(bytes) {
            Ok(found) => found,
            Err(Read::Need(_)) => return None,
            Err(_) if lost => return Some(bytes.len()),
            Err(Read::Strange(whole)) if self.tokens => {
                self.response.state = State::Open(Open::unread(whole as u32));
                return Some(0);
            }
            Err(_) if self.sure => {
                self.response.state = State::Lost;
                return Some(bytes.len());
            }
            Err(_) => {
                self.give_up(GiveUp::NotKafka, out);
                return None;
            }
        };
        let found = self.awaited.iter().position(|awaited| awaited.correlation == correlation);
        let Some(found) = found else {
            if lost {
                return Some(bytes.len());
            }
            if !self.sure && !self.tokens {
                self.give_up(GiveUp::NotKafka, out);
                return None;
            }
            if !self.tokens {
                out.push(Message::Orphan);
            }
            self.response.state = State::Open(Open::unread(left + 2 * frame::LENGTH as u32));
            return Some(0);
        };
        // A broker answers in order: the responses before it were not seen.
        for missed in self.awaited.drain(..found) {
            out.push(Message::Missed { correlation: missed.correlation });
        }
        let Awaited { key, version, .. } = self.awaited.pop_front()?;
        self.sure = true;
        if lost {
            out.push(Message::Resync { side: Side::Response });
        }
        out.push(Message::Response { at, correlation });
        let shape = api::shape(Side::Response, key, version);
        let (taken, reader) = (2 * frame::LENGTH, Reader::new(Side::Response, key));
        self.response.state = State::Open(Open::new(correlation, key, left, taken, shape, version, reader));
        if left == 0 {
            self.end(Side::Response, at + taken, out);
        }
        Some(taken)
    }
}
