//! A connection of our own through which injection is tried before any program's request is touched: what arrives is
//! exactly what was sent and one line, and everything that a program can ask of the socket is answered as ever.
//!
//! What is asked is what a socket in a socket map is known to answer otherwise, so a kernel on which sockets do
//! not become plain again while they send is found out here, and not by its version.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::{AsRawFd as _, RawFd},
    time::Duration,
};

use spandrel_common::inject::LINE;

/// What was different.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(in crate::kernel) struct Difference(String);

type Outcome<T = ()> = Result<T, Difference>;

/// Loopback answers in microseconds; a second is a stalled machine.
const PATIENCE: Duration = Duration::from_secs(1);
const REQUEST: &[u8] = b"GET /spandrel-self-test HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// Bytes of the request line.
const LINE_AT: usize = 34;
const ANSWER: &[u8] = &[b'a'; 43];

/// Tries everything.
pub(super) fn run() -> Outcome {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed("listening"))?;
    let (mut client, mut server) = pair(&listener)?;
    exchange(&mut client, &mut server)?;
    reading(&mut client, &mut server)?;
    reset(client, server)?;
    let (mut client, mut server) = pair(&listener)?;
    unasked(&mut client, &mut server)
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> Difference {
    move |error| Difference(format!("{what}: {error}"))
}

/// Like `assert_eq`, as an outcome.
#[expect(clippy::needless_pass_by_value, reason = "its callers have values")]
fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: T, expected: T) -> Outcome {
    if is == expected { Ok(()) } else { Err(Difference(format!("{what}: {is:?} instead of {expected:?}"))) }
}

fn pair(listener: &TcpListener) -> Outcome<(TcpStream, TcpStream)> {
    let address = listener.local_addr().map_err(failed("listening"))?;
    let client = TcpStream::connect_timeout(&address, PATIENCE).map_err(failed("connecting"))?;
    let (server, _) = listener.accept().map_err(failed("accepting"))?;
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed("setting a timeout"))?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed("setting a timeout"))?;
    }
    Ok((client, server))
}

/// The request arrives with its line, and nothing else of it is different.
fn exchange(client: &mut TcpStream, server: &mut TcpStream) -> Outcome {
    let sent = client.write(REQUEST).map_err(failed("sending"))?;
    same("bytes that a send returned", sent, REQUEST.len())?;
    let mut arrived = vec![0; REQUEST.len() + LINE];
    server.read_exact(&mut arrived).map_err(failed("a request with its line"))?;
    let line: Vec<u8> = arrived.drain(LINE_AT..LINE_AT + LINE).collect();
    same("the program's own bytes", arrived.as_slice(), REQUEST)?;
    let starts = line.starts_with(b"traceparent: 00-") && line.ends_with(b"\r\n");
    same("the line is a traceparent", starts, true)?;
    // The answer's acknowledgement comes with it, so nothing is waiting to be sent afterwards.
    server.write_all(ANSWER).map_err(failed("answering"))?;
    same("poll", readable(client.as_raw_fd()), true)?;
    same("SIOCOUTQ", asked(client.as_raw_fd(), libc::TIOCOUTQ), 0)
}

/// The answer is waiting: every way to ask for it and to read it.
fn reading(client: &mut TcpStream, server: &mut TcpStream) -> Outcome {
    let fd = client.as_raw_fd();
    same("FIONREAD", asked(fd, libc::FIONREAD), ANSWER.len() as i32)?;
    let mut bytes = [0; 2 * ANSWER.len()];
    let peeked = client.peek(&mut bytes).map_err(failed("MSG_PEEK"))?;
    same("MSG_PEEK", peeked, ANSWER.len())?;
    let read = client.read(&mut bytes).map_err(failed("receiving"))?;
    same("bytes received", bytes.get(..read).unwrap_or_default(), ANSWER)?;
    same("FIONREAD when all was read", asked(fd, libc::FIONREAD), 0)?;

    let low: libc::c_int = 10;
    // SAFETY: the pointer and the length describe `low`, which outlives the call.
    let set = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const low).cast(),
            size_of_val(&low) as u32,
        )
    };
    same("setting SO_RCVLOWAT", set, 0)?;
    server.write_all(b"12345").map_err(failed("answering"))?;
    same("poll below SO_RCVLOWAT", readable_now(fd), false)?;
    server.write_all(b"67890").map_err(failed("answering"))?;
    same("poll at SO_RCVLOWAT", readable(fd), true)?;
    spliced(fd)
}

/// `splice` takes what is waiting.
fn spliced(fd: RawFd) -> Outcome {
    let (_reader, writer) = io::pipe().map_err(failed("a pipe"))?;
    let null = std::ptr::null_mut();
    // SAFETY: both descriptors are open, and no offsets are given.
    let moved = unsafe { libc::splice(fd, null, writer.as_raw_fd(), null, 10, libc::SPLICE_F_NONBLOCK) };
    same("splice", moved, 10)
}

/// A peer that speaks first: what waits to be read is told and read as ever.
fn unasked(client: &mut TcpStream, server: &mut TcpStream) -> Outcome {
    server.write_all(ANSWER).map_err(failed("speaking first"))?;
    same("poll before sending", readable(client.as_raw_fd()), true)?;
    let waiting = asked(client.as_raw_fd(), libc::FIONREAD);
    same("FIONREAD before sending", waiting, ANSWER.len() as i32)?;
    let mut bytes = [0; 2 * ANSWER.len()];
    let read = client.read(&mut bytes).map_err(failed("receiving before sending"))?;
    same("bytes received before sending", bytes.get(..read).unwrap_or_default(), ANSWER)
}

/// A reset is told as one to who waits for bytes.
fn reset(mut client: TcpStream, server: TcpStream) -> Outcome {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the pointer and the length describe `linger`, which outlives the call.
    let set = unsafe {
        libc::setsockopt(
            server.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of_val(&linger) as u32,
        )
    };
    same("setting SO_LINGER", set, 0)?;
    drop(server);
    let kind = client.read(&mut [0]).map_err(|error| error.kind());
    same("receiving after a reset", kind, Err(io::ErrorKind::ConnectionReset))
}

/// The number that an `ioctl` tells; -1 if it fails.
fn asked(fd: RawFd, request: libc::Ioctl) -> i32 {
    let mut number: libc::c_int = -1;
    // SAFETY: both requests that are made here write one `int`.
    unsafe { libc::ioctl(fd, request, &raw mut number) };
    number
}

fn readable(fd: RawFd) -> bool {
    polled(fd, PATIENCE)
}

fn readable_now(fd: RawFd) -> bool {
    polled(fd, Duration::ZERO)
}

fn polled(fd: RawFd, patience: Duration) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: the pointer is to one structure that outlives the call.
    unsafe { libc::poll(&raw mut poll, 1, patience.as_millis() as i32) == 1 }
}
