//! Huffman coding of header text (RFC 7541, section 5.2 and appendix B).
//!
//! The code is canonical: codes of one length are consecutive numbers in the order of their symbols, and shorter codes
//! come before longer ones. So the symbols in that order, and how many there are of each length, are the whole table.

use zeroize::Zeroizing;

/// Length of a code, and how many symbols have codes of that length; in the order of the codes.
const LENGTHS: [(u32, u64); 21] = [
    (5, 10),
    (6, 26),
    (7, 32),
    (8, 6),
    (10, 5),
    (11, 3),
    (12, 2),
    (13, 6),
    (14, 2),
    (15, 3),
    (19, 3),
    (20, 8),
    (21, 13),
    (22, 26),
    (23, 29),
    (24, 12),
    (25, 4),
    (26, 15),
    (27, 19),
    (28, 29),
    (30, 4),
];

/// The symbol that only padding is part of.
const END: u16 = 256;

/// The symbols in the order of their codes.
const SYMBOLS: [u16; 257] = [
    48, 49, 50, 97, 99, 101, 105, 111, 115, 116, 32, 37, 45, 46, 47, 51, 52, 53, 54, 55, 56, 57, 61, 65, 95,
    98, 100, 102, 103, 104, 108, 109, 110, 112, 114, 117, 58, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77,
    78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 89, 106, 107, 113, 118, 119, 120, 121, 122, 38, 42, 44, 59, 88,
    90, 33, 34, 40, 41, 63, 39, 43, 124, 35, 62, 0, 36, 64, 91, 93, 126, 94, 125, 60, 96, 123, 92, 195, 208,
    128, 130, 131, 162, 184, 194, 224, 226, 153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230,
    129, 132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190,
    196, 198, 228, 232, 233, 1, 135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158,
    165, 166, 168, 174, 175, 180, 182, 183, 188, 191, 197, 231, 239, 9, 142, 144, 145, 148, 159, 171, 206,
    215, 225, 236, 237, 199, 207, 234, 235, 192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242,
    243, 255, 203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254,
    2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28, 29, 30, 31, 127,
    220, 249, 10, 13, 22, 256,
];

/// Codes of one length.
#[derive(Clone, Copy)]
struct Row {
    length: u32,
    /// Behind the last of these codes, as the highest bits of a word.
    limit: u64,
    /// The first of them, as the highest bits of a word, and the place of its symbol.
    first: u64,
    place: usize,
}

const ROWS: [Row; LENGTHS.len()] = rows();

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which would say so")]
const fn rows() -> [Row; LENGTHS.len()] {
    let mut rows = [Row { length: 0, limit: 0, first: 0, place: 0 }; LENGTHS.len()];
    let (mut index, mut place, mut first) = (0, 0, 0_u64);
    while index < rows.len() {
        let (length, count) = LENGTHS[index];
        let limit = first.wrapping_add(count << (64 - length));
        // The last code of all is ones only: behind it the word starts again.
        let limit = if index + 1 == rows.len() { u64::MAX } else { limit };
        rows[index] = Row { length, limit, first, place };
        first = limit;
        place += count as usize;
        index += 1;
    }
    rows
}

/// Appends the text that `coded` stands for. `None` if it stands for none.
pub(super) fn decode(coded: &[u8], out: &mut Zeroizing<Vec<u8>>) -> Option<()> {
    // The next bits, the first in the highest place, and how many there are.
    let (mut word, mut bits) = (0_u64, 0_u32);
    let mut rest = coded.iter();
    loop {
        while bits <= 56 {
            let Some(byte) = rest.next() else { break };
            word |= u64::from(*byte) << (56 - bits);
            bits += 8;
        }
        // What is not there counts as ones, as padding does: it makes the code that only padding is part of.
        let seen = word | u64::MAX.checked_shr(bits).unwrap_or(0);
        let row = ROWS.iter().find(|row| seen < row.limit).or(ROWS.last())?;
        if row.length > bits {
            // Padding is shorter than a byte, and ones only.
            return (bits < 8 && seen == u64::MAX).then_some(());
        }
        let place = usize::try_from((seen - row.first) >> (64 - row.length)).ok()?;
        let symbol = *SYMBOLS.get(row.place + place)?;
        out.push(u8::try_from(symbol).ok().filter(|_| symbol != END)?);
        word <<= row.length;
        bits -= row.length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(coded: &[u8]) -> Option<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::new());
        decode(coded, &mut out).map(|()| out.to_vec())
    }

    /// The code of every symbol, from the table.
    fn encode(text: &[u8]) -> Vec<u8> {
        let mut bits = Vec::new();
        for byte in text {
            let place = SYMBOLS.iter().position(|symbol| *symbol == u16::from(*byte)).expect("every byte");
            let row = ROWS.iter().rfind(|row| row.place <= place).expect("a row");
            let code = (row.first >> (64 - row.length)) + (place - row.place) as u64;
            bits.extend((0..row.length).rev().map(|bit| code >> bit & 1 == 1));
        }
        while bits.len() % 8 != 0 {
            bits.push(true);
        }
        bits.chunks(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit))).collect()
    }

    #[test]
    fn examples_of_the_rfc() {
        for (coded, plain) in [
            ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
            ("a8eb10649cbf", "no-cache"),
            ("25a849e95ba97d7f", "custom-key"),
            ("25a849e95bb8e8b4bf", "custom-value"),
            ("6402", "302"),
            ("aec3771a4b", "private"),
            ("d07abe941054d444a8200595040b8166e082a62d1bff", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("9d29ad171863c78f0b97c8e9ae82ae43d3", "https://www.example.com"),
        ] {
            let bytes: Vec<u8> = (0..coded.len() / 2)
                .map(|at| u8::from_str_radix(&coded[2 * at..2 * at + 2], 16).expect("hexadecimal"))
                .collect();
            assert_eq!(text(&bytes).as_deref(), Some(plain.as_bytes()));
            assert_eq!(encode(plain.as_bytes()), bytes);
        }
    }

    #[test]
    fn every_byte_there_and_back() {
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        for start in 0..all.len() {
            assert_eq!(text(&encode(&all[start..])).as_deref(), Some(&all[start..]));
        }
    }

    #[test]
    fn what_is_no_code() {
        assert_eq!(text(b""), Some(Vec::new()));
        // A whole byte of padding, zeros as padding, and the symbol of the end.
        for wrong in [&[0xff][..], &[0x00], &[0x07, 0xff], &[0x00, 0xff, 0xff, 0xff, 0xff]] {
            assert_eq!(text(wrong), None, "{wrong:?}");
        }
    }
}
