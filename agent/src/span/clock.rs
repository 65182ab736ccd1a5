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

    /// The anchor from now on, when `read` was just read. Both clocks run at the same rate, so that two readings differ by
    /// what interrupted them, and by steps of the Unix clock: only the latter are worth that the spans of a trace do not fit
    /// into each other for a moment.
    pub(super) const fn corrected(self, read: Self) -> Self {
        if self.unix(read.mono_ns).abs_diff(read.unix_ns) < STEP_NS { self } else { read }
    }
}

/// What a Unix clock has to be off before it is followed: more than a reading is interrupted for, less than matters between
/// machines.
pub(super) const STEP_NS: u64 = 1_000_000;
