//! The kernel's type information (BTF), as far as member offsets and tracepoint prototypes need it.
//!
//! Format: Documentation/bpf/btf.rst. The parser only borrows, indexes nothing it has not checked, and
//! gives up on the first thing that it does not know.

use std::collections::HashMap;

const MAGIC: u16 = 0xeb9f;
const KIND_INT: u32 = 1;
const KIND_PTR: u32 = 2;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FWD: u32 = 7;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_FLOAT: u32 = 16;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;

/// Nesting of anonymous members and modifiers that is followed. The kernel nests a handful.
const DEPTH: u32 = 16;

/// Parsed type information.
#[derive(Debug)]
pub struct Btf<'a> {
    strings: &'a [u8],
    /// Offset of each type's record in `types`; type 0 is void.
    records: Vec<usize>,
    types: &'a [u8],
    structs: HashMap<&'a [u8], u32>,
    typedefs: HashMap<&'a [u8], u32>,
}

#[derive(Clone, Copy)]
struct Record {
    name: u32,
    info: u32,
    size_or_type: u32,
    body: usize,
}

impl Record {
    const fn kind(self) -> u32 {
        (self.info >> 24) & 0x1f
    }
    const fn count(self) -> usize {
        (self.info & 0xffff) as usize
    }
    const fn bitfields(self) -> bool {
        self.info >> 31 != 0
    }
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let raw = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_ne_bytes(raw.try_into().ok()?))
}

impl<'a> Btf<'a> {
    /// Parses `/sys/kernel/btf/vmlinux`. `None` if it is not BTF of this machine's byte order.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let magic = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
        if magic != MAGIC {
            return None;
        }
        let header = u32_at(bytes, 4)? as usize;
        let section = |offset: usize, len: usize| {
            let start = header.checked_add(u32_at(bytes, offset)? as usize)?;
            bytes.get(start..start.checked_add(u32_at(bytes, len)? as usize)?)
        };
        let types = section(8, 12)?;
        let strings = section(16, 20)?;
        let mut btf = Self {
            strings,
            records: vec![usize::MAX],
            types,
            structs: HashMap::new(),
            typedefs: HashMap::new(),
        };
        let mut offset = 0;
        while offset < types.len() {
            let record = btf.record_at(offset)?;
            let id = btf.records.len() as u32;
            btf.records.push(offset);
            match record.kind() {
                KIND_STRUCT => {
                    btf.structs.entry(btf.string(record.name)?).or_insert(id);
                }
                KIND_TYPEDEF => {
                    btf.typedefs.entry(btf.string(record.name)?).or_insert(id);
                }
                _ => {}
            }
            let body = match record.kind() {
                KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
                KIND_ARRAY => 12,
                KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => 12 * record.count(),
                KIND_ENUM | KIND_FUNC_PROTO => 8 * record.count(),
                KIND_PTR | KIND_FWD | KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT
                | KIND_FUNC | KIND_FLOAT | KIND_TYPE_TAG => 0,
                _ => return None,
            };
            offset = record.body.checked_add(body)?;
        }
        Some(btf)
    }

    fn record_at(&self, offset: usize) -> Option<Record> {
        Some(Record {
            name: u32_at(self.types, offset)?,
            info: u32_at(self.types, offset + 4)?,
            size_or_type: u32_at(self.types, offset + 8)?,
            body: offset + 12,
        })
    }

    fn record(&self, id: u32) -> Option<Record> {
        self.record_at(*self.records.get(id as usize).filter(|at| **at != usize::MAX)?)
    }

    fn string(&self, offset: u32) -> Option<&'a [u8]> {
        let rest = self.strings.get(offset as usize..)?;
        rest.get(..rest.iter().position(|b| *b == 0)?)
    }

    /// Follows typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<(u32, Record)> {
        for _ in 0..DEPTH {
            let record = self.record(id)?;
            match record.kind() {
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {
                    id = record.size_or_type;
                }
                _ => return Some((id, record)),
            }
        }
        None
    }

    /// Byte offset of a member of a structure. `path` may name members of members: `thread_info.status`.
    /// Members of anonymous structures and unions count as the structure's own. Bitfields are not found.
    pub fn offset(&self, owner: &str, path: &str) -> Option<u32> {
        let mut id = *self.structs.get(owner.as_bytes())?;
        let mut offset = 0;
        for name in path.split('.') {
            let (member, kind) = self.member(id, name.as_bytes(), DEPTH)?;
            offset += member;
            id = kind;
        }
        Some(offset)
    }

    fn member(&self, id: u32, name: &[u8], depth: u32) -> Option<(u32, u32)> {
        let (_, record) = self.resolve(id)?;
        if depth == 0 || !matches!(record.kind(), KIND_STRUCT | KIND_UNION) {
            return None;
        }
        for index in 0..record.count() {
            let at = record.body + 12 * index;
            let (text, kind, bits) =
                (u32_at(self.types, at)?, u32_at(self.types, at + 4)?, u32_at(self.types, at + 8)?);
            let (bits, width) = if record.bitfields() { (bits & 0x00ff_ffff, bits >> 24) } else { (bits, 0) };
            let label = self.string(text)?;
            if label == name && width == 0 && bits % 8 == 0 {
                return Some((bits / 8, kind));
            }
            if label.is_empty()
                && let Some((inner, kind)) = self.member(kind, name, depth - 1)
            {
                return Some((bits / 8 + inner, kind));
            }
        }
        None
    }

    /// Place of a function among the types; `None` if this kernel has no such function.
    pub fn function(&self, name: &str) -> Option<u32> {
        self.named(KIND_FUNC, name)
    }

    /// Whether this kernel has such a variable. Only those of which each CPU has its own are told.
    pub fn has_variable(&self, name: &str) -> bool {
        self.named(KIND_VAR, name).is_some()
    }

    fn named(&self, kind: u32, name: &str) -> Option<u32> {
        let is_it = |id: &u32| {
            self.record(*id).is_some_and(|record| {
                record.kind() == kind && self.string(record.name) == Some(name.as_bytes())
            })
        };
        (1..self.records.len() as u32).find(is_it)
    }

    /// Number of arguments that programs on a tracepoint get; `None` if this kernel has no such tracepoint.
    pub fn tracepoint(&self, name: &str) -> Option<usize> {
        let id = *self.typedefs.get(format!("btf_trace_{name}").as_bytes())?;
        let (_, pointer) = self.resolve(id)?;
        let (_, proto) = self.resolve(pointer.size_or_type)?;
        // The first parameter is the probe's own data.
        (proto.kind() == KIND_FUNC_PROTO).then(|| proto.count().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A BTF of one structure, `struct s { int a; union { int b; struct { int c; int d; }; }; }`, and a function `d`.
    fn small() -> Vec<u8> {
        let strings = b"\0int\0s\0a\0b\0c\0d\0";
        let mut types: Vec<u32> = Vec::new();
        types.extend([1, KIND_INT << 24, 4, 32]);
        types.extend([0, KIND_STRUCT << 24 | 2, 8, 11, 1, 0, 13, 1, 32]);
        types.extend([0, KIND_UNION << 24 | 2, 8, 9, 1, 0, 0, 2, 0]);
        types.extend([5, KIND_STRUCT << 24 | 2, 12, 7, 1, 0, 0, 3, 32]);
        types.extend([13, KIND_FUNC << 24, 1]);
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut out = Vec::new();
        out.extend(MAGIC.to_ne_bytes());
        out.extend([1, 0]);
        for word in [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
            out.extend(word.to_ne_bytes());
        }
        out.extend(types);
        out.extend(strings);
        out
    }

    #[test]
    fn members_of_anonymous_members_are_found() {
        let bytes = small();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.offset("s", "a"), Some(0));
        assert_eq!(btf.offset("s", "b"), Some(4));
        assert_eq!(btf.offset("s", "c"), Some(4));
        assert_eq!(btf.offset("s", "d"), Some(8));
        assert_eq!(btf.offset("s", "e"), None);
        assert_eq!(btf.offset("t", "a"), None);
    }

    #[test]
    fn functions_and_variables_are_found() {
        let bytes = small();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!((btf.function("d"), btf.function("s"), btf.function("x")), (Some(5), None, None));
        assert!(!btf.has_variable("d"));
    }

    #[test]
    fn every_prefix_and_every_flipped_byte_is_survived() {
        let bytes = small();
        for len in 0..bytes.len() {
            let _ = Btf::parse(&bytes[..len]).map(|btf| btf.offset("s", "d"));
        }
        for index in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[index] ^= 0xff;
            let _ = Btf::parse(&broken).map(|btf| btf.offset("s", "d"));
        }
    }
}
