//! A ring of io_uring (io_uring(7)) for one operation at a time, set up by hand.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    ptr,
    sync::atomic::{AtomicU32, Ordering},
};

/// Offsets of the fields that are used, in `u32`s of `struct io_uring_params` (linux/io_uring.h).
mod field {
    pub(super) const FLAGS: usize = 2;
    pub(super) const IDLE: usize = 4;
    pub(super) const SQ_HEAD: usize = 10;
    pub(super) const SQ_TAIL: usize = 11;
    pub(super) const SQ_MASK: usize = 12;
    pub(super) const SQ_FLAGS: usize = 14;
    pub(super) const SQ_ARRAY: usize = 16;
    pub(super) const CQ_HEAD: usize = 20;
    pub(super) const CQ_TAIL: usize = 21;
    pub(super) const CQ_MASK: usize = 22;
    pub(super) const CQ_CQES: usize = 25;
}

const SQPOLL: u32 = 2;
const NEED_WAKEUP: u32 = 1;
const ENTER_GETEVENTS: u32 = 1;
const ENTER_SQ_WAKEUP: u32 = 2;
const OFF_SQES: i64 = 0x1000_0000;
/// Bytes of the mappings: a ring of 4 entries takes less than a page.
const MAPPED: usize = 4096;

/// What to do with a buffer.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Op {
    Read = 22,
    Write = 23,
    Send = 26,
    Recv = 27,
}

/// A ring.
pub(crate) struct Ring {
    fd: OwnedFd,
    params: [u32; 30],
    rings: *mut AtomicU32,
    sqes: *mut [u8; 64],
    polled: bool,
}

impl Ring {
    /// With `polled`, a thread of the kernel takes what is submitted, and no system call is made for it.
    pub(crate) fn new(polled: bool) -> io::Result<Self> {
        let mut params = [0_u32; 30];
        if polled {
            params[field::FLAGS] = SQPOLL;
            params[field::IDLE] = 2000;
        }
        // SAFETY: the parameters have the size that the kernel expects, 120 bytes.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 4, params.as_mut_ptr()) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just made the descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        let map = |offset| {
            let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
            // SAFETY: a new mapping of the ring's memory.
            let at = unsafe { libc::mmap(ptr::null_mut(), MAPPED, access, kind, fd.as_raw_fd(), offset) };
            if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(at) }
        };
        let (rings, sqes) = (map(0)?, map(OFF_SQES)?);
        Ok(Self { fd, params, rings: rings.cast(), sqes: sqes.cast(), polled })
    }

    /// A word of the shared memory.
    fn word(&self, offset: u32) -> &AtomicU32 {
        // SAFETY: the kernel gave the offset, which is aligned and inside the mapping; the mapping lives as long
        // as the ring.
        unsafe { &*self.rings.byte_add(offset as usize) }
    }

    fn field(&self, field: usize) -> &AtomicU32 {
        self.word(self.params[field])
    }

    /// Hands an operation over. The buffer must stay until [`Ring::wait`] or [`Ring::done`] has its result.
    pub(crate) fn submit(&self, op: Op, fd: BorrowedFd<'_>, buf: *mut u8, len: usize) -> io::Result<()> {
        let tail = self.field(field::SQ_TAIL).load(Ordering::Relaxed);
        let slot = tail & self.field(field::SQ_MASK).load(Ordering::Relaxed);
        let mut entry = [0_u8; 64];
        entry[0] = op as u8;
        entry[4..8].copy_from_slice(&fd.as_raw_fd().to_ne_bytes());
        if matches!(op, Op::Read | Op::Write) {
            // The offset -1: where the file is.
            entry[8..16].copy_from_slice(&u64::MAX.to_ne_bytes());
        }
        entry[16..24].copy_from_slice(&(buf as u64).to_ne_bytes());
        entry[24..28].copy_from_slice(&(len as u32).to_ne_bytes());
        // SAFETY: the slot is one of the ring's four, of 64 bytes each, and free: one operation at a time.
        unsafe { self.sqes.add(slot as usize).write(entry) };
        self.word(self.params[field::SQ_ARRAY] + 4 * slot).store(slot, Ordering::Relaxed);
        self.field(field::SQ_TAIL).store(tail.wrapping_add(1), Ordering::Release);
        if !self.polled {
            return self.enter(1, 0, 0);
        }
        if self.field(field::SQ_FLAGS).load(Ordering::SeqCst) & NEED_WAKEUP != 0 {
            self.enter(0, 0, ENTER_SQ_WAKEUP)?;
        }
        while self.field(field::SQ_HEAD).load(Ordering::Acquire) == tail {
            std::thread::yield_now();
        }
        Ok(())
    }

    fn enter(&self, submit: u32, wait: u32, flags: u32) -> io::Result<()> {
        let fd = self.fd.as_raw_fd();
        // SAFETY: numbers only; no signal mask is given.
        let result = unsafe {
            libc::syscall(libc::SYS_io_uring_enter, fd, submit, wait, flags, ptr::null::<u8>(), 0_usize)
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The result of the operation, if it is there.
    pub(crate) fn done(&self) -> Option<io::Result<usize>> {
        let head = self.field(field::CQ_HEAD).load(Ordering::Relaxed);
        if head == self.field(field::CQ_TAIL).load(Ordering::Acquire) {
            return None;
        }
        let slot = head & self.field(field::CQ_MASK).load(Ordering::Relaxed);
        // The result is behind the 8 bytes of user data, in entries of 16.
        let result = self.word(self.params[field::CQ_CQES] + 16 * slot + 8).load(Ordering::Relaxed) as i32;
        self.field(field::CQ_HEAD).store(head.wrapping_add(1), Ordering::Release);
        Some(usize::try_from(result).map_err(|_negative| io::Error::from_raw_os_error(-result)))
    }

    /// Waits for the result.
    pub(crate) fn wait(&self) -> io::Result<usize> {
        loop {
            if let Some(result) = self.done() {
                return result;
            }
            if self.polled {
                std::thread::yield_now();
            } else {
                self.enter(0, 1, ENTER_GETEVENTS)?;
            }
        }
    }

    pub(crate) fn send(&self, op: Op, fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
        self.submit(op, fd, bytes.as_ptr().cast_mut(), bytes.len())?;
        self.wait()
    }

    pub(crate) fn receive(&self, op: Op, fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
        self.submit(op, fd, buf.as_mut_ptr(), buf.len())?;
        self.wait()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, and nothing refers to them any more.
        unsafe {
            libc::munmap(self.rings.cast(), MAPPED);
            libc::munmap(self.sqes.cast(), MAPPED);
        }
    }
}
