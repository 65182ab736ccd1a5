//! A conversation over one connection, both ends of it in this thread: send, receive, answer, receive.

use std::{io, os::fd::BorrowedFd};

use crate::{
    http,
    sock::{Family, Pair},
    truth::{End, Line, Look, Truth},
    way::{Rx, Seen, Tx},
};

/// By which ways an exchange goes: request out, request in, response out, response in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ways(pub(crate) Tx, pub(crate) Rx, pub(crate) Tx, pub(crate) Rx);

impl Ways {
    pub(crate) const PLAIN: Self = Self(Tx::Write, Rx::Read, Tx::Write, Rx::Read);

    /// What client and server can have seen.
    const fn looks(self) -> (Look, Look) {
        (look(self.0.seen(), self.3.seen()), look(self.1.seen(), self.2.seen()))
    }
}

const fn look(request: Seen, response: Seen) -> Look {
    match (request, response) {
        (Seen::Nothing, _) => Look::Hidden,
        (Seen::All, Seen::All) => Look::Exact,
        _ => Look::Gap,
    }
}

/// A connection, and how many exchanges it has had.
pub(crate) struct Talk<'t> {
    truth: &'t Truth,
    name: String,
    pub(crate) pair: Pair,
    round: u16,
    /// Whether client and server could not see all of the last exchange.
    hurt: (bool, bool),
}

impl<'t> Talk<'t> {
    pub(crate) fn new(truth: &'t Truth, name: &str, family: Family) -> io::Result<Self> {
        Ok(Self::over(truth, name, Pair::new(family)?))
    }

    pub(crate) fn over(truth: &'t Truth, name: &str, pair: Pair) -> Self {
        Self { truth, name: name.to_owned(), pair, round: 0, hurt: (false, false) }
    }

    /// The next path, which ends with the status that the answer will have, so that a wrong answer shows.
    pub(crate) fn next(&mut self) -> (String, u16) {
        self.round += 1;
        let status = 230 + self.round % 60;
        (format!("/{}/{}/{status}", self.name, self.round), status)
    }

    /// One exchange with bodies of these lengths.
    pub(crate) fn exchange(
        &mut self,
        ways: Ways,
        request_body: usize,
        response_body: usize,
    ) -> io::Result<()> {
        let (path, status) = self.next();
        let request = http::request(&path, request_body, "");
        let response = http::response(status, response_body, "");
        let (client, server) = self.pair.ends();
        pass(client, server, ways.0, ways.1, &request)?;
        pass(server, client, ways.2, ways.3, &response)?;
        let (client, server) = ways.looks();
        let after = |look, hurt| if look == Look::Exact && hurt { Look::AfterGap } else { look };
        let looks = (after(client, self.hurt.0), after(server, self.hurt.1));
        self.hurt = (client != Look::Exact, server != Look::Exact);
        self.told(&path, status, request_body, response_body, looks)
    }

    /// One exchange of messages that the caller makes, sent and received whole.
    pub(crate) fn carry(
        &mut self,
        bodies: (usize, usize),
        message: impl Fn(&str, u16) -> (Vec<u8>, Vec<u8>),
        move_it: impl Fn(BorrowedFd<'_>, BorrowedFd<'_>, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let (path, status) = self.next();
        let (request, response) = message(&path, status);
        let (client, server) = self.pair.ends();
        move_it(client, server, &request)?;
        move_it(server, client, &response)?;
        self.told(&path, status, bodies.0, bodies.1, (Look::Exact, Look::Exact))
    }

    /// An exchange without anything special.
    pub(crate) fn plain(&mut self) -> io::Result<()> {
        self.exchange(Ways::PLAIN, 0, 5)
    }

    /// Writes down one end of an exchange, moved by this process.
    pub(crate) fn told_end(
        &self,
        end: End,
        (path, status): (&str, Option<u16>),
        (request_body, response_body): (usize, usize),
        look: Look,
    ) -> io::Result<()> {
        let peer = if end == End::Client { self.pair.server_addr } else { self.pair.client_addr };
        self.truth.tell(&Line { end, path, status, request_body, response_body, peer, look })
    }

    /// Writes down both ends of an exchange.
    pub(crate) fn told(
        &self,
        path: &str,
        status: u16,
        request_body: usize,
        response_body: usize,
        (client, server): (Look, Look),
    ) -> io::Result<()> {
        let bodies = (request_body, response_body);
        self.told_end(End::Client, (path, Some(status)), bodies, client)?;
        self.told_end(End::Server, (path, Some(status)), bodies, server)
    }
}

/// Moves a message from one socket to the other; it has to arrive as it was sent.
pub(crate) fn pass(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    tx: Tx,
    rx: Rx,
    message: &[u8],
) -> io::Result<()> {
    let head = http::head_len(message);
    tx.send(from, head, message)?;
    let came = rx.receive(to, head, message.len())?;
    let counts = if rx.keeps_body() { message.len() } else { head };
    if came.get(..counts) == message.get(..counts) {
        Ok(())
    } else {
        Err(io::Error::other(format!("{tx:?} to {rx:?}: other bytes came than were sent")))
    }
}
