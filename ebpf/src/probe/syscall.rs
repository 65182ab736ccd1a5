//! System call profile, for kernels without the socket tracepoints: `sys_exit`, and the socket through the
//! task's descriptor table.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use spandrel_common::event::{CLOSE_ERROR, CLOSE_PEER, TRANSPORT_TCP, Unseen};

use super::socket::noticed;
use crate::{
    call::{self, Call},
    capture::{self, Bytes},
    conn::{self, FRESH, HTTP, IGNORED, State},
    filter,
    kernel::{
        files,
        sock::{Raw, Sock, Tcp},
        syscall::{Shape, Syscall, Way},
        task::{self, Task},
    },
};

const MSG_SKIP: u64 = 0x1 | 0x2 | 0x2000;
const MSG_TRUNC: u64 = 0x20;
const ECONNRESET: i64 = 104;
const EPIPE: i64 = 32;
const ETIMEDOUT: i64 = 110;
/// Messages of one `sendmmsg` or `recvmmsg` that are followed. Stream sockets have no use for these calls: more
/// than two messages were never seen on one.
const BATCH: u32 = 16;

/// A system call returned: `(registers, result)`.
#[btf_tracepoint(function = "sys_exit")]
pub fn sys_exit(ctx: BtfTracePointContext) -> i32 {
    let syscall = Syscall::from_regs(ctx.arg(0));
    if syscall.shape() != Shape::Other {
        returned(&syscall, ctx.arg(1));
    }
    0
}

#[inline(always)]
fn returned(syscall: &Syscall, result: i64) {
    if !filter::selected(task::ids().tgid) || syscall.receive_flags() & MSG_SKIP != 0 {
        return;
    }
    match syscall.shape() {
        Shape::Other => {}
        Shape::Ring => {
            noticed(Unseen::IoUring);
        }
        _ if Task::current().is_compat() => {
            noticed(Unseen::Compat);
        }
        Shape::Splice if syscall.is_splice() => {
            one::<false>(syscall.args[0] as u32, result, 0, Call::of(syscall));
            one::<true>(syscall.args[2] as u32, result, 0, Call::of(syscall));
        }
        Shape::Messages => messages(syscall, result),
        _ => {
            let truncated = syscall.receive_flags() & MSG_TRUNC != 0;
            let memory = if truncated { Call::unseen(Unseen::Discarded) } else { Call::of(syscall) };
            if syscall.way() == Way::Tx {
                one::<true>(syscall.args[0] as u32, result, 0, memory);
            } else {
                one::<false>(syscall.args[0] as u32, result, 0, memory);
            }
        }
    }
}

/// `count` messages of one `sendmmsg` or `recvmmsg`.
#[inline(always)]
fn messages(syscall: &Syscall, count: i64) {
    let array = syscall.args[1];
    let mut behind = 0_u64;
    for index in 0..BATCH {
        if i64::from(index) < count {
            behind += u64::from(call::batched_len(array, index));
        }
    }
    for index in 0..BATCH {
        if i64::from(index) >= count {
            return;
        }
        let len = call::batched_len(array, index);
        behind = behind.saturating_sub(u64::from(len));
        // What is beyond the batch is in the last one's account, as not seen.
        let memory = if index + 1 == BATCH && count > i64::from(BATCH) {
            Call::unseen(Unseen::Vectors)
        } else {
            Call::batched(array, index)
        };
        if syscall.way() == Way::Tx {
            one::<true>(syscall.args[0] as u32, i64::from(len), behind, memory);
        } else {
            one::<false>(syscall.args[0] as u32, i64::from(len), behind, memory);
        }
    }
}

/// State for a socket that is met for the first time, if it is one that is followed.
#[inline(always)]
fn met(sock: Sock, ino: u64) -> Option<&'static mut State> {
    if sock.transport() == 0 {
        return None;
    }
    conn::new_in_map(sock.0, ino)
}

/// `result` of moving bytes through descriptor `fd`, with `behind` more bytes of the same call behind them.
#[inline(always)]
fn one<const TX: bool>(fd: u32, result: i64, behind: u64, memory: Call) {
    let (address, packed) = memory.packed();
    if TX {
        spandrel_sent(fd, result, behind, address, packed);
    } else {
        spandrel_received(fd, result, behind, address, packed);
    }
}

/// See [`one`]. A global function, like its twin: the verifier checks it once, whoever calls it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spandrel_sent(fd: u32, result: i64, behind: u64, address: u64, packed: u64) -> u32 {
    finished::<true>(fd, result, behind, Call::unpacked(address, packed));
    0
}

/// The same for received bytes.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spandrel_received(fd: u32, result: i64, behind: u64, address: u64, packed: u64) -> u32 {
    finished::<false>(fd, result, behind, Call::unpacked(address, packed));
    0
}

#[inline(always)]
fn finished<const TX: bool>(fd: u32, result: i64, behind: u64, memory: Call) {
    if result < 0 && result != -ECONNRESET && result != -EPIPE && result != -ETIMEDOUT {
        return;
    }
    let Some((sock, ino)) = files::socket(fd) else { return };
    if result <= 0 {
        if let Some(state) = conn::in_map(sock.0)
            && state.phase == HTTP
            && state.announced != 0
        {
            if result < 0 {
                capture::closed(state, task::ids(), CLOSE_ERROR, (-result) as u32);
            } else if !TX {
                capture::closed(state, task::ids(), CLOSE_PEER, 0);
            }
        }
        return;
    }
    let Some(state) = conn::in_map(sock.0).filter(|state| state.ino == ino).or_else(|| met(sock, ino)) else {
        return;
    };
    if state.phase == IGNORED {
        return;
    }
    if state.phase == FRESH {
        state.begin(sock.transport());
    }
    let tcp = (state.transport == TRANSPORT_TCP).then_some(Tcp(Raw(sock.0)));
    capture::moved::<TX>(state, sock, tcp, Bytes { len: result as u64, behind, call: memory });
}
