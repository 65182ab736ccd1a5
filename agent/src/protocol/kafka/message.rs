//! What the parser tells of a connection. Offsets are as in [`crate::protocol::Message`].

use super::content::{Asked, Told};
use crate::protocol::Side;

/// A request's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub key: i16,
    pub version: i16,
    /// What ties the response to it. A client may use a number again once it was answered.
    pub correlation: i32,
    pub client: Option<Box<str>>,
}

/// One step of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A request's header is complete. `at` is its first byte.
    Request { at: usize, header: Header },
    /// The newest request is complete. With `last`, no response will come (`acks=0`).
    Asked { at: usize, correlation: i32, asked: Asked, seen: Seen, last: bool },
    /// A response begins. `at` is its first byte.
    Response { at: usize, correlation: i32 },
    /// The response is complete.
    Told { at: usize, correlation: i32, told: Told, seen: Seen },
    /// No response to this request will be found any more: it was among bytes that were not seen.
    Missed { correlation: i32 },
    /// A response to a request that was not seen.
    Orphan,
    /// What was open in this side ended unseen.
    Lost { side: Side },
    /// A message was found again behind a gap.
    Resync { side: Side },
    /// The connection cannot be understood any further.
    GiveUp(GiveUp),
}

/// How much of a message was understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its size on the wire, its length's four bytes included.
    pub bytes: u64,
    /// Some of it was not captured, or not what the API and version say.
    pub partly: bool,
    /// Partitions or topics that were not kept.
    pub more: u64,
}

/// Why a connection was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// Not this protocol.
    NotKafka,
    /// More requests wait for their responses than can be kept.
    TooDeep,
}
