//! The ring of events: bytes out, nothing else.

use std::{
    os::fd::{AsFd as _, AsRawFd as _, RawFd},
    time::Duration,
};

use aya::maps::{MapData, RingBuf};

/// The reader's end of the ring.
pub struct Ring {
    ring: RingBuf<MapData>,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").finish_non_exhaustive()
    }
}

impl Ring {
    pub(super) const fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring }
    }

    /// Hands every waiting event to `take`, at most `limit` of them. Returns how many there were.
    pub fn drain(&mut self, limit: usize, mut take: impl FnMut(&[u8])) -> usize {
        for count in 0..limit {
            match self.ring.next() {
                Some(event) => take(&event),
                None => return count,
            }
        }
        limit
    }

    /// Waits until the kernel side wakes its reader (which it does only when much is waiting or a program
    /// was executed), until `other` is readable, or until `timeout` is over.
    pub fn wait(&self, other: RawFd, timeout: Duration) {
        let poll = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut fds = [poll(self.ring.as_fd().as_raw_fd()), poll(other)];
        let millis = timeout.as_millis().min(i32::MAX as u128) as i32;
        // SAFETY: the pointer and the length describe the array, which outlives the call. A failure
        // (EINTR) is a wake-up like any other.
        unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, millis) };
    }
}
