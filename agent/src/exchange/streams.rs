//! Requests and responses that share a connection, matched by the numbers of their streams.
//!
//! What is sent is told when the call returns, and the answer can be told before: another thread has received it. So on
//! the client's end, what comes of a stream that is newer than every request waits for that; and on either end, what
//! would end a stream of which something was sent that nobody has told of yet ([`Moved::crossed`]) waits for that.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use zeroize::Zeroizing;

use super::{Begin, Connection, Exchange, Outcome, Protocol, Role};
use crate::protocol::{
    Side,
    message::Head,
    streams::{Fields, Step},
};

/// Streams of one connection that are open at once. Servers allow 100 to 1,000. Beyond them the oldest ones end as
/// [`Outcome::Unseen`].
const OPEN: usize = 8192;

/// Bytes of the heads of these: so much as the heads of all requests that a client of HTTP/1 can pipeline. Beyond them the
/// oldest ones end, too.
const HEADS: usize = 4 * 1024 * 1024;

/// Steps of responses that wait for their requests: two CPUs write to the ring, and the one that saw the request may be
/// late by a few events.
const EARLY: usize = 256;

/// Bytes of their heads.
const EARLY_HEADS: usize = 256 * 1024;

/// How long nothing is heard of a stream, behind a gap in its responses, before it counts as over: its end may have been
/// in the gap. Nanoseconds.
const DOUBT_NS: u64 = 1_000_000_000;

/// `REFUSED_STREAM` (RFC 9113, section 7), which is what GOAWAY says of streams that it does not count.
const REFUSED: u32 = 7;
const REFUSAL: Outcome = Outcome::Reset { by: Side::Response, code: REFUSED };

/// A request whose response is not complete.
#[derive(Debug)]
struct Open {
    begin: Begin,
    request: Head,
    request_body: u64,
    sent: bool,
    response: Option<(u16, Head)>,
    response_body: u64,
    trailers: Option<Head>,
    gap: bool,
    /// When bytes of the response side were missed; nothing was heard of the stream since.
    doubt: Option<u64>,
    /// It is over, since when; what this end has sent of it may still be told.
    over: Option<(Outcome, u64)>,
}

/// When the bytes of a step moved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    pub(crate) last_ns: u64,
    /// They were received, and others had been sent of which nothing was told yet.
    pub(crate) crossed: bool,
}

/// The exchanges of a connection that are open.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    open: BTreeMap<u64, Open>,
    /// Bytes of their heads.
    heads: usize,
    /// The first stream since when no request was missed, and the newest that the client has opened.
    oldest: Option<u64>,
    newest: u64,
    /// The server does nothing about streams above this one.
    refused: Option<u64>,
    early: VecDeque<(Step, Moved)>,
    /// Some of these were given up.
    forgot: bool,
    /// Some stream may be in doubt.
    doubts: bool,
    /// Some stream is over, but for what is still to be told.
    overs: bool,
}

/// What a step was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// A request.
    Request,
    /// Of a stream that is not known.
    Orphan,
    Other,
}

impl Streams {
    /// Open exchanges.
    pub(crate) fn open(&self) -> u64 {
        self.open.len() as u64
    }

    /// Takes over the exchange by which the connection turned to HTTP/2: its request is the first stream's (RFC 7540,
    /// section 3.2).
    pub(crate) fn adopt(&mut self, exchange: &Exchange) {
        let &Exchange { pos, tgid, tid, start_ns, wait_ns, sampled, cause, .. } = exchange;
        let open = Open {
            begin: Begin { pos, tgid, tid, start_ns, wait_ns, sampled, cause, other: 0 },
            request: without_version(&exchange.request),
            request_body: exchange.request_body,
            sent: true,
            response: None,
            response_body: 0,
            trailers: None,
            gap: exchange.gap,
            doubt: None,
            over: None,
        };
        (self.oldest, self.newest) = (Some(1), 1);
        self.heads = open.heads();
        self.open.insert(1, open);
    }

    /// Takes a step. `begin` is asked for the place of a request that begins with it.
    pub(crate) fn take(
        &mut self,
        step: Step,
        moved: Moved,
        begin: impl FnOnce(u64) -> Begin,
        connection: &Arc<Connection>,
        out: &mut Vec<Exchange>,
    ) -> Taken {
        let last_ns = moved.last_ns;
        match step {
            Step::Fields { side: Side::Request, stream, fields, end, .. } => {
                self.requested(stream, fields, end, begin, connection, out)
            }
            Step::Content { side: Side::Request, stream, len, end } => {
                if let Some(open) = self.open.get_mut(&stream) {
                    open.request_body = open.request_body.saturating_add(len);
                    open.sent |= end;
                }
                Taken::Other
            }
            Step::Lost { side } => {
                self.gap(side, last_ns);
                Taken::Other
            }
            Step::Refused { side, above } => {
                if side == Side::Response {
                    self.refused = Some(self.refused.map_or(above, |before| before.min(above)));
                    for (_, open) in self.open.split_off(&above.saturating_add(1)) {
                        self.heads = self.heads.saturating_sub(open.heads());
                        out.push(finish(open, connection, (REFUSAL, last_ns)));
                    }
                }
                Taken::Other
            }
            Step::Fields { side: Side::Response, stream, .. }
            | Step::Content { side: Side::Response, stream, .. }
            | Step::Reset { stream, .. } => {
                if stream > self.newest && connection.role == Role::Client {
                    self.await_request(step, moved);
                    return Taken::Other;
                }
                self.answered(stream, step, moved, connection, out)
            }
        }
    }

    /// Fields of the request side.
    fn requested(
        &mut self,
        stream: u64,
        fields: Fields,
        end: bool,
        begin: impl FnOnce(u64) -> Begin,
        connection: &Arc<Connection>,
        out: &mut Vec<Exchange>,
    ) -> Taken {
        if let Some(open) = self.open.get_mut(&stream) {
            open.sent |= end;
            return Taken::Other;
        }
        if stream <= self.newest || !(fields.request || fields.unknown > 0) {
            return Taken::Other;
        }
        let begin = begin(spandrel_common::http2::place(u32::try_from(stream).unwrap_or(u32::MAX)));
        self.settle(begin.start_ns, connection, out);
        self.heads += fields.head.bytes().len();
        while (self.open.len() >= OPEN || self.heads > HEADS)
            && let Some((_, oldest)) = self.open.pop_first()
        {
            self.heads = self.heads.saturating_sub(oldest.heads());
            out.push(finish_unseen(oldest, connection, begin.start_ns));
        }
        self.newest = stream;
        let open = Open {
            begin,
            gap: fields.unknown > 0,
            request: fields.head,
            request_body: 0,
            sent: end,
            response: None,
            response_body: 0,
            trailers: None,
            doubt: None,
            over: None,
        };
        self.oldest.get_or_insert(stream);
        if self.refused.is_some_and(|above| stream > above) {
            // It crossed the word that said so.
            let start_ns = open.begin.start_ns;
            self.heads = self.heads.saturating_sub(open.heads());
            out.push(finish(open, connection, (REFUSAL, start_ns)));
            return Taken::Request;
        }
        self.open.insert(stream, open);
        Taken::Request
    }

    /// Keeps a step that came before its request.
    fn await_request(&mut self, step: Step, moved: Moved) {
        if let (
            Some((Step::Content { stream, len, end, .. }, last)),
            Step::Content { stream: of, len: more, end: ends, .. },
        ) = (self.early.back_mut(), &step)
            && stream == of
        {
            *len = len.saturating_add(*more);
            *end |= *ends;
            *last = moved;
            return;
        }
        self.early.push_back((step, moved));
        while self.early.len() > EARLY || self.early_heads() > EARLY_HEADS {
            self.early.pop_front();
            self.forgot = true;
        }
    }

    /// An event is over that told of bytes of this side. `end_ns`: of the last of them.
    pub(crate) fn told(
        &mut self,
        side: Side,
        end_ns: u64,
        connection: &Arc<Connection>,
        out: &mut Vec<Exchange>,
    ) {
        let own = if connection.role == Role::Client { Side::Request } else { Side::Response };
        if side != own {
            return;
        }
        if !self.early.is_empty() {
            self.overtaken(connection, out);
            if std::mem::take(&mut self.forgot) {
                self.gap(Side::Response, end_ns);
            }
        }
        if std::mem::take(&mut self.overs) {
            self.finish_all(|open| open.over, connection, out);
        }
    }

    /// Ends those of which `end` knows how.
    fn finish_all(
        &mut self,
        end: impl Fn(&Open) -> Option<(Outcome, u64)>,
        connection: &Arc<Connection>,
        out: &mut Vec<Exchange>,
    ) {
        let streams: Vec<_> =
            self.open.iter().filter_map(|(stream, open)| Some((*stream, end(open)?))).collect();
        for (stream, end) in streams {
            if let Some(open) = self.open.remove(&stream) {
                self.heads = self.heads.saturating_sub(open.heads());
                out.push(finish(open, connection, end));
            }
        }
    }

    /// Bytes of the heads that wait for their requests.
    fn early_heads(&self) -> usize {
        let head = |(step, _): &(Step, Moved)| match step {
            Step::Fields { fields, .. } => fields.head.bytes().len(),
            _ => 0,
        };
        self.early.iter().map(head).sum()
    }

    /// Takes what came before its request.
    fn overtaken(&mut self, connection: &Arc<Connection>, out: &mut Vec<Exchange>) {
        for (step, moved) in std::mem::take(&mut self.early) {
            match step {
                Step::Fields { stream, .. } | Step::Content { stream, .. } | Step::Reset { stream, .. } => {
                    if stream > self.newest {
                        self.early.push_back((step, moved));
                    } else {
                        self.answered(stream, step, moved, connection, out);
                    }
                }
                Step::Refused { .. } | Step::Lost { .. } => {}
            }
        }
    }

    /// A step of the response side, or one that ends the stream.
    fn answered(
        &mut self,
        stream: u64,
        step: Step,
        Moved { last_ns, crossed }: Moved,
        connection: &Arc<Connection>,
        out: &mut Vec<Exchange>,
    ) -> Taken {
        let Some(open) = self.open.get_mut(&stream) else {
            let answer = matches!(&step, Step::Fields { fields, .. } if fields.status.is_some());
            // Of one whose request was seen, and which is over, the other side may not have heard yet that it is.
            let over = self.oldest.is_some_and(|oldest| (oldest..=self.newest).contains(&stream));
            return if answer && !over { Taken::Orphan } else { Taken::Other };
        };
        let end = match step {
            Step::Fields { fields, end, .. } => {
                let before = open.heads();
                open.fields(fields);
                self.heads = self.heads.saturating_sub(before) + open.heads();
                end.then_some(Outcome::Complete)
            }
            Step::Content { len, end, .. } => {
                open.response_body = open.response_body.saturating_add(len);
                end.then_some(Outcome::Complete)
            }
            Step::Reset { side, code, .. } => Some(Outcome::Reset { by: side, code }),
            Step::Refused { .. } | Step::Lost { .. } => None,
        };
        open.doubt = None;
        let Some(outcome) = end else { return Taken::Other };
        let over = open.over.filter(|(_, over_ns)| *over_ns < last_ns).unwrap_or((outcome, last_ns));
        let awaits = connection.role == Role::Server || !open.sent;
        if crossed && awaits {
            open.over = Some(over);
            self.overs = true;
        } else if let Some(open) = self.open.remove(&stream) {
            self.heads = self.heads.saturating_sub(open.heads());
            out.push(finish(open, connection, over));
        }
        Taken::Other
    }

    /// Bytes of a side are missing.
    pub(crate) fn gap(&mut self, side: Side, now_ns: u64) {
        if side == Side::Request {
            self.oldest = None;
        }
        for open in self.open.values_mut() {
            match side {
                Side::Request => open.gap |= !open.sent,
                Side::Response => {
                    open.gap = true;
                    open.doubt.get_or_insert(now_ns);
                }
            }
        }
        self.doubts |= side == Side::Response;
    }

    /// Ends what is in doubt for too long.
    fn settle(&mut self, now_ns: u64, connection: &Arc<Connection>, out: &mut Vec<Exchange>) {
        if self.overs {
            let long = |(_, over_ns): &(Outcome, u64)| now_ns.saturating_sub(*over_ns) > DOUBT_NS;
            self.finish_all(|open| open.over.filter(long), connection, out);
            self.overs = self.open.values().any(|open| open.over.is_some());
        }
        if !self.doubts {
            return;
        }
        let over = |open: &Open| open.doubt.is_some_and(|since| now_ns.saturating_sub(since) > DOUBT_NS);
        let streams: Vec<u64> =
            self.open.iter().filter(|(_, open)| over(open)).map(|(stream, _)| *stream).collect();
        for stream in streams {
            if let Some(open) = self.open.remove(&stream) {
                self.heads = self.heads.saturating_sub(open.heads());
                let last_ns = open.doubt.unwrap_or(now_ns);
                out.push(finish_unseen(open, connection, last_ns));
            }
        }
        self.doubts = self.open.values().any(|open| open.doubt.is_some());
    }

    /// Everything that is open ends.
    pub(crate) fn end_all(
        &mut self,
        connection: &Arc<Connection>,
        end: (Outcome, u64),
        out: &mut Vec<Exchange>,
    ) {
        self.early = VecDeque::new();
        self.heads = 0;
        for (_, open) in std::mem::take(&mut self.open) {
            out.push(match (open.over, open.doubt) {
                (Some(over), _) => finish(open, connection, over),
                (None, Some(since)) => finish_unseen(open, connection, since),
                (None, None) => finish(open, connection, end),
            });
        }
    }
}

impl Open {
    /// Bytes of its heads.
    fn heads(&self) -> usize {
        let answer = self.response.as_ref().map_or(0, |(_, head)| head.bytes().len());
        let trailers = self.trailers.as_ref().map_or(0, |head| head.bytes().len());
        self.request.bytes().len() + answer + trailers
    }

    fn fields(&mut self, fields: Fields) {
        self.gap |= fields.unknown > 0;
        match fields.status {
            // An interim response: the final one is still to come.
            Some(100..200) => {}
            Some(status) if self.response.is_none() => self.response = Some((status, fields.head)),
            _ => self.trailers = Some(fields.head),
        }
    }
}

/// The head of a request of HTTP/1 in the form that those of HTTP/2 have here.
fn without_version(head: &Head) -> Head {
    let bytes = head.bytes();
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (line, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
    let version = line.windows(6).rposition(|text| text == b" HTTP/").unwrap_or(line.len());
    let mut text = Zeroizing::new(Vec::with_capacity(bytes.len()));
    text.extend_from_slice(line.get(..version).unwrap_or(line).trim_ascii_end());
    text.push(b'\r');
    text.extend_from_slice(rest);
    Head::copy(&text, head.truncated)
}

fn finish_unseen(mut open: Open, connection: &Arc<Connection>, now_ns: u64) -> Exchange {
    open.gap = true;
    finish(open, connection, (Outcome::Unseen, now_ns))
}

fn finish(open: Open, connection: &Arc<Connection>, (outcome, end_ns): (Outcome, u64)) -> Exchange {
    let Begin { pos, tgid, tid, start_ns, wait_ns, sampled, cause, other: _ } = open.begin;
    Exchange {
        connection: Arc::clone(connection),
        protocol: Protocol::Http2,
        tgid,
        tid,
        pos,
        start_ns,
        end_ns: end_ns.max(start_ns),
        wait_ns,
        request: open.request,
        request_body: open.request_body,
        response: open.response,
        response_body: open.response_body,
        trailers: open.trailers,
        outcome,
        gap: open.gap,
        sampled,
        cause,
    }
}
