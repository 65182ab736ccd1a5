//! Exchanges between threads, for their times; and a server that lets requests wait.

use std::{
    io,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    Stage, http,
    sock::Family,
    sys,
    talk::{Talk, pass},
    truth::{ANY, Look},
    way::{Rx, Tx},
};

/// Exchanges of each connection of [`enclosed`].
const ROUNDS: u16 = 2500;

/// Client and server in threads of their own, over four connections: 10,000 exchanges. The first argument is the
/// length of both bodies.
pub(crate) fn enclosed(stage: &mut Stage) -> io::Result<()> {
    let body: usize = stage.arg(0)?;
    let truth = &stage.truth;
    let one = |index: u16| -> io::Result<()> {
        let mut talk = Talk::new(truth, &format!("enclosed-{index}"), Family::V4)?;
        let rounds: Vec<_> = (0..ROUNDS).map(|_| talk.next()).collect();
        let (client, server) = talk.pair.ends();
        thread::scope(|scope| {
            let serving = scope.spawn(|| {
                rounds.iter().try_for_each(|(path, status)| {
                    Rx::Read.receive(server, 0, http::request(path, body, "").len())?;
                    Tx::Write.send(server, 0, &http::response(*status, body, ""))
                })
            });
            for (path, status) in &rounds {
                Tx::Write.send(client, 0, &http::request(path, body, ""))?;
                Rx::Read.receive(client, 0, http::response(*status, body, "").len())?;
            }
            serving.join().map_err(|_panic| io::Error::other("the server panicked"))?
        })?;
        rounds
            .iter()
            .try_for_each(|(path, status)| talk.told(path, *status, body, body, (Look::Exact, Look::Exact)))
    };
    thread::scope(|scope| {
        let all: Vec<_> = (0..4).map(|index| scope.spawn(move || one(index))).collect();
        all.into_iter()
            .try_for_each(|thread| thread.join().map_err(|_panic| io::Error::other("a thread panicked"))?)
    })
}

/// Clients with a thread that sends and one that receives, over four connections: the receiver may be seen before the
/// sender, by what interrupts a CPU between the two.
pub(crate) fn apart(stage: &mut Stage) -> io::Result<()> {
    let truth = &stage.truth;
    let one = |index: u16| -> io::Result<()> {
        let mut talk = Talk::new(truth, &format!("apart-{index}"), Family::V4)?;
        let rounds: Vec<_> = (0..ROUNDS).map(|_| talk.next()).collect();
        let (client, server) = talk.pair.ends();
        let (answered, answers) = mpsc::channel();
        thread::scope(|scope| {
            let serving = scope.spawn(|| {
                rounds.iter().try_for_each(|(path, status)| {
                    Rx::Read.receive(server, 0, http::request(path, 0, "").len())?;
                    Tx::Write.send(server, 0, &http::response(*status, 10, ""))
                })
            });
            let receiving = scope.spawn(|| {
                rounds.iter().try_for_each(|(_, status)| {
                    Rx::Read.receive(client, 0, http::response(*status, 10, "").len())?;
                    answered.send(()).map_err(io::Error::other)
                })
            });
            for (path, _) in &rounds {
                Tx::Write.send(client, 0, &http::request(path, 0, ""))?;
                answers.recv().map_err(io::Error::other)?;
            }
            [serving, receiving].into_iter().try_for_each(|thread| {
                thread.join().map_err(|_panic| io::Error::other("a thread panicked"))?
            })
        })?;
        rounds
            .iter()
            .try_for_each(|(path, status)| talk.told(path, *status, 0, 10, (Look::Exact, Look::Exact)))
    };
    thread::scope(|scope| {
        let all: Vec<_> = (0..4).map(|index| scope.spawn(move || one(index))).collect();
        all.into_iter()
            .try_for_each(|thread| thread.join().map_err(|_panic| io::Error::other("a thread panicked"))?)
    })
}

/// How long [`waiting`] lets a request lie. What the test measures is this delay, so it has to be one.
const DELAY: Duration = Duration::from_millis(80);

/// The server knows that a request is there and reads it late. Notes how late, in nanoseconds, at the least.
pub(crate) fn waiting(stage: &mut Stage) -> io::Result<()> {
    let mut talk = Talk::new(&stage.truth, "waiting", Family::V4)?;
    for round in 0..4 {
        let (path, status) = talk.next();
        let (client, server) = talk.pair.ends();
        let request = http::request(&path, 10, "");
        Tx::Write.send(client, 0, &request)?;
        sys::poll(server, libc::POLLIN)?;
        let there = Instant::now();
        if round % 2 == 1 {
            thread::sleep(DELAY);
        }
        let waited = there.elapsed().as_nanos();
        Rx::Read.receive(server, 0, request.len())?;
        pass(server, client, Tx::Write, Rx::Read, &http::response(status, 10, ""))?;
        talk.told(&path, status, 10, 10, (Look::Exact, Look::Exact))?;
        stage.truth.note(&path, waited)?;
    }
    Ok(())
}

/// A body that no socket buffer holds.
const LARGE: usize = 24 << 20;

/// A client with a thread that sends and one that receives: it has the response before the call that sends the request
/// returns, because the server answers before it has read everything. Then an exchange as usual, and so on.
pub(crate) fn answered_early(stage: &mut Stage) -> io::Result<()> {
    let mut talk = Talk::new(&stage.truth, "answered-early", Family::V4)?;
    for round in 0..8 {
        let (path, status) = talk.next();
        let body = if round % 2 == 0 { LARGE } else { 0 };
        let request = http::request(&path, body, "");
        let response = http::response(status, 10, "");
        let (client, server) = talk.pair.ends();
        thread::scope(|scope| {
            let sending = scope.spawn(|| Tx::Write.send(client, 0, &request));
            let head = http::head_len(&request);
            Rx::Read.receive(server, 0, head)?;
            Tx::Write.send(server, 0, &response)?;
            Rx::Read.receive(client, 0, response.len())?;
            Rx::Read.receive(server, 0, body)?;
            sending.join().map_err(|_panic| io::Error::other("the sender panicked"))?
        })?;
        let seen = if body > 0 { ANY } else { 0 };
        talk.told(&path, status, seen, 10, (Look::Exact, Look::Exact))?;
    }
    Ok(())
}
