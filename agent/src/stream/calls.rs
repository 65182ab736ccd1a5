//! One connection to a Kafka broker: what comes next in which side, what is missing, and to which request it belongs.
//!
//! The kernel side tells of every byte, in order, and shows the first ones of each message. A response may be told before
//! its request where two threads share the connection; it waits for that, for a while.

use std::sync::Arc;

use spandrel_common::event::{
    self, CLOSE_ERROR, CLOSE_GONE, CLOSE_LOCAL, CLOSE_OPAQUE, CLOSE_PEER, DIR_RX, Data,
};

use super::{
    conn::{Context, connection},
    half::{Source, Sources, Waiting, with_more},
    held::Holding,
};
use crate::{
    exchange::{Connection, Outcome, Role, kafka::Calls},
    protocol::{
        Input, Side,
        kafka::{GiveUp, Kafka, Message},
    },
    stats::Count,
};

/// Events of responses that wait for their requests. Requests are told as soon as the call that sent them returns.
const AHEAD: usize = 32;

/// Bytes that may wait for more in one direction; the parser leaves far fewer.
const BUFFER: usize = 4096;

/// One direction.
#[derive(Debug, Default)]
struct Half {
    /// Position behind everything that was told.
    next: Option<u64>,
    last_ns: u64,
    waiting: Waiting,
    /// What brought the first of the bytes that wait.
    source: Source,
}

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Conn {
    info: Arc<Connection>,
    parser: Kafka,
    calls: Calls,
    halves: [Half; 2],
    messages: Vec<Message>,
    ahead: Vec<(Data, Waiting)>,
    /// Who used it last.
    tgid: u32,
    transport: u8,
    pub(super) holding: Holding,
    ended: Option<Outcome>,
    orphan: bool,
    last_ns: u64,
    /// Given up.
    over: bool,
}

impl Conn {
    pub(super) fn new(event: &event::Conn) -> Self {
        Self {
            info: Arc::new(connection(event)),
            parser: Kafka::default(),
            calls: Calls::default(),
            halves: [Half::default(), Half::default()],
            messages: Vec::new(),
            ahead: Vec::new(),
            tgid: event.header.tgid,
            transport: event.transport,
            holding: Holding::of(event.transport, event.local_addr),
            ended: None,
            orphan: false,
            last_ns: event.header.time_ns,
            over: false,
        }
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

    /// Open requests.
    pub(super) fn open(&self) -> u64 {
        self.calls.len() as u64
    }

    /// The process that used it last is gone.
    pub(super) const fn orphan(&mut self) {
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
        if self.over {
            return;
        }
        let received = data.dir == DIR_RX;
        let side = if received == (self.info.role == Role::Server) { Side::Request } else { Side::Response };
        if side == Side::Response {
            let [request, _] = &self.halves;
            if request.next.is_none_or(|next| next < data.other) && self.ahead.len() < AHEAD {
                self.ahead.push((*data, Waiting::new(payload.to_vec())));
                return;
            }
            self.catch_up(context);
        }
        self.take(side, data, payload, context);
        let [request, _] = &self.halves;
        if let (Side::Request, Some(next)) = (side, request.next)
            && self.ahead.first().is_some_and(|(first, _)| first.other <= next)
        {
            self.catch_up(context);
        }
    }

    /// Responses that waited for their requests.
    fn catch_up(&mut self, context: &mut Context<'_>) {
        for (data, payload) in std::mem::take(&mut self.ahead) {
            self.take(Side::Response, &data, &payload, context);
        }
    }

    fn take(&mut self, side: Side, data: &Data, payload: &[u8], context: &mut Context<'_>) {
        let end = data.pos.saturating_add(data.len);
        let half = self.half(side);
        half.last_ns = half.last_ns.max(data.last_ns);
        let next = half.next.replace(end);
        if let Some(next) = next
            && data.pos < next
        {
            half.next = Some(next.max(end));
            context.stats.count(Count::LateEvents);
            return;
        }
        if let Some(missing) = next.and_then(|next| data.pos.checked_sub(next)).filter(|missing| *missing > 0)
        {
            context.stats.count(Count::Gaps);
            self.cut(side, data.last_ns, context);
            self.feed(side, Input::Gap { len: missing }, data, context);
        }
        self.bytes(side, payload, data, context);
        let rest = data.len.saturating_sub(payload.len() as u64);
        if rest > 0 {
            self.cut(side, data.last_ns, context);
            self.feed(side, Input::Gap { len: rest }, data, context);
        }
    }

    /// Gives the parser the bytes that wait, in front of a break.
    fn cut(&mut self, side: Side, last_ns: u64, context: &mut Context<'_>) {
        let half = self.half(side);
        if half.waiting.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut half.waiting);
        let base = half.next.unwrap_or_default().saturating_sub(waiting.len() as u64);
        let mut sources = Sources::of_one(half.source);
        let mut messages = std::mem::take(&mut self.messages);
        self.parser.advance(side, Input::Last(&waiting), &mut messages);
        self.apply(base, &mut sources, last_ns, &mut messages, context);
        self.messages = messages;
    }

    /// Gives the parser what is not bytes.
    fn feed(&mut self, side: Side, input: Input<'_>, data: &Data, context: &mut Context<'_>) {
        let mut messages = std::mem::take(&mut self.messages);
        self.parser.advance(side, input, &mut messages);
        let mut sources = Sources::of_one(Source::new(data));
        self.apply(data.pos, &mut sources, data.last_ns, &mut messages, context);
        self.messages = messages;
    }

    /// Gives the parser bytes behind those that wait.
    fn bytes(&mut self, side: Side, payload: &[u8], data: &Data, context: &mut Context<'_>) {
        let source = Source::new(data);
        let half = self.half(side);
        let old = half.source;
        let waiting = std::mem::take(&mut half.waiting);
        let until = waiting.len();
        let base = data.pos.saturating_sub(until as u64);
        let waiting = with_more(waiting, payload);
        let mut messages = std::mem::take(&mut self.messages);
        let taken = self.parser.advance(side, Input::Bytes(&waiting), &mut messages);
        let mut sources = Sources { until, old, new: source };
        self.apply(base, &mut sources, data.last_ns, &mut messages, context);
        self.messages = messages;
        let half = self.half(side);
        half.source = if taken < until { sources.old } else { sources.new };
        match waiting.get(taken..) {
            Some(rest @ [_, ..]) if !self.over => self.half(side).waiting = Waiting::new(rest.to_vec()),
            _ => {}
        }
        if self.half(side).waiting.len() > BUFFER {
            self.cut(side, data.last_ns, context);
        }
    }

    /// Takes the parser's messages. `base` is the position of offset 0.
    fn apply(
        &mut self,
        base: u64,
        sources: &mut Sources,
        last_ns: u64,
        messages: &mut Vec<Message>,
        context: &mut Context<'_>,
    ) {
        for message in messages.drain(..) {
            match message {
                Message::Request { at, header } => {
                    let begin = sources.of(at).begin(base.saturating_add(at as u64));
                    self.calls.request(begin, header);
                }
                Message::Asked { correlation, asked, seen, last, .. } => {
                    self.calls.asked(correlation, asked, seen);
                    if last {
                        let end = (Outcome::Complete, last_ns);
                        let call = self.calls.over(correlation, &self.info, None, end);
                        // Without a response, the request itself has to prove what it is.
                        context.calls.extend(call.filter(|_| self.parser.sure()));
                    }
                }
                Message::Told { correlation, told, seen, .. } => {
                    let end = (Outcome::Complete, last_ns);
                    context.calls.extend(self.calls.over(correlation, &self.info, Some((told, seen)), end));
                }
                Message::Missed { correlation } => {
                    let end = (Outcome::Unseen, last_ns);
                    context.calls.extend(self.calls.over(correlation, &self.info, None, end));
                }
                Message::Response { .. } | Message::Lost { .. } => {}
                Message::Orphan => context.stats.count(Count::OrphanResponses),
                Message::Resync { .. } => context.stats.count(Count::Resyncs),
                Message::GiveUp(why) => {
                    context.stats.count(match why {
                        GiveUp::NotKafka => Count::NotKafka,
                        GiveUp::TooDeep => Count::TooDeep,
                    });
                    self.give_up(last_ns, context);
                }
            }
        }
    }

    /// Nothing more is looked at.
    fn give_up(&mut self, now_ns: u64, context: &mut Context<'_>) {
        self.end((Outcome::Unseen, now_ns), context);
        self.over = true;
        self.ahead = Vec::new();
        for half in &mut self.halves {
            half.waiting = Waiting::default();
        }
    }

    /// One or both directions ended.
    pub(super) fn close(&mut self, close: &event::Close, context: &mut Context<'_>) {
        self.catch_up(context);
        let now_ns = close.header.time_ns;
        self.last_ns = self.last_ns.max(now_ns);
        match close.reason {
            CLOSE_PEER => {
                self.ended.get_or_insert(Outcome::PeerClosed);
                if self.info.role == Role::Client {
                    self.end((self.outcome(), now_ns), context);
                }
            }
            CLOSE_LOCAL => {
                self.ended.get_or_insert(Outcome::LocalClosed);
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
            CLOSE_OPAQUE => self.end((Outcome::Unseen, now_ns), context),
            _ => context.stats.count(Count::Undecodable),
        }
    }

    /// How requests end that are still open when the connection does.
    fn outcome(&self) -> Outcome {
        match self.ended {
            Some(Outcome::Failed(errno)) => Outcome::Failed(errno),
            _ if self.orphan => Outcome::ProcessExit,
            Some(outcome) => outcome,
            None => Outcome::Unseen,
        }
    }

    /// Everything that is open ends. What was never proved to be Kafka's says nothing.
    pub(super) fn end(&mut self, end: (Outcome, u64), context: &mut Context<'_>) {
        let calls = self.calls.end_all(&self.info, end);
        if self.parser.sure() {
            context.calls.extend(calls);
        }
    }

    /// Nobody holds the (Unix) socket any more.
    pub(super) fn released(&mut self, context: &mut Context<'_>) {
        self.ended.get_or_insert(Outcome::LocalClosed);
        let time_ns = self.holding.found_ns().max(self.last_ns);
        self.end((self.outcome(), time_ns), context);
    }
}
