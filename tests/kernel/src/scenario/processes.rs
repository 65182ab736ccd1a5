//! One connection in several processes and threads: fork, exec, descriptor passing, SO_REUSEPORT.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::Command,
    thread,
};

use crate::{
    Stage, http,
    sock::Family,
    sys,
    talk::{Talk, pass},
    truth::{End, Line, Look, Truth},
    way::{Rx, Tx},
};

/// Bytes of the bodies here.
const BODIES: (usize, usize) = (20, 30);

fn ask(talk: &Talk<'_>, path: &str) -> io::Result<Vec<u8>> {
    let request = http::request(path, BODIES.0, "");
    Tx::Write.send(talk.pair.client.as_fd(), 0, &request)?;
    Ok(request)
}

fn answered(talk: &Talk<'_>, path: &str, status: u16) -> io::Result<()> {
    Rx::Read.receive(talk.pair.client.as_fd(), 0, http::response(status, BODIES.1, "").len())?;
    talk.told_end(End::Client, (path, Some(status)), BODIES, Look::Exact)
}

/// Takes a request of known length and answers it.
fn serve(talk: &Talk<'_>, server: BorrowedFd<'_>, path: &str, status: u16) -> io::Result<()> {
    Rx::Read.receive(server, 0, http::request(path, BODIES.0, "").len())?;
    talk.told_end(End::Server, (path, Some(status)), BODIES, Look::Exact)?;
    Tx::Write.send(server, 0, &http::response(status, BODIES.1, ""))
}

/// Children answer: the whole exchange, or only what the parent has read.
pub(crate) fn fork(stage: &mut Stage) -> io::Result<()> {
    for family in [Family::V4, Family::UnixPair] {
        let mut talk = Talk::new(&stage.truth, &format!("fork-{}", family.word()), family)?;
        for round in 0..4 {
            let (path, status) = talk.next();
            let request = ask(&talk, &path)?;
            let server = talk.pair.server.as_fd();
            if round % 2 == 0 {
                sys::in_child(|| serve(&talk, server, &path, status))?;
            } else {
                Rx::Read.receive(server, 0, request.len())?;
                talk.told_end(End::Server, (&path, Some(status)), BODIES, Look::Exact)?;
                sys::in_child(|| Tx::Write.send(server, 0, &http::response(status, BODIES.1, "")))?;
            }
            answered(&talk, &path, status)?;
            talk.plain()?;
        }
    }
    Ok(())
}

/// A program is executed that inherits the connection and answers on it.
pub(crate) fn exec(stage: &mut Stage) -> io::Result<()> {
    for family in [Family::V4, Family::UnixPair] {
        let mut talk = Talk::new(&stage.truth, &format!("exec-{}", family.word()), family)?;
        talk.plain()?;
        sys::keep_on_exec(talk.pair.server.as_fd())?;
        for _ in 0..3 {
            let (path, status) = talk.next();
            ask(&talk, &path)?;
            let fd = talk.pair.server.as_raw_fd().to_string();
            let peer = talk.pair.client_addr.map_or_else(|| "unix".to_owned(), |peer| peer.to_string());
            let ended = Command::new(std::env::current_exe()?)
                .args(["answer", stage.truth.path(), &fd, &path, &status.to_string(), &peer])
                .status()?;
            if !ended.success() {
                return Err(io::Error::other(format!("the executed program: {ended}")));
            }
            answered(&talk, &path, status)?;
        }
        talk.plain()?;
    }
    Ok(())
}

/// What [`exec`] executes: answers one request on an inherited descriptor.
pub(crate) fn answer(stage: &mut Stage) -> io::Result<()> {
    let server = sys::inherited(stage.arg(0)?);
    let (path, status): (String, u16) = (stage.arg(1)?, stage.arg(2)?);
    let peer = stage.arg::<SocketAddr>(3).ok();
    Rx::Read.receive(server.as_fd(), 0, http::request(&path, BODIES.0, "").len())?;
    stage.truth.tell(&Line {
        end: End::Server,
        path: &path,
        status: Some(status),
        request_body: BODIES.0,
        response_body: BODIES.1,
        peer,
        look: Look::Exact,
    })?;
    Tx::Write.send(server.as_fd(), 0, &http::response(status, BODIES.1, ""))
}

/// Another process is sent the descriptor; both answer in turn, then only the other one has it.
pub(crate) fn passing(stage: &mut Stage) -> io::Result<()> {
    for family in [Family::V4, Family::UnixPair] {
        let mut talk = Talk::new(&stage.truth, &format!("passing-{}", family.word()), family)?;
        talk.plain()?;
        let (here, there) = UnixStream::pair()?;
        let rounds: Vec<_> = (0..3).map(|_| talk.next()).collect();
        let child = sys::fork(|| {
            let mut server: Option<OwnedFd> = None;
            for (path, status) in &rounds {
                let passed = sys::receive_descriptor(there.as_fd())?;
                serve(&talk, passed.as_fd(), path, *status)?;
                server = Some(passed);
            }
            drop(server);
            Ok(())
        })?;
        for (path, status) in &rounds {
            ask(&talk, path)?;
            sys::send_descriptor(here.as_fd(), talk.pair.server.as_fd())?;
            answered(&talk, path, *status)?;
            talk.plain()?;
        }
        sys::wait(child)?;
    }
    Ok(())
}

/// Each step of an exchange in a thread of its own; and many connections at once.
pub(crate) fn threads(stage: &mut Stage) -> io::Result<()> {
    let truth = &stage.truth;
    for family in [Family::V4, Family::UnixPair] {
        let mut talk = Talk::new(truth, &format!("threads-{}", family.word()), family)?;
        for _ in 0..20 {
            talk.carry(
                BODIES,
                |path, status| (http::request(path, BODIES.0, ""), http::response(status, BODIES.1, "")),
                |from, to, message| {
                    let (first, rest) = message.split_at(40);
                    in_thread(|| Tx::Write.send(from, 0, first))?;
                    in_thread(|| Tx::Write.send(from, 0, rest))?;
                    in_thread(|| Rx::Read.receive(to, 0, 33).map(drop))?;
                    in_thread(|| Rx::Read.receive(to, 0, message.len() - 33).map(drop))
                },
            )?;
        }
    }
    let busy = |index: u32| {
        let family = if index.is_multiple_of(2) { Family::V4 } else { Family::UnixPair };
        let mut talk = Talk::new(truth, &format!("busy-{index}"), family)?;
        for _ in 0..200 {
            talk.carry(
                BODIES,
                |path, status| (http::request(path, BODIES.0, ""), http::response(status, BODIES.1, "")),
                |from, to, message| pass(from, to, Tx::Write, Rx::Read, message),
            )?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|index| scope.spawn(move || busy(index))).collect();
        all.into_iter().try_for_each(join)
    })
}

fn in_thread(work: impl FnOnce() -> io::Result<()> + Send) -> io::Result<()> {
    thread::scope(|scope| join(scope.spawn(work)))
}

fn join(thread: thread::ScopedJoinHandle<'_, io::Result<()>>) -> io::Result<()> {
    thread.join().map_err(|_panic| io::Error::other("a thread panicked"))?
}

/// Several processes listen on one port; the kernel chooses who gets a connection.
pub(crate) fn reuseport(stage: &mut Stage) -> io::Result<()> {
    let mut listeners = Vec::new();
    let mut port = 0;
    for _ in 0..3 {
        let listener = sys::socket(libc::AF_INET, 0)?;
        sys::set_option(listener.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        sys::bind(listener.as_fd(), &sys::Name::of(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))?;
        sys::listen(listener.as_fd())?;
        let listener = TcpListener::from(listener);
        port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    let mut children = Vec::new();
    for listener in listeners {
        children.push(sys::fork(|| one_of_many(&listener, &stage.truth))?);
    }
    for index in 0..40 {
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        for round in 0..2 {
            let (path, status) = (format!("/reuseport/{index}-{round}/{}", 240 + round), 240 + round);
            Tx::Write.send(client.as_fd(), 0, &http::request(&path, BODIES.0, ""))?;
            Rx::Read.receive(client.as_fd(), 0, http::response(status, BODIES.1, "").len())?;
            let peer = Some(client.peer_addr()?);
            tell(&stage.truth, End::Client, &path, status, peer)?;
        }
    }
    children.into_iter().try_for_each(sys::kill_child)
}

/// Accepts and answers until it is killed. The status is the end of the path.
fn one_of_many(listener: &TcpListener, truth: &Truth) -> io::Result<()> {
    loop {
        let (server, peer) = listener.accept()?;
        let mut bytes = vec![0; 4096];
        loop {
            let len = sys::read(server.as_fd(), &mut bytes)?;
            let text = String::from_utf8_lossy(&bytes[..len]).into_owned();
            let Some(path) = text.split(' ').nth(1) else { break };
            let status = path.rsplit('/').next().and_then(|status| status.parse().ok()).unwrap_or(500);
            tell(truth, End::Server, path, status, Some(peer))?;
            Tx::Write.send(server.as_fd(), 0, &http::response(status, BODIES.1, ""))?;
        }
    }
}

fn tell(truth: &Truth, end: End, path: &str, status: u16, peer: Option<SocketAddr>) -> io::Result<()> {
    truth.tell(&Line {
        end,
        path,
        status: Some(status),
        request_body: BODIES.0,
        response_body: BODIES.1,
        peer,
        look: Look::Exact,
    })
}
