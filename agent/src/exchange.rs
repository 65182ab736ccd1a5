//! An exchange: one request and what became of it. Pairing is written once, for all protocols.

pub mod kafka;
mod pairing;
mod streams;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc};

use spandrel_common::{
    context::Cause,
    event::{WITHHELD_HOST, WITHHELD_METHOD},
};

use crate::protocol::{Side, message::Head};
pub(crate) use pairing::{Begin, Match, Owner, Pairing};
pub(crate) use streams::{Moved, Streams, Taken};

/// Which end of the connection the traced process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    Client,
    Server,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addr {
    Ip(SocketAddr),
    Unix,
}

/// What does not change while a connection lives.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Unique while the agent runs.
    pub id: u64,
    /// For [`spandrel_common::ids`].
    pub seed: [u64; 2],
    pub role: Role,
    pub local: Addr,
    pub peer: Addr,
    /// Inode of the network namespace, 0 if unknown.
    pub netns: u32,
}

/// How the two ends talk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1: heads are as they were on the wire.
    #[default]
    Http1,
    /// HTTP/2: heads are as [`crate::protocol::streams::Fields`] says.
    Http2,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The response is complete.
    Complete,
    /// The connection failed with this `errno` before the response was complete.
    Failed(u32),
    /// The peer ended the connection before the response was complete.
    PeerClosed,
    /// This end closed the connection before the response was complete.
    LocalClosed,
    /// The process ended before the response was complete.
    ProcessExit,
    /// One side broke it off, for a reason that the protocol numbers (HTTP/2: RFC 9113, section 7).
    Reset { by: Side, code: u32 },
    /// What became of it was not seen (a gap, or the agent stopped or forgot the connection).
    Unseen,
}

/// What is known of an exchange that the kernel side withheld because it is not sampled. Times are
/// `CLOCK_MONOTONIC` nanoseconds.
#[derive(Clone, Debug)]
pub struct Withheld {
    pub connection: Arc<Connection>,
    /// The process that sent or received the request.
    pub tgid: u32,
    pub start_ns: u64,
    pub end_ns: u64,
    pub method: [u8; WITHHELD_METHOD],
    pub host: [u8; WITHHELD_HOST],
    /// The digit behind `HTTP/1.`.
    pub version: u8,
    /// Status code of the final response.
    pub response: Option<u16>,
    pub outcome: Outcome,
}

/// One request and what became of it. Times are `CLOCK_MONOTONIC` nanoseconds.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub connection: Arc<Connection>,
    pub protocol: Protocol,
    /// The process and thread that sent or received the request's first bytes.
    pub tgid: u32,
    pub tid: u32,
    /// Position of the request's first byte in its direction, or what stands for it
    /// ([`spandrel_common::http2::place`]); for [`spandrel_common::ids`].
    pub pos: u64,
    /// First byte of the request.
    pub start_ns: u64,
    /// Last byte of the response seen, or the end of the connection. Not before `start_ns`.
    pub end_ns: u64,
    /// How long the request waited in the socket before a server read it; 0 if unknown.
    pub wait_ns: u64,
    pub request: Head,
    pub request_body: u64,
    /// Status code and head of the final response.
    pub response: Option<(u16, Head)>,
    pub response_body: u64,
    /// The fields behind the response's content, if the protocol shows them.
    pub trailers: Option<Head>,
    pub outcome: Outcome,
    /// Bytes of the request or the response were missing, so something may be untold.
    pub gap: bool,
    /// Whether it is recorded, if the kernel side has decided that.
    pub sampled: Option<bool>,
    /// What caused it, if this end sent it and the kernel side found out.
    pub cause: Cause,
}
