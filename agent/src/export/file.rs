//! The JSON file as a destination: one line of OTLP/JSON a batch, renamed and begun anew at its size.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::fs::{OFlags, fcntl_setfl};

use super::{
    client::{Failure, Payload, Verdict},
    config::JsonFile,
    counters::Code,
};

/// Links that lead to a file at most, as for the system (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// A file that is written to. It is opened when the first batch comes, and again if it was removed or renamed by
/// somebody else.
#[derive(Debug)]
pub(super) struct Writer {
    config: JsonFile,
    open: Arc<Mutex<Option<File>>>,
}

impl Writer {
    /// Nothing is opened yet.
    pub(super) fn new(config: JsonFile) -> Self {
        Self { config, open: Arc::default() }
    }

    /// Where it writes.
    pub(super) fn describe(&self) -> String {
        self.config.path.display().to_string()
    }

    /// Writes one line, whole or not at all. A disk that is full may have room later: that is to be tried again.
    pub(super) async fn send(&self, payload: &Payload) -> Verdict {
        let (config, open, bytes) = (self.config.clone(), Arc::clone(&self.open), payload.bytes().clone());
        let written = tokio::task::spawn_blocking(move || {
            let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
            let written = write(&config, &mut open, &bytes);
            if written.is_err() {
                *open = None;
            }
            written
        });
        let error = match written.await {
            Ok(Ok(())) => {
                return Verdict::Accepted { code: Code::Written, rejected: 0, message: String::new() };
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        Verdict::Retry { after: None, failure: Failure { code: Code::Unwritten, message: error } }
    }
}

fn write(config: &JsonFile, open: &mut Option<File>, line: &[u8]) -> io::Result<()> {
    let moved = open.as_ref().is_some_and(|file| !is_at(file, config));
    if moved {
        *open = None;
    }
    let mut file = match open.take() {
        Some(file) => file,
        None => create(config)?,
    };
    let mut len = file.metadata()?.len();
    if len > 0 && len + line.len() as u64 > config.max_bytes && !is_descriptor(&config.path) {
        drop(file);
        rotate(config)?;
        file = create(config)?;
        len = file.metadata()?.len();
    }
    let written = file.write_all(line);
    if written.is_err() {
        // Half a line would make the file unreadable, and the batch comes again.
        file.set_len(len)?;
    }
    *open = Some(file);
    written
}

/// Whether the open file is still the one at its path.
fn is_at(file: &File, config: &JsonFile) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let place = |meta: &fs::Metadata| (meta.dev(), meta.ino());
    match (file.metadata(), fs::metadata(&config.path)) {
        (Ok(open), Ok(named)) => place(&open) == place(&named),
        _ => false,
    }
}

fn create(config: &JsonFile) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // A pipe that nobody reads is an error at once instead of a wait without a word.
    let flags = OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(flags)
        .open(&config.path)
        .map_err(|error| about("open", &config.path, &error))?;
    fcntl_setfl(&file, OFlags::APPEND)?;
    if is_torn(&file, config)? {
        // Half a line that a killed process or a power cut left would make ours unreadable, too.
        (&file).write_all(b"\n")?;
    }
    Ok(file)
}

/// Whether the file ends within a line.
fn is_torn(file: &File, config: &JsonFile) -> io::Result<bool> {
    let meta = file.metadata()?;
    let Some(last) = meta.len().checked_sub(1).filter(|_| meta.is_file()) else { return Ok(false) };
    let mut byte = [0];
    File::open(&config.path)?.read_exact_at(&mut byte, last)?;
    Ok(byte != *b"\n")
}

/// `traces.json` becomes `traces.json.1`, that becomes `traces.json.2`; the last one goes. A link stays where it is: what
/// it points to is renamed, on the disk that somebody chose for it.
fn rotate(config: &JsonFile) -> io::Result<()> {
    let path = fs::canonicalize(&config.path).map_err(|error| about("find", &config.path, &error))?;
    let numbered = |n: usize| {
        let mut name = OsString::from(&path);
        name.push(format!(".{n}"));
        PathBuf::from(name)
    };
    for n in (1..config.max_files).rev() {
        match fs::rename(numbered(n), numbered(n + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(about(&format!("rename {} to", numbered(n).display()), &numbered(n + 1), &error));
            }
            _ => {}
        }
    }
    fs::rename(&path, numbered(1))
        .map_err(|error| about(&format!("rename {} to", path.display()), &numbered(1), &error))
}

/// An error with the file that it is about.
fn about(what: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what} {}: {error}", path.display()))
}

/// Whether a path is that of an open descriptor, as `/dev/stdout` is: then it names the same file whatever that is called.
fn is_descriptor(path: &Path) -> bool {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Some(folder) = path.parent().and_then(|folder| fs::canonicalize(folder).ok()) else {
            return false;
        };
        if folder.starts_with("/proc") {
            return true;
        }
        match fs::read_link(&path) {
            Ok(target) => path = folder.join(target),
            Err(_) => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{client::Encoding, testing::Folder};

    fn line(text: &str) -> Payload {
        Payload::new(format!("{text}\n").into_bytes(), Encoding::Json, None).unwrap()
    }

    #[tokio::test]
    async fn files_are_renamed_at_their_size() {
        let folder = Folder::new("file");
        let path = folder.path("traces.json");
        let writer = Writer::new(JsonFile { path: path.clone(), max_bytes: 10, max_files: 2 });
        for n in 0..7 {
            let verdict = writer.send(&line(&format!("{n}234"))).await;
            assert_eq!(verdict.code(), Code::Written, "{verdict:?}");
        }
        let read = |name: &str| fs::read_to_string(folder.path(name)).unwrap();
        assert_eq!(read("traces.json"), "6234\n");
        assert_eq!(read("traces.json.1"), "4234\n5234\n");
        assert_eq!(read("traces.json.2"), "2234\n3234\n");
        assert_eq!(fs::read_dir(folder.path("")).unwrap().count(), 3);
        // A line that is longer than a file is written all the same.
        writer.send(&line("a very long line")).await;
        assert_eq!(read("traces.json"), "a very long line\n");
        // Somebody else renamed it.
        fs::rename(&path, folder.path("theirs")).unwrap();
        writer.send(&line("new")).await;
        assert_eq!(read("traces.json"), "new\n");
    }

    #[tokio::test]
    async fn a_link_stays_one() {
        let folder = Folder::new("file-link");
        for name in ["links", "disk"] {
            fs::create_dir(folder.path(name)).unwrap();
        }
        let link = folder.path("links/traces.json");
        std::os::unix::fs::symlink("../disk/real.json", &link).unwrap();
        let writer = Writer::new(JsonFile { path: link.clone(), max_bytes: 10, max_files: 2 });
        for n in 0..7 {
            let verdict = writer.send(&line(&format!("{n}234"))).await;
            assert_eq!(verdict.code(), Code::Written, "{verdict:?}");
        }
        assert!(link.is_symlink());
        assert_eq!(
            folder.names(),
            ["disk/real.json", "disk/real.json.1", "disk/real.json.2", "links/traces.json"]
        );
        assert_eq!(fs::read_to_string(folder.path("disk/real.json")).unwrap(), "6234\n");
        // It points elsewhere from now on.
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("../disk/other.json", &link).unwrap();
        writer.send(&line("new")).await;
        assert_eq!(fs::read_to_string(folder.path("disk/other.json")).unwrap(), "new\n");
    }

    #[tokio::test]
    async fn what_is_in_the_way_is_named() {
        let folder = Folder::new("file-way");
        let path = folder.file("traces.json", "0123456789\n");
        for name in ["traces.json.2", "traces.json.2/x", "other"] {
            fs::create_dir(folder.path(name)).unwrap();
        }
        folder.file("traces.json.1", "");
        for (path, named) in [(path, "traces.json.1 to "), (folder.path("other"), "cannot open ")] {
            let verdict = Writer::new(JsonFile { path, max_bytes: 10, max_files: 2 }).send(&line("1")).await;
            let Verdict::Retry { failure, .. } = verdict else { panic!("{verdict:?}") };
            let in_the_way =
                failure.message.contains("traces.json.2: ") || failure.message.contains("/other: ");
            assert!(failure.message.contains(named) && in_the_way, "{}", failure.message);
        }
    }

    #[test]
    fn descriptors_are_known() {
        for path in ["/dev/stdout", "/proc/self/fd/1", "/dev/fd/2"] {
            assert!(is_descriptor(Path::new(path)), "{path}");
        }
        assert!(!is_descriptor(Path::new("/tmp/x")) && !is_descriptor(Path::new("/dev/null")));
    }

    #[tokio::test]
    async fn a_torn_line_stays_alone() {
        let folder = Folder::new("file-torn");
        let path = folder.file("traces.json", "whole\n{\"torn");
        let writer = Writer::new(JsonFile::new(path.clone()));
        writer.send(&line("1")).await;
        writer.send(&line("2")).await;
        assert_eq!(fs::read_to_string(path).unwrap(), "whole\n{\"torn\n1\n2\n");
    }

    #[tokio::test]
    async fn a_pipe_that_nobody_reads_is_said() {
        let folder = Folder::new("file-pipe");
        let path = folder.pipe("traces.json");
        let verdict = Writer::new(JsonFile::new(path)).send(&line("1")).await;
        assert!(matches!(verdict, Verdict::Retry { .. }), "{verdict:?}");
    }

    #[tokio::test]
    async fn a_folder_that_is_missing_is_tried_again() {
        let folder = Folder::new("file-missing");
        let path = folder.path("later/traces.json");
        let writer = Writer::new(JsonFile::new(path.clone()));
        let verdict = writer.send(&line("1")).await;
        assert!(matches!(verdict, Verdict::Retry { .. }), "{verdict:?}");
        fs::create_dir(folder.path("later")).unwrap();
        assert_eq!(writer.send(&line("1")).await.code(), Code::Written);
        assert_eq!(fs::read_to_string(path).unwrap(), "1\n");
    }
}
