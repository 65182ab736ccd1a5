//! System call profile, for kernels without the socket tracepoints: `sys_exit`, and the socket through the
//! task's descriptor table.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use spandrel_common::event::{CLOSE_ERROR, CLOSE_PEER, TRANSPORT_TCP, Unseen};

use super::socket::noticed;
use crate::{
    call::{self, Call},
    capture::{self, Bytes},
    conn::{self, FRESH, IGNORED, State},
    filter,
    kernel::{
        files,
        preempt::{self, Called},
        sock::{Raw, Sock, Tcp},
        syscall::{Shape, Syscall, Way},
        task::{Ids, Running},
    },
    read,
};

const MSG_SKIP: u64 = 0x1 | 0x2 | 0x2000;
const MSG_TRUNC: u64 = 0x20;
const ECONNRESET: i64 = 104;
const EPIPE: i64 = 32;
const ETIMEDOUT: i64 = 110;
/// Messages of one `sendmmsg` or `recvmmsg`: as many as the kernel accepts (`UIO_MAXIOV`).
const BATCH: u32 = 1024;

/// A system call returned: `(registers, result)`.
#[btf_tracepoint(function = "sys_exit")]
pub fn sys_exit(ctx: BtfTracePointContext) -> i32 {
    preempt::without(|| exit::<false>(ctx.arg(0), ctx.arg(1)));
    0
}

/// The same where the kernel left that out.
#[btf_tracepoint(function = "sys_exit")]
pub fn sys_exit_2(ctx: BtfTracePointContext) -> i32 {
    preempt::without(|| exit::<true>(ctx.arg(0), ctx.arg(1)));
    0
}

#[inline(always)]
fn exit<const SECOND: bool>(regs: *const u64, result: i64) {
    let syscall = Syscall::from_regs(regs);
    // In a 32-bit call the numbers mean something else.
    let task = Running::task();
    if task.is_compat() {
        if !SECOND && filter::selected(task.ids().tgid) {
            noticed(Unseen::Compat);
        }
    } else if syscall.shape() != Shape::Other {
        returned::<SECOND>(&syscall, task.ids(), result);
    }
}

#[inline(always)]
fn returned<const SECOND: bool>(syscall: &Syscall, ids: Ids, result: i64) {
    if !filter::selected(ids.tgid) || syscall.receive_flags() & MSG_SKIP != 0 {
        return;
    }
    // Read is number 0.
    let call = u64::from(syscall.nr + 1) | syscall.args[0] << 32;
    if !preempt::looks::<SECOND>(Called(call, result as u64)) {
        return;
    }
    match syscall.shape() {
        Shape::Other => {}
        Shape::Ring => {
            noticed(Unseen::IoUring);
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

/// A `sendmmsg` or `recvmmsg` that is being looked at.
#[repr(C)]
struct Batch {
    array: u64,
    count: u64,
    /// Bytes of the messages that were not looked at yet.
    behind: u64,
    /// Of the message that was looked at last.
    len: u64,
    address: u64,
    packed: u64,
}

/// `count` messages of one `sendmmsg` or `recvmmsg`.
#[inline(always)]
fn messages(syscall: &Syscall, count: i64) {
    if count <= 0 {
        return;
    }
    let mut batch =
        Batch { array: syscall.args[1], count: count as u64, behind: 0, len: 0, address: 0, packed: 0 };
    let (fd, sent) = (syscall.args[0] as u32, syscall.way() == Way::Tx);
    let given = &raw mut batch;
    read::repeat(BATCH, |index| spandrel_sum(index, given));
    read::repeat(BATCH, |index| {
        if spandrel_message(index, given) != 0 {
            return 1;
        }
        let Some(batch) = read::context(given) else { return 1 };
        // From here and not from there: a call less deep.
        let len = batch.len as i64;
        if sent {
            spandrel_sent(fd, len, batch.behind, batch.address, batch.packed);
        } else {
            spandrel_received(fd, len, batch.behind, batch.address, batch.packed);
        }
        0
    });
}

/// Adds up what the messages moved.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spandrel_sum(index: u32, batch: *mut Batch) -> u32 {
    let Some(batch) = read::context(batch) else { return 1 };
    if u64::from(index) >= batch.count {
        return 1;
    }
    batch.behind += u64::from(call::batched_len(batch.array, index));
    0
}

/// Looks at one message.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spandrel_message(index: u32, batch: *mut Batch) -> u32 {
    let Some(batch) = read::context(batch) else { return 1 };
    if u64::from(index) >= batch.count {
        return 1;
    }
    let len = call::batched_len(batch.array, index);
    batch.behind = batch.behind.saturating_sub(u64::from(len));
    batch.len = u64::from(len);
    (batch.address, batch.packed) = Call::batched(batch.array, index).packed();
    0
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
    let task = Running::task();
    let Some((sock, ino)) = files::socket(task, fd) else { return };
    if result <= 0 {
        if let Some(state) = conn::in_map(sock.0)
            && state.is_followed()
            && state.announced != 0
        {
            if result < 0 {
                capture::closed(state, task.ids(), CLOSE_ERROR, (-result) as u32);
            } else if !TX {
                capture::closed(state, task.ids(), CLOSE_PEER, 0);
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
    capture::moved::<TX>(
        state,
        sock,
        tcp,
        Bytes { ids: task.ids(), len: result as u64, behind, call: memory },
    );
}
