//! Protocols: bytes to messages, nothing else. No times, no pairing, no spans, no truncation policy.

pub mod http1;
pub mod http2;
pub mod kafka;
pub mod message;
pub mod streams;

pub use message::Message;

/// Which half of the conversation bytes belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// From the client.
    Request,
    /// From the server.
    Response,
}

/// What comes next in one side of a conversation.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Bytes, in order. Those not consumed are given again with more behind them.
    Bytes(&'a [u8]),
    /// The bytes not consumed so far, once more: nothing more comes behind them without a break.
    Last(&'a [u8]),
    /// Bytes that were not captured, and that the kernel side knows to be body of the current message;
    /// with `end`, the message ends behind them.
    Body { len: u64, end: bool },
    /// Bytes that are missing.
    Gap { len: u64 },
    /// The kernel side is certain that a message starts here: whatever was open ended unseen.
    Start,
    /// Nothing more comes from this side.
    Eof,
    /// So many requests were withheld here; their responses come before those of later requests.
    Withheld { requests: usize },
    /// Only the so many newest requests still wait for their responses.
    Awaited { requests: usize },
}

/// Whether bytes may belong to a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detect {
    /// They do not.
    No,
    /// So many bytes more may tell.
    Need(usize),
    /// They do.
    Yes,
}

/// A protocol's parser for one connection.
pub trait Parser {
    /// Whether `head`, the first bytes of a side, may be this protocol.
    fn detect(side: Side, head: &[u8]) -> Detect
    where
        Self: Sized;

    /// Takes what comes next and appends the messages that it completes to `out`, in order. May stop in
    /// the middle of a side so that the bytes of the other one that wait are given first. Returns how
    /// many bytes of [`Input::Bytes`] were consumed, all of [`Input::Last`], 0 for the other inputs.
    fn advance(&mut self, side: Side, input: Input<'_>, out: &mut Vec<Message>) -> usize;

    /// Whether it is known what the next byte of `side` is.
    fn knows(&self, side: Side) -> bool;

    /// Whether `side` is inside a body.
    fn within(&self, side: Side) -> bool;

    /// How many of the next bytes of `side` are body for certain, by the framing of the open message: nothing is
    /// lost with them but their content, which nobody looks at.
    fn certain(&self, side: Side) -> u64;

    /// Content bytes, so far, of the message that is open in `side`.
    fn body(&self, side: Side) -> u64;
}
