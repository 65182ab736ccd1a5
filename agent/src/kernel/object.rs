//! The kernel object, as it is given to the loader.

use std::{borrow::Cow, ops::Range};

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, read::elf::ElfFile64};

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

/// Where an object has the type of a map: the first word of its definition.
fn map_type(object: &[u8], name: &str) -> Option<Range<usize>> {
    let file: ElfFile64<'_> = ElfFile64::parse(object).ok()?;
    let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name))?;
    let section = file.section_by_index(symbol.section_index()?).ok()?;
    // In an object the address of a symbol counts from its section.
    let at = usize::try_from(section.file_range()?.0.checked_add(symbol.address())?).ok()?;
    Some(at..at.checked_add(size_of::<u32>())?)
}
