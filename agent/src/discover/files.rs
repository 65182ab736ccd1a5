//! Files of a traced process, as it sees them.

use std::{fs::File, io::Read as _, path::PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, open as open_path, openat2};

/// Where files of a process are read from; tests answer from a table.
pub trait Files {
    /// The first bytes of the regular file at an absolute path, at most [`MAX_FILE`] of them.
    fn read(&self, path: &str) -> Option<Vec<u8>>;
}

/// Bytes of a file that are read. `package.json`, `release` and `passwd` files are shorter.
pub(super) const MAX_FILE: u64 = 64 * 1024;

/// The files below the root folder of a living process.
pub(super) struct ProcessFiles {
    root: PathBuf,
}

impl ProcessFiles {
    pub(super) fn new(pid: u32) -> Self {
        Self { root: PathBuf::from(format!("/proc/{pid}/root")) }
    }
}

impl Files for ProcessFiles {
    /// Links are followed inside the process's root and nowhere else, and nothing but a regular file is
    /// read: who owns the process may have put anything there, a pipe that nobody writes to for example.
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        let folder = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        let root = open_path(&self.root, folder, Mode::empty()).ok()?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let path = path.strip_prefix('/')?;
        let file =
            openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS);
        let file = File::from(file.ok()?);
        file.metadata().ok()?.is_file().then_some(())?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashMap;

    use super::*;

    impl Files for HashMap<&str, &str> {
        fn read(&self, path: &str) -> Option<Vec<u8>> {
            self.get(path).map(|text| text.as_bytes().to_vec())
        }
    }

    #[test]
    fn only_regular_files_are_read() {
        let me = ProcessFiles::new(std::process::id());
        assert!(me.read("/etc/passwd").is_some_and(|bytes| bytes.starts_with(b"root:")));
        for path in ["etc/passwd", "/etc", "/dev/null", "/proc/self/exe", "/nowhere"] {
            assert!(me.read(path).is_none(), "{path}");
        }
    }
}
