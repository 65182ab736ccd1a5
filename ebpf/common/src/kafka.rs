//! What both sides must agree on about Kafka (the protocol guide): how a connection is recognised, and what of a message
//! crosses into userspace.
//!
//! The kernel side walks from size to size. Of each message it tells the first [`crate::limits::MESSAGE_CAPTURE`] bytes, and
//! where it ends.

/// Bytes of a message's size, which it does not count.
pub const SIZE: u64 = 4;

/// The largest message: Kafka's default `socket.request.max.bytes`. A size beyond it is none.
pub const LARGEST: u64 = 104_857_600;

/// Bytes that [`is_request`] looks at.
pub const FIXED: u64 = 14;

/// The newest API whose key is taken for one, with some room for later ones.
const LAST_KEY: u16 = 110;
/// The newest version that is taken for one: the newest there is, 18, with some room for later ones.
const LAST_VERSION: u16 = 34;

/// Whether bytes may begin the first request of a connection. `first` are the first eight of them and `second` the next
/// ones, the first in the lowest bits: size, API key, version, correlation id, length of the client id.
#[inline]
pub const fn is_request(first: u64, second: u64) -> bool {
    let size = (first as u32).swap_bytes();
    let key = ((first >> 32) as u16).swap_bytes();
    let version = ((first >> 48) as u16).swap_bytes();
    let correlation = (second as u32).swap_bytes();
    let client = ((second >> 32) as u16).swap_bytes();
    // 0xffff is null.
    let text = if client == 0xffff { 0 } else { client as u32 };
    size as u64 <= LARGEST
        && key <= LAST_KEY
        && version <= LAST_VERSION
        && correlation >> 31 == 0
        && text <= 255
        && size >= FIXED as u32 - SIZE as u32 + text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8]) -> bool {
        let mut padded = [0xaa; 16];
        let len = bytes.len().min(16);
        padded[..len].copy_from_slice(&bytes[..len]);
        let word = |at: usize| u64::from_le_bytes(padded[at..at + 8].try_into().unwrap());
        is_request(word(0), word(8))
    }

    #[test]
    fn requests_are_recognised() {
        assert!(check(b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff"));
        assert!(check(b"\0\0\0\x2a\0\x12\0\x04\0\0\0\0\0\x06sh"));
        for bytes in [
            &b"\0\0\0\x09\0\x12\0\0\0\0\0\x01\xff\xff"[..],
            b"\0\0\0\x0b\0\x12\0\0\0\0\0\x01\0\x02ab",
            b"\x10\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff",
            b"\0\0\0\x0a\0\x12\0\0\xff\0\0\x01\xff\xff",
            b"\0\0\0\x54\0\x03\0\0user\0post",
            b"GET / HTTP/1.1\r\n",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03abcde",
            b"*1\r\n$4\r\nPING\r\n\0\0",
        ] {
            assert!(!check(bytes), "{bytes:?}");
        }
    }
}
