//! The Go version that an executable says it was built with: the `.go.buildinfo` section as Go 1.18 and
//! later write it (Go's `debug/buildinfo`: a 32-byte header, then strings with a varint length before each).

use std::path::Path;

use object::{
    Endianness, ReadCache, ReadRef as _,
    elf::FileHeader64,
    read::elf::{FileHeader as _, SectionHeader as _},
};

const MAGIC: &[u8] = b"\xff Go buildinf:";
/// The flag byte's bit for strings that follow the header, instead of pointers to them.
const INLINE: u8 = 2;
/// Sections of an executable that is looked into. Go's linker writes 20 to 40; a file that claims more than
/// this would make the agent read what its owner likes.
const MAX_SECTIONS: u16 = 256;
/// Bytes of the section that are read: the version stands at its start.
const MAX_SECTION: u64 = 256;
/// A version is a short word like `go1.22.3`; what is longer is none.
const MAX_VERSION: usize = 64;

/// The version of Go, without the `go` before it, if an executable was built with it.
pub(super) fn version(executable: &Path) -> Option<String> {
    // The link in /proc is followed by the kernel, past any name in between.
    let file = std::fs::File::open(executable).ok()?;
    file.metadata().ok()?.is_file().then_some(())?;
    let cache = ReadCache::new(file);
    // Section headers and nothing else: the symbols of a large program take longer to read than all else
    // that is asked about a process.
    let header = FileHeader64::<Endianness>::parse(&cache).ok()?;
    let endian = header.endian().ok()?;
    (1..=MAX_SECTIONS).contains(&header.e_shnum(endian)).then_some(())?;
    let sections = header.sections(endian, &cache).ok()?;
    let (_, section) = sections.section_by_name(endian, b".go.buildinfo")?;
    let (offset, size) = section.file_range(endian)?;
    let header = (&cache).read_bytes_at(offset, size.min(MAX_SECTION)).ok()?;
    inline(header)
}

fn inline(section: &[u8]) -> Option<String> {
    let (header, strings) = section.split_at_checked(32)?;
    if !header.starts_with(MAGIC) || header.get(15)? & INLINE == 0 {
        return None;
    }
    // A version is shorter than 128 bytes, so its length is one byte.
    let (length, rest) = strings.split_first()?;
    let version = rest.get(..usize::from(*length)).filter(|version| version.len() <= MAX_VERSION)?;
    let version = std::str::from_utf8(version).ok()?;
    version.strip_prefix("go").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inline_form_is_read() {
        let mut section = [MAGIC, b"\x08\x02"].concat();
        section.resize(32, 0);
        section.extend_from_slice(b"\x08go1.22.3\x00");
        assert_eq!(inline(&section).as_deref(), Some("1.22.3"));
        for end in 0..41 {
            assert_eq!(inline(&section[..end]), None, "{end}");
        }
        section[15] = 0;
        assert_eq!(inline(&section), None);
    }

    #[test]
    fn other_executables_have_none() {
        assert_eq!(version(Path::new("/proc/self/exe")), None);
        assert_eq!(version(Path::new("/etc/passwd")), None);
        assert_eq!(version(Path::new("/nowhere")), None);
    }
}
