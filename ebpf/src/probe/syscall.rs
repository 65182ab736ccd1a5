//! System call profile, for kernels without the socket tracepoints: `sys_exit`, and the socket through the
//! task's descriptor table.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use spandrel_common::event::{CLOSE_ERROR, CLOSE_PEER, TRANSPORT_TCP, Unseen};

use super::socket::noticed;
use crate::{
    call::{self, Call},
    capture,
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
/// Messages of one `sendmmsg` or `recvmmsg` that are followed; on a stream socket more than two were never seen.
const BATCH: u32 = 4;

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
            one::<false>(syscall.args[0] as u32, result, Call::of(syscall));
            one::<true>(syscall.args[2] as u32, result, Call::of(syscall));
        }
        Shape::Messages => {
            for index in 0..BATCH {
                if i64::from(index) >= result {
                    break;
                }
                let len = i64::from(call::batched_len(syscall.args[1], index));
                let memory = Call::batched(syscall.args[1], index);
                if syscall.way() == Way::Tx {
                    one::<true>(syscall.args[0] as u32, len, memory);
                } else {
                    one::<false>(syscall.args[0] as u32, len, memory);
                }
            }
        }
        _ => {
            let truncated = syscall.receive_flags() & MSG_TRUNC != 0;
            let memory = if truncated { Call::unseen(Unseen::Discarded) } else { Call::of(syscall) };
            if syscall.way() == Way::Tx {
                one::<true>(syscall.args[0] as u32, result, memory);
            } else {
                one::<false>(syscall.args[0] as u32, result, memory);
            }
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

/// `result` of moving bytes through descriptor `fd`.
#[inline(always)]
fn one<const TX: bool>(fd: u32, result: i64, memory: Call) {
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
    capture::moved::<TX>(state, sock, tcp, result as u64, memory);
}
