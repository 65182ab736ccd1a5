//! What the parser of a protocol understands whose exchanges overlap on a connection, each under a number of its own.

use super::{Side, message::Head};

/// The fields of one message, or those behind its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// They are those of a request.
    pub request: bool,
    /// They are those of a response with this status code.
    pub status: Option<u16>,
    /// Fields in all.
    pub count: u32,
    /// Fields of which name or value is not known, because they name something from before the connection was joined.
    pub unknown: u32,
    /// A request's first line is method, space, target; a response's is its status code; trailers have none.
    pub head: Head,
}

/// One step of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Fields of a stream. `carried`: they began in earlier bytes. With `end`, nothing more comes from this side.
    Fields { side: Side, stream: u64, carried: bool, fields: Fields, end: bool },
    /// So many bytes of content; with `end`, nothing more comes from this side.
    Content { side: Side, stream: u64, len: u64, end: bool },
    /// A side breaks a stream off, for a reason that the protocol numbers.
    Reset { side: Side, stream: u64, code: u32 },
    /// A side will do nothing about the other one's streams above this number.
    Refused { side: Side, above: u64 },
    /// Something in a side was not understood: what it said of any stream is lost.
    Lost { side: Side },
}

/// A protocol's parser for one connection.
pub trait StreamParser {
    /// Takes the next bytes of a side and appends what they say to `out`, in order.
    fn advance(&mut self, side: Side, bytes: &[u8], out: &mut Vec<Step>);

    /// Bytes of a side are missing. The next ones begin with a frame.
    fn gap(&mut self, side: Side);

    /// Whether fields have begun that are not complete.
    fn within(&self, side: Side) -> bool;
}
