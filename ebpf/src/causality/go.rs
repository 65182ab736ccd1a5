//! Goroutines: the one that reads a request's head works on it, and so do those that it starts meanwhile.
//!
//! - The goroutine that completes the head of a request on an accepted connection runs the handler (`net/http`'s
//!   `serve`; every server that handles a request where it reads it). What it sends before the response is
//!   complete was caused by the request.
//! - So was what its children send, if they were born after the head was read. A goroutine's id says so: ids are
//!   given to processors in batches, so an id that was not given out when the head was complete belongs to
//!   somebody who was born later. A child whose id does not prove that is left alone: its parent may have served
//!   another request when it started it.
//! - `net/http`'s client hands a request to another goroutine, which writes it. One probe at the function that
//!   does so tells who asked, and for which connection; the next request on that descriptor is his.
//!
//! Go never uses an id of a goroutine twice, so nothing stale is ever found by one.

use spandrel_common::{
    context::Context,
    go::{ABSENT, Program},
    limits::GO_PENDING_NS,
    stats::Counter,
};

use crate::{
    conn::State,
    emit,
    kernel::{
        goroutine::{Goroutine, Key},
        syscall,
        task::Ids,
    },
    maps::{self, GO_PENDING, GOROUTINES},
    read,
};

/// What a goroutine works on.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Work {
    /// The entry's own key, once all of it is written: see [`Found`].
    key: u64,
    /// The inbound request. Its `known` is 0 if the head did not say enough.
    context: Context,
    /// Ids that were not given out when the head was complete: those of the processor's batch, and all above the last
    /// one that any processor had taken (the highest number if that is not known).
    next: u64,
    next_end: u64,
    taken: u64,
}

/// A request that was handed to a connection and is not written yet.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Pending {
    /// As in [`Work`].
    key: u64,
    context: Context,
    at_ns: u64,
}

/// An inbound request in an entry of a map.
///
/// The kernel gives the memory of an entry that is removed to the next one at once. So whoever has copied what he
/// needs has to ask whether it was this entry's all the while.
#[derive(Clone, Copy)]
pub struct Found {
    pub context: &'static Context,
    slot: *const u64,
    key: u64,
}

impl Found {
    #[inline(always)]
    fn at(context: &'static Context, slot: *const u64, key: u64) -> Option<Self> {
        let found = Self { context, slot, key };
        (context.known != 0 && found.still()).then_some(found)
    }

    /// Whether the entry is still the same.
    #[inline(always)]
    pub fn still(self) -> bool {
        // SAFETY: memory of a map's entries is never given back to the kernel while a program runs.
        unsafe { self.slot.read_volatile() == self.key }
    }
}

static NO_WORK: Work = Work { key: 0, context: Context::UNKNOWN, next: 0, next_end: 0, taken: u64::MAX };
static NOT_PENDING: Pending = Pending { key: 0, context: Context::UNKNOWN, at_ns: 0 };

/// The running goroutine has completed the head of the request in `state`, until [`release`].
#[inline(always)]
pub fn bind(state: &mut State, ids: Ids) {
    release(state);
    if let Some(program) = program(ids.tgid) {
        state.goroutine = owner(state, program, ids);
    }
}

/// The running goroutine's key, once what it works on is known under it; else 0.
#[inline(always)]
fn owner(state: &State, program: &Program, ids: Ids) -> u64 {
    let Some(goroutine) = Goroutine::running(program, syscall::goroutine_register()) else {
        emit::count(Counter::GoroutineUnread);
        return 0;
    };
    let Some(key) = goroutine.id(program).and_then(|goid| Key::of(ids.tgid, goid)) else {
        emit::count(Counter::GoroutineUnread);
        return 0;
    };
    if GOROUTINES.insert(key.0, &NO_WORK, 0).is_err() {
        emit::count(Counter::CausalityFull);
        return 0;
    }
    let Some(work) = GOROUTINES.get_ptr_mut(key.0) else { return 0 };
    // SAFETY: a live map value, freed only after a grace period that this program's run is part of. Nobody else
    // knows of this goroutine's request yet.
    let work = unsafe { &mut *work };
    // The counter first: what is taken from it between the two reads, and given out, is then in neither range.
    work.taken = match program.goidgen {
        0 => u64::MAX,
        address => read::user(address).unwrap_or(u64::MAX),
    };
    (work.next, work.next_end) = goroutine.next_ids(program);
    work.context = state.context;
    if state.pipelined != 0 {
        work.context.known = 0;
    }
    // SAFETY: as above. Volatile, so that it is written last.
    unsafe { (&raw mut work.key).write_volatile(key.0) };
    key.0
}

/// The request of a connection is over.
#[inline(always)]
pub fn release(state: &mut State) {
    if state.goroutine != 0 {
        // One that was forgotten for want of room is the wished-for state, too.
        let _ = GOROUTINES.remove(state.goroutine);
        state.goroutine = 0;
    }
}

#[inline(always)]
fn work(key: Key) -> Option<&'static Work> {
    let work = GOROUTINES.get_ptr(key.0)?;
    // SAFETY: a live map value, freed only after a grace period that this program's run is part of.
    Some(unsafe { &*work })
}

/// The request that a goroutine works on, or that the one works on that started it.
#[inline(always)]
fn of(goroutine: Goroutine, program: &Program, tgid: u32) -> Option<Found> {
    let goid = goroutine.id(program)?;
    let own = Key::of(tgid, goid)?;
    if let Some(work) = work(own) {
        return Found::at(&work.context, &raw const work.key, own.0);
    }
    let parent = Key::of(tgid, goroutine.parent(program)?)?;
    let work = work(parent)?;
    let later = goid > work.taken || (goid >= work.next && goid < work.next_end);
    if !later {
        emit::count(Counter::GoroutineElder);
        return None;
    }
    Found::at(&work.context, &raw const work.key, parent.0)
}

/// The goroutine in `r14` hands a request to the `net/http.persistConn` at `connection`, which nobody else uses until
/// the response is read.
#[inline(always)]
pub fn handed(program: &Program, connection: u64, r14: u64, ids: Ids) {
    let Some(fd) = descriptor(program, connection) else {
        emit::count(Counter::GoConnUnknown);
        return;
    };
    let key = descriptor_key(ids.tgid, fd);
    let found = Goroutine::running(program, r14).and_then(|goroutine| of(goroutine, program, ids.tgid));
    let Some(found) = found else {
        // What was pending there is nobody's now.
        let _ = GO_PENDING.remove(key);
        return;
    };
    if GO_PENDING.insert(key, &NOT_PENDING, 0).is_err() {
        emit::count(Counter::CausalityFull);
        return;
    }
    let Some(pending) = GO_PENDING.get_ptr_mut(key) else { return };
    // SAFETY: as in `bind`; the connection is this goroutine's alone.
    let pending = unsafe { &mut *pending };
    pending.context = *found.context;
    pending.at_ns = emit::now();
    if found.still() {
        // SAFETY: as above. Volatile, so that it is written last.
        unsafe { (&raw mut pending.key).write_volatile(key) };
    }
}

#[inline(always)]
fn descriptor_key(tgid: u32, fd: u32) -> u64 {
    (u64::from(tgid) << 32) | u64::from(fd)
}

/// The descriptor of a `persistConn` that is plainly a TCP or Unix socket. Wrapped ones, TLS among them, have none.
#[inline(always)]
fn descriptor(program: &Program, connection: u64) -> Option<u32> {
    let layout = &program.layout;
    if layout.pc_is_client != ABSENT {
        let waits: u8 = read::user(connection + u64::from(layout.pc_is_client))?;
        if waits != 0 {
            return None;
        }
    }
    let [itab, conn]: [u64; 2] = read::user(connection + u64::from(layout.pc_conn))?;
    let hash: u32 = read::user(itab + u64::from(layout.itab_hash))?;
    if hash != layout.tcp_hash && hash != layout.unix_hash {
        return None;
    }
    let fd: u64 = read::user(conn + u64::from(layout.conn_fd))?;
    read::user(fd + u64::from(layout.fd_sysfd))
}

/// The inbound request that caused the outbound one that the running task writes, if that is certain. Whoever has
/// copied it has to ask [`Found::still`], and to call [`spent`].
#[inline(always)]
pub fn cause(ids: Ids) -> Option<Found> {
    let program = program(ids.tgid)?;
    let key = descriptor_key(ids.tgid, syscall::descriptor());
    if let Some(pending) = GO_PENDING.get_ptr(key) {
        // SAFETY: as above.
        let pending = unsafe { &*pending };
        if emit::now().wrapping_sub(pending.at_ns) >= GO_PENDING_NS {
            return None;
        }
        return Found::at(&pending.context, &raw const pending.key, key);
    }
    // Other clients write where they are called. Only the goroutine that has the request itself is trusted with
    // that: a child may be the writer of a connection that serves others, too.
    let goroutine = Goroutine::running(program, syscall::goroutine_register())?;
    let key = Key::of(ids.tgid, goroutine.id(program)?)?;
    let work = work(key)?;
    Found::at(&work.context, &raw const work.key, key.0)
}

/// The running task writes a request: what was handed to its connection is used up.
#[inline(always)]
pub fn spent(ids: Ids) {
    if program(ids.tgid).is_some() {
        // Not every client's requests are handed over.
        let _ = GO_PENDING.remove(descriptor_key(ids.tgid, syscall::descriptor()));
    }
}

/// What is known of a Go process.
#[inline(always)]
pub fn program(tgid: u32) -> Option<&'static Program> {
    let program = maps::GO_PROGRAMS.get_ptr(tgid)?;
    // SAFETY: a live map value, freed only after a grace period; userspace replaces it as a whole.
    Some(unsafe { &*program })
}
