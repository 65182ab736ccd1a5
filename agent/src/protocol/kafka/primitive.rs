//! Kafka's primitive types, read from the front of bytes that may go on (the protocol guide, "Protocol
//! Primitive Types"). Integers are in network byte order.

/// What a number of unknown length is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Varint<T> {
    /// It goes on behind the bytes.
    Need,
    /// Longer than its type.
    Malformed,
    /// Its value, and the bytes it takes.
    Value(T, usize),
}

/// An unsigned varint of at most 32 bits: `UNSIGNED_VARINT`.
pub(super) fn unsigned(bytes: &[u8]) -> Varint<u32> {
    match groups(bytes, 5) {
        Varint::Value(value, len) => match u32::try_from(value) {
            Ok(value) => Varint::Value(value, len),
            Err(_) => Varint::Malformed,
        },
        Varint::Need => Varint::Need,
        Varint::Malformed => Varint::Malformed,
    }
}

/// A varint of at most 32 bits in zig-zag coding: `VARINT`.
pub(super) fn signed(bytes: &[u8]) -> Varint<i32> {
    match unsigned(bytes) {
        Varint::Value(value, len) => Varint::Value((value >> 1) as i32 ^ -((value & 1) as i32), len),
        Varint::Need => Varint::Need,
        Varint::Malformed => Varint::Malformed,
    }
}

/// A varint of at most 64 bits, whose value nobody needs: `VARLONG`. Gives its length.
pub(super) fn long(bytes: &[u8]) -> Varint<()> {
    match groups(bytes, 10) {
        Varint::Value(_, len) => Varint::Value((), len),
        Varint::Need => Varint::Need,
        Varint::Malformed => Varint::Malformed,
    }
}

fn groups(bytes: &[u8], most: usize) -> Varint<u64> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().take(most).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * at as u32).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Varint::Value(value, at + 1);
        }
    }
    if bytes.len() < most { Varint::Need } else { Varint::Malformed }
}

/// The first byte.
pub(super) fn int8(bytes: &[u8]) -> Option<i8> {
    bytes.first().map(|byte| *byte as i8)
}

/// The first two bytes.
pub(super) fn int16(bytes: &[u8]) -> Option<i16> {
    bytes.first_chunk().copied().map(i16::from_be_bytes)
}

/// The first four bytes.
pub(super) fn int32(bytes: &[u8]) -> Option<i32> {
    bytes.first_chunk().copied().map(i32::from_be_bytes)
}

/// The first eight bytes.
pub(super) fn int64(bytes: &[u8]) -> Option<i64> {
    bytes.first_chunk().copied().map(i64::from_be_bytes)
}

/// The first sixteen bytes.
pub(super) fn uuid(bytes: &[u8]) -> Option<[u8; 16]> {
    bytes.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints() {
        for (bytes, expect) in [
            (&[0][..], Varint::Value(0, 1)),
            (&[0x7f, 1], Varint::Value(127, 1)),
            (&[0x80, 1], Varint::Value(128, 2)),
            (&[0xff, 0xff, 0xff, 0xff, 0x0f], Varint::Value(u32::MAX, 5)),
            (&[0xff, 0xff, 0xff, 0xff, 0x1f], Varint::Malformed),
            (&[0xff, 0xff, 0xff, 0xff, 0xff], Varint::Malformed),
            (&[0x80, 0x80], Varint::Need),
            (&[], Varint::Need),
        ] {
            assert_eq!(unsigned(bytes), expect, "{bytes:?}");
        }
        for (bytes, expect) in [(&[0][..], 0), (&[1], -1), (&[2], 1), (&[0x83, 1], -66)] {
            assert_eq!(signed(bytes), Varint::Value(expect, bytes.len()));
        }
        assert_eq!(signed(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Varint::Value(i32::MIN, 5));
        assert_eq!(long(&[0xff; 10]), Varint::Malformed);
        assert_eq!(long(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), Varint::Value((), 10));
    }
}
