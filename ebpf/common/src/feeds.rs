//! Line feeds, eight bytes at a time, in the few operations that the kernel's instruction set has.

#![expect(clippy::inline_always, reason = "old verifiers refuse calls that pass pointers to the stack")]

const HIGH: u64 = 0x8080_8080_8080_8080;
const FEEDS: u64 = u64::from_ne_bytes([b'\n'; 8]);

/// One bit for each of a word's 8 bytes, the first byte's the lowest: set if it is a line feed. Words are little-endian.
#[inline(always)]
pub const fn of(word: u64) -> u64 {
    bits(marks(word))
}

/// Marks the line feeds of a word, each in the highest bit of its byte, and nothing else.
#[inline(always)]
const fn marks(word: u64) -> u64 {
    let diff = word ^ FEEDS;
    !(((diff & !HIGH) + !HIGH) | diff | !HIGH)
}

/// One bit for each byte that is marked: the product brings bit `8 * k` to bit `56 + k`.
#[inline(always)]
const fn bits(marks: u64) -> u64 {
    (marks >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// A number in whose upper six bits, shifted left by 0 to 63, stands a different value each time.
const DE_BRUIJN: u64 = 0x03f7_9d71_b4cb_0a89;

/// By how many it was shifted.
static SHIFTS: [u8; 64] = shifts();

const fn shifts() -> [u8; 64] {
    let mut table = [0; 64];
    let mut shift = 0;
    while shift < 64 {
        table[((DE_BRUIJN << shift) >> 58) as usize] = shift;
        shift += 1;
    }
    table
}

/// Index of the lowest bit of a number that is not 0. (The instruction set has no count of zeros.)
#[inline(always)]
pub fn lowest(bits: u64) -> u32 {
    let alone = bits & bits.wrapping_neg();
    SHIFTS[(alone.wrapping_mul(DE_BRUIJN) >> 58) as usize] as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_bit_is_found() {
        for shift in 0..64 {
            assert_eq!(lowest(1 << shift), shift);
            assert_eq!(lowest(u64::MAX << shift), shift);
        }
    }

    #[test]
    fn line_feeds_and_nothing_else_are_found() {
        // Bytes that differ from a line feed in one bit, or by one, beside line feeds and beside each other.
        let near = [b'\n', b'\x0b', b'\t', b'\x8a', b'\x8b', b'\0', b'\xff', b'\r', b'J', b'\x1a'];
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let bytes: [u8; 64] = core::array::from_fn(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                near[(state >> 33) as usize % near.len()]
            });
            for word in bytes.as_chunks().0 {
                let expected =
                    (0..8).filter(|byte| word[*byte] == b'\n').fold(0, |all, byte| all | 1_u64 << byte);
                assert_eq!(of(u64::from_le_bytes(*word)), expected);
            }
        }
    }
}
