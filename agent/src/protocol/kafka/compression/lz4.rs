//! LZ4's frame format (lz4_Frame_format.md, 1.6.4), whose blocks a library unpacks. Checksums are not looked
//! at: the batch has one of its own, which the broker looks at.

use lz4_flex::block::{decompress_into, decompress_into_with_dict};

use super::Take;

const MAGIC: u32 = 0x184d_2204;
/// A block that is not packed.
const STORED: u32 = 1 << 31;
/// How far back a block may refer.
const WINDOW: usize = 64 << 10;

const INDEPENDENT: u8 = 1 << 5;
const BLOCK_CHECKSUM: u8 = 1 << 4;
const CONTENT_SIZE: u8 = 1 << 3;
const DICTIONARY: u8 = 1;

/// Unpacks bytes. Whether all of them were.
pub(super) fn unpack(bytes: &[u8], take: &mut Take<'_>) -> bool {
    frame(bytes, take).is_some()
}

fn frame(bytes: &[u8], take: &mut Take<'_>) -> Option<()> {
    let (magic, rest) = number(bytes)?;
    let [flags, size, ..] = *rest else { return None };
    if magic != MAGIC || flags & DICTIONARY != 0 {
        return None;
    }
    let block = match size >> 4 & 7 {
        4 => 64 << 10,
        5 => 256 << 10,
        6 => 1 << 20,
        7 => 4 << 20,
        _ => return None,
    };
    let header = if flags & CONTENT_SIZE != 0 { 11 } else { 3 };
    let mut rest = rest.get(header..)?;
    // Grows with what comes: a block of 4 MiB is announced by four bytes.
    let mut piece = Vec::new();
    let mut window: Vec<u8> = Vec::new();
    loop {
        let (len, more) = number(rest)?;
        if len == 0 {
            return Some(());
        }
        let (packed, more) = more.split_at_checked((len & !STORED) as usize)?;
        let given = if len & STORED != 0 {
            packed
        } else {
            // LZ4 packs to a 255th at the best.
            piece.resize(block.min(packed.len().saturating_mul(255)), 0);
            let len = if flags & INDEPENDENT != 0 {
                decompress_into(packed, &mut piece)
            } else {
                decompress_into_with_dict(packed, &mut piece, &window)
            };
            piece.get(..len.ok()?)?
        };
        if flags & INDEPENDENT == 0 {
            window.extend_from_slice(given);
            window.drain(..window.len().saturating_sub(WINDOW));
        }
        if !take(given) {
            return None;
        }
        rest = if flags & BLOCK_CHECKSUM != 0 { more.get(4..)? } else { more };
    }
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    bytes.split_first_chunk().map(|(number, rest)| (u32::from_le_bytes(*number), rest))
}
