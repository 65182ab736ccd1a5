//! A connection that is followed, by the way that its exchanges share it. The protocol that the kernel side announces
//! says which.

use spandrel_common::event::{self, Data, PROTOCOL_HTTP1, PROTOCOL_HTTP2, PROTOCOL_KAFKA};

use super::{
    calls,
    conn::{self, Context},
    held::Holding,
    multiplexed,
};
use crate::exchange::{Exchange, Outcome, Withheld};

/// The state of one connection.
#[derive(Debug)]
pub(super) enum Followed {
    /// One exchange after the other.
    Ordered(Box<conn::Conn>),
    /// Exchanges that overlap, each with its number.
    Multiplexed(Box<multiplexed::Conn>),
    /// Requests to a Kafka broker.
    Calls(Box<calls::Conn>),
}

/// Calls the same method of whichever it is.
macro_rules! either {
    ($self:ident, $conn:ident => $call:expr) => {
        match $self {
            Self::Ordered($conn) => $call,
            Self::Multiplexed($conn) => $call,
            Self::Calls($conn) => $call,
        }
    };
}

impl Followed {
    pub(super) fn new(event: &event::Conn) -> Self {
        match event.protocol {
            PROTOCOL_HTTP2 => Self::Multiplexed(Box::new(multiplexed::Conn::new(event))),
            PROTOCOL_KAFKA => Self::Calls(Box::new(calls::Conn::new(event))),
            _ => Self::Ordered(Box::new(conn::Conn::new(event))),
        }
    }

    /// The exchange by which the connection turned to HTTP/2, if it did.
    pub(super) fn upgraded(&mut self) -> Option<Box<Exchange>> {
        match self {
            Self::Ordered(conn) => conn.upgraded(),
            Self::Multiplexed(_) | Self::Calls(_) => None,
        }
    }

    /// What the kernel side tells of an exchange that it withheld, which it does of ordered ones.
    pub(super) fn passed(&mut self, event: &event::Withheld) -> Option<Withheld> {
        match self {
            Self::Ordered(conn) => Some(conn.passed(event)),
            Self::Multiplexed(_) | Self::Calls(_) => None,
        }
    }

    /// Takes over the exchange by which the connection turned to this protocol.
    pub(super) fn adopt(&mut self, exchange: Exchange, context: &mut Context<'_>) {
        match self {
            Self::Ordered(_) | Self::Calls(_) => context.out.push(exchange),
            Self::Multiplexed(conn) => conn.adopt(&exchange),
        }
    }

    /// Whether this is what `event` announces, once more.
    pub(super) fn is(&self, event: &event::Conn) -> bool {
        let protocol = match self {
            Self::Ordered(_) => PROTOCOL_HTTP1,
            Self::Multiplexed(_) => PROTOCOL_HTTP2,
            Self::Calls(_) => PROTOCOL_KAFKA,
        };
        either!(self, conn => conn.info().seed == event.seed) && protocol == event.protocol
    }

    pub(super) fn tgid(&self) -> u32 {
        either!(self, conn => conn.tgid())
    }

    pub(super) fn transport(&self) -> u8 {
        either!(self, conn => conn.transport())
    }

    pub(super) fn netns(&self) -> u32 {
        either!(self, conn => conn.info().netns)
    }

    pub(super) fn last_ns(&self) -> u64 {
        either!(self, conn => conn.last_ns())
    }

    pub(super) fn open(&self) -> u64 {
        either!(self, conn => conn.open())
    }

    /// Of the open exchanges, those that the ledger holds: calls enter it when they are over.
    pub(super) fn counted(&self) -> u64 {
        match self {
            Self::Calls(_) => 0,
            _ => self.open(),
        }
    }

    /// One end has said that it is done, and the kernel does not always tell when it lets go.
    pub(super) fn is_closing(&self) -> bool {
        match self {
            Self::Ordered(_) | Self::Calls(_) => false,
            Self::Multiplexed(conn) => conn.is_closing(),
        }
    }

    pub(super) fn orphan(&mut self) {
        either!(self, conn => conn.orphan());
    }

    pub(super) fn holding(&self) -> &Holding {
        either!(self, conn => &conn.holding)
    }

    pub(super) fn holding_mut(&mut self) -> &mut Holding {
        either!(self, conn => &mut conn.holding)
    }

    pub(super) fn data(&mut self, data: &Data, payload: &[u8], context: &mut Context<'_>) {
        either!(self, conn => conn.data(data, payload, context));
    }

    pub(super) fn close(&mut self, close: &event::Close, context: &mut Context<'_>) {
        either!(self, conn => conn.close(close, context));
    }

    pub(super) fn end(&mut self, end: (Outcome, u64), context: &mut Context<'_>) {
        either!(self, conn => conn.end(end, context));
    }

    /// Nobody holds the (Unix) socket any more.
    pub(super) fn released(&mut self, context: &mut Context<'_>) {
        either!(self, conn => conn.released(context));
    }
}
