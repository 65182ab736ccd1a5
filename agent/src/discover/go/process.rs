//! Running Go processes: what their executable says, and where it was loaded.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
};

use spandrel_common::go::Program;

use super::{Executable, Unknown};

/// Executables that are remembered, so that each is read once however many processes run it.
const MAX_KNOWN: usize = 64;
/// Bytes of the auxiliary vector that are read: it has some twenty entries of 16.
const MAX_AUXILIARY: u64 = 4096;
/// The vector's entry for the address of the program headers (`getauxval(3)`).
const AT_PHDR: u64 = 3;

/// A Go process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Minor release: the 26 of Go 1.26.
    pub minor: u32,
    pub program: Program,
    /// Where in the executable a request is handed to a connection, if it has `net/http`'s client.
    pub round_trip: Option<u64>,
    /// Where in the executable the handler of a request begins, if it has `net/http`'s server.
    pub serve: Option<u64>,
}

/// Device, inode, size and time of change: another file has others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Id(u64, u64, u64, i64, i64);

/// Looks into processes.
#[derive(Debug, Default)]
pub struct Looker {
    /// The last ones, the oldest first.
    known: VecDeque<(Id, Option<Executable>)>,
}

impl Looker {
    /// Looks into a process. `None` if Go did not build its program, or if it is gone.
    ///
    /// Why a program is not known is told the first time only, for all that run it.
    pub fn look(&mut self, pid: u32) -> Option<Result<Found, Unknown>> {
        let path = path(pid);
        let meta = fs::metadata(&path).ok()?;
        let id = Id(meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec());
        let executable = if let Some((_, executable)) = self.known.iter().find(|(known, _)| *known == id) {
            *executable
        } else {
            let (executable, unknown) = match Executable::read(&path) {
                Some(Ok(executable)) => (Some(executable), None),
                Some(Err(unknown)) => (None, Some(unknown)),
                None => (None, None),
            };
            self.remember(id, executable);
            if let Some(unknown) = unknown {
                return Some(Err(unknown));
            }
            executable
        };
        let Executable { minor, round_trip, serve, .. } = executable?;
        let program = executable?.program(headers(pid)?);
        Some(Ok(Found { minor, program, round_trip, serve }))
    }

    fn remember(&mut self, id: Id, executable: Option<Executable>) {
        if self.known.len() >= MAX_KNOWN {
            self.known.pop_front();
        }
        self.known.push_back((id, executable));
    }
}

/// Path by which a process's executable is found, whatever name it has, and in whatever file system.
pub fn path(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/exe"))
}

/// Where a process's program headers are.
fn headers(pid: u32) -> Option<u64> {
    let mut vector = Vec::new();
    File::open(format!("/proc/{pid}/auxv")).ok()?.take(MAX_AUXILIARY).read_to_end(&mut vector).ok()?;
    auxiliary(&vector)
}

fn auxiliary(vector: &[u8]) -> Option<u64> {
    let (entries, _) = vector.as_chunks::<16>();
    entries.iter().find_map(|entry| {
        let (kind, value) = entry.split_at_checked(8)?;
        let word = |bytes: &[u8]| Some(u64::from_ne_bytes(bytes.try_into().ok()?));
        if word(kind)? == AT_PHDR { word(value) } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_address_is_found_in_the_vector() {
        let words: [u64; 6] = [33, 0x7ff0, AT_PHDR, 0x40_0040, 0, 0];
        let vector: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(auxiliary(&vector), Some(0x40_0040));
        assert_eq!(auxiliary(&vector[..31]), None);
        assert_eq!(auxiliary(&[]), None);
        assert!(headers(std::process::id()).is_some());
    }

    #[test]
    fn other_processes_are_none_and_are_remembered() {
        let mut looker = Looker::default();
        assert_eq!(looker.look(std::process::id()), None);
        assert_eq!(looker.look(std::process::id()), None);
        assert_eq!(looker.known.len(), 1);
        assert_eq!(looker.look(u32::MAX), None);
    }
}
