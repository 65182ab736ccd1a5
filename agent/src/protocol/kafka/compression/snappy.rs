//! Snappy, as Java's clients frame it (xerial's `SnappyOutputStream`: a header of 16 bytes, then blocks
//! behind their lengths), and bare, as some others send it.

use snap::raw::{Decoder, decompress_len};

use super::Take;

/// The first bytes of the header; a version and a compatible one follow.
const MAGIC: &[u8] = &[0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const HEADER: usize = 16;

/// Bytes that one block may hold: a bare one is a whole batch. It is made room for at once.
const BLOCK: usize = 4 << 20;

/// Unpacks bytes. Whether all of them were.
pub(super) fn unpack(bytes: &[u8], take: &mut Take<'_>) -> bool {
    if !bytes.starts_with(MAGIC) {
        return block(bytes, take);
    }
    let Some(mut rest) = bytes.get(HEADER..) else { return false };
    while let Some((len, more)) = rest.split_first_chunk() {
        let Some((packed, more)) = more.split_at_checked(u32::from_be_bytes(*len) as usize) else {
            return false;
        };
        if !block(packed, take) {
            return false;
        }
        rest = more;
    }
    rest.is_empty()
}

fn block(packed: &[u8], take: &mut Take<'_>) -> bool {
    match decompress_len(packed) {
        // Snappy packs to a sixty-fourth at the best: a length beyond that is a lie.
        Ok(len) if len <= BLOCK && len / 64 <= packed.len() => {
            Decoder::new().decompress_vec(packed).is_ok_and(|piece| take(&piece))
        }
        _ => false,
    }
}
