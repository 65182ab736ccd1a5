//! The kernel object, as it is given to the loader.

use std::{borrow::Cow, ops::Range};

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind, read::elf::ElfFile64};

use super::preempt::Functions;

/// `BPF_MAP_TYPE_HASH` and `BPF_MAP_TYPE_SOCKHASH` (`enum bpf_map_type`).
const HASH: u32 = 1;
const SOCKHASH: u32 = 18;

/// Made by build.rs.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("SPANDREL_EBPF"));

/// Whether there is one in this binary.
pub(super) fn is_there() -> bool {
    !OBJECT.is_empty()
}

/// All of it.
pub(super) fn whole() -> Cow<'static, [u8]> {
    OBJECT.into()
}

/// With an ordinary map in the place of the map of sockets, which takes `CAP_NET_ADMIN` to make. None of the programs
/// that need a map of sockets may be loaded from it.
pub(super) fn without_socket_map() -> Option<Cow<'static, [u8]>> {
    let place = map_type(OBJECT, "ARMED")?;
    let mut copy = OBJECT.to_vec();
    let bytes = copy.get_mut(place)?;
    if *bytes != SOCKHASH.to_ne_bytes() {
        return None;
    }
    bytes.copy_from_slice(&HASH.to_ne_bytes());
    Some(copy.into())
}

/// Bytes of an instruction (`struct bpf_insn`: operation, registers, offset, operand).
const INSTRUCTION: usize = 8;
/// `BPF_JMP | BPF_CALL`, with no register: the operand is the number of a helper.
const CALL_HELPER: [u8; 4] = [0x85, 0, 0, 0];
/// The same with `BPF_PSEUDO_KFUNC_CALL` as source register: the operand is a function's place in the kernel's types.
const CALL_KERNEL: [u8; 4] = [0x85, 0x20, 0, 0];

/// Puts the kernel's own functions in the place of the numbers that stand for them.
pub(super) fn call(mut object: Cow<'static, [u8]>, functions: &Functions) -> Cow<'static, [u8]> {
    for range in code(&object) {
        let Some(code) = object.to_mut().get_mut(range) else { continue };
        for instruction in code.chunks_exact_mut(INSTRUCTION) {
            if let Some((operation, operand)) = instruction.split_first_chunk_mut::<4>()
                && let Ok(number) = <[u8; 4]>::try_from(&*operand)
                && *operation == CALL_HELPER
                && let Some(place) = functions.place(u32::from_ne_bytes(number))
            {
                *operation = CALL_KERNEL;
                operand.copy_from_slice(&place.to_ne_bytes());
            }
        }
    }
    object
}

/// Where an object has instructions.
fn code(object: &[u8]) -> Vec<Range<usize>> {
    let Ok(file) = ElfFile64::<object::Endianness>::parse(object) else { return Vec::new() };
    let sections = file.sections().filter(|section| section.kind() == SectionKind::Text);
    let ranges = sections.filter_map(|section| {
        let (start, len) = section.file_range()?;
        let start = usize::try_from(start).ok()?;
        Some(start..start.checked_add(usize::try_from(len).ok()?)?)
    });
    ranges.collect()
}

/// Where an object has the type of a map: the first word of its definition.
fn map_type(object: &[u8], name: &str) -> Option<Range<usize>> {
    let file: ElfFile64<'_> = ElfFile64::parse(object).ok()?;
    let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name))?;
    let section = file.section_by_index(symbol.section_index()?).ok()?;
    // In an object the address of a symbol counts from its section.
    let at = usize::try_from(section.file_range()?.0.checked_add(symbol.address())?).ok()?;
    Some(at..at.checked_add(size_of::<u32>())?)
}
