//! One side of a connection: where in which message it is.

use super::{
    super::{Message, Side},
    chunk::{self, Chunk, Step},
    start,
};

/// What the next byte of a side is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// The start of a message, or an empty line before it.
    #[default]
    Idle,
    /// Nobody knows: bytes are missing. Only a head beyond doubt or the kernel side finds back.
    Lost,
    /// Body of a message with a length.
    Length { left: u64 },
    /// Body of a message with the chunked coding.
    Chunked(Chunk),
    /// Somewhere in a chunked body; only the kernel side knows where.
    ChunkedUnseen,
    /// Body that ends with the connection.
    ToClose,
    /// The rest of a message whose head is cut short.
    Unknown,
    /// What follows a request that may turn the connection into something else: not looked at before
    /// the response has decided.
    Waiting,
}

/// What a side makes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// So many were consumed.
    Bytes(usize),
    /// They start with a head, or may do so.
    Head,
    /// They have to wait.
    Wait,
    Malformed,
}

/// One side.
#[derive(Debug)]
pub(super) struct Half {
    pub(super) state: State,
    /// Bytes of an incomplete head that were searched for its end.
    pub(super) scanned: usize,
    /// Content bytes of the open message.
    pub(super) body: u64,
    /// No message was found yet.
    pub(super) fresh: bool,
    /// The message that is to come is found again behind a gap.
    again: bool,
    /// The open request may turn the connection into something else.
    pub(super) turns: bool,
}

impl Default for Half {
    fn default() -> Self {
        Self { state: State::Idle, scanned: 0, body: 0, fresh: true, again: false, turns: false }
    }
}

impl Half {
    /// Whether a message is open.
    pub(super) const fn open(&self) -> bool {
        match self.state {
            State::Idle | State::Lost | State::Waiting => false,
            State::Length { .. }
            | State::Chunked(_)
            | State::ChunkedUnseen
            | State::ToClose
            | State::Unknown => true,
        }
    }

    /// Whether a head is expected here, so that any valid one is believed.
    pub(super) const fn sure(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Whether it is known what the next byte is.
    pub(super) const fn knows(&self) -> bool {
        match self.state {
            State::Idle | State::Length { .. } | State::Chunked(_) | State::ToClose | State::Waiting => true,
            State::Lost | State::ChunkedUnseen | State::Unknown => false,
        }
    }

    /// How many of the next bytes are body for certain.
    pub(super) const fn certain(&self) -> u64 {
        match self.state {
            State::Length { left } => left,
            State::Chunked(chunk) => chunk.certain(),
            State::ToClose => u64::MAX,
            State::Idle | State::Lost | State::ChunkedUnseen | State::Unknown | State::Waiting => 0,
        }
    }

    /// Consumes body bytes. `at` is where `bytes` begin in the input.
    #[inline]
    pub(super) fn take(&mut self, side: Side, bytes: &[u8], at: usize, out: &mut Vec<Message>) -> Taken {
        match &mut self.state {
            State::Idle => match start::empty_lines(bytes) {
                empty if empty > 0 && self.scanned == 0 => Taken::Bytes(empty),
                _ => Taken::Head,
            },
            // Found again only where a call begins: text inside a body proves nothing.
            State::Lost | State::Unknown if at == 0 => Taken::Head,
            State::Lost | State::Unknown => Taken::Bytes(bytes.len()),
            State::Length { left } => {
                let taken = (*left).min(bytes.len() as u64);
                *left -= taken;
                self.body += taken;
                if *left == 0 {
                    self.end(side, at + taken as usize, out);
                }
                Taken::Bytes(taken as usize)
            }
            State::Chunked(chunk) => match chunk.follow(bytes, &mut self.body) {
                Step::More => Taken::Bytes(bytes.len()),
                Step::Done(taken) => {
                    self.end(side, at + taken, out);
                    Taken::Bytes(taken)
                }
                Step::Malformed => Taken::Malformed,
            },
            State::ChunkedUnseen => {
                self.body = self.body.saturating_add(bytes.len() as u64);
                if chunk::ends_with_last_chunk(bytes) {
                    self.end(side, at + bytes.len(), out);
                    self.lose();
                }
                Taken::Bytes(bytes.len())
            }
            State::ToClose => {
                self.body = self.body.saturating_add(bytes.len() as u64);
                Taken::Bytes(bytes.len())
            }
            State::Waiting => Taken::Wait,
        }
    }

    /// The open message is complete.
    pub(super) fn end(&mut self, side: Side, at: usize, out: &mut Vec<Message>) {
        out.push(Message::End { side, at, body: self.body });
        self.body = 0;
        self.scanned = 0;
        self.state = if self.turns { State::Waiting } else { State::Idle };
        self.turns = false;
    }

    /// A head was found: what was open before it is not any more.
    pub(super) fn found(&mut self, side: Side, out: &mut Vec<Message>) {
        if self.open() {
            out.push(Message::Lost { side });
        }
        if self.again || !self.sure() {
            out.push(Message::Resync { side });
        }
        *self = Self { fresh: false, ..Self::default() };
    }

    fn lose(&mut self) {
        *self = Self { state: State::Lost, fresh: self.fresh, again: true, ..Self::default() };
    }

    /// Bytes that were not captured, of which the kernel side knows that they are body.
    pub(super) fn body(&mut self, side: Side, len: u64, end: bool, out: &mut Vec<Message>) {
        match &mut self.state {
            State::Idle | State::Lost | State::Waiting => {
                match (end, self.state) {
                    // The message that ends here was not understood, the next one will be.
                    (true, State::Lost) => self.state = State::Idle,
                    (false, State::Idle) if len > 0 => self.lose(),
                    (_, State::Waiting) if len > 0 => self.again = true,
                    _ => {}
                }
                return;
            }
            State::Length { left } => {
                *left = left.saturating_sub(len);
                self.body = self.body.saturating_add(len);
                if *left == 0 && len > 0 {
                    return self.end(side, 0, out);
                }
            }
            State::Chunked(chunk) => {
                if !chunk.skip(len, &mut self.body) {
                    self.body = self.body.saturating_add(len);
                    self.state = State::ChunkedUnseen;
                }
            }
            State::ChunkedUnseen | State::ToClose => self.body = self.body.saturating_add(len),
            State::Unknown => {}
        }
        if end {
            self.end(side, 0, out);
        }
    }

    /// Bytes that are missing.
    pub(super) fn gap(&mut self, side: Side, len: u64, out: &mut Vec<Message>) {
        match &mut self.state {
            State::Length { left } if len < *left => {
                *left -= len;
                self.body += len;
            }
            // The message ended in there, or right behind.
            State::Length { left } => {
                let left = *left;
                self.body += left;
                self.end(side, 0, out);
                if len > left {
                    self.lose();
                }
            }
            State::Chunked(chunk) => {
                if !chunk.skip(len, &mut self.body) {
                    out.push(Message::Lost { side });
                    self.lose();
                }
            }
            State::ChunkedUnseen => {
                out.push(Message::Lost { side });
                self.lose();
            }
            State::ToClose => self.body = self.body.saturating_add(len),
            State::Unknown | State::Lost => {}
            State::Waiting => self.again = true,
            State::Idle => self.lose(),
        }
    }

    /// The connection stays what it is: what waited for that can be looked at.
    pub(super) fn resume(&mut self) {
        if self.state == State::Waiting {
            self.state = if self.again { State::Lost } else { State::Idle };
        }
    }

    /// A message starts here, for certain.
    pub(super) fn start(&mut self, side: Side, out: &mut Vec<Message>) {
        if self.open() {
            out.push(Message::Lost { side });
        }
        *self = Self { fresh: self.fresh, again: self.again, ..Self::default() };
    }

    /// Nothing more comes.
    pub(super) fn eof(&mut self, side: Side, out: &mut Vec<Message>) {
        if matches!(self.state, State::ToClose | State::Unknown) {
            self.end(side, 0, out);
        }
    }
}
