//! One connection: feeds its bytes to the parser and its messages to the pairing.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use spandrel_common::event::{
    self, CLOSE_ERROR, CLOSE_GONE, CLOSE_LOCAL, CLOSE_OPAQUE, CLOSE_PEER, DATA_BODY, DATA_END, DATA_START,
    DIR_RX, Data, ROLE_CLIENT, TRANSPORT_UNIX,
};

use super::half::{BUFFER, Half, Source, Sources};
use crate::{
    exchange::{Addr, Connection, Exchange, Match, Missing, Outcome, Pairing, Role},
    protocol::{
        Input, Message, Parser, Side,
        http1::Http1,
        message::{GiveUp, Head},
    },
    stats::{Count, Stats},
};

/// Response events that are kept because the request may be on its way: two CPUs write to the ring, and
/// the one that saw the request may be late by a few events.
const HELD_EVENTS: usize = 16;

/// Captured bytes of these events.
const HELD_BYTES: usize = 64 * 1024;

/// What the handling of one event needs besides the connection.
pub(super) struct Context<'a> {
    stats: &'a Stats,
    messages: &'a mut Vec<Message>,
    out: &'a mut Vec<Exchange>,
    epoch: u32,
}

impl<'a> Context<'a> {
    pub(super) fn new(
        stats: &'a Stats,
        messages: &'a mut Vec<Message>,
        out: &'a mut Vec<Exchange>,
        epoch: u32,
    ) -> Self {
        Self { stats, messages, out, epoch }
    }
}

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Conn {
    info: Arc<Connection>,
    parser: Http1,
    pairing: Pairing,
    request: Half,
    response: Half,
    /// Events of the response side that came before any request that they could answer.
    held: Vec<(Data, Box<[u8]>)>,
    /// Who used it last.
    tgid: u32,
    transport: u8,
    /// How it ended, by what was heard first.
    ended: Option<Outcome>,
    /// Its process is gone.
    orphan: bool,
    /// A tunnel, or given up: nothing more is looked at.
    over: bool,
    last_ns: u64,
}

impl Conn {
    pub(super) fn new(event: &event::Conn) -> Self {
        Self {
            info: Arc::new(connection(event)),
            parser: Http1::default(),
            pairing: Pairing::default(),
            request: Half::default(),
            response: Half::default(),
            held: Vec::new(),
            tgid: event.header.tgid,
            transport: event.transport,
            ended: None,
            orphan: false,
            over: false,
            last_ns: event.header.time_ns,
        }
    }

    /// Whether this is the connection that `event` announces, once more.
    pub(super) fn is(&self, event: &event::Conn) -> bool {
        self.info.seed == event.seed
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
        self.pairing.open()
    }

    /// The process that used it last is gone.
    pub(super) fn orphan(&mut self) {
        self.orphan = true;
    }

    fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        }
    }

    /// The side that the peer sends.
    fn peer_side(&self) -> Side {
        match self.info.role {
            Role::Client => Side::Response,
            Role::Server => Side::Request,
        }
    }

    /// The side that this end sends.
    fn own_side(&self) -> Side {
        match self.info.role {
            Role::Client => Side::Request,
            Role::Server => Side::Response,
        }
    }

    /// Bytes moved.
    pub(super) fn data(&mut self, data: &Data, payload: &[u8], context: &mut Context<'_>) {
        self.tgid = data.header.tgid;
        self.orphan = false;
        self.last_ns = self.last_ns.max(data.last_ns);
        if self.over {
            return;
        }
        match if data.dir == DIR_RX { self.peer_side() } else { self.own_side() } {
            Side::Request => {
                let late = self.held.first().is_some_and(|(held, _)| held.first_ns < data.first_ns);
                if late && self.request.waiting.is_empty() {
                    self.release(context);
                }
                self.moved(Side::Request, data, payload, context);
                if self.pairing.awaits() {
                    self.release(context);
                }
            }
            Side::Response if self.holds() => self.hold(data, payload, context),
            Side::Response => self.moved(Side::Response, data, payload, context),
        }
    }

    /// Whether what comes from the response side has to wait for its request.
    fn holds(&self) -> bool {
        !self.held.is_empty()
            || !(self.pairing.awaits() || self.pairing.answering() || self.response.ended)
                && self.response.waiting.is_empty()
    }

    fn hold(&mut self, data: &Data, payload: &[u8], context: &mut Context<'_>) {
        self.held.push((*data, payload.into()));
        let bytes: usize = self.held.iter().map(|(_, payload)| payload.len()).sum();
        if self.held.len() >= HELD_EVENTS || bytes >= HELD_BYTES {
            self.release(context);
        }
    }

    fn release(&mut self, context: &mut Context<'_>) {
        for (data, payload) in std::mem::take(&mut self.held) {
            self.moved(Side::Response, &data, &payload, context);
        }
    }

    /// Bytes moved in one side.
    fn moved(&mut self, side: Side, data: &Data, payload: &[u8], context: &mut Context<'_>) {
        if self.over {
            return;
        }
        let end = data.pos.saturating_add(data.len);
        let next = self.half(side).next;
        if data.pos < next && end <= next {
            context.stats.count(Count::LateEvents);
            return;
        }
        let late = next.saturating_sub(data.pos);
        let payload = payload.get(usize::try_from(late).unwrap_or(usize::MAX)..).unwrap_or_default();
        let covered = data.len - late;
        let starts = data.flags & DATA_START != 0 && late == 0;
        let jumped = data.pos > next;

        if starts || jumped {
            self.cut(side, data.last_ns, context);
        }
        if jumped {
            self.half(side).missing = Some(if starts { Missing::Messages } else { Missing::Bytes });
            if !starts {
                self.gap(side, data.pos - next, data.last_ns, context);
            }
        }
        self.half(side).next = data.pos + late;
        if starts {
            self.feed(side, Input::Start, data.last_ns, context);
            if side == Side::Request {
                self.withheld(usize::from(data.orphans), data.last_ns, context);
            }
        }
        if side == Side::Response {
            self.realign(data, context);
        }
        let source = Source::new(data, jumped, context.epoch);
        self.bytes(side, payload, source, data.last_ns, context);
        if side == Side::Response {
            self.settle(data.last_ns, context);
        }
        self.rest(side, covered - payload.len() as u64, data, context);
        let half = self.half(side);
        half.next = end;
        half.last_ns = half.last_ns.max(data.last_ns);
    }

    /// Gives the bytes that wait again, for as long as that helps: the response that came may have decided
    /// what the request side is, and what that turned out to be may be answered by the rest of what came.
    fn settle(&mut self, last_ns: u64, context: &mut Context<'_>) {
        let waiting = |conn: &Self| conn.request.waiting.len() + conn.response.waiting.len();
        let mut before = usize::MAX;
        while waiting(self) > 0 && waiting(self) < before {
            before = waiting(self);
            for side in [Side::Request, Side::Response] {
                if !self.half(side).waiting.is_empty() {
                    let source = self.half(side).source;
                    self.bytes(side, &[], source, last_ns, context);
                }
            }
        }
    }

    /// What an event covers besides its captured bytes.
    fn rest(&mut self, side: Side, len: u64, data: &Data, context: &mut Context<'_>) {
        let ends = data.flags & DATA_END != 0;
        let body = data.flags & DATA_BODY != 0;
        if len > 0 || ends {
            self.cut(side, data.last_ns, context);
        }
        if len > 0 && !body {
            self.gap(side, len, data.last_ns, context);
        }
        if ends || (len > 0 && body) {
            let len = if body { len } else { 0 };
            self.feed(side, Input::Body { len, end: ends }, data.last_ns, context);
        }
    }

    /// Requests were withheld whose responses come before the next one's.
    fn withheld(&mut self, requests: usize, now_ns: u64, context: &mut Context<'_>) {
        let requests = requests.saturating_sub(self.pairing.withheld());
        if requests > 0 {
            self.feed(Side::Request, Input::Withheld { requests }, now_ns, context);
            (0..requests).for_each(|_| self.pairing.withhold());
        }
    }

    /// Before a response that comes behind missing bytes: which requests can it answer?
    fn realign(&mut self, data: &Data, context: &mut Context<'_>) {
        if let Some(missing) = self.response.missing.take() {
            let requests =
                self.pairing.realign(&self.info, missing, context.epoch, data.first_ns, context.out);
            if requests > 0 {
                self.feed(Side::Response, Input::Unanswered { requests }, data.last_ns, context);
            }
        }
    }

    /// Gives the parser the bytes that wait, in front of a break.
    fn cut(&mut self, side: Side, now_ns: u64, context: &mut Context<'_>) {
        if self.half(side).waiting.is_empty() {
            return;
        }
        let base = self.half(side).base();
        let waiting = std::mem::take(&mut self.half(side).waiting);
        self.parser.advance(side, Input::Last(&waiting), context.messages);
        let mut sources = Sources::of_one(self.half(side).source);
        self.apply(base, &mut sources, now_ns, context);
    }

    fn gap(&mut self, side: Side, len: u64, now_ns: u64, context: &mut Context<'_>) {
        context.stats.count(Count::Gaps);
        match side {
            Side::Request => self.pairing.request_gap(),
            Side::Response => {
                self.pairing.response_gap();
                self.response.missing = Some(Missing::Bytes);
            }
        }
        self.feed(side, Input::Gap { len }, now_ns, context);
    }

    /// Gives the parser what is not bytes.
    fn feed(&mut self, side: Side, input: Input<'_>, now_ns: u64, context: &mut Context<'_>) {
        self.parser.advance(side, input, context.messages);
        let half = self.half(side);
        let (base, mut sources) = (half.next, Sources::of_one(half.source));
        self.apply(base, &mut sources, now_ns, context);
    }

    /// Gives the parser bytes behind those that wait.
    fn bytes(&mut self, side: Side, payload: &[u8], source: Source, last_ns: u64, context: &mut Context<'_>) {
        let half = self.half(side);
        let base = half.base();
        half.next = half.next.saturating_add(payload.len() as u64);
        if half.waiting.is_empty() {
            let consumed = self.parser.advance(side, Input::Bytes(payload), context.messages);
            let mut sources = Sources::of_one(source);
            self.apply(base, &mut sources, last_ns, context);
            if let Some(rest @ [_, ..]) = payload.get(consumed..)
                && !self.over
            {
                let half = self.half(side);
                half.waiting = rest.to_vec();
                half.source = sources.new;
            }
        } else {
            let mut waiting = std::mem::take(&mut half.waiting);
            let mut sources = Sources { until: waiting.len(), old: half.source, new: source };
            waiting.extend_from_slice(payload);
            let consumed = self.parser.advance(side, Input::Bytes(&waiting), context.messages);
            self.apply(base, &mut sources, last_ns, context);
            self.half(side).keep(waiting, consumed, &sources);
        }
        if self.half(side).waiting.len() > BUFFER {
            self.cut(side, last_ns, context);
            self.gap(side, 0, last_ns, context);
        }
    }

    /// Takes the parser's messages. `base` is the position of offset 0.
    fn apply(&mut self, base: u64, sources: &mut Sources, last_ns: u64, context: &mut Context<'_>) {
        let mut messages = std::mem::take(context.messages);
        for message in messages.drain(..) {
            match message {
                Message::Request { at, head } => {
                    context.stats.saw();
                    truncated(&head, context);
                    let begin = sources.of(at).begin(base.saturating_add(at as u64));
                    self.pairing.request(begin, head);
                }
                Message::Response { at, head, status } => {
                    truncated(&head, context);
                    if self.pairing.response(status, head, sources.of(at).first_ns) == Match::Orphan {
                        context.stats.count(Count::OrphanResponses);
                    }
                }
                Message::End { side: Side::Request, body, .. } => self.pairing.sent(body),
                Message::End { side: Side::Response, body, .. } => {
                    self.answered((Outcome::Complete, last_ns), body, context);
                }
                Message::Lost { side: Side::Request } => self.pairing.request_lost(),
                Message::Lost { side: Side::Response } => {
                    self.answered((Outcome::Unseen, self.response.last_ns), 0, context);
                }
                Message::Informational { .. } => {}
                Message::Resync { .. } => context.stats.count(Count::Resyncs),
                Message::Tunnel => {
                    context.stats.count(Count::Tunnels);
                    self.give_up(last_ns, context);
                }
                Message::GiveUp(why) => {
                    context.stats.count(match why {
                        GiveUp::NotHttp => Count::NotHttp,
                        GiveUp::ConflictingLength => Count::ConflictingLength,
                        GiveUp::Malformed => Count::Malformed,
                        GiveUp::TooDeep => Count::TooDeep,
                    });
                    self.give_up(last_ns, context);
                }
            }
        }
        *context.messages = messages;
    }

    fn answered(&mut self, end: (Outcome, u64), body: u64, context: &mut Context<'_>) {
        let sending = self.parser.body(Side::Request);
        context.out.extend(self.pairing.answered(&self.info, end, body, sending));
    }

    fn give_up(&mut self, now_ns: u64, context: &mut Context<'_>) {
        self.end_exchanges((Outcome::Unseen, now_ns), context);
        self.over = true;
        self.held = Vec::new();
        self.request.waiting = Vec::new();
        self.response.waiting = Vec::new();
    }

    fn end_exchanges(&mut self, end: (Outcome, u64), context: &mut Context<'_>) {
        let bodies = [self.parser.body(Side::Request), self.parser.body(Side::Response)];
        self.pairing.end_all(&self.info, end, bodies, context.out);
    }

    /// Nothing more comes from a side.
    fn eof(&mut self, side: Side, close: &event::Close, context: &mut Context<'_>) {
        if std::mem::replace(&mut self.half(side).ended, true) {
            return;
        }
        let [received_ns, sent_ns] = close.last_ns;
        let moved_ns = if side == self.peer_side() { received_ns } else { sent_ns };
        let last_ns = moved_ns.max(self.half(side).last_ns);
        self.cut(side, last_ns, context);
        self.feed(side, Input::Eof, last_ns, context);
    }

    /// One or both directions ended.
    pub(super) fn close(&mut self, close: &event::Close, context: &mut Context<'_>) {
        let now_ns = close.header.time_ns;
        self.last_ns = self.last_ns.max(now_ns);
        self.release(context);
        if self.over {
            return;
        }
        match close.reason {
            CLOSE_PEER => {
                self.ended.get_or_insert(Outcome::PeerClosed);
                self.eof(self.peer_side(), close, context);
                // Nothing can be answered any more.
                if self.info.role == Role::Client {
                    self.end_exchanges((self.outcome(), now_ns), context);
                }
            }
            CLOSE_LOCAL => {
                self.ended.get_or_insert(Outcome::LocalClosed);
                self.eof(self.own_side(), close, context);
                if self.info.role == Role::Server {
                    self.end_exchanges((self.outcome(), now_ns), context);
                }
            }
            CLOSE_ERROR => {
                self.ended = Some(Outcome::Failed(close.errno));
                self.end((Outcome::Failed(close.errno), now_ns), context);
                self.over = true;
            }
            CLOSE_GONE => {
                if close.errno != 0 {
                    self.ended = Some(Outcome::Failed(close.errno));
                }
                self.ended.get_or_insert(Outcome::LocalClosed);
                self.eof(self.own_side(), close, context);
                self.end((self.outcome(), now_ns), context);
            }
            CLOSE_OPAQUE => self.end((Outcome::Unseen, now_ns), context),
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

    /// Everything that is open ends.
    pub(super) fn end(&mut self, end: (Outcome, u64), context: &mut Context<'_>) {
        self.release(context);
        self.cut(Side::Request, end.1, context);
        self.cut(Side::Response, end.1, context);
        self.end_exchanges(end, context);
    }
}

fn truncated(head: &Head, context: &Context<'_>) {
    if head.truncated {
        context.stats.count(Count::TruncatedHeads);
    }
}

/// What the kernel side announces, as plain data.
fn connection(event: &event::Conn) -> Connection {
    let addr = |bytes: [u8; 16], port: u16| {
        let ip = match event.ip_version {
            4 => {
                let [a, b, c, d, ..] = bytes;
                IpAddr::V4(Ipv4Addr::new(a, b, c, d))
            }
            _ => IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical(),
        };
        if event.transport == TRANSPORT_UNIX { Addr::Unix } else { Addr::Ip(SocketAddr::new(ip, port)) }
    };
    Connection {
        id: event.conn,
        seed: event.seed,
        role: if event.role == ROLE_CLIENT { Role::Client } else { Role::Server },
        local: addr(event.local_addr, event.local_port),
        peer: addr(event.peer_addr, event.peer_port),
        netns: event.netns,
    }
}
