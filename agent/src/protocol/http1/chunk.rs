//! The chunked transfer coding (RFC 9112, section 7.1), followed byte by byte without keeping any.

/// Where in a chunked body the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// In the size: its value so far, and whether it has a digit yet.
    Size { size: u64, digits: bool },
    /// Behind the size, in white space or an extension.
    Extension { size: u64 },
    /// Before the line feed of a size line.
    SizeEnd { size: u64 },
    /// In the data; so much is left.
    Data { left: u64 },
    /// Before the line end behind the data; `cr` if only its line feed is left.
    DataEnd { cr: bool },
    /// At the start of a trailer line, or of the empty line that ends the body.
    Trailer,
    /// Inside a trailer line.
    TrailerLine,
    /// Before the line feed that ends the body.
    End,
}

/// What became of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// All were taken, the body goes on.
    More,
    /// The body is complete behind so many of them.
    Done(usize),
    /// They are not chunked coding.
    Malformed,
}

impl Chunk {
    pub(super) const START: Self = Self::Size { size: 0, digits: false };

    /// Follows `bytes`; adds the data among them to `body`.
    pub(super) fn follow(&mut self, bytes: &[u8], body: &mut u64) -> Step {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..)
            && let Some(byte) = rest.first()
        {
            at += 1;
            *self = match (*self, byte) {
                (Self::Size { size, .. }, digit) if digit.is_ascii_hexdigit() => {
                    if size >> 60 != 0 {
                        return Step::Malformed;
                    }
                    Self::Size { size: (size << 4) | u64::from(hex(*digit)), digits: true }
                }
                (Self::Size { digits: false, .. }, _) => return Step::Malformed,
                (Self::Size { size, .. } | Self::Extension { size }, b'\r') => Self::SizeEnd { size },
                (Self::Size { size, .. } | Self::Extension { size } | Self::SizeEnd { size }, b'\n') => {
                    match size {
                        0 => Self::Trailer,
                        left => Self::Data { left },
                    }
                }
                (Self::Size { size, .. }, b' ' | b'\t' | b';') | (Self::Extension { size }, _) => {
                    Self::Extension { size }
                }
                (Self::Data { left }, _) => {
                    let taken = left.min(rest.len() as u64);
                    at += taken as usize - 1;
                    *body = body.saturating_add(taken);
                    if left == taken {
                        Self::DataEnd { cr: false }
                    } else {
                        Self::Data { left: left - taken }
                    }
                }
                (Self::DataEnd { cr: false }, b'\r') => Self::DataEnd { cr: true },
                (Self::DataEnd { .. }, b'\n') => Self::START,
                (Self::Trailer, b'\r') => Self::End,
                (Self::Trailer | Self::End, b'\n') => return Step::Done(at),
                (Self::Trailer | Self::TrailerLine, _) => {
                    if let Some(end) = memchr::memchr(b'\n', rest) {
                        at += end;
                        Self::Trailer
                    } else {
                        at = bytes.len();
                        Self::TrailerLine
                    }
                }
                (Self::Size { .. } | Self::SizeEnd { .. } | Self::DataEnd { .. } | Self::End, _) => {
                    return Step::Malformed;
                }
            };
        }
        Step::More
    }

    /// How many of the next bytes are data.
    pub(super) const fn certain(self) -> u64 {
        match self {
            Self::Data { left } => left,
            _ => 0,
        }
    }

    /// Passes over `len` bytes that were not seen. False if it is not known what they were.
    pub(super) fn skip(&mut self, len: u64, body: &mut u64) -> bool {
        match *self {
            Self::Data { left } if len <= left => {
                *body = body.saturating_add(len);
                *self =
                    if len == left { Self::DataEnd { cr: false } } else { Self::Data { left: left - len } };
                true
            }
            _ => len == 0,
        }
    }
}

/// The value of a hexadecimal digit.
const fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}

/// Whether bytes end with a last chunk without trailers: the end of a chunked body, very likely.
pub(super) fn ends_with_last_chunk(bytes: &[u8]) -> bool {
    bytes == b"0\r\n\r\n" || bytes.ends_with(b"\r\n0\r\n\r\n")
}
