//! The JSON file as a destination: one line of OTLP/JSON a batch, renamed and begun anew at its size.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use rustix::fs::{OFlags, fcntl_setfl};

use super::{
    client::{Failure, Payload, Verdict},
    config::JsonFile,
    counters::Code,
};

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
    if len > 0 && len + line.len() as u64 > config.max_bytes {
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
    let file =
        OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags).open(&config.path)?;
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

/// `traces.json` becomes `traces.json.1`, that becomes `traces.json.2`; the last one goes.
fn rotate(config: &JsonFile) -> io::Result<()> {
    let numbered = |n: usize| {
        let mut name = OsString::from(&config.path);
        name.push(format!(".{n}"));
        PathBuf::from(name)
    };
    if config.max_files == 0 {
        return fs::remove_file(&config.path);
    }
    for n in (1..config.max_files).rev() {
        match fs::rename(numbered(n), numbered(n + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(&config.path, numbered(1))
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
