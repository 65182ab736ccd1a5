//! A destination's queue on disk.
//!
//! Every batch is written before it is sent, and marked when the backend has it. So a process that is killed loses
//! no batch and the next one sends no batch again that was acknowledged; one that was being sent is sent again,
//! with the same span ids. A batch is in the page cache when it is written, and on the disk after a second at most
//! (`fdatasync`): a power cut can cost that second, and can repeat what was acknowledged in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{
    disk::Late,
    record,
    segment::{Segment, Stored, list, make_folder},
    settled::Settled,
};
use crate::export::client::Encoding;

/// How much a power cut can cost.
const SYNC: Duration = Duration::from_secs(1);
/// Segments of a store: space comes back in parts of this share of its limit.
const SEGMENTS: u64 = 8;
/// Bounds of a segment's size: the larger, the later its space comes back; the smaller, the more files.
const SMALLEST: u64 = 16 << 10;
const LARGEST: u64 = 8 << 20;
/// Batches that are known by their place; each takes some 100 bytes of memory, so 6 MiB at most.
const MAX_BATCHES: u64 = 65_536;

/// Where a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    segment: u64,
    offset: u64,
    len: u32,
    /// Where it ends.
    end: u64,
}

/// Why a batch is not on disk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The limit is reached.
    #[error("the limit of {0} bytes is reached")]
    Full(u64),
    /// The disk.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The disk hangs.
    #[error(transparent)]
    Late(#[from] Late),
}

/// A batch of an earlier process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    pub slot: Slot,
    /// Those that are to be sent.
    pub spans: usize,
}

/// What was found at the start.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// In the order in which they were written.
    pub batches: Vec<Recovered>,
    /// Batches that cannot be read any more.
    pub damaged: u64,
}

/// The queue on disk. Any thread may use it; each call is a system call or two.
#[derive(Debug)]
pub struct Spill {
    folder: PathBuf,
    limit: u64,
    segments: Mutex<Segments>,
    /// What `segments` has, for those who must not wait for a disk.
    bytes: AtomicU64,
    /// Files that somebody removed and that were written anew.
    restored: AtomicU64,
    /// Segments that somebody removed and that could not be. Never held while a disk is waited for.
    missing: Mutex<BTreeSet<u64>>,
    ended: AtomicBool,
}

#[derive(Debug)]
struct Segments {
    all: BTreeMap<u64, Segment>,
    /// The one that is written.
    active: Option<u64>,
    next: u64,
    bytes: u64,
    batches: u64,
    synced: Instant,
}

impl Spill {
    /// The queue in a folder, of which nothing is looked at before [`Self::recover`].
    pub fn new(folder: &Path, limit: u64) -> Self {
        let segments = Segments {
            all: BTreeMap::new(),
            active: None,
            next: 0,
            bytes: 0,
            batches: 0,
            synced: Instant::now(),
        };
        Self {
            folder: folder.to_owned(),
            limit,
            segments: Mutex::new(segments),
            bytes: AtomicU64::new(0),
            restored: AtomicU64::new(0),
            missing: Mutex::default(),
            ended: AtomicBool::new(false),
        }
    }

    /// Opens a folder and takes over what earlier processes left in it.
    #[cfg(test)]
    pub fn open(folder: &Path, limit: u64) -> io::Result<(Self, Found)> {
        let spill = Self::new(folder, limit);
        let found = spill.recover()?;
        Ok((spill, found))
    }

    /// Takes over what earlier processes left in the folder. To be done once, before anything else.
    pub fn recover(&self) -> io::Result<Found> {
        make_folder(&self.folder)?;
        let mut segments = self.lock();
        let mut found = Found::default();
        for path in list(&self.folder, false)? {
            let taken = match Segment::take_over(&path) {
                Ok(taken) => taken,
                Err(error) => {
                    log::warn!("{} cannot be read: {error}", path.display());
                    found.damaged += 1;
                    continue;
                }
            };
            let Some((segment, scan)) = taken else { continue };
            found.damaged += scan.damaged;
            let id = segments.next;
            segments.next += 1;
            if segment.waiting() == 0 {
                segment.remove()?;
                continue;
            }
            segments.bytes += segment.len();
            segments.batches += segment.waiting();
            segments.all.insert(id, segment);
            let waiting = scan.records.iter().filter(|record| !record.done);
            found.batches.extend(waiting.map(|record| Recovered {
                slot: Slot { segment: id, offset: record.offset, len: record.len, end: record.end() },
                spans: record.waiting(),
            }));
        }
        self.bytes.store(segments.bytes, Relaxed);
        Ok(found)
    }

    fn lock(&self) -> MutexGuard<'_, Segments> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Bytes on disk. Never waits.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// The most that may be there.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Writes a batch at the end.
    pub(crate) fn append(&self, encoding: Encoding, spans: usize, message: &[u8]) -> Result<Slot, Error> {
        let mut segments = self.lock();
        let size = record::size(message.len(), spans);
        if segments.bytes + size > self.limit || segments.batches >= MAX_BATCHES {
            return Err(Error::Full(self.limit));
        }
        // The others are looked at with `sync`, a second after a batch: there can be many.
        if segments.active.and_then(|id| segments.all.get(&id)).is_some_and(|segment| !segment.is_there()) {
            segments.restore(&self.folder, &self.restored)?;
        }
        let id = match segments.active {
            Some(id) => id,
            None => segments.begin(&self.folder)?,
        };
        let segment = segments.all.get_mut(&id).ok_or_else(|| io::Error::other("no segment"))?;
        let offset = match segment.append(encoding, spans as u32, message) {
            Ok(offset) => offset,
            Err(error) => {
                // The next batch gets a file of its own: this one may be on a disk that is gone.
                segments.seal();
                return Err(error.into());
            }
        };
        let full = segment.len() >= (self.limit / SEGMENTS).clamp(SMALLEST, LARGEST);
        segments.bytes += size;
        segments.batches += 1;
        if segments.synced.elapsed() >= SYNC || full {
            segments.sync();
        }
        if full {
            segments.seal();
        }
        self.bytes.store(segments.bytes, Relaxed);
        Ok(Slot { segment: id, offset, len: message.len() as u32, end: offset + size })
    }

    /// Brings the last batches to the disk.
    pub fn sync(&self) {
        let mut segments = self.lock();
        self.keep(&mut segments);
        segments.sync();
    }

    /// Brings everything to the disk; what is empty is removed.
    pub fn end(&self) {
        self.ended.store(true, Relaxed);
        let mut segments = self.lock();
        self.keep(&mut segments);
        segments.sync();
        segments.seal();
        self.bytes.store(segments.bytes, Relaxed);
    }

    /// Writes anew what somebody has removed, where a failure has nobody who keeps something else instead.
    fn keep(&self, segments: &mut Segments) {
        let failed = segments.restore(&self.folder, &self.restored).err();
        let gone = failed.iter().flat_map(|_| segments.removed().map(|(id, batches)| (*id, batches)));
        let gone: BTreeMap<u64, u64> = gone.collect();
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = failed.filter(|_| missing.is_empty()) {
            log::warn!(
                "{}: somebody has removed files of the queue that are in use; their {} batches will be lost with this \
                 process unless they are sent before: {error}",
                self.folder.display(),
                gone.values().sum::<u64>()
            );
        }
        *missing = gone.into_keys().collect();
    }

    /// Whether the file of a batch was removed and could not be written anew when the disk was last looked at. Never
    /// waits.
    pub(crate) fn is_missing(&self, slot: Slot) -> bool {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).contains(&slot.segment)
    }

    /// Files that somebody removed and that were written anew. Never waits.
    pub fn restored(&self) -> u64 {
        self.restored.load(Relaxed)
    }

    /// The same, and leaves what is there to whoever opens the folder next.
    pub fn release(&self) {
        self.end();
        self.lock().all.clear();
    }

    /// Whoever drops it does not wait for the disk: it was waited for once, as long as that is worth.
    pub fn let_go(&self) {
        self.ended.store(true, Relaxed);
    }

    /// Reads a batch.
    pub(crate) fn read(&self, slot: Slot) -> io::Result<Stored> {
        let segments = self.lock();
        let segment = segments.all.get(&slot.segment).ok_or(io::ErrorKind::NotFound)?;
        segment.read(slot.offset, slot.end)
    }

    /// Notes which of a batch's spans need nothing any more, as far as these bytes of it changed.
    pub(crate) fn settle(&self, slot: Slot, settled: &Settled, changed: Range<usize>) {
        let segments = self.lock();
        let Some(segment) = segments.all.get(&slot.segment) else { return };
        if let Err(error) = segment.settle(slot.offset, slot.len, settled, changed) {
            log::warn!("{}: a part may be sent again after a restart: {error}", self.folder.display());
        }
    }

    /// A batch needs nothing any more. `damaged`: it could not be read.
    pub fn done(&self, slot: Slot, damaged: bool) {
        let mut segments = self.lock();
        let Some(segment) = segments.all.get_mut(&slot.segment) else { return };
        if damaged {
            segment.mark_damaged();
        }
        if let Err(error) = segment.done(slot.offset) {
            log::warn!("{}: a batch may be sent again after a restart: {error}", self.folder.display());
        }
        let empty = segment.waiting() == 0;
        segments.batches = segments.batches.saturating_sub(1);
        if empty && segments.active != Some(slot.segment) {
            segments.remove(slot.segment);
        }
        self.bytes.store(segments.bytes, Relaxed);
    }
}

impl Segments {
    fn begin(&mut self, folder: &Path) -> io::Result<u64> {
        // Somebody may have removed the folder.
        make_folder(folder)?;
        let id = self.next;
        self.all.insert(id, Segment::create(folder)?);
        self.next += 1;
        self.active = Some(id);
        Ok(id)
    }

    /// Writes anew what somebody has removed, with the folder perhaps: else it would be gone with this process, and be said
    /// to be on disk until then.
    fn restore(&mut self, folder: &Path, files: &AtomicU64) -> io::Result<()> {
        let missing = self.all.values_mut().filter(|segment| segment.waiting() > 0 && !segment.is_there());
        let mut batches = 0;
        for segment in missing {
            segment.restore(folder)?;
            files.fetch_add(1, Relaxed);
            batches += segment.waiting();
        }
        if batches > 0 {
            log::warn!(
                "{}: somebody has removed files of the queue that are in use; their {batches} batches are written anew: \
                 end the agent before you remove the queue",
                folder.display()
            );
        }
        Ok(())
    }

    /// Segments that somebody has removed, and how many batches wait in each.
    fn removed(&self) -> impl Iterator<Item = (&u64, u64)> {
        let removed = |segment: &Segment| segment.waiting() > 0 && !segment.is_there();
        self.all.iter().filter(move |(_, segment)| removed(segment)).map(|(id, one)| (id, one.waiting()))
    }

    fn sync(&mut self) {
        self.synced = Instant::now();
        let active = self.active.and_then(|id| self.all.get(&id));
        if let Some(Err(error)) = active.map(Segment::sync) {
            log::warn!("the queue on disk: {error}");
        }
    }

    /// Nothing is added to the active segment any more.
    fn seal(&mut self) {
        if let Some(id) = self.active.take()
            && self.all.get(&id).is_some_and(|segment| segment.waiting() == 0)
        {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: u64) {
        let Some(segment) = self.all.remove(&id) else { return };
        self.bytes = self.bytes.saturating_sub(segment.len());
        match segment.remove() {
            // Somebody was faster.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!("a segment of the queue on disk stays behind: {error}");
            }
            _ => {}
        }
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        if !self.ended.load(Relaxed) {
            self.end();
        }
    }
}

#[cfg(test)]
#[path = "spill_tests.rs"]
mod tests;
