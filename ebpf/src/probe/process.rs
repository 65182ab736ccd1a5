//! Processes: selection is decided or passed on here, before a program's first instruction.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::warn;
use spandrel_common::{
    event::{CLOSE_EXIT, Close, Header, SCOPE_TREE, SELECT_NO, SELECT_PENDING},
    limits::{EXEC_AREA, EXIT_FDS},
    stats::Counter,
};

use crate::{
    causality::{program, worker},
    emit, filter, globals,
    kernel::{
        files::Table,
        preempt,
        task::{self, Task},
    },
    maps, read, scratch,
};

/// A program was executed: `(task, old pid, struct linux_binprm)`.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    if !preempt::without(|| exec(ctx.arg(2))) {
        warn!(
            &ctx,
            "process {} may be traced or left out wrongly: the table of processes is full",
            task::ids().tgid
        );
    }
    0
}

/// A task was forked: `(parent, child)`.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    preempt::without(|| fork(Task(ctx.arg(0)), Task(ctx.arg(1))));
    0
}

/// A task ends: `(task, ...)`.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    preempt::without(|| exit(Task(ctx.arg(0))));
    0
}

/// Returns false, and counts it, if there is no room.
fn set(tgid: u32, state: u8) -> bool {
    let done = filter::decide(tgid, state);
    if !done {
        emit::count(Counter::ProcessesFull);
    }
    done
}

#[inline(always)]
fn exec(bprm: u64) -> bool {
    let ids = task::ids();
    if ids.tgid == globals::agent_tgid() {
        return true;
    }
    maps::name_runtime(ids.tgid, &task::name());
    let tree = globals::scope() == SCOPE_TREE;
    let mut state = filter::state(ids.tgid);
    if tree && state == SELECT_NO {
        return true;
    }
    let mut done = true;
    if !tree {
        state = SELECT_PENDING;
        done = set(ids.tgid, state);
    }
    let task = Task::current();
    let told = scratch::with_exec(|scratch| {
        scratch.exec.parent = task.parent_tgid();
        scratch.exec.state = state;
        scratch.exec.reserved = [0; 3];
        scratch.exec.reserved2 = 0;
        scratch.exec.path[0] = 0;
        if let Some(name) = read::kernel::<u64>(bprm, globals::bprm_filename()) {
            read::kernel_string(&mut scratch.exec.path, name);
        }
        let (mut args, mut len) = (0, 0);
        if let Some((start, end, environment)) = task.strings()
            && end >= start
            && environment >= end
        {
            args = end - start;
            len = environment - start;
        }
        let limit = EXEC_AREA as u64;
        let len = read::at_most(if len > limit { limit } else { len }, 2 * limit - 1);
        let bytes = scratch.room();
        let len = match task.strings() {
            Some((start, ..)) if read::user_bytes(bytes, len as u32, start) => len,
            _ => 0,
        };
        scratch.exec.args = if args < len { args as u32 } else { len as u32 };
        emit::exec(scratch, ids, len)
    });
    if told.is_none() {
        emit::count(Counter::ScratchBusy);
    }
    done
}

#[inline(always)]
fn fork(parent: Task, child: Task) {
    let (parent, child) = (parent.tgid(), child.tgid());
    if parent == child {
        return;
    }
    if let Some(state) = maps::process(parent) {
        set(child, state);
    }
    maps::inherit_runtime(parent, child);
    let state = filter::state(parent);
    if state != SELECT_NO && parent != globals::agent_tgid() {
        emit::fork(task::ids(), child, state);
    }
}

/// Tells which connections over Unix sockets the running task, the last of its process, still holds. Those that it
/// used and does not hold were closed before.
#[inline(always)]
fn leave_sockets() {
    let Some(mut table) = Table::current() else { return };
    let table = &raw mut table;
    read::repeat(EXIT_FDS, |fd| spandrel_leave(fd, table));
}

/// Looks at one descriptor. Returns 1 behind the last.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spandrel_leave(fd: u32, table: *mut Table) -> u32 {
    let Some(table) = read::context(table) else { return 1 };
    if u64::from(fd) >= table.len {
        return 1;
    }
    if let Some(conn) = table.socket_inode(u64::from(fd)).and_then(maps::unix) {
        emit::close(
            task::ids(),
            Close {
                header: Header::default(),
                conn,
                pos: [0; 2],
                last_ns: [0; 2],
                reason: CLOSE_EXIT,
                reserved: [0; 3],
                errno: 0,
                reserved2: 0,
            },
        );
    }
    0
}

#[inline(always)]
fn exit(task: Task) {
    worker::forget(task::ids().tid);
    if !task.is_last_thread() {
        return;
    }
    let ids = task::ids();
    maps::forget_runtime(ids.tgid);
    program::forget(ids.tgid);
    if filter::selected(ids.tgid) {
        leave_sockets();
        emit::exit(ids);
    }
    filter::forget(ids.tgid);
}
