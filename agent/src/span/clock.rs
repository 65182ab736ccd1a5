//! Moments of the kernel's clock as moments of the calendar.

/// One moment on two clocks, from which every other moment follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockAnchor {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub mono_ns: u64,
    /// The same moment in nanoseconds since the Unix epoch.
    pub unix_ns: u64,
}

impl ClockAnchor {
    /// A moment of the monotonic clock as nanoseconds since the Unix epoch.
    pub const fn unix(&self, mono_ns: u64) -> u64 {
        match mono_ns.checked_sub(self.mono_ns) {
            Some(later) => self.unix_ns.saturating_add(later),
            None => self.unix_ns.saturating_sub(self.mono_ns - mono_ns),
        }
    }
}
