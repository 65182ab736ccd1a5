//! Bytes that move in ways which are not followed: io_uring, 32-bit system calls.

use std::{
    fs, io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd},
        unix::fs::PermissionsExt as _,
    },
    process::Command,
    thread,
};

use crate::{
    Stage,
    compat::{self, Low},
    http,
    sock::Family,
    sys,
    talk::Talk,
    truth::{End, Look},
    uring::{Op, Ring},
    way::{Rx, Tx, all, fill},
};

/// Ways to send and to receive that only this file knows.
type Send<'a> = &'a mut dyn FnMut(BorrowedFd<'_>, &[u8]) -> io::Result<usize>;
type Receive<'a> = &'a mut dyn FnMut(BorrowedFd<'_>, &mut [u8]) -> io::Result<usize>;

/// Exchanges whose client, and then whose server, moves its bytes unseen; the other end is seen.
fn unseen(stage: &Stage, name: &str, send: Send<'_>, receive: Receive<'_>) -> io::Result<()> {
    for family in [Family::V4, Family::UnixPair] {
        for end in [End::Client, End::Server] {
            let name = format!("{name}-{end:?}-{}", family.word());
            let mut talk = Talk::new(&stage.truth, &name, family)?;
            for _ in 0..3 {
                let (path, status) = talk.next();
                let (request, response) = (http::request(&path, 20, ""), http::response(status, 30, ""));
                let (client, server) = talk.pair.ends();
                let mut came = vec![0; request.len()];
                let mut back = vec![0; response.len()];
                if end == End::Client {
                    all(&request, |bytes| send(client, bytes))?;
                    fill(&mut came, |buf| sys::read(server, buf))?;
                    Tx::Write.send(server, 0, &response)?;
                    fill(&mut back, |buf| receive(client, buf))?;
                } else {
                    Tx::Write.send(client, 0, &request)?;
                    fill(&mut came, |buf| receive(server, buf))?;
                    all(&response, |bytes| send(server, bytes))?;
                    fill(&mut back, |buf| sys::read(client, buf))?;
                }
                if came != request || back != response {
                    return Err(io::Error::other("other bytes came than were sent"));
                }
                let looks = if end == End::Client {
                    (Look::Hidden, Look::Exact)
                } else {
                    (Look::Exact, Look::Hidden)
                };
                talk.told(&path, status, 20, 30, looks)?;
            }
        }
    }
    Ok(())
}

/// The first argument says how the ring is used: `plain`, `file` (operations of files), `polled` (a thread of the
/// kernel does the work), or `late` ([`late`]).
pub(crate) fn io_uring(stage: &mut Stage) -> io::Result<()> {
    let how: String = stage.arg(0)?;
    let ring = Ring::new(how == "polled")?;
    if how == "late" {
        return late(stage, &ring);
    }
    let (tx, rx) = if how == "file" { (Op::Write, Op::Read) } else { (Op::Send, Op::Recv) };
    unseen(stage, &format!("io-uring-{how}"), &mut |fd, bytes| ring.send(tx, fd, bytes), &mut |fd, buf| {
        ring.receive(rx, fd, buf)
    })
}

/// The ring's work is done when the thread is in another system call, whose memory holds something else that
/// looks like a request: that is not what was received.
fn late(stage: &mut Stage, ring: &Ring) -> io::Result<()> {
    let mut talk = Talk::new(&stage.truth, "io-uring-late", Family::V4)?;
    let bait = http::request("/bait/1/299", 20, "");
    let (reader, writer) = sys::pipe()?;
    let mut memory = bait.clone();
    for _ in 0..20 {
        let (path, status) = talk.next();
        let (client, server) = talk.pair.ends();
        let request = http::request(&path, 20, "");
        let mut came = vec![0; request.len()];
        ring.submit(Op::Recv, server, came.as_mut_ptr(), came.len())?;
        memory.copy_from_slice(&bait);
        thread::scope(|scope| {
            // Interrupts the read below, which then goes on waiting for the second write.
            scope.spawn(|| {
                Tx::Write.send(client, 0, &request)?;
                all(&bait, |bytes| sys::write(writer.as_fd(), bytes))
            });
            fill(&mut memory, |buf| sys::read(reader.as_fd(), buf))
        })?;
        if ring.wait()? != request.len() || came != request {
            return Err(io::Error::other("other bytes came than were sent"));
        }
        Tx::Write.send(server, 0, &http::response(status, 30, ""))?;
        Rx::Read.receive(client, 0, http::response(status, 30, "").len())?;
        talk.told(&path, status, 20, 30, (Look::Exact, Look::Hidden))?;
    }
    Ok(())
}

/// This program makes 32-bit calls.
pub(crate) fn compat_call(stage: &mut Stage) -> io::Result<()> {
    let (mut out, mut back) = (Low::new(4096)?, Low::new(4096)?);
    unseen(stage, "compat-call", &mut |fd, bytes| out.write(fd, bytes), &mut |fd, buf| {
        let len = back.read(fd, buf.len())?;
        buf[..len].copy_from_slice(&back.bytes()[..len]);
        Ok(len)
    })
}

/// A 32-bit program answers.
pub(crate) fn compat_program(stage: &mut Stage) -> io::Result<()> {
    for family in [Family::V4, Family::UnixPair] {
        let mut talk = Talk::new(&stage.truth, &format!("compat-program-{}", family.word()), family)?;
        let (path, status) = talk.next();
        sys::keep_on_exec(talk.pair.server.as_fd())?;
        let response = http::response(status, 30, "");
        let file = format!("{}.{}", stage.truth.path(), family.word());
        fs::write(&file, compat::program(talk.pair.server.as_raw_fd(), &response))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        let mut child = Command::new(&file).spawn()?;
        let client = talk.pair.client.as_fd();
        Tx::Write.send(client, 0, &http::request(&path, 20, ""))?;
        if Rx::Read.receive(client, 0, response.len())? != response {
            return Err(io::Error::other("other bytes came than were sent"));
        }
        talk.told_end(End::Client, (&path, Some(status)), (20, 30), Look::Exact)?;
        talk.told_end(End::Server, (&path, Some(status)), (20, 30), Look::Hidden)?;
        stage.truth.note(family.word(), child.id())?;
        child.wait()?;
        fs::remove_file(&file)?;
    }
    Ok(())
}
