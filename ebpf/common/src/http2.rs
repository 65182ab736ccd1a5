//! What both sides must agree on about HTTP/2 (RFC 9113): how a connection is recognised, which parts of its frames
//! cross into userspace, and where a stream stands for [`crate::ids`].
//!
//! The kernel side walks from frame header to frame header. What it tells is the *condensed* direction: of frames that
//! [`Told::Whole`] names, everything; of those that [`Told::Header`] names, the nine bytes of the header; of the others,
//! nothing. A frame's header is never cut in two, so every part says by itself what follows.

/// Bytes that a client sends first (RFC 9113, section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of a frame header (RFC 9113, section 4.1).
pub const FRAME_HEADER: usize = 9;

/// Frame types (RFC 9113, section 6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// The stream ends behind this frame (DATA, HEADERS).
pub const END_STREAM: u8 = 0x1;
/// The header block ends with this frame (HEADERS, PUSH_PROMISE, CONTINUATION).
pub const END_HEADERS: u8 = 0x4;
/// The payload begins with the length of padding at its end (DATA, HEADERS, PUSH_PROMISE).
pub const PADDED: u8 = 0x8;
/// The payload has a priority before the header block (HEADERS).
pub const PRIORITISED: u8 = 0x20;

/// Bytes of that priority.
pub const PRIORITY_FIELDS: usize = 5;

/// How much of a frame crosses into userspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Nothing,
    Header,
    Whole,
}

/// How much of a frame of this type crosses. What says nothing about a stream's message does not; and what the
/// tables of header compression hold is said in the header blocks themselves (RFC 7541, section 6.3).
#[inline]
pub const fn told(kind: u8) -> Told {
    match kind {
        HEADERS | RST_STREAM | PUSH_PROMISE | GOAWAY | CONTINUATION => Told::Whole,
        DATA => Told::Header,
        _ => Told::Nothing,
    }
}

/// Whether nine bytes can be the header of a frame. Those that cannot end a connection between peers that follow
/// RFC 9113, so who meets one has lost count. Types that are not known are let pass.
#[inline]
pub const fn plausible(kind: u8, len: u32, stream: u32) -> bool {
    match kind {
        DATA | HEADERS | CONTINUATION => stream != 0,
        PUSH_PROMISE => stream != 0 && len >= 4,
        PRIORITY => stream != 0 && len == 5,
        RST_STREAM => stream != 0 && len == 4,
        SETTINGS => stream == 0 && len.is_multiple_of(6),
        PING => stream == 0 && len == 8,
        GOAWAY => stream == 0 && len >= 8,
        WINDOW_UPDATE => len == 4,
        _ => true,
    }
}

/// Bytes of the payload of a frame unless a peer allows more (RFC 9113, section 4.2).
const USUAL_FRAME: u32 = 16_384;

/// Whether the header of a [`plausible`] frame is of a known type, with flags that this type has and a usual length: what
/// bytes that are something else hardly ever are.
#[inline]
pub const fn strict(kind: u8, flags: u8, len: u32) -> bool {
    let known = match kind {
        DATA => END_STREAM | PADDED,
        HEADERS => END_STREAM | END_HEADERS | PADDED | PRIORITISED,
        PUSH_PROMISE => END_HEADERS | PADDED,
        CONTINUATION => END_HEADERS,
        // Of these it says that the other side's was received.
        SETTINGS | PING => 1,
        PRIORITY | RST_STREAM | GOAWAY | WINDOW_UPDATE => 0,
        _ => return false,
    };
    flags & !known == 0 && len <= USUAL_FRAME
}

/// What stands for the position of a request in [`crate::ids`]: its stream, apart from all positions of bytes, because
/// a connection may have carried HTTP/1 before.
pub const fn place(stream: u32) -> u64 {
    1 << 63 | stream as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_can_be() {
        for (kind, len, stream, can) in [
            (DATA, 0, 1, true),
            (DATA, 0, 0, false),
            (HEADERS, 1 << 20, 3, true),
            (SETTINGS, 0, 0, true),
            (SETTINGS, 7, 0, false),
            (SETTINGS, 6, 1, false),
            (PING, 8, 0, true),
            (GOAWAY, 8, 0, true),
            (GOAWAY, 7, 0, false),
            (WINDOW_UPDATE, 4, 7, true),
            (RST_STREAM, 4, 7, true),
            (RST_STREAM, 5, 7, false),
            (0xb, 77, 0, true),
        ] {
            assert_eq!(plausible(kind, len, stream), can, "{kind} {len} {stream}");
        }
    }

    #[test]
    fn nothing_else_is_strict() {
        for (name, bytes) in [
            ("text", &b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"[..]),
            ("TLS", &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0x55, 0x66]),
            ("zeros", &[0; 32]),
            ("ones", &[0xff; 32]),
            ("Kafka", &[0, 0, 0, 0x20, 0, 3, 0, 9, 0, 0, 0, 1, 0, 4]),
            ("PostgreSQL", &[0, 0, 0, 0x2a, 0, 3, 0, 0, b'u', b's', b'e', b'r']),
        ] {
            let (kind, flags) = (bytes[3], bytes[4]);
            let len = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
            let stream = u32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]);
            assert!(!(plausible(kind, len, stream) && strict(kind, flags, len)), "{name}");
        }
    }

    #[test]
    fn places_are_no_positions() {
        assert_eq!(place(1), 0x8000_0000_0000_0001);
        assert_ne!(place(1), place(3));
    }
}
