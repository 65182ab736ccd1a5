//! Exchanges that do not end as they should: resets, broken pipes, dead processes.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
};

use crate::{
    Stage, http,
    sock::{Family, Pair},
    sys,
    talk::{Talk, pass},
    truth::{End, Look},
    way::{Rx, Tx},
};

const BODY: usize = 1000;

/// A conversation of one good exchange, then a request that the server has read.
fn begun<'t>(stage: &'t Stage, name: &str, family: Family) -> io::Result<(Talk<'t>, String, u16)> {
    let mut talk = Talk::new(&stage.truth, &format!("{name}-{}", family.word()), family)?;
    talk.plain()?;
    let (path, status) = talk.next();
    let (client, server) = talk.pair.ends();
    pass(client, server, Tx::Write, Rx::Read, &http::request(&path, 5, ""))?;
    Ok((talk, path, status))
}

fn expect(result: &io::Result<usize>, wanted: &io::Result<usize>) -> io::Result<()> {
    let text = |result: &io::Result<usize>| match result {
        Ok(len) => format!("{len} bytes"),
        Err(error) => format!("{:?}", error.kind()),
    };
    if text(result) == text(wanted) {
        return Ok(());
    }
    Err(io::Error::other(format!("expected {}, got {}", text(wanted), text(result))))
}

fn failed(kind: io::ErrorKind) -> io::Result<usize> {
    Err(kind.into())
}

fn read(fd: BorrowedFd<'_>) -> io::Result<usize> {
    sys::read(fd, &mut [0; 100])
}

/// Half of a response: its head and some of its body.
fn half(status: u16) -> Vec<u8> {
    let mut response = http::response(status, BODY, "");
    response.truncate(http::head_len(&response) + BODY / 2);
    response
}

/// The server breaks the connection instead of answering: ECONNRESET at the client.
pub(crate) fn reset(stage: &mut Stage) -> io::Result<()> {
    let (talk, path, _) = begun(stage, "reset", Family::V4)?;
    talk.told_end(End::Client, (&path, None), (5, 0), Look::Failed("connection_reset"))?;
    talk.told_end(End::Server, (&path, None), (5, 0), Look::Failed("connection_closed"))?;
    let Pair { client, server, .. } = talk.pair;
    sys::break_on_close(server.as_fd())?;
    drop(server);
    expect(&read(client.as_fd()), &failed(io::ErrorKind::ConnectionReset))
}

/// What came before a reset is read after it, as if there had been none: all of a response, its rest, or nothing. And a
/// response that is sent whole to a client that has gone, which says so by a reset within that very call.
pub(crate) fn reset_later(stage: &mut Stage) -> io::Result<()> {
    for (name, first, rest) in [("reset-whole", 0, true), ("reset-rest", 100, true), ("reset-left", 0, false)]
    {
        let (talk, path, status) = begun(stage, name, Family::V4)?;
        let response = http::response(status, BODY, "");
        let (client, server) = talk.pair.ends();
        Tx::Write.send(server, 0, &response)?;
        Rx::Read.receive(client, 0, first)?;
        let (told, look) =
            if rest { (Some(status), Look::Exact) } else { (None, Look::Failed("connection_reset")) };
        talk.told_end(End::Client, (&path, told), (5, if rest { BODY } else { 0 }), look)?;
        talk.told_end(End::Server, (&path, Some(status)), (5, BODY), Look::Exact)?;
        let Pair { client, server, .. } = talk.pair;
        sys::break_on_close(server.as_fd())?;
        drop(server);
        sys::poll(client.as_fd(), libc::POLLHUP)?;
        if rest {
            Rx::Read.receive(client.as_fd(), 0, response.len() - first)?;
            expect(&read(client.as_fd()), &failed(io::ErrorKind::ConnectionReset))?;
        }
    }
    let (talk, path, status) = begun(stage, "gone", Family::V4)?;
    talk.told_end(End::Client, (&path, None), (5, 0), Look::Failed("cancelled"))?;
    talk.told_end(End::Server, (&path, Some(status)), (5, BODY), Look::Exact)?;
    let Pair { client, server, .. } = talk.pair;
    drop(client);
    Tx::Write.send(server.as_fd(), 0, &http::response(status, BODY, ""))
}

/// The client is gone when the server answers: ECONNRESET, or EPIPE if it had said that it sends no more.
pub(crate) fn broken_pipe(stage: &mut Stage) -> io::Result<()> {
    // A client that has announced its end, and gone, looks like one that still waits.
    for (name, client_error, error, kind) in [
        ("broken", "cancelled", "connection_reset", io::ErrorKind::ConnectionReset),
        ("pipe", "", "broken_pipe", io::ErrorKind::BrokenPipe),
    ] {
        let (talk, path, status) = begun(stage, name, Family::V4)?;
        talk.told_end(End::Client, (&path, None), (5, 0), Look::Failed(client_error))?;
        talk.told_end(End::Server, (&path, None), (5, 0), Look::Failed(error))?;
        let Pair { client, server, .. } = talk.pair;
        if client_error.is_empty() {
            sys::shutdown_write(client.as_fd())?;
            expect(&read(server.as_fd()), &Ok(0))?;
        }
        sys::break_on_close(client.as_fd())?;
        drop(client);
        let response = http::response(status, 10, "");
        expect(&sys::sendto(server.as_fd(), &response, libc::MSG_NOSIGNAL), &failed(kind))?;
    }
    Ok(())
}

/// The server closes without an answer, or in the middle of it.
pub(crate) fn closed(stage: &mut Stage) -> io::Result<()> {
    for family in [Family::V4, Family::UnixPair] {
        let (talk, path, _) = begun(stage, "unanswered", family)?;
        talk.told_end(End::Client, (&path, None), (5, 0), Look::Failed("connection_closed"))?;
        talk.told_end(End::Server, (&path, None), (5, 0), Look::Failed("connection_closed"))?;
        let Pair { client, server, .. } = talk.pair;
        drop(server);
        expect(&read(client.as_fd()), &Ok(0))?;

        let (talk, path, status) = begun(stage, "half", family)?;
        let (client, server) = talk.pair.ends();
        pass(server, client, Tx::Write, Rx::Read, &half(status))?;
        talk.told_end(End::Client, (&path, Some(status)), (5, 0), Look::Failed("connection_closed"))?;
        talk.told_end(End::Server, (&path, Some(status)), (5, 0), Look::Failed("connection_closed"))?;
        let Pair { client, server, .. } = talk.pair;
        drop(server);
        expect(&read(client.as_fd()), &Ok(0))?;
    }
    Ok(())
}

/// Unix sockets that are closed in a process that goes on until its cue: an unanswered request, half a response, and
/// a response that ends with the connection.
pub(crate) fn released(stage: &mut Stage) -> io::Result<()> {
    let family = Family::UnixPair;
    Stage::cue("ready")?;
    let (talk, path, _) = begun(stage, "released", family)?;
    talk.told_end(End::Client, (&path, None), (5, 0), Look::Failed("connection_closed"))?;
    talk.told_end(End::Server, (&path, None), (5, 0), Look::Failed("connection_closed"))?;
    let Pair { client, server, .. } = talk.pair;
    drop(server);
    expect(&read(client.as_fd()), &Ok(0))?;

    let (talk, path, status) = begun(stage, "released-half", family)?;
    let (here, there) = talk.pair.ends();
    pass(there, here, Tx::Write, Rx::Read, &half(status))?;
    talk.told_end(End::Client, (&path, Some(status)), (5, 0), Look::Failed("connection_closed"))?;
    talk.told_end(End::Server, (&path, Some(status)), (5, 0), Look::Failed("connection_closed"))?;
    let Pair { client: half_client, server, .. } = talk.pair;
    drop(server);
    expect(&read(half_client.as_fd()), &Ok(0))?;

    let (talk, path, status) = begun(stage, "released-whole", family)?;
    let (here, there) = talk.pair.ends();
    let mut response = format!("HTTP/1.1 {status} Told\r\nConnection: close\r\n\r\n").into_bytes();
    http::fill(&mut response, BODY);
    pass(there, here, Tx::Pieces(100), Rx::Read, &response)?;
    talk.told_end(End::Client, (&path, Some(status)), (5, BODY), Look::Exact)?;
    talk.told_end(End::Server, (&path, Some(status)), (5, BODY), Look::Exact)?;
    let Pair { client: whole_client, server, .. } = talk.pair;
    drop(server);
    expect(&read(whole_client.as_fd()), &Ok(0))?;

    // One that is held, and silent for as long.
    let (mut talk, path, status) = begun(stage, "released-not", family)?;
    let (here, there) = talk.pair.ends();
    Stage::cue("done")?;
    pass(there, here, Tx::Write, Rx::Read, &http::response(status, 10, ""))?;
    talk.told(&path, status, 5, 10, (Look::Exact, Look::Exact))?;
    talk.plain()
}

/// The server's process is killed while it answers, or before.
pub(crate) fn killed(stage: &mut Stage) -> io::Result<()> {
    for family in [Family::V4, Family::UnixPair] {
        for partly in [false, true] {
            let name = format!("killed-{partly}-{}", family.word());
            let mut talk = Talk::new(&stage.truth, &name, family)?;
            let (path, status) = talk.next();
            let request = http::request(&path, 5, "");
            let told = partly.then_some(status);
            let server = talk.pair.server.as_fd();
            let (here, there) = sys::pipe()?;
            let child = sys::fork(|| {
                Rx::Read.receive(server, 0, request.len())?;
                let look = Look::Failed("process_exit");
                talk.told_end(End::Server, (&path, told), (5, 0), look)?;
                if partly {
                    Tx::Write.send(server, 0, &half(status))?;
                }
                sys::write(there.as_fd(), b"x")?;
                // Nothing comes: it waits here to be killed.
                read(server).map(drop)
            })?;
            Tx::Write.send(talk.pair.client.as_fd(), 0, &request)?;
            read(here.as_fd())?;
            if partly {
                Rx::Read.receive(talk.pair.client.as_fd(), 0, half(status).len())?;
            }
            talk.told_end(End::Client, (&path, told), (5, 0), Look::Failed("connection_closed"))?;
            // From here on the child alone has the server's socket.
            let Pair { client, server, .. } = talk.pair;
            drop(server);
            sys::kill_child(child)?;
            expect(&read(client.as_fd()), &Ok(0))?;
        }
    }
    Ok(())
}

/// The client's process is killed while it waits for the answer; the server sees that and gives up.
pub(crate) fn killed_client(stage: &mut Stage) -> io::Result<()> {
    for family in [Family::V4, Family::UnixPair] {
        let mut talk = Talk::new(&stage.truth, &format!("killed-client-{}", family.word()), family)?;
        let (path, _) = talk.next();
        let request = http::request(&path, 5, "");
        let client = talk.pair.client.as_fd();
        let child = sys::fork(|| {
            talk.told_end(End::Client, (&path, None), (5, 0), Look::Failed("process_exit"))?;
            Tx::Write.send(client, 0, &request)?;
            read(client).map(drop)
        })?;
        Rx::Read.receive(talk.pair.server.as_fd(), 0, request.len())?;
        talk.told_end(End::Server, (&path, None), (5, 0), Look::Failed("client_closed"))?;
        let Pair { client, server, .. } = talk.pair;
        drop(client);
        sys::kill_child(child)?;
        expect(&read(server.as_fd()), &Ok(0))?;
    }
    Ok(())
}
