//! Every way to send a message and to receive one.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsFd as _, BorrowedFd},
};

use crate::sys;

/// How a message is cut into buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// So many buffers of one length, as far as the bytes reach; the rest of them empty.
    Even(usize),
    /// The same with an empty buffer before each.
    Sparse(usize),
    /// The head in the first buffer, the body in so many.
    Tail(usize),
}

impl Cut {
    /// Lengths that sum up to `len`.
    fn lengths(self, head: usize, len: usize) -> Vec<usize> {
        let even = |count: usize, len: usize| {
            let each = len.div_ceil(count).max(1);
            (0..count).map(move |index| len.saturating_sub(index * each).min(each))
        };
        match self {
            Self::Even(count) => even(count, len).collect(),
            Self::Sparse(count) => even(count, len).flat_map(|len| [0, len]).chain([0]).collect(),
            Self::Tail(count) => {
                std::iter::once(head.min(len)).chain(even(count, len - head.min(len))).collect()
            }
        }
    }
}

/// How much of a message the program that used a way had in memory where it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    All,
    /// The first line, but not all of the head.
    Part,
    Nothing,
}

/// A way to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tx {
    Write,
    /// Pieces of so many bytes.
    Pieces(usize),
    Writev(Cut),
    Pwritev2(Cut),
    Sendto,
    /// Head and body apart, the first with `MSG_MORE`.
    More,
    Zerocopy,
    Sendmsg(Cut),
    /// So many messages in one call.
    Sendmmsg(usize),
    /// From pages of a file that nobody has touched yet.
    Mapped,
    /// The head by `send`, the body from a file.
    Sendfile,
    /// The head by `send`, the body from a pipe.
    Splice,
    /// The first line by `send`, the rest of the head and the body from a file.
    SendfileHead,
    /// All of it from a file.
    SendfileWhole,
    /// All of it from a pipe.
    SpliceWhole,
}

/// A way to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rx {
    Read,
    Pieces(usize),
    Readv(Cut),
    Preadv2(Cut),
    Recvfrom,
    Waitall,
    /// Looked at with `MSG_PEEK` first, by `recvfrom` and `recvmsg`.
    Peek,
    Recvmsg(Cut),
    Recvmmsg(usize),
    /// With a timeout.
    RecvmmsgTimed(usize),
    /// The head by `read`, the body thrown away by `MSG_TRUNC`.
    Discard,
    /// The head by `read`, the body into a pipe.
    Splice,
    /// The first line by `read`, the rest of the head and the body into a pipe.
    SpliceHead,
    /// All of it into a pipe.
    SpliceWhole,
}

/// Bytes of a message that are seen where the rest of its head is not: its first line, and more.
const LINE: usize = 60;

impl Tx {
    pub(crate) const ALL: [(&'static str, Self); 25] = [
        ("write", Self::Write),
        ("write-mapped", Self::Mapped),
        ("write-1", Self::Pieces(1)),
        ("write-7", Self::Pieces(7)),
        ("writev-1", Self::Writev(Cut::Even(1))),
        ("writev-2", Self::Writev(Cut::Even(2))),
        ("writev-64", Self::Writev(Cut::Even(64))),
        ("writev-1000", Self::Writev(Cut::Even(1000))),
        ("writev-1000-body", Self::Writev(Cut::Tail(1000))),
        ("writev-sparse", Self::Writev(Cut::Sparse(16))),
        ("pwritev2", Self::Pwritev2(Cut::Even(3))),
        ("sendto", Self::Sendto),
        ("more", Self::More),
        ("zerocopy", Self::Zerocopy),
        ("sendmsg-1", Self::Sendmsg(Cut::Even(1))),
        ("sendmsg-64", Self::Sendmsg(Cut::Even(64))),
        ("sendmsg-sparse", Self::Sendmsg(Cut::Sparse(5))),
        ("sendmmsg-1", Self::Sendmmsg(1)),
        ("sendmmsg-2", Self::Sendmmsg(2)),
        ("sendmmsg-8", Self::Sendmmsg(8)),
        ("sendfile", Self::Sendfile),
        ("splice", Self::Splice),
        ("sendfile-head", Self::SendfileHead),
        ("sendfile-whole", Self::SendfileWhole),
        ("splice-whole", Self::SpliceWhole),
    ];

    pub(crate) const fn works_on(self, tcp: bool) -> bool {
        // Unix sockets have no MSG_ZEROCOPY.
        tcp || !matches!(self, Self::Zerocopy)
    }

    pub(crate) const fn seen(self) -> Seen {
        match self {
            Self::SendfileHead => Seen::Part,
            Self::SendfileWhole | Self::SpliceWhole => Seen::Nothing,
            _ => Seen::All,
        }
    }

    /// Sends all of a message whose head has `head` bytes.
    pub(crate) fn send(self, fd: BorrowedFd<'_>, head: usize, bytes: &[u8]) -> io::Result<()> {
        let (first, rest) = bytes.split_at(head.min(bytes.len()));
        match self {
            Self::Write => all(bytes, |bytes| sys::write(fd, bytes)),
            Self::Pieces(size) => bytes.chunks(size).try_for_each(|piece| all(piece, |b| sys::write(fd, b))),
            Self::Writev(cut) => vectors(cut, head, bytes, |bufs| sys::writev(fd, bufs)),
            Self::Pwritev2(cut) => vectors(cut, head, bytes, |bufs| sys::pwritev2(fd, bufs)),
            Self::Sendmsg(cut) => {
                vectors(cut, head, bytes, |bufs| sys::sendmsg(fd, bufs, libc::MSG_NOSIGNAL))
            }
            Self::Sendto => all(bytes, |bytes| sys::sendto(fd, bytes, libc::MSG_NOSIGNAL)),
            Self::More => {
                all(first, |bytes| sys::sendto(fd, bytes, libc::MSG_MORE))?;
                all(rest, |bytes| sys::sendto(fd, bytes, 0))
            }
            Self::Zerocopy => zerocopy(fd, bytes),
            Self::Mapped => {
                let map = sys::Map::of(&sys::memory_file(bytes)?, bytes.len())?;
                all(map.bytes(), |bytes| sys::write(fd, bytes))
            }
            Self::Sendmmsg(count) => all(bytes, |bytes| {
                let pieces = bytes.chunks(bytes.len().div_ceil(count));
                let messages: Vec<_> = pieces.map(|piece| vec![IoSlice::new(piece)]).collect();
                Ok(sys::sendmmsg(fd, &messages, 0)?.iter().sum())
            }),
            Self::Sendfile => {
                all(first, |bytes| sys::sendto(fd, bytes, libc::MSG_MORE))?;
                sendfile(fd, rest)
            }
            Self::Splice => {
                all(first, |bytes| sys::sendto(fd, bytes, libc::MSG_MORE))?;
                splice_out(fd, rest)
            }
            Self::SendfileHead => {
                let (line, rest) = bytes.split_at(LINE);
                all(line, |bytes| sys::sendto(fd, bytes, libc::MSG_MORE))?;
                sendfile(fd, rest)
            }
            Self::SendfileWhole => sendfile(fd, bytes),
            Self::SpliceWhole => splice_out(fd, bytes),
        }
    }
}

impl Rx {
    pub(crate) const ALL: [(&'static str, Self); 24] = [
        ("read", Self::Read),
        ("read-1", Self::Pieces(1)),
        ("read-7", Self::Pieces(7)),
        ("readv-1", Self::Readv(Cut::Even(1))),
        ("readv-2", Self::Readv(Cut::Even(2))),
        ("readv-64", Self::Readv(Cut::Even(64))),
        ("readv-1000", Self::Readv(Cut::Even(1000))),
        ("readv-1000-body", Self::Readv(Cut::Tail(1000))),
        ("readv-sparse", Self::Readv(Cut::Sparse(16))),
        ("preadv2", Self::Preadv2(Cut::Even(3))),
        ("recvfrom", Self::Recvfrom),
        ("waitall", Self::Waitall),
        ("peek", Self::Peek),
        ("recvmsg-1", Self::Recvmsg(Cut::Even(1))),
        ("recvmsg-64", Self::Recvmsg(Cut::Even(64))),
        ("recvmsg-sparse", Self::Recvmsg(Cut::Sparse(5))),
        ("recvmmsg-1", Self::Recvmmsg(1)),
        ("recvmmsg-2", Self::Recvmmsg(2)),
        ("recvmmsg-8", Self::Recvmmsg(8)),
        ("recvmmsg-timed", Self::RecvmmsgTimed(1)),
        ("discard", Self::Discard),
        ("splice", Self::Splice),
        ("splice-head", Self::SpliceHead),
        ("splice-whole", Self::SpliceWhole),
    ];

    pub(crate) const fn works_on(self, tcp: bool) -> bool {
        // MSG_TRUNC throws bytes away on TCP only (tcp(7)).
        tcp || !matches!(self, Self::Discard)
    }

    pub(crate) const fn seen(self) -> Seen {
        match self {
            Self::SpliceHead => Seen::Part,
            Self::SpliceWhole => Seen::Nothing,
            _ => Seen::All,
        }
    }

    /// Receives `len` bytes, the first `head` of which are a head. What is thrown away comes as zeros.
    pub(crate) fn receive(self, fd: BorrowedFd<'_>, head: usize, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let (first, rest) = bytes.split_at_mut(head.min(len));
        match self {
            Self::Read => fill(&mut bytes, |buf| sys::read(fd, buf))?,
            Self::Pieces(size) => {
                bytes.chunks_mut(size).try_for_each(|piece| fill(piece, |buf| sys::read(fd, buf)))?;
            }
            Self::Recvfrom => fill(&mut bytes, |buf| sys::recvfrom(fd, buf, 0))?,
            Self::Waitall => fill(&mut bytes, |buf| sys::recvfrom(fd, buf, libc::MSG_WAITALL))?,
            Self::Peek => fill(&mut bytes, |buf| {
                sys::recvfrom(fd, buf, libc::MSG_PEEK)?;
                sys::recvmsg(fd, &mut [IoSliceMut::new(buf)], libc::MSG_PEEK)?;
                sys::recvfrom(fd, buf, 0)
            })?,
            Self::Readv(cut) => fill(&mut bytes, |buf| sys::readv(fd, &mut slices(cut, head, buf)))?,
            Self::Preadv2(cut) => fill(&mut bytes, |buf| sys::preadv2(fd, &mut slices(cut, head, buf)))?,
            Self::Recvmsg(cut) => fill(&mut bytes, |buf| sys::recvmsg(fd, &mut slices(cut, head, buf), 0))?,
            Self::Recvmmsg(count) => fill(&mut bytes, |buf| recvmmsg(fd, count, None, buf))?,
            Self::RecvmmsgTimed(count) => {
                let timeout = libc::timespec { tv_sec: 20, tv_nsec: 0 };
                fill(&mut bytes, |buf| recvmmsg(fd, count, Some(timeout), buf))?;
            }
            Self::Discard => {
                fill(first, |buf| sys::read(fd, buf))?;
                fill(rest, |buf| sys::recvfrom(fd, buf, libc::MSG_TRUNC))?;
            }
            Self::Splice => {
                fill(first, |buf| sys::read(fd, buf))?;
                splice_in(fd, rest)?;
            }
            Self::SpliceHead => {
                let (line, rest) = bytes.split_at_mut(LINE);
                fill(line, |buf| sys::read(fd, buf))?;
                splice_in(fd, rest)?;
            }
            Self::SpliceWhole => splice_in(fd, &mut bytes)?,
        }
        Ok(bytes)
    }

    /// Whether the bytes of a body that were received are the ones that were sent.
    pub(crate) const fn keeps_body(self) -> bool {
        !matches!(self, Self::Discard)
    }
}

/// Calls until all is sent. A call that a signal interrupted is made again.
pub(crate) fn all(bytes: &[u8], mut send: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match send(rest) {
            Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Calls until the buffer is full. A call that a signal interrupted is made again.
pub(crate) fn fill(
    buf: &mut [u8],
    mut receive: impl FnMut(&mut [u8]) -> io::Result<usize>,
) -> io::Result<()> {
    let mut done = 0;
    while done < buf.len() {
        match receive(&mut buf[done..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => done += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn vectors(
    cut: Cut,
    head: usize,
    bytes: &[u8],
    mut send: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
) -> io::Result<()> {
    all(bytes, |bytes| {
        let mut rest = bytes;
        let mut slices = Vec::new();
        for len in cut.lengths(head, bytes.len()) {
            let (piece, behind) = rest.split_at(len);
            slices.push(IoSlice::new(piece));
            rest = behind;
        }
        send(&slices)
    })
}

fn slices(cut: Cut, head: usize, buf: &mut [u8]) -> Vec<IoSliceMut<'_>> {
    let mut slices = Vec::new();
    let lengths = cut.lengths(head, buf.len());
    let mut rest = buf;
    for len in lengths {
        let (piece, behind) = rest.split_at_mut(len);
        slices.push(IoSliceMut::new(piece));
        rest = behind;
    }
    slices
}

/// Messages of one length; the first waits, the others take what is there. Only full ones are followed by
/// another, so the bytes lie in the buffer without holes.
fn recvmmsg(
    fd: BorrowedFd<'_>,
    count: usize,
    timeout: Option<libc::timespec>,
    buf: &mut [u8],
) -> io::Result<usize> {
    let each = buf.len().div_ceil(count).max(1);
    let mut messages: Vec<_> = buf.chunks_mut(each).map(|piece| vec![IoSliceMut::new(piece)]).collect();
    let lengths = sys::recvmmsg(fd, &mut messages, libc::MSG_WAITFORONE, timeout)?;
    let holes = lengths.iter().rev().skip(1).any(|len| *len != each);
    if holes { Err(io::Error::other("a message in between was short")) } else { Ok(lengths.iter().sum()) }
}

/// Sends, and takes the notice that the memory is free again from the error queue.
fn zerocopy(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    sys::set_option(fd, libc::SOL_SOCKET, libc::SO_ZEROCOPY, 1)?;
    all(bytes, |bytes| {
        let sent = sys::sendto(fd, bytes, libc::MSG_ZEROCOPY)?;
        while sys::poll(fd, 0)? & libc::POLLERR == 0 {}
        match sys::recvmsg(fd, &mut [], libc::MSG_ERRQUEUE) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(sent),
        }
    })
}

fn sendfile(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    let file = sys::memory_file(bytes)?;
    all(bytes, |rest| sys::sendfile(fd, file.as_fd(), rest.len()))
}

/// Bytes that a pipe holds by default (pipe(7)) are 64 KiB; a piece fits in.
const PIPE_PIECE: usize = 32 * 1024;

fn splice_out(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    let (reader, writer) = sys::pipe()?;
    for piece in bytes.chunks(PIPE_PIECE) {
        all(piece, |bytes| sys::write(writer.as_fd(), bytes))?;
        all(piece, |rest| sys::splice(reader.as_fd(), fd, rest.len(), 0))?;
    }
    Ok(())
}

fn splice_in(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<()> {
    let (reader, writer) = sys::pipe()?;
    for piece in buf.chunks_mut(PIPE_PIECE) {
        fill(piece, |buf| {
            let len = sys::splice(fd, writer.as_fd(), buf.len(), 0)?;
            fill(&mut buf[..len], |buf| sys::read(reader.as_fd(), buf))?;
            Ok(len)
        })?;
    }
    Ok(())
}
