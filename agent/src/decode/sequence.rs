//! Holes in the sequence numbers of each CPU: events that the ring had no room for.

use spandrel_common::event::Header;

/// The next number expected from each CPU. At most 65,536 entries, because a CPU number has 16 bits.
#[derive(Debug, Default)]
pub struct Sequence {
    next: Vec<Option<u64>>,
    lost: u64,
}

impl Sequence {
    /// Takes note of an event and returns how many events of its CPU are newly missing before it.
    ///
    /// A hook may interrupt another one between drawing its number and reserving its room, so that two
    /// events come in the wrong order; the late one is taken back from [`Self::lost`].
    pub fn observe(&mut self, header: &Header) -> u64 {
        let cpu = usize::from(header.cpu);
        if cpu >= self.next.len() {
            self.next.resize(cpu + 1, None);
        }
        let Some(slot) = self.next.get_mut(cpu) else { return 0 };
        let expected = slot.unwrap_or(header.seq);
        if header.seq < expected {
            self.lost = self.lost.saturating_sub(1);
            return 0;
        }
        *slot = Some(header.seq.saturating_add(1));
        let missing = header.seq - expected;
        self.lost = self.lost.saturating_add(missing);
        missing
    }

    /// Events missing on all CPUs since each was first heard of.
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}
