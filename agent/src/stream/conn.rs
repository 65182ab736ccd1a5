//! One connection: what comes next in which side, and what has to wait.

mod close;
mod feed;
mod withheld;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use spandrel_common::event::{
    self, DATA_BODY, DATA_END, DATA_PIPELINED, DATA_START, DATA_UNSEEN, DIR_RX, Data, ROLE_CLIENT,
    TRANSPORT_UNIX,
};

use super::{
    half::{Half, Source},
    held::Holding,
};
use crate::{
    exchange::{Addr, Connection, Exchange, Outcome, Owner, Pairing, Role, kafka::Call},
    protocol::{Detect, Input, Message, Parser as _, Side, http1::Http1},
    stats::{Count, Stats},
};

/// Response events that are kept because the request may be on its way: two CPUs write to the ring, and
/// the one that saw the request may be late by a few events.
const HELD_EVENTS: usize = 16;

/// Captured bytes of these events.
const HELD_BYTES: usize = 64 * 1024;

/// Exchanges that are over, without a response that was found, and that wait for events that may be late.
const OVERTAKEN: usize = HELD_EVENTS;

/// What the handling of one event needs besides the connection.
pub(super) struct Context<'a> {
    pub(super) stats: &'a Stats,
    messages: &'a mut Vec<Message>,
    pub(super) calls: &'a mut Vec<Call>,
    pub(super) out: &'a mut Vec<Exchange>,
}

impl<'a> Context<'a> {
    pub(super) fn new(
        stats: &'a Stats,
        messages: &'a mut Vec<Message>,
        calls: &'a mut Vec<Call>,
        out: &'a mut Vec<Exchange>,
    ) -> Self {
        Self { stats, messages, calls, out }
    }
}

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Conn {
    info: Arc<Connection>,
    pub(super) parser: Http1,
    pairing: Pairing,
    request: Half,
    response: Half,
    /// Something was not understood, so that the next response may not be that of the oldest request.
    unsure: bool,
    /// Events of the response side that came before any request that they could answer.
    held: Vec<(Data, Box<[u8]>)>,
    /// Who used it last.
    tgid: u32,
    transport: u8,
    pub(super) holding: Holding,
    /// The end of the message that is open in the response side was not seen.
    untimed: bool,
    /// The connection ended within the head of a response, of which nothing is missing.
    short: bool,
    /// How it ended, by what was heard first.
    ended: Option<Outcome>,
    /// Its process is gone.
    orphan: bool,
    /// The last exchange was told of, and not withheld.
    told: bool,
    /// A tunnel, or given up: nothing more is looked at.
    over: bool,
    /// The exchange by which the connection turned to HTTP/2, if it did: the answer itself comes there.
    upgraded: Option<Box<Exchange>>,
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
            unsure: false,
            held: Vec::new(),
            tgid: event.header.tgid,
            transport: event.transport,
            holding: Holding::of(event.transport, event.local_addr),
            untimed: false,
            short: false,
            ended: None,
            orphan: false,
            told: false,
            over: false,
            upgraded: None,
            last_ns: event.header.time_ns,
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

    /// Something of the message that is open in a side may have moved unseen.
    pub(super) fn untold_rest(&mut self, side: Side) {
        match side {
            Side::Request => self.pairing.request_gap(),
            Side::Response => self.pairing.response_gap(),
        }
    }

    pub(super) const fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// Open exchanges.
    pub(super) fn open(&self) -> u64 {
        self.pairing.open() + u64::from(self.upgraded.is_some())
    }

    /// The exchange by which the connection turned to HTTP/2.
    pub(super) const fn upgraded(&mut self) -> Option<Box<Exchange>> {
        self.upgraded.take()
    }

    /// The process that used it last is gone.
    pub(super) const fn orphan(&mut self) {
        // What it has closed before it ended is no accident.
        self.orphan = self.ended.is_none();
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

    /// The request side had moved up to a position when a response did, by TCP's numbers: what `splice` takes of a
    /// request's body is told by nothing else in time.
    fn sent_up_to(&mut self, pos: u64, context: &mut Context<'_>) {
        let certain = self.parser.certain(Side::Request);
        let half = &mut self.request;
        let len = pos.saturating_sub(half.next).min(certain);
        if len > 0 && half.waiting.is_empty() {
            half.next += len;
            let last_ns = half.last_ns;
            self.feed(Side::Request, Input::Body { len, end: false }, last_ns, context);
        }
    }

    /// Bytes moved.
    pub(super) fn data(&mut self, data: &Data, payload: &[u8], context: &mut Context<'_>) {
        self.tgid = data.header.tgid;
        self.orphan = false;
        self.told = true;
        self.holding.used();
        self.last_ns = self.last_ns.max(data.last_ns);
        if self.over {
            return;
        }
        let side = if data.dir == DIR_RX { self.peer_side() } else { self.own_side() };
        if side == Side::Response && self.held.is_empty() {
            self.sent_up_to(data.other, context);
        }
        match side {
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

    /// Takes what was held, in front of an end: the request may be there in part.
    fn release_last(&mut self, now_ns: u64, context: &mut Context<'_>) {
        if !self.held.is_empty() {
            self.cut(Side::Request, now_ns, context);
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
        let jumped = data.pos > next;
        // Of a request's body that is followed byte by byte, nobody knows the end better. (What a response has for a
        // body depends on its request, which may be lost.)
        let inside = side == Side::Request && !jumped && self.parser.within(side) && self.parser.knows(side);
        let starts = data.flags & DATA_START != 0 && late == 0 && !inside;

        if data.flags & DATA_PIPELINED != 0 {
            self.pairing.pipelines();
        }
        let again = !starts && self.again(side, data, payload);
        if starts || again || jumped {
            self.cut(side, data.last_ns, context);
        }
        if jumped && !starts {
            let len = data.pos - next;
            // When a message ended whose last bytes are among them is not known.
            if len < self.parser.certain(side) {
                self.uncaptured(side, len, data.last_ns, context);
            } else {
                self.gap(side, len, data.last_ns, context);
            }
        }
        self.half(side).next = data.pos + late;
        match side {
            Side::Request => {
                if starts || again {
                    self.feed(side, Input::Start, data.last_ns, context);
                    self.withheld(usize::from(data.orphans), data.last_ns, context);
                }
                // Withheld requests are counted; others are not known.
                self.unsure |= again || (jumped && starts && data.orphans == 0);
            }
            Side::Response => {
                self.unsure |= jumped && starts;
                self.realign(data, payload, starts, again, context);
            }
        }
        let source = Source::new(data);
        self.bytes(side, payload, source, data.last_ns, context);
        if side == Side::Response {
            self.settle(data.last_ns, context);
        }
        self.rest(side, covered - payload.len() as u64, data, context);
        // Where requests may be hidden, the next response may be one of theirs.
        self.unsure |= side == Side::Request && !self.parser.knows(side);
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
            self.uncaptured(side, len, data.last_ns, context);
        }
        if ends || (len > 0 && body) {
            // Content is counted without chunk framing.
            let len = if body { len.saturating_sub(data.framing) } else { 0 };
            // Never told to have taken longer than it did.
            let unseen = body && data.flags & DATA_UNSEEN != 0 && self.half(side).last_ns > 0;
            let last_ns = if unseen { self.half(side).last_ns } else { data.last_ns };
            if unseen {
                self.untold_rest(side);
                self.untimed = side == Side::Response;
            }
            self.feed(side, Input::Body { len, end: ends }, last_ns, context);
            self.untimed = false;
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

    /// Whether a message starts with these bytes although the last one is not over by its framing. A response
    /// that begins where its request says contradicts the framing of the one before. Of Unix sockets not every
    /// byte is seen to move (`splice`), and there are no sequence numbers that would tell.
    fn again(&self, side: Side, data: &Data, payload: &[u8]) -> bool {
        let unix = self.transport == TRANSPORT_UNIX;
        self.parser.within(side)
            && match side {
                Side::Request => unix && !self.pairing.awaits() && !self.pairing.answering(),
                Side::Response => {
                    matches!(self.pairing.owner(data.pos, data.first_ns), Owner::Start(_))
                        || (unix && self.pairing.overtaken().is_some())
                }
            }
            && match side {
                Side::Request => Http1::is_one_request(payload),
                Side::Response => Http1::detect(side, payload) == Detect::Yes,
            }
    }

    /// Before bytes of the response side: whose are they, if what came before them was not understood?
    fn realign(&mut self, data: &Data, payload: &[u8], starts: bool, again: bool, context: &mut Context<'_>) {
        let waits = !self.response.waiting.is_empty();
        let body = data.flags & DATA_BODY != 0 && payload.is_empty() && !starts;
        let unseen = self.transport == TRANSPORT_UNIX
            && !self.pairing.answering()
            && self.pairing.overtaken().is_some();
        // Until it is decided whose they are, no response is paired.
        self.unsure |= !self.parser.knows(Side::Response);
        let known = !self.unsure && !again && !unseen;
        if waits || body || known || self.pairing.doubts() {
            if starts {
                self.feed(Side::Response, Input::Start, data.last_ns, context);
            } else if known && self.pairing.answering() && !waits {
                self.pairing.overlaps(data.first_ns);
            }
            return;
        }
        let owner = self.pairing.owner(self.response.next, data.first_ns);
        let looks = starts || (!payload.is_empty() && Http1::detect(Side::Response, payload) != Detect::No);
        let before = self.response.last_ns;
        match owner {
            Owner::Nobody | Owner::Answering => {
                if starts {
                    self.feed(Side::Response, Input::Start, data.last_ns, context);
                }
                if owner == Owner::Nobody {
                    // It takes no place of those that wait.
                    let requests = self.pairing.unanswered() + 1;
                    self.parser.advance(Side::Response, Input::Awaited { requests }, context.messages);
                }
            }
            Owner::Start(slot) if looks => {
                self.close_before(slot, before, context);
                self.unsure = false;
            }
            Owner::Start(_) if !payload.is_empty() => self.abstain(before, context),
            Owner::Start(slot) | Owner::Within(slot) => {
                self.close_before(slot, before, context);
                self.pairing.miss(0);
                self.unsure = true;
                if !starts {
                    self.parser.advance(Side::Response, Input::Gap { len: 0 }, context.messages);
                }
            }
            Owner::Unknown => self.abstain(before, context),
        }
    }

    /// The exchanges before a slot are over, and so is the response that is open. The slot is the first one then.
    fn close_before(&mut self, slot: usize, last_ns: u64, context: &mut Context<'_>) {
        let slots = self.pairing.slots();
        self.feed(Side::Response, Input::Start, last_ns, context);
        let slot = slot - (slots - self.pairing.slots()).min(slot);
        self.pairing.over(slot, &self.info, last_ns, context.out);
        self.awaited(context);
    }

    /// A client that pipelines, and a hole: nothing of the connection can be matched any more.
    fn abstain(&mut self, last_ns: u64, context: &mut Context<'_>) {
        self.feed(Side::Response, Input::Start, last_ns, context);
        self.parser.advance(Side::Response, Input::Gap { len: 0 }, context.messages);
        self.pairing.abstain(&self.info, last_ns, context.out);
        self.awaited(context);
    }

    /// Tells the parser how many requests wait for their responses.
    fn awaited(&mut self, context: &mut Context<'_>) {
        let requests = self.pairing.unanswered();
        self.parser.advance(Side::Response, Input::Awaited { requests }, context.messages);
    }

    /// After a request: exchanges before it that are over, and whose responses were not found, are told now.
    fn overtaken(&mut self, context: &mut Context<'_>) {
        let last_ns = self.response.last_ns;
        if self.pairing.doubts() {
            self.pairing.over(self.pairing.slots() - 1, &self.info, last_ns, context.out);
            self.awaited(context);
            return;
        }
        let found = !self.unsure && self.parser.knows(Side::Response);
        while let Some(other) = self.pairing.overtaken()
            && !(found || self.pairing.answering() || !self.response.waiting.is_empty())
            && (self.response.next >= other || self.pairing.slots() > OVERTAKEN)
        {
            self.pairing.over(1, &self.info, last_ns, context.out);
            self.awaited(context);
        }
    }
}

/// What the kernel side announces, as plain data.
pub(super) fn connection(event: &event::Conn) -> Connection {
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
