//! One direction of a connection: between messages, inside one, or lost.

use super::{
    api::Shape,
    message::Seen,
    read::{Positions, Reader, Reading},
    walk::{Progress, Walk},
};

/// Where a direction is.
#[derive(Debug, Default)]
pub(super) enum State {
    #[default]
    Between,
    Open(Box<Open>),
    /// Behind missing bytes: messages are looked for where calls begin.
    Lost,
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Half {
    pub(super) state: State,
    /// The newest correlation id.
    pub(super) last: Option<i32>,
}

impl Half {
    /// How many of the next bytes are nothing that is looked at.
    pub(super) fn certain(&self) -> u64 {
        match &self.state {
            State::Open(open) => open.certain(),
            _ => 0,
        }
    }
}

/// The message that is open.
#[derive(Debug)]
pub(super) struct Open {
    /// `None` for what is no message but has a length.
    pub(super) correlation: Option<i32>,
    pub(super) key: i16,
    left: u32,
    size: u64,
    walk: Walk,
    reader: Reader,
    partly: bool,
}

impl Open {
    /// A message whose header was `taken`, with so many bytes left.
    pub(super) fn new(
        correlation: i32,
        key: i16,
        left: u32,
        taken: usize,
        shape: Shape,
        version: i16,
        reader: Reader,
    ) -> Box<Self> {
        Box::new(Self {
            correlation: Some(correlation),
            key,
            left,
            size: u64::from(left) + taken as u64,
            walk: Walk::new(shape.fields, version, shape.flexible, shape.header),
            reader,
            partly: false,
        })
    }

    /// So many bytes that nobody looks at.
    pub(super) fn unread(left: u32) -> Box<Self> {
        let reader = Reader::new(crate::protocol::Side::Response, -1);
        let walk = Walk::new(super::schema::UNREAD, 0, false, false);
        let size = u64::from(left);
        Box::new(Self { correlation: None, key: -1, left, size, walk, reader, partly: false })
    }

    /// Whether it is complete.
    pub(super) const fn over(&self) -> bool {
        self.left == 0
    }

    fn certain(&self) -> u64 {
        let skipped = match self.walk.progress() {
            Progress::Inside => self.walk.skips(),
            _ => self.left,
        };
        u64::from(skipped.min(self.left))
    }

    /// Takes bytes; gives how many. The others come again with more behind them.
    pub(super) fn advance(&mut self, bytes: &[u8], positions: &mut Positions) -> usize {
        let last = bytes.len() >= self.left as usize;
        let bytes = bytes.get(..self.left as usize).unwrap_or(bytes);
        let mut sink = Reading { reader: &mut self.reader, positions };
        let mut taken = self.walk.advance(bytes, &mut sink).min(bytes.len());
        if last || self.walk.progress() != Progress::Inside {
            self.partly |= taken < bytes.len() && self.walk.progress() != Progress::Rest;
            taken = bytes.len();
        }
        self.left -= taken as u32;
        taken
    }

    /// So many bytes are missing. Gives how many of them are behind the message.
    pub(super) fn pass(&mut self, len: u64, positions: &mut Positions) -> u64 {
        let within = u32::try_from(len).unwrap_or(u32::MAX).min(self.left);
        let mut sink = Reading { reader: &mut self.reader, positions };
        if !self.walk.pass(within, &mut sink) {
            self.partly = true;
            self.walk = Walk::new(super::schema::UNREAD, 0, false, false);
            self.walk.advance(&[], &mut sink);
        }
        self.left -= within;
        len - u64::from(within)
    }

    /// What was read, how much of it, and whether it was what the table says to the last byte.
    pub(super) fn finish(mut self: Box<Self>) -> (Reader, Seen, bool) {
        let mut positions = Positions::default();
        if self.walk.progress() == Progress::Inside {
            // What is due at the end needs no bytes.
            let mut sink = Reading { reader: &mut self.reader, positions: &mut positions };
            self.walk.advance(&[], &mut sink);
        }
        let progress = self.walk.progress();
        let exact = progress == Progress::Done && !self.partly;
        let partly = self.partly || !matches!(progress, Progress::Done | Progress::Rest);
        let seen = Seen { bytes: self.size, partly, more: self.reader.more };
        (self.reader, seen, exact)
    }
}
