//! What a process runs on, so far as it decides how its requests hang together: by the name of its executable, the
//! libraries that it has mapped, and what is written in the executable.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use spandrel_common::{limits::PROCESSES, runtime::Runtime};

use super::{facts::Facts, go, proc::Look, runtime::Language};

/// Bytes of an executable that are searched. Debug builds of large Rust services have that many.
const MAX_SEARCHED: u64 = 128 * 1024 * 1024;
/// Bytes that are read at once.
const PIECE: usize = 256 * 1024;
/// Lines of `/proc/PID/maps` that are read: libraries come early, and a JVM has some thousand.
const MAX_MAPS: usize = 4096;

/// What every program with tokio's runtime in it can say: one of its panic messages, since 1.0.
const TOKIO: &[u8] = b"Tokio 1.x runtime";

/// Names of executables that are a runtime by themselves. The kernel side knows them, too: they begin to serve before
/// an answer from here could be there.
pub const NAMES: [(&str, Runtime); NAMES_LEN] = [
    ("nginx", Runtime::Nginx),
    ("nginx-debug", Runtime::Nginx),
    ("openresty", Runtime::Nginx),
    ("angie", Runtime::Nginx),
    ("tengine", Runtime::Nginx),
    ("envoy", Runtime::Loops),
    ("haproxy", Runtime::Loops),
    ("varnishd", Runtime::Loops),
    ("cache-main", Runtime::Loops),
    ("lighttpd", Runtime::Loops),
    ("h2o", Runtime::Loops),
    ("trafficserver", Runtime::Loops),
    ("squid", Runtime::Loops),
    ("deno", Runtime::Loops),
];
const NAMES_LEN: usize = 14;
const _: () =
    assert!(NAMES_LEN <= spandrel_common::limits::NAMES as usize, "the kernel side has room for all");

/// Executables whose answer is remembered: a server that forks for each connection is searched once.
const MAX_KNOWN: usize = 256;

/// What processes run on, each looked at once.
#[derive(Debug, Default)]
pub struct Recognised {
    seen: HashSet<u32>,
    /// By device, inode, size and time of change.
    known: HashMap<[u64; 4], Runtime>,
}

impl Recognised {
    /// What a process runs on, if it was not asked for since it began.
    pub fn first(&mut self, pid: u32) -> Option<Runtime> {
        if self.seen.len() >= PROCESSES as usize || !self.seen.insert(pid) {
            return None;
        }
        let key = identity(pid)?;
        if let Some(runtime) = self.known.get(&key) {
            return Some(*runtime);
        }
        let runtime = recognise(pid);
        if runtime != Runtime::Unknown && self.known.len() < MAX_KNOWN {
            self.known.insert(key, runtime);
        }
        Some(runtime)
    }

    /// The same for a process that has just executed the program at `path`, before its first request: as far as the name
    /// tells, or what is known of the file, or a look at its first pages, which show a Go program.
    pub fn at_exec(&self, pid: u32, path: &str) -> Option<Runtime> {
        if let Some(runtime) = by_name(&Facts { exe: path.to_owned(), ..Facts::default() }) {
            return Some(runtime);
        }
        let executable = PathBuf::from(format!("/proc/{pid}/exe"));
        if let Some(runtime) = self.known.get(&identity(pid)?) {
            return Some(*runtime);
        }
        go::version(&executable).map(|_| Runtime::Go)
    }

    /// A process ended, or executes another program.
    pub fn forget(&mut self, pid: u32) {
        self.seen.remove(&pid);
    }
}

/// What tells the executable of a process from others: device, inode, size and time of change.
fn identity(pid: u32) -> Option<[u64; 4]> {
    let meta = std::fs::metadata(format!("/proc/{pid}/exe")).ok()?;
    Some([meta.dev(), meta.ino(), meta.len(), meta.mtime_nsec() as u64 ^ meta.mtime() as u64])
}

/// What the process runs on; [`Runtime::Unknown`] if it is gone.
fn recognise(pid: u32) -> Runtime {
    let Some(look) = Look::at(pid) else { return Runtime::Unknown };
    let facts = look.outline();
    if let Some(runtime) = by_name(&facts) {
        return runtime;
    }
    let executable = look.path("exe");
    if go::version(&executable).is_some() {
        return Runtime::Go;
    }
    if let Some(runtime) = mapped(&look.path("maps")) {
        return runtime;
    }
    match File::open(&executable) {
        Ok(file) => {
            if has(file, TOKIO) {
                Runtime::Tokio
            } else {
                Runtime::Native
            }
        }
        Err(_) => Runtime::Unknown,
    }
}

fn by_name(facts: &Facts) -> Option<Runtime> {
    let name = facts.executable_name();
    if let Some((_, runtime)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Some(*runtime);
    }
    Some(match name {
        // A Go program.
        "frankenphp" => return None,
        _ => match Language::of(facts)? {
            Language::Python => Runtime::CPython,
            Language::Node | Language::Bun => Runtime::Node,
            Language::Deno => Runtime::Loops,
            Language::Java => Runtime::Jvm,
            Language::Ruby => Runtime::Ruby,
            Language::Php => Runtime::Php,
            Language::DotNet => Runtime::DotNet,
            Language::Erlang => Runtime::Beam,
            Language::Perl | Language::Shell => Runtime::Native,
            Language::Script => return None,
        },
    })
}

/// By a library that only one runtime has.
fn mapped(maps: &Path) -> Option<Runtime> {
    const LIBRARIES: [(&str, Runtime); 7] = [
        ("/libjvm.so", Runtime::Jvm),
        ("/libcoreclr.so", Runtime::DotNet),
        ("/libclrjit.so", Runtime::DotNet),
        ("/libnode.so", Runtime::Node),
        ("/libpython", Runtime::CPython),
        ("/libruby", Runtime::Ruby),
        ("/libphp", Runtime::Php),
    ];
    let maps = BufReader::new(File::open(maps).ok()?);
    maps.split(b'\n').take(MAX_MAPS).map_while(Result::ok).find_map(|line| {
        let line = String::from_utf8_lossy(&line).into_owned();
        LIBRARIES.iter().find(|(name, _)| line.contains(name)).map(|(_, runtime)| *runtime)
    })
}

/// Whether a file contains some bytes.
fn has(file: File, what: &[u8]) -> bool {
    let mut file = file.take(MAX_SEARCHED);
    let mut piece = vec![0; PIECE];
    let mut kept = 0;
    let finder = memchr::memmem::Finder::new(what);
    loop {
        let Some(room) = piece.get_mut(kept..) else { return false };
        let Ok(read @ 1..) = file.read(room) else { return false };
        let len = kept + read;
        let Some(bytes) = piece.get(..len) else { return false };
        if finder.find(bytes).is_some() {
            return true;
        }
        let from = len.saturating_sub(what.len());
        piece.copy_within(from..len, 0);
        kept = len - from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(exe: &str) -> Option<Runtime> {
        by_name(&Facts { exe: exe.to_owned(), ..Facts::default() })
    }

    #[test]
    fn names() {
        for (exe, runtime) in [
            ("/usr/sbin/nginx", Some(Runtime::Nginx)),
            ("/usr/bin/python3.11", Some(Runtime::CPython)),
            ("/usr/bin/node", Some(Runtime::Node)),
            ("/usr/lib/jvm/17/bin/java", Some(Runtime::Jvm)),
            ("/usr/bin/frankenphp", None),
            ("/usr/bin/shop", None),
        ] {
            assert_eq!(named(exe), runtime, "{exe}");
        }
    }

    #[test]
    fn what_is_written_in_an_executable() {
        let own = || File::open("/proc/self/exe").unwrap();
        assert!(has(own(), TOKIO));
        assert!(!has(own(), &[TOKIO, &[0xfe, 1, 2, 3]].concat()));
        assert_eq!(recognise(u32::MAX), Runtime::Unknown);
    }

    #[test]
    fn a_piece_does_not_hide_what_lies_across_its_end() {
        use std::io::Write as _;
        let mut file = tempfile();
        for at in [0, PIECE - 5, PIECE, PIECE + 1, 2 * PIECE - TOKIO.len() - 3] {
            let mut bytes = vec![b'x'; 3 * PIECE];
            bytes[at..at + TOKIO.len()].copy_from_slice(TOKIO);
            file.set_len(0).unwrap();
            std::io::Seek::rewind(&mut file).unwrap();
            file.write_all(&bytes).unwrap();
            std::io::Seek::rewind(&mut file).unwrap();
            assert!(has(file.try_clone().unwrap(), TOKIO), "{at}");
        }
    }

    fn tempfile() -> File {
        use rustix::fs::{MemfdFlags, memfd_create};
        File::from(memfd_create("pieces", MemfdFlags::CLOEXEC).unwrap())
    }
}
