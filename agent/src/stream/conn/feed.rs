//! What the parser is given, and what becomes of its messages.

use spandrel_common::event::TRANSPORT_UNIX;

use super::{Conn, Context};
use crate::{
    exchange::{Exchange, Match, Outcome, Role},
    protocol::{
        Input, Message, Parser, Side,
        message::{GiveUp, Head},
    },
    stats::Count,
    stream::half::{BUFFER, Source, Sources, Waiting, with_more},
};

impl Conn {
    /// Gives the parser the bytes that wait, in front of a break.
    pub(super) fn cut(&mut self, side: Side, now_ns: u64, context: &mut Context<'_>) {
        if self.half(side).waiting.is_empty() {
            return;
        }
        let base = self.half(side).base();
        let waiting = std::mem::take(&mut self.half(side).waiting);
        self.parser.advance(side, Input::Last(&waiting), context.messages);
        let mut sources = Sources::of_one(self.half(side).source);
        self.apply(base, &mut sources, now_ns, context);
    }

    /// Bytes of the open message that were not captured. Those that are body by its framing are not missed.
    pub(super) fn uncaptured(&mut self, side: Side, len: u64, now_ns: u64, context: &mut Context<'_>) {
        if len <= self.parser.certain(side) {
            self.feed(side, Input::Body { len, end: false }, now_ns, context);
        } else {
            self.gap(side, len, now_ns, context);
        }
    }

    pub(super) fn gap(&mut self, side: Side, len: u64, now_ns: u64, context: &mut Context<'_>) {
        context.stats.count(Count::Gaps);
        self.untold_rest(side);
        self.feed(side, Input::Gap { len }, now_ns, context);
    }

    /// Gives the parser what is not bytes.
    pub(super) fn feed(&mut self, side: Side, input: Input<'_>, now_ns: u64, context: &mut Context<'_>) {
        self.parser.advance(side, input, context.messages);
        // What is not bytes seldom ends or begins a message.
        if context.messages.is_empty() {
            return;
        }
        let half = self.half(side);
        let (base, mut sources) = (half.next, Sources::of_one(half.source));
        self.apply(base, &mut sources, now_ns, context);
    }

    /// Gives the parser bytes behind those that wait.
    pub(super) fn bytes(
        &mut self,
        side: Side,
        payload: &[u8],
        source: Source,
        last_ns: u64,
        context: &mut Context<'_>,
    ) {
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
                half.waiting = Waiting::new(rest.to_vec());
                half.source = sources.new;
                if consumed > 0 {
                    self.follows(side);
                }
            }
        } else {
            let waiting = std::mem::take(&mut half.waiting);
            let mut sources = Sources { until: waiting.len(), old: half.source, new: source };
            let waiting = with_more(waiting, payload);
            let consumed = self.parser.advance(side, Input::Bytes(&waiting), context.messages);
            self.apply(base, &mut sources, last_ns, context);
            self.half(side).keep(waiting, consumed, &sources);
            if consumed > sources.until {
                self.follows(side);
            }
        }
        if self.half(side).waiting.len() > BUFFER {
            self.cut(side, last_ns, context);
            self.gap(side, 0, last_ns, context);
        }
    }

    /// What waits came by one call with the end of the message before it: a client that starts its next request like
    /// this, before the response came, pipelines.
    fn follows(&mut self, side: Side) {
        let begins = |byte: &u8| !matches!(byte, b'\r' | b'\n');
        let more = side == Side::Request && self.half(side).waiting.iter().any(begins);
        if more && self.pairing.awaits() {
            self.pairing.pipelines();
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
                    // It came by one call with bytes of a request before it, which has no response yet.
                    if at > sources.until && self.pairing.awaits() {
                        self.pairing.pipelines();
                    }
                    let begin = sources.of(at).begin(base.saturating_add(at as u64));
                    self.pairing.request(begin, head);
                    self.overtaken(context);
                }
                Message::Response { at, head, status } => {
                    truncated(&head, context);
                    if self.unsure {
                        self.pairing.orphan();
                        context.stats.count(Count::OrphanResponses);
                        continue;
                    }
                    // What a client takes by `splice` may not be seen.
                    let unseen = self.transport() == TRANSPORT_UNIX && self.info.role == Role::Client;
                    let found = self.pairing.response(status, head, sources.of(at).first_ns, unseen);
                    if matches!(found, Match::Orphan | Match::Ambiguous) {
                        context.stats.count(Count::OrphanResponses);
                        // Without its request its framing is a guess.
                        self.unsure = true;
                    }
                    if found == Match::Ambiguous {
                        let slots = self.pairing.slots();
                        self.pairing.over(slots, &self.info, last_ns, context.out);
                        self.awaited(context);
                    }
                }
                Message::End { side: Side::Request, body, .. } => self.pairing.sent(body),
                Message::End { side: Side::Response, body, .. } => {
                    let outcome = if self.untimed { Outcome::Unseen } else { Outcome::Complete };
                    self.answered((outcome, last_ns), body, context);
                }
                Message::Lost { side: Side::Request } => self.pairing.request_lost(),
                Message::Lost { side: Side::Response } => {
                    self.unsure = true;
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

    pub(super) fn answered(&mut self, end: (Outcome, u64), body: u64, context: &mut Context<'_>) {
        let sending = self.parser.body(Side::Request);
        match self.pairing.answered(&self.info, end, body, sending) {
            Some(exchange) if turns_to_http2(&exchange) => self.upgraded = Some(Box::new(exchange)),
            answered => context.out.extend(answered),
        }
    }

    fn give_up(&mut self, now_ns: u64, context: &mut Context<'_>) {
        self.end_exchanges((Outcome::Unseen, now_ns), context);
        self.over = true;
        self.held = Vec::new();
        self.request.waiting = Waiting::default();
        self.response.waiting = Waiting::default();
    }
}

/// Whether a request was answered by turning the connection to HTTP/2 (RFC 7540, section 3.2).
fn turns_to_http2(exchange: &Exchange) -> bool {
    let Some((101, head)) = &exchange.response else { return false };
    head.bytes().split(|byte| *byte == b'\n').any(|line| {
        let field = line.split_at_checked(8);
        field.is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case(b"upgrade:") && value.trim_ascii().eq_ignore_ascii_case(b"h2c")
        })
    })
}

fn truncated(head: &Head, context: &Context<'_>) {
    if head.truncated {
        context.stats.count(Count::TruncatedHeads);
    }
}
