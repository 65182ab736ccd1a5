//! Where a call's bytes lie in user memory, and how to get at them.

use spandrel_common::{
    event::Unseen,
    limits::{HEAD_CAPTURE, IOVECS},
};

use crate::{kernel::syscall::{Shape, Syscall}, read, scratch};

/// The user memory of one call, or of one message of a call.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Call {
    /// A buffer, or an iovec array if `vectors` is not 0.
    pub address: u64,
    pub vectors: u32,
    /// Why there is nothing to look at, or [`Unseen::Nothing`].
    pub unseen: u8,
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
        Self { address: 0, vectors: 0, unseen: why as u8 }
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
            Shape::Vector => {
                Self { address: syscall.args[1], vectors: syscall.args[2] as u32, unseen: 0 }
            }
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

/// Copies `want` bytes (at most [`HEAD_CAPTURE`]) of a call's memory, from offset `skip` on, to the start
/// of this CPU's scratch buffer. Returns how many came, less than `want` if memory could not be read or
/// more than [`IOVECS`] vectors were named.
///
/// A global function: the verifier checks it once, whoever calls it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_gather(address: u64, vectors: u32, skip: u64, want: u64) -> u64 {
    let Some(bytes) = scratch::bytes() else { return 0 };
    let want = if want > HEAD_CAPTURE as u64 { HEAD_CAPTURE as u64 } else { want };
    if vectors == 0 {
        let len = read::at_most(want, 2 * HEAD_CAPTURE as u64 - 1);
        return if read::user_bytes(bytes, len as u32, address + skip) { len } else { 0 };
    }
    let mut skip = skip;
    let mut done = 0_u64;
    for index in 0..IOVECS as u64 {
        if index >= u64::from(vectors) || done >= want {
            break;
        }
        let Some([base, len]) = read::user::<[u64; 2]>(address + 16 * index) else { break };
        if skip >= len {
            skip -= len;
            continue;
        }
        let left = len - skip;
        let piece = if left < want - done { left } else { want - done };
        let piece = read::at_most(piece, 2 * HEAD_CAPTURE as u64 - 1);
        let at = read::opaque(done) & (HEAD_CAPTURE as u64 - 1);
        // `at` differs from `done` only if the buffer is full, and then the loop has ended.
        if !read::user_bytes(bytes.wrapping_add(at as usize), piece as u32, base + skip) {
            break;
        }
        done += piece;
        skip = 0;
    }
    done
}
