//! The few facts about HTTP/1.1 bytes on which both sides must agree: what may start a request or a response.

/// Whether a byte can be part of a method (RFC 9110, section 5.6.2: `tchar`).
pub const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}
