//! What a parser understands: heads, ends, and the end of understanding.

use std::fmt;

use zerocopy::IntoBytes as _;
use zeroize::Zeroizing;

use super::Side;

/// A message head, as it was on the wire. It is overwritten with zeros before its memory is given back: a head holds
/// credentials, and what is freed lies in memory until it is used again.
#[derive(Clone, PartialEq, Eq)]
pub struct Head {
    /// The bytes, with zeros behind them. Whole words, because they are overwritten one by one, which the compiler must
    /// not make shorter.
    words: Zeroizing<Box<[u64]>>,
    len: usize,
    /// The head went on beyond its bytes.
    pub truncated: bool,
}

impl Head {
    /// A copy of captured bytes.
    pub fn copy(bytes: &[u8], truncated: bool) -> Self {
        let (words, rest) = bytes.as_chunks();
        let mut last = [0; size_of::<u64>()];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        let words = words.iter().copied().chain([last]).map(u64::from_ne_bytes);
        Self { words: Zeroizing::new(words.collect()), len: bytes.len(), truncated }
    }

    /// Start line and fields with their line ends, up to the capture limit.
    pub fn bytes(&self) -> &[u8] {
        self.words.as_bytes().get(..self.len).unwrap_or_default()
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = if self.truncated { " and more" } else { "" };
        write!(out, "Head({}{cut})", self.bytes().escape_ascii())
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
