//! The blocking worker: a thread that reads a request, works on it, and answers it, as in every program that serves
//! one request a thread. What it sends between the request's head and the end of the response was caused by it.
//!
//! Sound for a thread that waits for its own sockets only. That it does is known
//!
//! - for certain, if the inbound socket blocks: nobody who waits for many sockets can afford to wait for one;
//! - by and large, if the socket is in no epoll set (a program that gives its reads a timeout waits for one
//!   socket by `poll`), or if another thread waits for the set (a poller that hands requests to workers). Only
//!   this is left out under `strict`.
//!
//! A thread that reads the head of another connection while its request is open is a loop: nothing is said of it again.

use spandrel_common::{context::Context, runtime::Runtime, stats::Counter};

use crate::{
    conn::State,
    emit, globals,
    kernel::{
        sock::Sock,
        task::{self, Ids, Task},
        wait::{self, Waits},
    },
    maps::{self, THREADS},
};

/// A thread that has read a request. Written by itself, and by who ends its request.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Thread {
    /// Connection of the request that it read last; 0 if that is over.
    conn: u64,
    /// Its socket.
    sk: u64,
    /// The request. Its `known` is 0 if the head did not say enough.
    context: Context,
    /// It serves several connections at once.
    loops: u8,
    /// It was seen not to wait for the set that its sockets are in, because another thread does.
    handed: u8,
    /// What it sends next is not for the request any more: see [`take`].
    taken: u8,
    reserved: [u8; 5],
}

const EMPTY: Thread =
    Thread { conn: 0, sk: 0, context: Context::UNKNOWN, loops: 0, handed: 0, taken: 0, reserved: [0; 5] };

/// The running thread has read the head of the request in `state`, from the socket at `sk`.
#[inline(always)]
pub fn bind(state: &State, sk: u64, ids: Ids) {
    if maps::thread(ids.tid).is_none() && THREADS.insert(ids.tid, &EMPTY, 0).is_err() {
        emit::count(Counter::CausalityFull);
    }
    let Some(thread) = maps::thread(ids.tid) else { return };
    if thread.loops == 0 && thread.conn != 0 && thread.conn != state.id {
        thread.loops = 1;
        emit::count(Counter::Demoted);
    }
    thread.conn = state.id;
    thread.sk = sk;
    thread.taken = 0;
    thread.context = state.context;
    if state.pipelined != 0 {
        thread.context.known = 0;
    }
}

/// The request of a connection that a thread read is over.
#[inline(always)]
pub fn release(conn: u64, tid: u32) {
    if let Some(thread) = maps::thread(tid)
        && thread.conn == conn
    {
        thread.conn = 0;
    }
}

/// The inbound request that the running thread works on, if that is certain.
#[inline(always)]
pub fn cause(ids: Ids) -> Option<&'static Context> {
    if spandrel_works() == 0 {
        return None;
    }
    maps::thread(ids.tid).map(|thread| &thread.context)
}

/// Whether it is certain that the running thread works on the request that it has read. A global function: what
/// it needs of the stack is free again for who asks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spandrel_works() -> u32 {
    u32::from(works(task::ids()).is_some())
}

#[inline(always)]
fn works(ids: Ids) -> Option<()> {
    let thread = maps::thread(ids.tid)?;
    if thread.conn == 0 || thread.loops != 0 || thread.context.known == 0 {
        return None;
    }
    let certain = match wait::of(Sock(thread.sk), ids) {
        Waits::Blocks => true,
        Waits::Unknown => false,
        _ if globals::strict() => false,
        Waits::Alone => plain(ids.tgid),
        Waits::Others => {
            thread.handed = 1;
            handed(ids.tgid)
        }
        // The other thread is at work just now; it has waited before.
        Waits::Nobody => thread.handed != 0 && handed(ids.tgid),
    };
    certain.then_some(())
}

/// The request that a thread read last, if it came by the socket at `sk`; the first time that it is asked for.
#[inline(always)]
pub fn take(tid: u32, sk: u64) -> Option<&'static Context> {
    let thread = maps::thread(tid)?;
    if thread.taken != 0 {
        return None;
    }
    thread.taken = 1;
    (thread.conn != 0 && thread.sk == sk && thread.context.known != 0).then_some(&thread.context)
}

/// Whether threads of a process run what their program wrote for them, and not what a scheduler gives them.
#[inline(always)]
fn plain(tgid: u32) -> bool {
    match maps::runtime(tgid) {
        // The carriers of virtual threads, and threads that steal each other's tasks.
        Runtime::Jvm => !Task::current().is_named(b"ForkJoin"),
        Runtime::Unknown => false,
        runtime => !runtime.schedules(),
    }
}

/// Whether a thread whose sockets another one waits for is a worker. In programs of one's own it may as well be a
/// scheduler's.
#[inline(always)]
fn handed(tgid: u32) -> bool {
    matches!(maps::runtime(tgid), Runtime::Jvm | Runtime::CPython | Runtime::Ruby) && plain(tgid)
}

/// A thread ends.
#[inline(always)]
pub fn forget(tid: u32) {
    // A thread that has read nothing has no entry.
    let _ = THREADS.remove(tid);
}
