//! What really happened: a line for each end of an exchange, in words that the tests read back.
//!
//! ```text
//! server 4242 /readv-64/3/250 250 128 512 127.0.0.1:40112 exact
//! ```
//! Role, process that moved the request's first byte at this end, path, status or `-`, bytes of request
//! and response body, the peer's address or `unix`, and what a span of it has to look like ([`Look`]).

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    net::SocketAddr,
};

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Client,
    Server,
}

impl End {
    const fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// What may be expected of the span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Everything was there to be seen.
    Exact,
    /// Bytes of it were not in the program's memory, or more of them than is looked at: the span says so.
    Gap,
    /// Everything was there to be seen, and the status is an error for this end.
    Refused,
    /// The one before it in its connection had a gap: it may say that something could be missing, but what it says
    /// is right.
    AfterGap,
    /// The head is longer than what is captured: the span says so.
    Truncated,
    /// What named the request was never to be seen at this end: no span, or one that claims nothing.
    Hidden,
    /// Not sampled: no span, but it is counted.
    Unsampled,
    /// It ended without a complete response, with this `error.type` or, if it is empty, none.
    Failed(&'static str),
}

/// The length of a body of which it is not said how much counts.
pub(crate) const ANY: usize = usize::MAX;

/// One end of an exchange.
#[derive(Clone, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) end: End,
    pub(crate) path: &'a str,
    pub(crate) status: Option<u16>,
    pub(crate) request_body: usize,
    pub(crate) response_body: usize,
    /// `None` for Unix sockets.
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) look: Look,
}

/// The file. Lines are appended whole, so that several processes can write.
#[derive(Debug)]
pub(crate) struct Truth {
    file: File,
    path: String,
}

impl Truth {
    pub(crate) fn at(path: &str) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Where it is, for a program that this one starts.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Writes down one end, moved by this process.
    pub(crate) fn tell(&self, line: &Line<'_>) -> io::Result<()> {
        self.tell_of(std::process::id(), line)
    }

    /// Writes down one end, moved by process `pid`.
    pub(crate) fn tell_of(&self, pid: u32, line: &Line<'_>) -> io::Result<()> {
        let Line { end, path, status, request_body, response_body, peer, look } = line;
        let status = status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        let peer = peer.map_or_else(|| "unix".to_owned(), |peer| peer.to_string());
        let look = match look {
            Look::Exact => "exact".to_owned(),
            Look::Refused => "refused".to_owned(),
            Look::Gap => "gap".to_owned(),
            Look::AfterGap => "aftergap".to_owned(),
            Look::Truncated => "truncated".to_owned(),
            Look::Hidden => "hidden".to_owned(),
            Look::Unsampled => "unsampled".to_owned(),
            Look::Failed(error) => format!("failed={error}"),
        };
        let length = |len: &usize| i64::try_from(*len).unwrap_or(-1);
        let (request_body, response_body) = (length(request_body), length(response_body));
        let end = end.word();
        let text = format!("{end} {pid} {path} {status} {request_body} {response_body} {peer} {look}\n");
        (&self.file).write_all(text.as_bytes())
    }

    /// Something else that a test wants to know: `note WORD VALUE`.
    pub(crate) fn note(&self, word: &str, value: impl std::fmt::Display) -> io::Result<()> {
        (&self.file).write_all(format!("note {word} {value}\n").as_bytes())
    }
}
