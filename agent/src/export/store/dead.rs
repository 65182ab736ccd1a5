//! Batches that can never be delivered, kept for `spandrel replay`.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{
    record,
    segment::{Segment, list, make_folder},
};
use crate::export::client::Encoding;

/// Size at which a file is ended, so that it can be replayed: nobody else may touch the one that is written.
const LARGEST: u64 = 4 << 20;
/// Age at which it is ended.
const OLDEST: Duration = Duration::from_secs(60);

/// The dead letters of one destination.
#[derive(Debug)]
pub struct DeadLetters {
    folder: PathBuf,
    limit: u64,
    active: Mutex<Option<(Segment, Instant)>>,
    bytes: AtomicU64,
    /// Spans for which there was no room, or no disk.
    lost: AtomicU64,
}

impl DeadLetters {
    /// Opens a folder. What is in it counts for the limit.
    pub fn open(folder: &Path, limit: u64) -> io::Result<Self> {
        make_folder(folder)?;
        let (bytes, lost) = (AtomicU64::new(size(folder)?), AtomicU64::new(0));
        Ok(Self { folder: folder.to_owned(), limit, active: Mutex::new(None), bytes, lost })
    }

    /// Spans could not be kept.
    pub(crate) fn count_lost(&self, spans: usize) {
        self.lost.fetch_add(spans as u64, Relaxed);
    }

    /// Keeps a batch, if there is room for it and the disk does not fail.
    pub(crate) fn save(&self, encoding: Encoding, spans: usize, message: &[u8]) -> io::Result<()> {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let old =
            |(segment, since): &(Segment, Instant)| segment.len() >= LARGEST || since.elapsed() >= OLDEST;
        // Who removes them while they are written to has had what was in them.
        if active.as_ref().is_some_and(|open| old(open) || !open.0.is_there()) {
            *active = None;
        }
        let size_now = size(&self.folder).unwrap_or(0);
        let all = size_now + record::size(message.len(), spans);
        self.bytes.store(size_now, Relaxed);
        if all > self.limit {
            let limit = self.limit;
            return Err(io::Error::other(format!(
                "its limit of {limit} bytes is reached; replay or remove some"
            )));
        }
        let segment = if let Some((segment, _)) = &mut *active {
            segment
        } else {
            make_folder(&self.folder)?;
            &mut active.insert((Segment::create(&self.folder)?, Instant::now())).0
        };
        let written = segment.append(encoding, spans as u32, message).and_then(|_| segment.sync());
        if written.is_err()
            && let Some((segment, _)) = active.take()
            && segment.len() == 0
        {
            // A disk that stays full would get an empty file for each batch.
            segment.remove().ok();
        }
        self.bytes.store(all, Relaxed);
        written
    }

    /// Ends the file that is written, so that it can be replayed.
    pub fn end(&self) {
        *self.active.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// The most that may be there.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Spans for which there was no room, or no disk.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

/// Bytes of all segments of a folder: a replay takes some away at any time.
fn size(folder: &Path) -> io::Result<u64> {
    Ok(list(folder, false)?.iter().filter_map(|path| path.metadata().ok()).map(|meta| meta.len()).sum())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::export::testing::Folder;

    #[test]
    fn a_folder_that_is_removed_is_made_anew() {
        let folder = Folder::new("dead-removed");
        let path = folder.path("d");
        let dead = DeadLetters::open(&path, 1 << 30).unwrap();
        for _ in 0..2 {
            dead.save(Encoding::Protobuf, 5, b"text").unwrap();
            let [file] = &list(&path, false).unwrap()[..] else { panic!("not one file") };
            assert!(file.metadata().unwrap().len() > 4);
            fs::remove_dir_all(&path).unwrap();
        }
    }

    #[test]
    fn what_cannot_be_written_leaves_no_file() {
        let folder = Folder::new("dead-empty");
        let dead = DeadLetters::open(&folder.path("d"), 1 << 30).unwrap();
        // More than a record may have: the disk's own errors take the same way.
        let huge = vec![0; (64 << 20) + 1];
        for _ in 0..3 {
            assert!(dead.save(Encoding::Protobuf, 5, &huge).is_err());
        }
        assert_eq!(folder.names().len(), 0);
        dead.save(Encoding::Protobuf, 5, b"text").unwrap();
        assert!(dead.save(Encoding::Protobuf, 5, &huge).is_err());
        // One with something in it stays.
        assert_eq!(folder.names().len(), 1);
    }
}
