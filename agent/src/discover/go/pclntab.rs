//! Go's table of functions (`.gopclntab`), which stripping leaves in place: the address of a function by its name.
//!
//! Format: Go's `runtime/symtab.go` (`pcHeader`, `functab`, `_func`), as of Go 1.18 and 1.20. Positions are relative to
//! the table's start; addresses to `runtime.text`.

use memchr::memmem;

use super::bytes::Bytes;

/// First word of the table, Go 1.18 and 1.19.
const MAGIC_118: u32 = 0xffff_fff0;
/// First word of the table, Go 1.20 and later.
const MAGIC_120: u32 = 0xffff_fff1;
/// Functions of a program that is searched. The largest known ones have a few hundred thousand.
const MAX_FUNCTIONS: u64 = 4_000_000;
/// Bytes of the table of names that is searched: far more than that many functions need.
const MAX_NAMES: u64 = 512 * 1024 * 1024;
/// Bytes of names that are looked through at once.
const PIECE: u64 = 64 * 1024;

/// A function: addresses relative to `runtime.text`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// The table's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    functions: u64,
    /// Address of `runtime.text`; 0 from Go 1.26 on, where it has to be found elsewhere.
    pub(super) text: u64,
    names: u64,
    names_end: u64,
    table: u64,
}

impl Header {
    /// Reads the header. `None` if this is no table of a 64-bit little-endian x86 program of Go 1.18 or later.
    pub(super) fn read(bytes: &mut impl Bytes) -> Option<Self> {
        let magic = bytes.u32(0)?;
        // Two zeros, the smallest instruction's size and a pointer's.
        if !matches!(magic, MAGIC_118 | MAGIC_120) || bytes.get(4, 4)? != [0, 0, 1, 8] {
            return None;
        }
        let header = Self {
            functions: bytes.u64(8)?,
            text: bytes.u64(24)?,
            names: bytes.u64(32)?,
            names_end: bytes.u64(40)?,
            table: bytes.u64(64)?,
        };
        let plausible = (1..=MAX_FUNCTIONS).contains(&header.functions)
            && header.names < header.names_end
            && header.names_end - header.names <= MAX_NAMES;
        plausible.then_some(header)
    }

    /// End of the last function, relative to `runtime.text`.
    pub(super) fn end(&self, bytes: &mut impl Bytes) -> Option<u32> {
        bytes.u32(self.table.checked_add(8 * self.functions)?)
    }

    /// The functions of these names. `table` and `functions` are the same bytes, walked at two places at once.
    pub(super) fn find<const N: usize>(
        &self,
        table: &mut impl Bytes,
        functions: &mut impl Bytes,
        names: [&str; N],
    ) -> [Option<Function>; N] {
        let wanted = names.map(|name| self.name(functions, name));
        let mut found = [None; N];
        for index in 0..self.functions {
            if found.iter().zip(&wanted).all(|(function, name)| function.is_some() || name.is_none()) {
                break;
            }
            let Some((start, end, name)) = self.entry(table, functions, index) else { break };
            for (function, wanted) in found.iter_mut().zip(&wanted) {
                if *wanted == Some(name) && function.is_none() && start < end {
                    *function = Some(Function { start, end });
                }
            }
        }
        found
    }

    /// Start and end of a function, and the offset of its name.
    fn entry(
        &self,
        table: &mut impl Bytes,
        functions: &mut impl Bytes,
        index: u64,
    ) -> Option<(u32, u32, u32)> {
        let entry = table.get(self.table.checked_add(8 * index)?, 12)?;
        let word = |at: usize| Some(u32::from_le_bytes(entry.get(at..at + 4)?.try_into().ok()?));
        let (start, place, end) = (word(0)?, word(4)?, word(8)?);
        let name = functions.u32(self.table.checked_add(u64::from(place))?.checked_add(4)?)?;
        Some((start, end, name))
    }

    /// Offset of a name in the table of names.
    fn name(&self, bytes: &mut impl Bytes, name: &str) -> Option<u32> {
        // Names end with a zero, and another's end stands before each but the first.
        let needle = [b"\0", name.as_bytes(), b"\0"].concat();
        let overlap = needle.len() as u64;
        let finder = memmem::Finder::new(&needle);
        let mut at = self.names;
        while at < self.names_end {
            let len = (PIECE + overlap).min(self.names_end - at);
            let piece = bytes.get(at, usize::try_from(len).ok()?)?;
            if let Some(place) = finder.find(piece) {
                return u32::try_from(at + place as u64 + 1 - self.names).ok();
            }
            at += PIECE;
        }
        None
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A table of functions with their start addresses; the last one's end is the last number.
    pub(in super::super) fn table(text: u64, functions: &[(&str, u32)], end: u32) -> Vec<u8> {
        let mut names = vec![0];
        let mut offsets = Vec::new();
        for (name, _) in functions {
            offsets.push(names.len() as u32);
            names.extend_from_slice(name.as_bytes());
            names.push(0);
        }
        let mut out = Vec::new();
        out.extend(MAGIC_120.to_le_bytes());
        out.extend([0, 0, 1, 8]);
        let names_at = 72_u64;
        let table_at = names_at + names.len() as u64;
        for word in [functions.len() as u64, 1, text, names_at, table_at, table_at, table_at, table_at] {
            out.extend(word.to_le_bytes());
        }
        out.extend(&names);
        let mut place = 8 * functions.len() as u32 + 4;
        for (_, start) in functions {
            out.extend(start.to_le_bytes());
            out.extend(place.to_le_bytes());
            place += 44;
        }
        out.extend(end.to_le_bytes());
        for ((_, start), name) in functions.iter().zip(offsets) {
            out.extend(start.to_le_bytes());
            out.extend(name.to_le_bytes());
            out.extend([0; 36]);
        }
        out
    }

    const NAMES: [&str; 2] = ["net/http.(*persistConn).roundTrip", "runtime.newproc1"];

    fn find(bytes: &[u8]) -> [Option<Function>; 2] {
        let Some(header) = Header::read(&mut &*bytes) else { return [None; 2] };
        header.find(&mut &*bytes, &mut &*bytes, NAMES)
    }

    fn sample() -> Vec<u8> {
        let functions = [
            ("internal/abi.x", 0),
            ("runtime.newproc1", 64),
            ("runtime.newproc1.func1", 256),
            ("net/http.(*persistConn).roundTrip.func1", 512),
            ("net/http.(*persistConn).roundTrip", 640),
            ("main.main", 1024),
        ];
        table(0x40_1000, &functions, 2048)
    }

    #[test]
    fn functions_are_found_by_their_whole_name() {
        let bytes = sample();
        let [round_trip, newproc] = find(&bytes);
        assert_eq!(round_trip, Some(Function { start: 640, end: 1024 }));
        assert_eq!(newproc, Some(Function { start: 64, end: 256 }));
        let header = Header::read(&mut &*bytes).unwrap();
        assert_eq!((header.text, header.end(&mut &*bytes)), (0x40_1000, Some(2048)));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let bytes = table(1, &[("main.main", 0), ("main.persistConn", 5)], 9);
        assert_eq!(find(&bytes), [None, None]);
    }

    #[test]
    fn names_are_found_across_pieces() {
        let long = "x".repeat(PIECE as usize - 10);
        for more in 0..40 {
            let filler = format!("{long}{}", "y".repeat(more));
            let bytes = table(1, &[(&filler, 0), (NAMES[0], 16), (NAMES[1], 32)], 48);
            assert_eq!(find(&bytes)[0], Some(Function { start: 16, end: 32 }), "{more}");
            assert_eq!(find(&bytes)[1], Some(Function { start: 32, end: 48 }), "{more}");
        }
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_survived() {
        let bytes = sample();
        for end in 0..bytes.len() {
            let _ = find(&bytes[..end]);
        }
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut broken = bytes.clone();
                broken[at] ^= flip;
                let _ = find(&broken);
                if let Some(header) = Header::read(&mut &*broken) {
                    let _ = header.end(&mut &*broken);
                }
            }
        }
    }

    #[test]
    fn other_tables_are_refused() {
        let mut bytes = sample();
        bytes[0] = 0xfa;
        assert_eq!(Header::read(&mut &*bytes), None);
        bytes = sample();
        bytes[7] = 4;
        assert_eq!(Header::read(&mut &*bytes), None);
        bytes = sample();
        bytes[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(Header::read(&mut &*bytes), None);
    }
}
