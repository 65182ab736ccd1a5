//! Files that are read again when they change: certificates, keys, authorities, tokens, headers.
//!
//! Looked at once a second at most, when something is sent: no thread, no descriptor, and it works for every way in
//! which such files are replaced, the symbolic links of Kubernetes included.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};

use super::Error;
use crate::export::config::Otlp;

/// How often the files are looked at: a call of `stat` for each.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Bytes of a file with headers or a token. HTTP servers refuse heads that are larger.
const MAX_SECRET: u64 = 64 << 10;

/// What tells one version of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    Some(Stamp {
        device: meta.dev(),
        inode: meta.ino(),
        size: meta.size(),
        modified: (meta.mtime(), meta.mtime_nsec()),
        changed: (meta.ctime(), meta.ctime_nsec()),
    })
}

/// The files of one destination and when they were last looked at.
#[derive(Debug)]
pub(super) struct Watch {
    files: Vec<(PathBuf, Option<Stamp>)>,
    looked: Instant,
    /// What has been said about files that cannot be used, so that it is said once.
    pub(super) said: String,
}

impl Watch {
    /// The files of a configuration, as they are now: call it before they are read.
    pub(super) fn new(config: &Otlp) -> Self {
        let Otlp { tls, headers_file, token_file, .. } = config;
        let (certificate, key) = tls.client.clone().unzip();
        let all = [tls.certificate.clone(), certificate, key, headers_file.clone(), token_file.clone()];
        let files = all.into_iter().flatten().map(|path| (stamp(&path), path)).map(|(s, p)| (p, s)).collect();
        Self { files, looked: Instant::now(), said: String::new() }
    }

    /// Whether it is time to look: once in [`LOOK_AGAIN`], unless told to look `now`.
    pub(super) fn is_due(&self, now: bool) -> bool {
        !self.files.is_empty() && (now || self.looked.elapsed() >= LOOK_AGAIN)
    }

    /// The stamps of the files as they are now, if one of them changed and [`Self::is_due`].
    pub(super) fn changed(&mut self, now: bool) -> Option<Changed> {
        if !self.is_due(now) {
            return None;
        }
        self.looked = Instant::now();
        let stamps: Vec<_> = self.files.iter().map(|(path, _)| stamp(path)).collect();
        let same = self.files.iter().zip(&stamps).all(|((_, old), new)| old == new);
        (!same).then_some(Changed(stamps))
    }

    /// The changed files are in use.
    pub(super) fn accept(&mut self, Changed(stamps): Changed) {
        self.said.clear();
        for ((_, old), new) in self.files.iter_mut().zip(stamps) {
            *old = new;
        }
    }
}

/// How the files are that are not in use yet.
#[derive(Debug)]
pub(super) struct Changed(Vec<Option<Stamp>>);

/// The headers of a configuration's files, marked as secret.
pub(super) fn headers(config: &Otlp) -> Result<HeaderMap, Error> {
    let mut headers = match &config.headers_file {
        None => HeaderMap::new(),
        Some(path) => headers_of(path)?,
    };
    if let Some(path) = &config.token_file {
        headers.insert(AUTHORIZATION, token_of(path)?);
    }
    Ok(headers)
}

/// The headers of a file.
pub(super) fn headers_of(path: &Path) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    for (number, line) in read(path)?.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let pair = line
            .split_once(':')
            .and_then(|(name, value)| Some((HeaderName::try_from(name.trim()).ok()?, secret(value.trim())?)));
        // The line may hold a secret: only its number is said.
        let wrong = || unusable(path, format!("line {} is not `Name: value`", number + 1));
        let (name, value) = pair.ok_or_else(wrong)?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// What a file with a token makes of the `Authorization` header.
pub(super) fn token_of(path: &Path) -> Result<HeaderValue, Error> {
    let token = read(path)?;
    let token = token.trim();
    let value = (!token.is_empty()).then(|| secret(&format!("Bearer {token}"))).flatten();
    value.ok_or_else(|| unusable(path, "it does not hold one token".to_owned()))
}

fn secret(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Opens a file. What is none, like a pipe that nobody writes to, is not waited for.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = File::options().read(true).custom_flags(nonblocking).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::other("it is no regular file"))
}

fn read(path: &Path) -> Result<String, Error> {
    let failed = |error: io::Error| unusable(path, error.to_string());
    let mut text = String::new();
    let file = open(path).map_err(failed)?;
    let read = file.take(MAX_SECRET + 1).read_to_string(&mut text).map_err(failed)?;
    if read as u64 > MAX_SECRET {
        return Err(unusable(path, format!("it has more than {MAX_SECRET} bytes")));
    }
    Ok(text)
}

fn unusable(path: &Path, reason: String) -> Error {
    Error::Secret { path: path.display().to_string(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{config::Protocol, testing::Folder};

    #[test]
    fn headers_and_token_from_files() {
        let folder = Folder::new("reload");
        let mut config = Otlp::new(Protocol::Grpc, "http://localhost:4317".parse().unwrap());
        let file = folder.file("headers", "# for staging\nX-Api-Key: s3cret:with:colons \n\nx-tenant:a\n");
        config.headers_file = Some(file.clone());
        config.token_file = Some(folder.file("token", "abc.def\n"));
        let read = headers(&config).unwrap();
        assert_eq!(read["x-api-key"], "s3cret:with:colons");
        assert_eq!(read["x-tenant"], "a");
        assert_eq!(read["authorization"], "Bearer abc.def");
        assert!(read.values().all(HeaderValue::is_sensitive));
        assert!(!format!("{read:?}").contains("s3cret"));

        let mut watch = Watch::new(&config);
        assert!(watch.changed(true).is_none());
        folder.file("headers", "no colon in s3cret");
        let changed = watch.changed(true).unwrap();
        let error = headers(&config).unwrap_err().to_string();
        assert!(error.contains("line 1") && !error.contains("s3cret"), "{error}");
        // It stays changed until it is used.
        assert!(watch.changed(true).is_some());
        watch.accept(changed);
        assert!(watch.changed(true).is_none());
        assert!(watch.changed(false).is_none());
        fs::remove_file(file).unwrap();
        assert!(watch.changed(true).is_some());
        folder.file("token", "\n");
        config.headers_file = None;
        assert!(headers(&config).is_err());
    }
}
