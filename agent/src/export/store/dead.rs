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
    files: Mutex<Files>,
    bytes: AtomicU64,
    /// Spans in files that were there and are not any more.
    gone: AtomicU64,
    /// Spans for which there was no room, or no disk.
    lost: AtomicU64,
}

/// What this process has written.
#[derive(Debug, Default)]
struct Files {
    /// The one that is written, and since when.
    active: Option<(Segment, Instant)>,
    /// Where, and how many spans. No more than there are in the folder, whose size is limited.
    written: Vec<(PathBuf, u64)>,
}

impl Files {
    /// Forgets those that are not there any more. Gives their spans.
    fn forget_gone(&mut self) -> u64 {
        self.written.extract_if(.., |(path, _)| !path.exists()).map(|(_, spans)| spans).sum()
    }
}

impl DeadLetters {
    /// Those in a folder, of which nothing is looked at before [`Self::look`].
    pub fn new(folder: &Path, limit: u64) -> Self {
        let folder = folder.to_owned();
        let (files, [bytes, gone, lost]) = (Mutex::default(), std::array::from_fn(|_| AtomicU64::new(0)));
        Self { folder, limit, files, bytes, gone, lost }
    }

    /// Opens a folder.
    #[cfg(test)]
    pub fn open(folder: &Path, limit: u64) -> io::Result<Self> {
        let dead = Self::new(folder, limit);
        dead.look()?;
        Ok(dead)
    }

    /// Makes the folder, and looks how much is in it: that counts for the limit.
    pub fn look(&self) -> io::Result<()> {
        make_folder(&self.folder)?;
        self.bytes.store(size(&self.folder)?, Relaxed);
        Ok(())
    }

    /// Spans could not be kept.
    pub(crate) fn count_lost(&self, spans: usize) {
        self.lost.fetch_add(spans as u64, Relaxed);
    }

    /// Keeps a batch, if there is room for it and the disk does not fail.
    pub(crate) fn save(&self, encoding: Encoding, spans: usize, message: &[u8]) -> io::Result<()> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let files = &mut *files;
        let active = &mut files.active;
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
        if active.is_none() {
            make_folder(&self.folder)?;
            let segment = Segment::create(&self.folder)?;
            self.gone.fetch_add(files.forget_gone(), Relaxed);
            files.written.push((segment.path().to_owned(), 0));
            files.active = Some((segment, Instant::now()));
        }
        let (active, written) = (&mut files.active, &mut files.written);
        let Some((segment, _)) = active else { return Err(io::Error::other("no file")) };
        let result = segment.append(encoding, spans as u32, message).and_then(|_| segment.sync());
        if result.is_err()
            && let Some((segment, _)) = active.take()
            && segment.len() == 0
        {
            // A disk that stays full would get an empty file for each batch.
            segment.remove().ok();
        }
        if let Some((_, held)) = written.last_mut().filter(|_| result.is_ok()) {
            *held += spans as u64;
        }
        self.bytes.store(all, Relaxed);
        result
    }

    /// Ends the file that is written, so that it can be replayed.
    pub fn end(&self) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.active = None;
        self.gone.fetch_add(files.forget_gone(), Relaxed);
    }

    /// Spans in files that were there when this process last looked at all of them, and were replayed or removed.
    pub fn gone(&self) -> u64 {
        self.gone.load(Relaxed)
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
        // What is there is told from what was.
        dead.save(Encoding::Protobuf, 7, b"text").unwrap();
        dead.save(Encoding::Protobuf, 7, b"text").unwrap();
        dead.end();
        assert_eq!(dead.gone(), 10);
        dead.end();
        assert_eq!(dead.gone(), 10);
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
