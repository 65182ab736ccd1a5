//! A file of records. Who writes or sends them holds its lock, so that two processes never do the same.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions},
    io,
    ops::Range,
    os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::fs::{FlockOperation, flock};

use super::{
    record::{self, DONE, Record, STATE, Scan},
    settled::Settled,
};
use crate::export::client::Encoding;

/// How segments end. What is set aside is renamed, and is not read again by itself.
const SUFFIX: &str = ".spandrel";
const ASIDE: &str = ".damaged";
/// A larger file is none of ours: segments end at a few MiB, and one message is 64 MiB at most.
const MAX_FILE: u64 = 160 << 20;

/// The last time that a name has digits for: whatever else somebody puts there, names keep their length.
const LAST: u64 = 999_999_999_999_999;

/// A segment whose lock we have.
#[derive(Debug)]
pub(crate) struct Segment {
    path: PathBuf,
    file: File,
    len: u64,
    /// Records that are not done.
    waiting: u64,
    /// Something in it cannot be read: it is kept for people instead of being removed.
    damaged: bool,
}

/// A batch as it is on disk.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) encoding: Encoding,
    pub(crate) message: Vec<u8>,
    /// Its spans that need nothing any more.
    pub(crate) settled: Settled,
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The time in a segment's name.
fn time_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.get(..15)?.parse().ok()
}

/// Makes a folder that only its owner can read: spans tell what people did.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// The segments of a folder, the oldest first. Folders in it are looked into if `deep`.
pub(crate) fn list(folder: &Path, deep: bool) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if deep && path.is_dir() {
            found.extend(list(&path, false)?);
        } else if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(SUFFIX)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

impl Segment {
    /// A new one. Names sort by time; the process and a number keep them apart. It comes behind all that are there,
    /// also when the clock was set back.
    pub(crate) fn create(folder: &Path) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let (pid, number) = (std::process::id(), NUMBER.fetch_add(1, Relaxed));
        let newest = list(folder, false)?.last().and_then(|path| time_of(path));
        let time = newest.map_or(0, |newest| newest + 1).max(now_ms()).min(LAST);
        let path = folder.join(format!("{time:015}-{number:06}-{pid}{SUFFIX}"));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let locked = flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from);
        // The name has to survive a power cut, too.
        let ready = locked.and_then(|()| File::open(folder)?.sync_all());
        if let Err(error) = ready {
            // An empty file is no use to anybody.
            fs::remove_file(&path).ok();
            return Err(error);
        }
        Ok(Self { path, file, len: 0, waiting: 0, damaged: false })
    }

    /// Takes over one that a process left, with what is in it. None if somebody uses it or it is gone.
    pub(crate) fn take_over(path: &Path) -> io::Result<Option<(Self, Scan)>> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() || !path.exists() {
            return Ok(None);
        }
        let len = file.metadata()?.len();
        let mut segment = Self { path: path.to_owned(), file, len, waiting: 0, damaged: false };
        let scan = record::scan(&segment.bytes()?);
        segment.waiting = scan.records.iter().filter(|record| !record.done).count() as u64;
        segment.damaged = scan.damaged > 0;
        Ok(Some((segment, scan)))
    }

    /// Everything in it.
    pub(crate) fn bytes(&self) -> io::Result<Vec<u8>> {
        if self.len > MAX_FILE {
            return Err(io::Error::other(format!("it has {} bytes: it is none of ours", self.len)));
        }
        let mut bytes = vec![0; usize::try_from(self.len).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its size.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// Records that are not done.
    pub(crate) const fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Writes a record at the end, by one system call: a process that is killed leaves it whole or not at all.
    pub(crate) fn append(&mut self, encoding: Encoding, spans: u32, message: &[u8]) -> io::Result<u64> {
        let bytes = record::write(encoding, spans, now_ms(), message);
        let bytes = bytes.ok_or_else(|| io::Error::other("a message of more than 64 MiB"))?;
        let offset = self.len;
        if let Err(error) = self.file.write_all_at(&bytes, offset) {
            // Whatever was written of it goes; if that fails, too, it is a torn end.
            self.file.set_len(offset).ok();
            return Err(error);
        }
        self.len += bytes.len() as u64;
        self.waiting += 1;
        Ok(offset)
    }

    /// Reads a record that ends there, checking it again.
    pub(crate) fn read(&self, offset: u64, end: u64) -> io::Result<Stored> {
        let size = end.saturating_sub(offset).min(MAX_FILE);
        let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, offset)?;
        let record::Found::Whole(record) = record::read(&bytes, 0) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its checksum is wrong"));
        };
        bytes.truncate(record::HEADER + record.len as usize);
        bytes.drain(..record::HEADER);
        let Record { encoding, settled, .. } = record;
        Ok(Stored { encoding, message: bytes, settled })
    }

    /// Notes that a record needs nothing any more.
    pub(crate) fn done(&mut self, offset: u64) -> io::Result<()> {
        self.waiting = self.waiting.saturating_sub(1);
        self.file.write_all_at(&[DONE], offset + STATE)
    }

    /// Notes which spans of a record need nothing any more, as far as these bytes of it changed. One system call.
    pub(crate) fn settle(
        &self,
        offset: u64,
        len: u32,
        settled: &Settled,
        changed: Range<usize>,
    ) -> io::Result<()> {
        let at = offset + record::bits(len) + changed.start as u64;
        self.file.write_all_at(settled.bytes(changed), at)
    }

    /// Something in it cannot be read.
    pub(crate) fn mark_damaged(&mut self) {
        self.damaged = true;
    }

    /// Brings it to the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Whether its name still leads to it: nobody has removed or replaced it, or taken its file system away.
    pub(crate) fn is_there(&self) -> bool {
        let place = |meta: io::Result<Metadata>| meta.ok().map(|meta| (meta.dev(), meta.ino()));
        place(fs::metadata(&self.path)).is_some_and(|named| Some(named) == place(self.file.metadata()))
    }

    /// Writes it anew below its name, as whole as what we have open.
    pub(crate) fn restore(&mut self, folder: &Path) -> io::Result<()> {
        make_folder(folder)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&self.path)?;
        let written = flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from);
        let written = written.and_then(|()| {
            file.write_all_at(&self.bytes()?, 0)?;
            file.sync_all()?;
            File::open(folder)?.sync_all()
        });
        if let Err(error) = written {
            fs::remove_file(&self.path).ok();
            return Err(error);
        }
        self.file = file;
        Ok(())
    }

    /// Removes it, or sets it aside if it is damaged.
    pub(crate) fn remove(self) -> io::Result<()> {
        if self.damaged {
            let mut name = self.path.clone().into_os_string();
            name.push(ASIDE);
            return fs::rename(&self.path, name);
        }
        fs::remove_file(&self.path)
    }
}
