//! Where messages begin and end (the protocol guide, "Common Request and Response Structure"), and their
//! headers.

use super::{
    api,
    message::Header,
    primitive::{int16, int32},
    walk::TEXT,
};
use crate::protocol::Detect;

/// The largest message: Kafka's default `socket.request.max.bytes` for requests, which the default
/// `fetch.max.bytes` of consumers stays below. A size beyond it is taken for another protocol.
const SIZE: i32 = 104_857_600;

/// Bytes of the size, which it does not count.
pub(super) const LENGTH: usize = 4;

/// A request up to the length of its client id.
const FIXED: usize = LENGTH + 2 + 2 + 4 + 2;

/// Smaller requests than this have no room for their header.
const SMALLEST: i32 = 10;

/// A header that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) header: Header,
    /// Bytes of the message behind what was read.
    pub(super) left: u32,
    /// How much was read.
    pub(super) taken: usize,
}

/// What the first bytes of a request are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Read {
    Need(usize),
    /// No request.
    No,
    /// A message of so many bytes in all, whose header is none that is known.
    Strange(u64),
    Header(Begun),
}

/// The size of the message that begins here.
fn size(bytes: &[u8], smallest: i32) -> Result<u32, Read> {
    match int32(bytes) {
        None => Err(Read::Need(LENGTH - bytes.len().min(LENGTH))),
        Some(size) if (smallest..=SIZE).contains(&size) => Ok(size as u32),
        Some(_) => Err(Read::No),
    }
}

/// Reads a request's header. Of all versions of it, all but the tagged fields of the last one, which come
/// last.
pub(super) fn request(bytes: &[u8]) -> Read {
    let size = match size(bytes, 0) {
        Ok(size) => size,
        Err(read) => return read,
    };
    let whole = u64::from(size) + LENGTH as u64;
    if (size as i32) < SMALLEST {
        return Read::Strange(whole);
    }
    let field = |at: usize| bytes.get(at..);
    let (Some(key), Some(version)) = (field(4).and_then(int16), field(6).and_then(int16)) else {
        return Read::Need(FIXED - bytes.len().min(FIXED - 1));
    };
    if key < 0 || version < 0 {
        return Read::Strange(whole);
    }
    let (Some(correlation), Some(client)) = (field(8).and_then(int32), field(12).and_then(int16)) else {
        return Read::Need(FIXED - bytes.len().min(FIXED - 1));
    };
    let Ok(len) = usize::try_from(client.max(0)) else { return Read::Strange(whole) };
    if client < -1 || len > TEXT || len + SMALLEST as usize > size as usize {
        return Read::Strange(whole);
    }
    let Some(text) = bytes.get(FIXED..FIXED + len) else { return Read::Need(FIXED + len - bytes.len()) };
    // A client's id is a name that somebody chose.
    let Ok(text) = std::str::from_utf8(text) else { return Read::Strange(whole) };
    if text.chars().any(char::is_control) {
        return Read::Strange(whole);
    }
    let client = (client >= 0).then(|| text.into());
    let header = Header { key, version, correlation, client };
    Read::Header(Begun { header, left: size - SMALLEST as u32 - len as u32, taken: FIXED + len })
}

/// Whether bytes may be a connection's first request: a likely version of a known API, with what client
/// libraries begin with.
pub(super) fn detect(bytes: &[u8]) -> Detect {
    match request(bytes) {
        Read::Need(need) if early(bytes) => Detect::Need(need),
        Read::Header(begun) if first(&begun.header) => Detect::Yes,
        _ => Detect::No,
    }
}

/// Whether a header may be that of a connection's first request.
pub(super) fn first(header: &Header) -> bool {
    api::likely(header.key, header.version) && header.correlation >= 0
}

/// Whether what is there of a header may become one.
fn early(bytes: &[u8]) -> bool {
    let number = |at: usize| bytes.get(at..).and_then(int16);
    // No more than 104 MiB.
    bytes.first().is_none_or(|byte| *byte <= (SIZE >> 24) as u8)
        && number(4).is_none_or(|key| api::name(key).is_some())
        && number(4).zip(number(6)).is_none_or(|(key, version)| api::likely(key, version))
}

/// Reads a response's size and correlation id.
pub(super) fn response(bytes: &[u8]) -> Result<(u32, i32), Read> {
    let size = size(bytes, 0)?;
    if size < 4 {
        return Err(Read::Strange(u64::from(size) + LENGTH as u64));
    }
    match bytes.get(LENGTH..).and_then(int32) {
        Some(correlation) => Ok((size - 4, correlation)),
        None => Err(Read::Need(2 * LENGTH - bytes.len().min(2 * LENGTH - 1))),
    }
}
