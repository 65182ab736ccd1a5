//! More than a stopped agent can take.

use std::{
    io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::atomic::{AtomicU16, AtomicUsize, Ordering::Relaxed},
    thread,
    time::Duration,
};

use crate::{
    Stage, http,
    sock::{Family, Pair},
    sys,
    talk::{Talk, pass},
    truth::Look,
    way::{Rx, Tx},
};

/// Stops the agent, which is the parent, makes so many connections of so many exchanges with heads of so many
/// bytes, and lets the agent go on.
pub(crate) fn flood(stage: &mut Stage) -> io::Result<()> {
    sys::signal_parent(libc::SIGSTOP)?;
    let done = pour(stage);
    sys::signal_parent(libc::SIGCONT)?;
    done
}

/// The same load when the test says so; who stops the agent is the test.
pub(crate) fn flood_on_cue(stage: &mut Stage) -> io::Result<()> {
    Stage::cue("ready")?;
    pour(stage)?;
    Stage::cue("done")
}

fn pour(stage: &Stage) -> io::Result<()> {
    let (connections, rounds): (u16, u16) = (stage.arg(0)?, stage.arg(1)?);
    let fields = format!("X-Flood: {}\r\n", "f".repeat(stage.arg(2)?));
    let done = AtomicU16::new(0);
    let one = || -> io::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        loop {
            let number = done.fetch_add(1, Relaxed);
            if number >= connections {
                return Ok(());
            }
            let client = TcpStream::connect(listener.local_addr()?)?;
            let pair = Pair::of(client, listener.accept()?.0)?;
            let mut talk = Talk::over(&stage.truth, &format!("flood-{number}"), pair);
            for _ in 0..rounds {
                let (path, status) = talk.next();
                let (client, server) = talk.pair.ends();
                pass(client, server, Tx::Write, Rx::Read, &http::request(&path, 0, &fields))?;
                pass(server, client, Tx::Write, Rx::Read, &http::response(status, 0, &fields))?;
                talk.told(&path, status, 0, 0, (Look::Exact, Look::Exact))?;
            }
        }
    };
    thread::scope(|scope| {
        let both = [scope.spawn(one), scope.spawn(one)];
        both.into_iter()
            .try_for_each(|thread| thread.join().map_err(|_panic| io::Error::other("a thread panicked"))?)
    })
}

/// How long a thread sleeps that interrupts the others: several of them fall into each slice of a busy thread.
const NAP: Duration = Duration::from_micros(150);

/// More busy threads than processors, which the kernel interrupts anywhere, and two that interrupt them all the time:
/// they take precedence whenever they wake. Each thread makes so many exchanges on a connection of its own.
pub(crate) fn crowd(stage: &mut Stage) -> io::Result<()> {
    let (threads, rounds): (usize, usize) = (stage.arg(0)?, stage.arg(1)?);
    let busy = AtomicUsize::new(threads);
    let truth = &stage.truth;
    let family = |number: usize| if number.is_multiple_of(4) { Family::UnixPair } else { Family::V4 };
    let works = |number: usize| -> io::Result<()> {
        let mut talk = Talk::new(truth, &format!("crowd-{number}"), family(number))?;
        let done = (0..rounds).try_for_each(|_| talk.plain());
        busy.fetch_sub(1, Relaxed);
        done
    };
    let interrupts = |number: usize| -> io::Result<()> {
        sys::take_precedence()?;
        let mut talk = Talk::new(truth, &format!("interrupts-{number}"), Family::V4)?;
        while busy.load(Relaxed) > 0 {
            thread::sleep(NAP);
            talk.plain()?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let (works, interrupts) = (&works, &interrupts);
        let mut all: Vec<_> = (0..threads).map(|number| scope.spawn(move || works(number))).collect();
        all.extend((0..2).map(|number| scope.spawn(move || interrupts(number))));
        all.into_iter()
            .try_for_each(|thread| thread.join().map_err(|_panic| io::Error::other("a thread panicked"))?)
    })
}
