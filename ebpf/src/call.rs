//! Where a call's bytes lie in user memory, and how to get at them.

use spandrel_common::{
    event::Unseen,
    limits::{HEAD_CAPTURE, IOVECS},
};

use crate::{
    kernel::syscall::{Shape, Syscall},
    read,
    scratch::{self, Scratch},
};

/// The user memory of one call, or of one message of a call.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Call {
    /// A buffer, or an iovec array if `vectors` is not 0.
    pub address: u64,
    pub vectors: u32,
    /// Why there is nothing to look at, or [`Unseen::Nothing`]. As wide as this, so that no byte between the fields is
    /// left out: kernels before 6.3 refuse to copy what was not written.
    pub unseen: u32,
}

/// Size of `struct mmsghdr` and of the `struct msghdr` in it (64-bit).
const MMSGHDR: u64 = 64;
/// Offset of `msg_iov` in `struct msghdr` (64-bit).
const MSG_IOV: u64 = 16;
/// Offset of `msg_len` in `struct mmsghdr`.
const MMSG_LEN: u64 = 56;

impl Call {
    /// A call whose bytes are not to be had.
    #[inline(always)]
    pub const fn unseen(why: Unseen) -> Self {
        Self { address: 0, vectors: 0, unseen: why as u32 }
    }

    /// Two numbers to hand to a global function.
    #[inline(always)]
    pub fn packed(&self) -> (u64, u64) {
        (self.address, u64::from(self.vectors) | (u64::from(self.unseen) << 32))
    }

    /// The call of two such numbers.
    #[inline(always)]
    pub fn unpacked(address: u64, packed: u64) -> Self {
        Self { address, vectors: packed as u32, unseen: (packed >> 32) as u32 }
    }

    /// The memory that a `struct msghdr` names.
    #[inline(always)]
    pub fn message(header: u64) -> Self {
        match read::user::<[u64; 2]>(header + MSG_IOV) {
            Some([address, vectors]) => Self { address, vectors: vectors as u32, unseen: 0 },
            None => Self::unseen(Unseen::Fault),
        }
    }

    /// The memory of message `index` of a `recvmmsg` or `sendmmsg`.
    #[inline(always)]
    pub fn batched(array: u64, index: u32) -> Self {
        Self::message(array + u64::from(index) * MMSGHDR)
    }

    /// The memory of a call that moves one message.
    #[inline(always)]
    pub fn of(syscall: &Syscall) -> Self {
        match syscall.shape() {
            Shape::Flat => Self { address: syscall.args[1], vectors: 0, unseen: 0 },
            Shape::Vector => Self { address: syscall.args[1], vectors: syscall.args[2] as u32, unseen: 0 },
            Shape::Message => Self::message(syscall.args[1]),
            Shape::Messages => Self::batched(syscall.args[1], 0),
            Shape::Splice => Self::unseen(Unseen::Splice),
            Shape::Ring => Self::unseen(Unseen::IoUring),
            Shape::Other => Self::unseen(Unseen::OtherCall),
        }
    }
}

/// How many bytes message `index` of a finished `recvmmsg` or `sendmmsg` moved.
#[inline(always)]
pub fn batched_len(array: u64, index: u32) -> u32 {
    read::user(array + u64::from(index) * MMSGHDR + MMSG_LEN).unwrap_or(0)
}

/// A copy that is under way.
#[repr(C)]
pub struct Gather {
    address: u64,
    /// Bytes to leave out before the next one.
    skip: u64,
    want: u64,
    done: u64,
    vectors: u64,
}

/// Copies `want` bytes (at most [`HEAD_CAPTURE`]) of a call's memory, from offset `skip` on, to the start
/// of this CPU's scratch buffer. A byte that was held back ([`scratch::Moved::held`]) counts as the first.
/// Returns how many came, less than `want` if memory could not be read or more than [`IOVECS`] vectors were
/// named.
#[inline(always)]
pub fn gather(address: u64, vectors: u32, skip: u64, want: u64) -> u64 {
    spandrel_gather(address, vectors, skip, want)
}

/// See [`gather`]. A global function: the verifier checks it once, whoever calls it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_gather(address: u64, vectors: u32, skip: u64, want: u64) -> u64 {
    let Some(scratch) = scratch::held() else { return 0 };
    let want = if want > HEAD_CAPTURE as u64 { HEAD_CAPTURE as u64 } else { want };
    let (mut skip, mut done) = (skip, 0);
    if scratch.moved.held != 0 {
        if skip == 0 && want > 0 {
            scratch.set_first(scratch.moved.held as u8);
            done = 1;
        } else {
            skip -= 1;
        }
    }
    if vectors == 0 {
        let len = read::at_most(want - done, 2 * HEAD_CAPTURE as u64 - 1);
        let room = scratch.room().wrapping_add(done as usize);
        return if read::user_bytes(room, len as u32, address + skip) { done + len } else { 0 };
    }
    scratch.gather = Gather { address, skip, want, done, vectors: u64::from(vectors) };
    read::repeat(IOVECS, |index| spandrel_vector(index));
    scratch.gather.done
}

/// Copies at most `want` bytes (at most [`HEAD_CAPTURE`]) of a call's memory, from offset `skip` on, to the start of
/// this CPU's scratch buffer, as far as they lie in the first vector. Returns how many came, often fewer than
/// `want`: it is for what mostly is in the first vector and shows by itself whether it was.
#[inline(always)]
pub fn gather_first(address: u64, vectors: u32, skip: u64, want: u64, scratch: &mut Scratch) -> u64 {
    let (mut base, mut len) = (address, u64::MAX);
    if vectors > 0 {
        match read::user::<[u64; 2]>(address) {
            Some(vector) => [base, len] = vector,
            None => return 0,
        }
    }
    if skip >= len {
        return 0;
    }
    let want = if want > len - skip { len - skip } else { want };
    let want = if want > HEAD_CAPTURE as u64 { HEAD_CAPTURE as u64 } else { want };
    let piece = read::at_most(want, 2 * HEAD_CAPTURE as u64 - 1);
    if read::user_bytes(scratch.room(), piece as u32, base + skip) { piece } else { 0 }
}

/// Copies what is wanted of one vector. Returns 1 to end the copy.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_vector(index: u32) -> u32 {
    let Some(scratch) = scratch::held() else { return 1 };
    let room = scratch.room();
    let gather = &mut scratch.gather;
    if u64::from(index) >= gather.vectors || gather.done >= gather.want {
        return 1;
    }
    let Some([base, len]) = read::user::<[u64; 2]>(gather.address + 16 * u64::from(index)) else { return 1 };
    let skip = gather.skip;
    if skip >= len {
        gather.skip = skip - len;
        return 0;
    }
    let (left, done) = (len - skip, gather.done);
    let piece = if left < gather.want - done { left } else { gather.want - done };
    let piece = read::at_most(piece, 2 * HEAD_CAPTURE as u64 - 1);
    // `at` differs from `done` only if the buffer is full, and then the copy has ended.
    let at = read::opaque(done) & (HEAD_CAPTURE as u64 - 1);
    if !read::user_bytes(room.wrapping_add(at as usize), piece as u32, base + skip) {
        return 1;
    }
    gather.done = done + piece;
    gather.skip = 0;
    0
}
