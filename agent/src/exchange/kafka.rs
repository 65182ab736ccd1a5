//! Requests to Kafka brokers and their responses, matched by their correlation ids. A number that is used
//! again before it was answered is its first user's: a broker answers in order.

use std::{collections::VecDeque, sync::Arc};

use spandrel_common::context::Cause;

use super::{Begin, Connection, Outcome};
use crate::protocol::kafka::{
    Header, Seen,
    content::{Asked, Told},
};

/// One request to a broker and what became of it. Times are `CLOCK_MONOTONIC` nanoseconds.
#[derive(Clone, Debug)]
pub struct Call {
    pub connection: Arc<Connection>,
    /// The process and thread that sent or received the request's first bytes.
    pub tgid: u32,
    pub tid: u32,
    /// Position of the request's first byte in its direction, for [`spandrel_common::ids`]. The positions
    /// behind it, up to its last byte, begin nothing else.
    pub pos: u64,
    /// First byte of the request.
    pub start_ns: u64,
    /// Last byte of the response seen, that of a request without one, or the end of the connection. Not
    /// before `start_ns`.
    pub end_ns: u64,
    pub header: Header,
    pub asked: Asked,
    /// How much of the request was understood.
    pub request: Seen,
    /// What the response says and how much of it was understood, if one came.
    pub told: Option<(Told, Seen)>,
    pub outcome: Outcome,
    /// Bytes of the request or the response were missing, so something may be untold.
    pub gap: bool,
    /// What the kernel side decided about recording it, if it did.
    pub sampled: Option<bool>,
    /// What caused it, if this end sent it and the kernel side found out.
    pub cause: Cause,
}

/// A request whose response is not complete.
#[derive(Debug)]
struct Open {
    begin: Begin,
    header: Header,
    asked: Asked,
    request: Seen,
    gap: bool,
}

/// The requests of a connection that are open. The parser bounds them by giving up
/// ([`crate::protocol::kafka::PIPELINE`]).
#[derive(Debug, Default)]
pub(crate) struct Calls {
    open: VecDeque<Open>,
}

impl Calls {
    /// A request's header is complete.
    pub(crate) fn request(&mut self, begin: Begin, header: Header) {
        self.open.push_back(Open { begin, header, asked: Asked::Other, request: Seen::default(), gap: true });
    }

    /// The request is complete.
    pub(crate) fn asked(&mut self, correlation: i32, asked: Asked, seen: Seen) {
        let newest = self.open.iter_mut().rfind(|open| open.header.correlation == correlation);
        if let Some(open) = newest {
            open.asked = asked;
            open.request = seen;
            open.gap = seen.partly;
        }
    }

    /// A request is over: its response is complete, or it gets none.
    pub(crate) fn over(
        &mut self,
        correlation: i32,
        connection: &Arc<Connection>,
        told: Option<(Told, Seen)>,
        end: (Outcome, u64),
    ) -> Option<Call> {
        let at = self.open.iter().position(|open| open.header.correlation == correlation)?;
        let open = self.open.remove(at)?;
        Some(finish(open, connection, told, end))
    }

    /// Everything that is open ends.
    pub(crate) fn end_all(
        &mut self,
        connection: &Arc<Connection>,
        end: (Outcome, u64),
    ) -> impl Iterator<Item = Call> {
        let open = std::mem::take(&mut self.open);
        open.into_iter().map(move |open| finish(open, connection, None, end))
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }
}

fn finish(
    open: Open,
    connection: &Arc<Connection>,
    told: Option<(Told, Seen)>,
    (outcome, end_ns): (Outcome, u64),
) -> Call {
    let Begin { pos, tgid, tid, start_ns, sampled, cause, .. } = open.begin;
    let partly = told.as_ref().is_some_and(|(_, seen)| seen.partly);
    Call {
        connection: Arc::clone(connection),
        tgid,
        tid,
        pos,
        start_ns,
        end_ns: end_ns.max(start_ns),
        header: open.header,
        asked: open.asked,
        request: open.request,
        told,
        outcome,
        gap: open.gap || partly || outcome == Outcome::Unseen,
        sampled,
        cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Addr, Role};

    fn connection() -> Arc<Connection> {
        let (local, peer) = (Addr::Unix, Addr::Unix);
        Arc::new(Connection { id: 1, seed: [1, 2], role: Role::Client, local, peer, netns: 0 })
    }

    fn ask(calls: &mut Calls, correlation: i32, pos: u64) {
        let begin = Begin { pos, start_ns: 10 * pos, ..Begin::default() };
        calls.request(begin, Header { key: 1, version: 12, correlation, client: None });
        calls.asked(correlation, Asked::Fetch, Seen { bytes: 40, ..Seen::default() });
    }

    #[test]
    fn responses_find_their_requests() {
        let (connection, mut calls) = (connection(), Calls::default());
        for (correlation, pos) in [(1, 5), (2, 45), (3, 85)] {
            ask(&mut calls, correlation, pos);
        }
        let told = Some((Told::Other, Seen::default()));
        let call = calls.over(2, &connection, told, (Outcome::Complete, 1)).unwrap();
        assert_eq!((call.pos, call.start_ns, call.end_ns, call.gap), (45, 450, 450, false));
        assert!(calls.over(2, &connection, None, (Outcome::Complete, 900)).is_none());
        let call = calls.over(1, &connection, None, (Outcome::Unseen, 900)).unwrap();
        assert!(call.gap && call.told.is_none() && call.asked == Asked::Fetch);
        let rest: Vec<_> = calls.end_all(&connection, (Outcome::PeerClosed, 900)).collect();
        assert_eq!((rest.len(), rest[0].pos, calls.len()), (1, 85, 0));
    }

    #[test]
    fn a_number_that_comes_twice_is_answered_in_order() {
        let (connection, mut calls) = (connection(), Calls::default());
        ask(&mut calls, 7, 5);
        calls.request(
            Begin { pos: 45, ..Begin::default() },
            Header { key: 0, version: 9, correlation: 7, client: None },
        );
        let seen = Seen { partly: true, ..Seen::default() };
        calls.asked(7, Asked::Other, seen);
        let first = calls.over(7, &connection, None, (Outcome::Complete, 60)).unwrap();
        let second = calls.over(7, &connection, None, (Outcome::Complete, 60)).unwrap();
        assert_eq!((first.pos, first.gap, second.pos, second.gap), (5, false, 45, true));
    }
}
