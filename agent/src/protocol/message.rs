//! What a parser understands: heads, ends, and the end of understanding.

use bytes::Bytes;
use zeroize::Zeroizing;

use super::Side;

/// A message head, as it was on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Start line and fields with their line ends, up to the capture limit.
    pub bytes: Bytes,
    /// The head went on beyond `bytes`.
    pub truncated: bool,
}

impl Head {
    /// A copy of captured bytes, which is overwritten with zeros when its last owner drops it: a head holds
    /// credentials, and what is freed lies in memory until it is used again.
    pub fn copy(bytes: &[u8], truncated: bool) -> Self {
        Self { bytes: Bytes::from_owner(Zeroizing::new(bytes.to_vec())), truncated }
    }
}

/// One step of a conversation. `at` is an offset into the bytes of the `advance` call that gave it; an
/// offset of 0 with earlier unconsumed bytes is where those began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A request's head is complete. `at` is its first byte.
    Request { at: usize, head: Head },
    /// A final response's head is complete.
    Response { at: usize, head: Head, status: u16 },
    /// A 1xx response (RFC 9110, section 15.2); the final one is still to come.
    Informational { at: usize, status: u16 },
    /// A message is complete; `at` is the offset behind its last byte, `body` the size of its content on
    /// the wire (chunk framing not counted).
    End { side: Side, at: usize, body: u64 },
    /// The connection is a tunnel or another protocol from here on.
    Tunnel,
    /// A message that was open in this side ended unseen.
    Lost { side: Side },
    /// A message was found again behind a gap.
    Resync { side: Side },
    /// The connection cannot be understood any further.
    GiveUp(GiveUp),
}

/// Why a connection was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// Not this protocol.
    NotHttp,
    /// Two lengths that disagree, or a length beside a transfer coding (RFC 9112, section 6.3).
    ConflictingLength,
    /// A head or a body that cannot be parsed.
    Malformed,
    /// More requests are waiting for their responses than can be kept.
    TooDeep,
}
