//! Batches on disk that nobody sends: those of a destination that was renamed or taken out of the configuration.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{FlockOperation, flock};

use super::segment::list;

/// A folder of batches that nobody sends.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Left {
    folder: PathBuf,
    bytes: u64,
}

/// Says what is left in a folder of queues by destinations other than these. Takes as long as the disk does.
pub fn say_behind(folder: &Path, known: &[Arc<str>]) {
    for Left { folder, bytes } in behind(folder, known) {
        let folder = folder.display();
        log::warn!(
            "{folder} has {bytes} bytes of batches, and no destination of this name has a queue on disk: `spandrel replay \
             {folder}` shows them, and sends them with --otlp-endpoint"
        );
    }
}

/// What is left in a folder of queues by destinations other than these. What another agent uses is left out, and what
/// cannot be looked at.
fn behind(folder: &Path, known: &[Arc<str>]) -> Vec<Left> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let folders = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir());
    let others = folders
        .filter(|path| !path.file_name().is_some_and(|name| known.iter().any(|known| name == &**known)));
    let mut left: Vec<_> = others
        .map(|folder| Left {
            bytes: list(&folder, false).unwrap_or_default().iter().filter_map(|path| free(path)).sum(),
            folder,
        })
        .filter(|left| left.bytes > 0)
        .collect();
    left.sort_by(|a, b| a.folder.cmp(&b.folder));
    left
}

/// The size of a file that nobody uses.
fn free(path: &Path) -> Option<u64> {
    let meta = path.metadata().ok().filter(fs::Metadata::is_file)?;
    let file = File::open(path).ok()?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(meta.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{client::Encoding, store::spill::Spill, testing::Folder};

    #[test]
    fn what_no_destination_sends_is_found() {
        let folder = Folder::new("left");
        assert_eq!(behind(&folder.path("none"), &[]), []);
        let used = |name: &str| {
            let (spill, _) = Spill::open(&folder.path(name), 1 << 20).unwrap();
            spill.append(Encoding::Protobuf, 1, b"a batch").unwrap();
            spill
        };
        let (known, renamed, other) = (used("known"), used("renamed"), used("other agent's"));
        drop((known, renamed));
        let left = behind(&folder.path(""), &["known".into()]);
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(left[0].folder.ends_with("renamed") && left[0].bytes > 7, "{left:?}");
        drop(other);
        assert_eq!(behind(&folder.path(""), &["known".into(), "renamed".into()]).len(), 1);
    }
}
