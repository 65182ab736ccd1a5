//! Socket profile: `sock_send_length` and `sock_recv_length` (kernel 6.3), one hook per send or receive of
//! any call and family, at completion, in the task that made the call.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use spandrel_common::{
    event::{CLOSE_ERROR, CLOSE_PEER, TRANSPORT_TCP, Unseen},
    stats::Counter,
};

use crate::{
    call::Call,
    capture::{self, Bytes},
    conn::{self, FRESH, IGNORED, State},
    emit, filter,
    kernel::{
        files,
        preempt::{self, Called},
        sock::{Sock, Tcp, Typed},
        syscall::{Shape, Syscall, Way},
        task::{self, Ids, Running, Thread},
    },
    maps::{self, NOTICED},
};

const MSG_OOB: i32 = 0x1;
const MSG_PEEK: i32 = 0x2;
const MSG_TRUNC: i32 = 0x20;
const MSG_ERRQUEUE: i32 = 0x2000;
const EAGAIN: i32 = 11;
const EINTR: i32 = 4;
/// First of the kernel's own restart codes (include/linux/errno.h): the call goes on later.
const ERESTARTSYS: i32 = 512;

/// Bytes left through a socket, or could not.
#[btf_tracepoint(function = "sock_send_length")]
pub fn sock_send_length(ctx: BtfTracePointContext) -> i32 {
    preempt::without(|| moved::<true, false>(ctx.arg(0), ctx.arg(1), 0));
    0
}

/// The same where the kernel left that out.
#[btf_tracepoint(function = "sock_send_length")]
pub fn sock_send_length_2(ctx: BtfTracePointContext) -> i32 {
    preempt::without(|| moved::<true, true>(ctx.arg(0), ctx.arg(1), 0));
    0
}

/// Bytes were received from a socket, or could not be.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn sock_recv_length(ctx: BtfTracePointContext) -> i32 {
    preempt::without(|| moved::<false, false>(ctx.arg(0), ctx.arg(1), ctx.arg(2)));
    0
}

/// The same where the kernel left that out.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn sock_recv_length_2(ctx: BtfTracePointContext) -> i32 {
    preempt::without(|| moved::<false, true>(ctx.arg(0), ctx.arg(1), ctx.arg(2)));
    0
}

#[inline(always)]
fn moved<const TX: bool, const SECOND: bool>(sk: *const u8, result: i32, flags: i32) {
    let task = Running::task();
    let ids = task.ids();
    if !filter::selected(ids.tgid) || flags & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE) != 0 {
        return;
    }
    if !preempt::looks::<SECOND>(Called(sk as u64, u64::from(result as u32) << 1 | u64::from(TX))) {
        return;
    }
    if result <= 0 {
        if TX && let Some(state) = conn::on_socket(sk) {
            state.added = 0;
        }
        if result != -EAGAIN && result != -EINTR && (result > -ERESTARTSYS) {
            ended::<TX>(sk, ids, result);
        }
        return;
    }
    let Some(state) = conn::on_socket(sk).or_else(|| met(task, sk)) else { return };
    if state.phase == IGNORED {
        return;
    }
    if state.phase == FRESH {
        state.begin(Sock(sk as u64).transport());
    }
    let call = if flags & MSG_TRUNC != 0 {
        Call::unseen(Unseen::Discarded)
    } else {
        memory::<TX>(task, ids, state, sk, result)
    };
    let tcp = if state.transport == TRANSPORT_TCP { Typed::of(sk).map(Tcp) } else { None };
    capture::moved::<TX>(state, Sock(sk as u64), tcp, Bytes { ids, len: result as u64, behind: 0, call });
}

/// State for a socket that is met for the first time, if it is one that is followed.
#[inline(always)]
fn met(task: Running, sk: *const u8) -> Option<&'static mut State> {
    let thread = task.thread();
    if Sock(sk as u64).transport() == 0 || thread == Thread::Kernel {
        return None;
    }
    if thread == Thread::IoWorker {
        noticed(Unseen::IoUring);
    }
    conn::on_socket_or_new(sk)
}

/// The memory of the running call.
#[inline(always)]
fn memory<const TX: bool>(task: Running, ids: Ids, state: &mut State, sk: *const u8, result: i32) -> Call {
    if task.thread() != Thread::Program {
        return noticed(Unseen::IoUring);
    }
    if task.is_compat() {
        return noticed(Unseen::Compat);
    }
    let syscall = Syscall::of(task);
    // With io_uring, these bytes may not be those of the running call.
    if task.has_ring()
        && files::socket(task, syscall.args[0] as u32).is_none_or(|(own, _)| own.0 != sk as u64)
    {
        return noticed(Unseen::IoUring);
    }
    match syscall.shape() {
        Shape::Messages => batch(state, ids, &syscall, result),
        Shape::Ring => noticed(Unseen::IoUring),
        Shape::Splice => {
            emit::count(Counter::UnseenSplice);
            Call::unseen(Unseen::Splice)
        }
        Shape::Other => {
            emit::count(Counter::UnseenOther);
            Call::unseen(Unseen::OtherCall)
        }
        _ if (syscall.way() == Way::Tx) != TX => Call::unseen(Unseen::OtherCall),
        _ => Call::of(&syscall),
    }
}

/// The next message of a `sendmmsg` or `recvmmsg`.
///
/// The kernel handles the messages in order and ends the call at the first that fails or is not moved
/// whole, and this hook sees each of them, failures included; so the index follows by counting. Only a
/// `recvmmsg` with a timeout can end unseen.
#[inline(always)]
fn batch(state: &mut State, ids: Ids, syscall: &Syscall, result: i32) -> Call {
    let tid = ids.tid;
    let index = if state.batch == syscall.args[1] && state.batch_tid == tid { state.batch_index } else { 0 };
    if result <= 0 || u64::from(index) + 1 >= syscall.args[2] {
        state.batch = 0;
    } else {
        state.batch = syscall.args[1];
        state.batch_tid = tid;
        state.batch_index = index + 1;
    }
    if index > 0 && syscall.has_timeout() {
        return Call::unseen(Unseen::Vectors);
    }
    Call::batched(syscall.args[1], index)
}

/// Says once per process and cause that something is not traced.
#[inline(always)]
pub fn noticed(cause: Unseen) -> Call {
    emit::count(match cause {
        Unseen::IoUring => Counter::UnseenIoUring,
        Unseen::Compat => Counter::UnseenCompat,
        _ => Counter::UnseenOther,
    });
    let ids = task::ids();
    let key = (u64::from(ids.tgid) << 8) | cause as u64;
    if !maps::noticed(key) && NOTICED.insert(key, 1, 0).is_ok() {
        emit::notice(ids, cause as u8);
    }
    Call::unseen(cause)
}

/// A call said that nothing more comes (0 bytes received), or that the connection failed.
#[inline(always)]
fn ended<const TX: bool>(sk: *const u8, ids: Ids, result: i32) {
    let Some(state) = conn::on_socket(sk) else { return };
    if !state.is_followed() || state.announced == 0 {
        return;
    }
    state.batch = 0;
    if result == 0 {
        if !TX {
            capture::closed(state, ids, CLOSE_PEER, 0);
        }
    } else {
        capture::closed(state, ids, CLOSE_ERROR, (-result) as u32);
    }
}
