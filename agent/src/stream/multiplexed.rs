//! One connection whose exchanges overlap: what comes next in which side, what is missing, and to which stream it
//! belongs.

use std::sync::Arc;

use spandrel_common::event::{
    self, CLOSE_ERROR, CLOSE_GONE, CLOSE_LOCAL, CLOSE_OPAQUE, CLOSE_PEER, DATA_CROSSED, DATA_START, DIR_RX,
    Data,
};

use super::{
    conn::{Context, connection},
    half::Source,
    held::Holding,
};
use crate::{
    exchange::{Connection, Exchange, Moved, Outcome, Role, Streams, Taken},
    protocol::{
        Side,
        http2::Http2,
        streams::{Step, StreamParser as _},
    },
    stats::Count,
};

/// One direction.
#[derive(Debug, Default)]
struct Half {
    /// Position behind everything that was told; `None` before the first event.
    next: Option<u64>,
    /// When the last byte moved.
    last_ns: u64,
    /// What brought the beginning of fields that are not complete.
    source: Source,
}

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Conn {
    info: Arc<Connection>,
    parser: Http2,
    streams: Streams,
    halves: [Half; 2],
    steps: Vec<Step>,
    /// Who used it last.
    tgid: u32,
    transport: u8,
    pub(super) holding: Holding,
    /// How it ended, by what was heard first, and when that was.
    ended: Option<Outcome>,
    ended_ns: u64,
    /// Its process is gone.
    orphan: bool,
    last_ns: u64,
}

impl Conn {
    pub(super) fn new(event: &event::Conn) -> Self {
        Self {
            info: Arc::new(connection(event)),
            parser: Http2::default(),
            streams: Streams::default(),
            halves: [Half::default(), Half::default()],
            steps: Vec::new(),
            tgid: event.header.tgid,
            transport: event.transport,
            holding: Holding::of(event.transport, event.local_addr),
            ended: None,
            ended_ns: 0,
            orphan: false,
            last_ns: event.header.time_ns,
        }
    }

    /// Takes over the exchange by which the connection turned to HTTP/2.
    pub(super) fn adopt(&mut self, exchange: &Exchange) {
        self.streams.adopt(exchange);
    }

    pub(super) fn info(&self) -> &Connection {
        &self.info
    }

    pub(super) const fn tgid(&self) -> u32 {
        self.tgid
    }

    pub(super) const fn transport(&self) -> u8 {
        self.transport
    }

    pub(super) const fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// Open exchanges.
    pub(super) fn open(&self) -> u64 {
        self.streams.open()
    }

    /// One side was closed.
    pub(super) const fn is_closing(&self) -> bool {
        self.ended.is_some()
    }

    /// The process that used it last is gone.
    pub(super) const fn orphan(&mut self) {
        // What it has closed before it ended is no accident.
        self.orphan = self.ended.is_none();
    }

    const fn half(&mut self, side: Side) -> &mut Half {
        let [request, response] = &mut self.halves;
        match side {
            Side::Request => request,
            Side::Response => response,
        }
    }

    /// Bytes moved.
    pub(super) fn data(&mut self, data: &Data, payload: &[u8], context: &mut Context<'_>) {
        self.tgid = data.header.tgid;
        self.orphan = false;
        self.holding.used();
        self.last_ns = self.last_ns.max(data.last_ns);
        let received = data.dir == DIR_RX;
        let side = if received == (self.info.role == Role::Server) { Side::Request } else { Side::Response };
        let end = data.pos.saturating_add(data.len);
        let half = self.half(side);
        let last_ns = half.last_ns;
        half.last_ns = last_ns.max(data.last_ns);
        let next = half.next.replace(end);
        if let Some(next) = next
            && end <= next
            && data.pos < next
        {
            half.next = Some(next);
            context.stats.count(Count::LateEvents);
            return;
        }
        let mut payload = payload;
        let begins = next.is_none() && data.flags & DATA_START != 0;
        if next != Some(data.pos) && !begins {
            self.missed(side, next.is_some().then_some(last_ns), context);
            // The rest of a frame whose beginning was missed.
            let rest = usize::try_from(data.framing).unwrap_or(usize::MAX);
            payload = payload.get(rest..).unwrap_or_default();
        }
        let moved = Moved { last_ns: data.last_ns, crossed: data.flags & DATA_CROSSED != 0 };
        self.bytes(side, payload, Source::new(data), moved, context);
    }

    /// What came before is not known: since when, if anything did that was told.
    fn missed(&mut self, side: Side, since_ns: Option<u64>, context: &Context<'_>) {
        self.parser.gap(side);
        if let Some(since_ns) = since_ns {
            context.stats.count(Count::Gaps);
            self.streams.gap(side, since_ns);
        }
    }

    fn bytes(&mut self, side: Side, payload: &[u8], source: Source, moved: Moved, context: &mut Context<'_>) {
        let mut steps = std::mem::take(&mut self.steps);
        let mut within = self.parser.within(side);
        self.parser.advance(side, payload, &mut steps);
        for step in steps.drain(..) {
            let mut from = source;
            if let Step::Fields { carried, fields, .. } = &step {
                context.stats.count_many(Count::Fields, fields.count.into());
                context.stats.count_many(Count::UnknownFields, fields.unknown.into());
                if fields.head.truncated {
                    context.stats.count(Count::TruncatedHeads);
                }
                within = false;
                if *carried {
                    from = self.half(side).source;
                }
            }
            let taken = self.streams.take(step, moved, |pos| from.begin(pos), &self.info, context.out);
            match taken {
                Taken::Request => context.stats.saw(),
                Taken::Orphan => context.stats.count(Count::OrphanResponses),
                Taken::Other => {}
            }
        }
        self.steps = steps;
        self.streams.told(side, moved.last_ns, &self.info, context.out);
        if self.parser.within(side) && !within {
            self.half(side).source = source;
        }
    }

    /// One or both directions ended.
    pub(super) fn close(&mut self, close: &event::Close, context: &mut Context<'_>) {
        let now_ns = close.header.time_ns;
        self.last_ns = self.last_ns.max(now_ns);
        if self.ended.is_none() {
            self.ended_ns = now_ns;
        }
        match close.reason {
            CLOSE_PEER => {
                self.ended.get_or_insert(Outcome::PeerClosed);
                // Nothing can be answered any more.
                if self.info.role == Role::Client {
                    self.end((self.outcome(), now_ns), context);
                }
            }
            CLOSE_LOCAL => {
                self.ended.get_or_insert(Outcome::LocalClosed);
                if self.info.role == Role::Server {
                    self.end((self.outcome(), now_ns), context);
                }
            }
            CLOSE_ERROR => {
                self.ended = Some(Outcome::Failed(close.errno));
                self.end((Outcome::Failed(close.errno), now_ns), context);
            }
            CLOSE_GONE => {
                if close.errno != 0 {
                    self.ended = Some(Outcome::Failed(close.errno));
                }
                self.ended.get_or_insert(Outcome::LocalClosed);
                self.end((self.outcome(), now_ns), context);
            }
            CLOSE_OPAQUE => {
                for side in [Side::Request, Side::Response] {
                    self.streams.gap(side, now_ns);
                }
                self.end((Outcome::Unseen, now_ns), context);
            }
            _ => context.stats.count(Count::Undecodable),
        }
    }

    /// How exchanges end that are still open when the connection does.
    fn outcome(&self) -> Outcome {
        match self.ended {
            Some(Outcome::Failed(errno)) => Outcome::Failed(errno),
            _ if self.orphan => Outcome::ProcessExit,
            Some(outcome) => outcome,
            None => Outcome::Unseen,
        }
    }

    /// Everything that is open ends. Of an end that was not seen, the last thing known is that one side was closed: TCP does
    /// not tell when a program lets go of a connection on which both sides have said that they are done.
    pub(super) fn end(&mut self, end: (Outcome, u64), context: &mut Context<'_>) {
        let end = match (end.0, self.ended) {
            (Outcome::Unseen, Some(outcome)) => (outcome, self.ended_ns),
            _ => end,
        };
        self.streams.end_all(&self.info, end, context.out);
    }

    /// Nobody holds the (Unix) socket any more.
    pub(super) fn released(&mut self, context: &mut Context<'_>) {
        self.ended.get_or_insert(Outcome::LocalClosed);
        let time_ns = self.holding.found_ns().max(self.last_ns);
        self.end((self.outcome(), time_ns), context);
    }
}
