//! How calls end and how descriptors come to be: EAGAIN, EINTR, short counts, half-close, dup, accept4.

use std::{
    io,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd as _, BorrowedFd},
    thread,
};

use crate::{
    Stage, http,
    sock::{Family, Pair},
    sys,
    talk::{Talk, Ways, pass},
    truth::Look,
    way::{Rx, Tx, all, fill},
};

/// A body that no socket buffer holds, so that calls move less than they were asked for.
const LARGE: usize = 3 << 20;

/// Non-blocking sockets: nothing there yet, no more room, a part of what was asked for.
pub(crate) fn nonblocking(stage: &mut Stage) -> io::Result<()> {
    for family in [Family::V4, Family::UnixPair] {
        let mut talk = Talk::new(&stage.truth, &format!("nonblocking-{}", family.word()), family)?;
        sys::set_nonblocking(talk.pair.client.as_fd())?;
        sys::set_nonblocking(talk.pair.server.as_fd())?;
        for (request, response) in [(0, 0), (10, 100), (LARGE, 0), (0, LARGE), (LARGE, LARGE)] {
            talk.carry(
                (request, response),
                |path, status| (http::request(path, request, ""), http::response(status, response, "")),
                pump,
            )?;
        }
    }
    Ok(())
}

/// Sends until there is no room, receives until nothing is there, and so on.
fn pump(from: BorrowedFd<'_>, to: BorrowedFd<'_>, message: &[u8]) -> io::Result<()> {
    let (mut sent, mut came) = (0, Vec::<u8>::new());
    let mut buf = vec![0; 70_000];
    let blocked = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
    // Nothing is there yet.
    match sys::recvfrom(to, &mut buf, 0) {
        Err(error) if blocked(&error) => {}
        other => return Err(io::Error::other(format!("expected EAGAIN, got {other:?}"))),
    }
    while came.len() < message.len() {
        while sent < message.len() {
            match sys::write(from, &message[sent..]) {
                Ok(len) => sent += len,
                Err(error) if blocked(&error) => break,
                Err(error) => return Err(error),
            }
        }
        sys::poll(to, libc::POLLIN)?;
        loop {
            match sys::read(to, &mut buf) {
                Ok(len) if len > 0 => came.extend(&buf[..len]),
                Err(error) if blocked(&error) => break,
                other => return Err(io::Error::other(format!("in the middle: {other:?}"))),
            }
            if came.len() == message.len() {
                break;
            }
        }
    }
    if came == message { Ok(()) } else { Err(io::Error::other("other bytes came than were sent")) }
}

/// Signals interrupt calls that wait, and cut those that have moved something.
pub(crate) fn signals(stage: &mut Stage) -> io::Result<()> {
    sys::storm(300)?;
    for family in [Family::V4, Family::UnixPair] {
        let mut talk = Talk::new(&stage.truth, &format!("signals-{}", family.word()), family)?;
        for (request, response) in [(LARGE, 100), (100, LARGE), (LARGE, LARGE)] {
            talk.carry(
                (request, response),
                |path, status| (http::request(path, request, ""), http::response(status, response, "")),
                |from, to, message| {
                    thread::scope(|scope| {
                        let sender = scope.spawn(|| all(message, |bytes| sys::write(from, bytes)));
                        let mut came = vec![0; message.len()];
                        fill(&mut came, |buf| sys::read(to, buf))?;
                        sender.join().map_err(|_panic| io::Error::other("the sender panicked"))??;
                        if came == message { Ok(()) } else { Err(io::Error::other("other bytes came")) }
                    })
                },
            )?;
        }
    }
    sys::storm(0)
}

/// The client ends its direction after the request; the response ends with the connection.
pub(crate) fn half_close(stage: &mut Stage) -> io::Result<()> {
    for family in [Family::V4, Family::UnixPair] {
        for (round, length) in [0, 1000].into_iter().enumerate() {
            let mut talk = Talk::new(&stage.truth, &format!("half-close-{}-{round}", family.word()), family)?;
            let (path, status) = talk.next();
            let (client, server) = talk.pair.ends();
            pass(client, server, Tx::Write, Rx::Read, &http::request(&path, 10, ""))?;
            sys::shutdown_write(client)?;
            ended(server)?;
            let mut response = format!("HTTP/1.1 {status} Told\r\nConnection: close\r\n\r\n").into_bytes();
            http::fill(&mut response, length);
            pass(server, client, Tx::Write, Rx::Read, &response)?;
            sys::shutdown_write(server)?;
            ended(client)?;
            talk.told(&path, status, 10, length, (Look::Exact, Look::Exact))?;
        }
    }
    Ok(())
}

/// The peer ended its direction.
fn ended(fd: BorrowedFd<'_>) -> io::Result<()> {
    match sys::read(fd, &mut [0; 10])? {
        0 => Ok(()),
        _ => Err(io::Error::other("bytes came instead of the end")),
    }
}

/// Other descriptors of the same sockets.
pub(crate) fn dup(stage: &mut Stage) -> io::Result<()> {
    for family in [Family::V4, Family::UnixPair] {
        let mut talk = Talk::new(&stage.truth, &format!("dup-{}", family.word()), family)?;
        let other_client = sys::dup(talk.pair.client.as_fd())?;
        // Takes the place of another connection's descriptor, which closes that.
        let other_server = Pair::new(family)?.server;
        sys::dup_onto(talk.pair.server.as_fd(), &other_server)?;
        for (request, response) in [(0, 5), (500, 500)] {
            talk.carry(
                (request, response),
                |path, status| (http::request(path, request, ""), http::response(status, response, "")),
                |from, to, message| {
                    let is_request = message.starts_with(b"POST");
                    let (more, less) = if is_request {
                        (other_client.as_fd(), other_server.as_fd())
                    } else {
                        (other_server.as_fd(), other_client.as_fd())
                    };
                    let (first, rest) = message.split_at(message.len() / 2);
                    all(first, |bytes| sys::write(from, bytes))?;
                    all(rest, |bytes| sys::write(more, bytes))?;
                    let mut came = vec![0; message.len()];
                    let (start, end) = came.split_at_mut(30);
                    fill(start, |buf| sys::read(less, buf))?;
                    fill(end, |buf| sys::read(to, buf))
                },
            )?;
        }
        // The first names go; the connection stays.
        let ends = (talk.pair.client_addr, talk.pair.server_addr);
        talk.pair =
            Pair { client: other_client, server: other_server, client_addr: ends.0, server_addr: ends.1 };
        talk.plain()?;
    }
    Ok(())
}

/// `connect` that does not wait, `accept4`, and data that is there before it is accepted.
pub(crate) fn connects(stage: &mut Stage) -> io::Result<()> {
    for round in 0..3 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let client = sys::socket(libc::AF_INET, libc::SOCK_NONBLOCK)?;
        match sys::connect(client.as_fd(), &sys::Name::of(listener.local_addr()?)) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        sys::poll(client.as_fd(), libc::POLLOUT)?;
        let client = TcpStream::from(client);
        client.set_nonblocking(false)?;
        let (path, status) = (format!("/connects-{round}/1/231"), 231);
        let request = http::request(&path, 100, "");
        Tx::Write.send(client.as_fd(), http::head_len(&request), &request)?;
        let server = TcpStream::from(sys::accept4(listener.as_fd(), libc::SOCK_CLOEXEC)?);
        let pair = Pair::of(client, server)?;
        let mut talk = Talk::over(&stage.truth, &format!("connects-{round}"), pair);
        talk.next();
        let (client, server) = talk.pair.ends();
        Rx::Read.receive(server, 0, request.len())?;
        pass(server, client, Tx::Write, Rx::Read, &http::response(status, 3, ""))?;
        talk.told(&path, status, 100, 3, (Look::Exact, Look::Exact))?;
        talk.plain()?;
    }
    Ok(())
}

/// Connections that end between exchanges in every order, and refused ones: no spans of that.
pub(crate) fn closes(stage: &mut Stage) -> io::Result<()> {
    for round in 0..4 {
        let mut talk = Talk::new(&stage.truth, &format!("closes-{round}"), Family::V4)?;
        talk.plain()?;
        talk.exchange(Ways::PLAIN, 100, 100)?;
        let Pair { client, server, .. } = talk.pair;
        let (client, server) = (TcpStream::from(client), TcpStream::from(server));
        match round {
            0 => drop((client, server)),
            1 => drop((server, client)),
            2 => {
                client.shutdown(Shutdown::Both)?;
                ended(server.as_fd())?;
            }
            _ => {
                sys::break_on_close(client.as_fd())?;
                drop(client);
                match sys::read(server.as_fd(), &mut [0]) {
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                    other => return Err(io::Error::other(format!("expected ECONNRESET, got {other:?}"))),
                }
            }
        }
    }
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    match TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, free.port()))) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        other => Err(io::Error::other(format!("expected ECONNREFUSED, got {other:?}"))),
    }
}
