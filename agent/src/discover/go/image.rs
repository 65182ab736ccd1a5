//! An executable file: where its sections are, and which byte of the file lies at an address.

use std::{fs::File, path::Path};

use object::{
    Endianness, ReadCache,
    elf::{EM_X86_64, ET_DYN, FileHeader64, PF_W, PT_LOAD, PT_PHDR},
    read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _},
};

use super::bytes::{Bytes as _, Window};

/// Sections of an executable that is looked into. Go's linker writes 20 to 40; a file that claims more than
/// this would make the agent read what its owner likes.
const MAX_SECTIONS: u16 = 256;
/// The same for segments, of which there are about ten.
const MAX_SEGMENTS: usize = 64;
/// Relocations that are looked through for one. A program of 200 MB has about a million.
const MAX_RELOCATIONS: u64 = 4_000_000;
/// Bytes of a relocation with an addend.
const RELOCATION: u64 = 24;
/// `R_X86_64_RELATIVE`: the program's start address plus the addend.
const RELATIVE: u64 = 8;

/// A part of the file that is loaded.
#[derive(Clone, Copy, Debug)]
struct Segment {
    address: u64,
    size: u64,
    file_size: u64,
    offset: u64,
    writable: bool,
}

/// A section: address, place in the file, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) address: u64,
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// What the headers of an executable say.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) file: File,
    segments: Vec<Segment>,
    sections: Vec<(&'static str, Section)>,
    /// It may be loaded at any address.
    pub(super) movable: bool,
    /// Address of the program headers, by which a running process tells where it was loaded.
    pub(super) headers: u64,
}

/// The sections that are of use.
const NAMES: [&str; 6] =
    [".text", ".gopclntab", ".data.rel.ro.gopclntab", ".go.module", ".rela", ".rela.dyn"];

impl Image {
    /// Reads the headers. `None` if this is no x86-64 executable.
    pub(super) fn open(executable: &Path) -> Option<Self> {
        // The link in /proc is followed by the kernel, past any name in between.
        let file = File::open(executable).ok()?;
        file.metadata().ok()?.is_file().then_some(())?;
        let (mut segments, mut found) = (Vec::new(), Vec::new());
        let (movable, headers) = {
            let cache = ReadCache::new(&file);
            let header = FileHeader64::<Endianness>::parse(&cache).ok()?;
            let endian = header.endian().ok()?;
            let known = header.e_machine(endian) == EM_X86_64
                && endian == Endianness::Little
                && (1..=MAX_SECTIONS).contains(&header.e_shnum(endian));
            known.then_some(())?;
            let mut headers = None;
            for segment in header.program_headers(endian, &cache).ok()?.iter().take(MAX_SEGMENTS) {
                let address = segment.p_vaddr(endian);
                if segment.p_type(endian) == PT_PHDR {
                    headers = Some(address);
                }
                if segment.p_type(endian) == PT_LOAD {
                    segments.push(Segment {
                        address,
                        size: segment.p_memsz(endian),
                        file_size: segment.p_filesz(endian),
                        offset: segment.p_offset(endian),
                        writable: segment.p_flags(endian) & PF_W != 0,
                    });
                }
            }
            let sections = header.sections(endian, &cache).ok()?;
            for section in sections.iter() {
                let Ok(name) = sections.section_name(endian, section) else { continue };
                let known = NAMES.iter().find(|known| known.as_bytes() == name);
                if let (Some(name), Some((offset, size))) = (known, section.file_range(endian)) {
                    let address = section.sh_addr(endian);
                    found.push((*name, Section { address, offset, size }));
                }
            }
            (header.e_type(endian) == ET_DYN, headers)
        };
        let headers = headers.or_else(|| segments.iter().find(|s| s.offset == 0).map(|s| s.address + 64))?;
        Some(Self { file, segments, sections: found, movable, headers })
    }

    /// The first section of one of these names.
    pub(super) fn section(&self, names: &[&str]) -> Option<Section> {
        self.sections.iter().find(|(name, _)| names.contains(name)).map(|(_, section)| *section)
    }

    /// Where in the file the byte at an address lies.
    pub(super) fn offset(&self, address: u64) -> Option<u64> {
        let inside = |s: &&Segment| address.checked_sub(s.address).is_some_and(|at| at < s.file_size);
        let segment = self.segments.iter().find(inside)?;
        (address - segment.address).checked_add(segment.offset)
    }

    /// Whether a program can write to an address.
    pub(super) fn writable(&self, address: u64) -> bool {
        let inside = |s: &Segment| address.checked_sub(s.address).is_some_and(|at| at < s.size);
        self.segments.iter().any(|segment| segment.writable && inside(segment))
    }

    /// The bytes of a section.
    pub(super) const fn window(&self, section: Section) -> Window<'_> {
        Window::new(&self.file, section.offset, section.size)
    }

    /// The bytes at an address.
    pub(super) fn bytes(&self, address: u64, len: usize) -> Option<Vec<u8>> {
        let mut window = Window::new(&self.file, self.offset(address)?, len as u64);
        window.get(0, len).map(<[u8]>::to_vec)
    }

    /// The pointer that the loader puts at an address, less the address that the program is loaded at.
    pub(super) fn pointer(&self, address: u64) -> Option<u64> {
        let value = u64::from_le_bytes(self.bytes(address, 8)?.try_into().ok()?);
        if value != 0 || !self.movable {
            return Some(value);
        }
        let section = self.section(&[".rela", ".rela.dyn"])?;
        let mut relocations = self.window(section);
        for index in 0..(section.size / RELOCATION).min(MAX_RELOCATIONS) {
            let at = RELOCATION * index;
            if relocations.u64(at)? == address {
                return if relocations.u64(at + 8)? == RELATIVE { relocations.u64(at + 16) } else { None };
            }
        }
        None
    }
}
