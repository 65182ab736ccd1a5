//! Which spans of a batch need nothing any more, because the batch was too large and parts of it were settled. Pure.

use std::ops::Range;

/// One bit for each span, in the order of the batch: 1 if it needs nothing any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    bits: Box<[u8]>,
    spans: usize,
}

/// Bytes that so many spans take.
pub(super) const fn size(spans: usize) -> usize {
    spans.div_ceil(8)
}

impl Settled {
    /// All of so many spans wait.
    pub fn none(spans: usize) -> Self {
        Self { bits: vec![0; size(spans)].into(), spans }
    }

    /// As it is on disk. What is missing waits: rather twice than not at all.
    pub(super) fn read(bytes: &[u8], spans: usize) -> Self {
        let mut own = Self::none(spans);
        own.bits.iter_mut().zip(bytes).for_each(|(bits, byte)| *bits = *byte);
        own
    }

    /// Whether a span needs nothing any more.
    pub fn has(&self, span: usize) -> bool {
        self.bits.get(span / 8).is_some_and(|bits| bits & 1 << (span % 8) != 0)
    }

    /// Whether all wait.
    pub fn is_none(&self) -> bool {
        self.bits.iter().all(|bits| *bits == 0)
    }

    /// The spans that wait, in order.
    pub fn waiting(&self) -> impl Iterator<Item = usize> {
        (0..self.spans).filter(|span| !self.has(*span))
    }

    /// These spans need nothing any more. Gives the bytes that this may have changed.
    pub fn settle(&mut self, spans: impl IntoIterator<Item = usize>) -> Range<usize> {
        let mut changed: Option<Range<usize>> = None;
        for span in spans {
            let at = span / 8;
            if let Some(bits) = self.bits.get_mut(at) {
                *bits |= 1 << (span % 8);
                let range = changed.get_or_insert(at..at + 1);
                *range = range.start.min(at)..range.end.max(at + 1);
            }
        }
        changed.unwrap_or_default()
    }

    /// Some of its bytes, as they are on disk.
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.bits.get(range).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_settled_is_read_again(spans in 0..70_usize, some in prop::collection::vec(0..80_usize, 0..40)) {
            let mut settled = Settled::none(spans);
            let mut disk = vec![0; size(spans)];
            for part in some.chunks(3) {
                let range = settled.settle(part.iter().copied());
                disk[range.clone()].copy_from_slice(settled.bytes(range));
            }
            let read = Settled::read(&disk, spans);
            prop_assert_eq!(&read, &settled);
            let waiting: Vec<_> = (0..spans).filter(|span| !some.contains(span)).collect();
            prop_assert_eq!(read.waiting().collect::<Vec<_>>(), waiting);
        }
    }

    #[test]
    fn what_is_missing_on_disk_waits() {
        assert_eq!(Settled::read(&[0xff], 10).waiting().collect::<Vec<_>>(), [8, 9]);
        assert_eq!(Settled::read(&[0xff; 9], 10).waiting().count(), 0);
    }
}
