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
    /// The kernel side already decided to record it.
    pub sampled: bool,
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
