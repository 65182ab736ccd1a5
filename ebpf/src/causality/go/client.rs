//! Requests of Go programs on their way out.
//!
//! `net/http`'s client hands a request to a goroutine of the connection, which writes it. One probe at the function that
//! does so tells who asked, and for which connection; the next request on that descriptor is his. Other clients
//! write where they are called.

use spandrel_common::{
    context::{Context, Rule},
    go::{ABSENT, Program},
    limits::GO_PENDING_NS,
    stats::Counter,
};

use super::{Found, ancestry, child, program, work};
use crate::{
    emit, globals,
    kernel::{goroutine::Goroutine, syscall, task::Ids},
    maps::GO_PENDING,
    read,
};

/// A request that was handed to a connection and is not written yet.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Pending {
    /// The entry's own key, once all of it is written: see [`Found`].
    key: u64,
    context: Context,
    at_ns: u64,
    /// A [`Rule`].
    rule: u64,
}

static NOT_PENDING: Pending = Pending { key: 0, context: Context::UNKNOWN, at_ns: 0, rule: 0 };

/// The goroutine in `r14` hands the `net/http.transportRequest` at `request` to the `persistConn` at `connection`, which
/// nobody else uses until the response is read.
#[inline(always)]
pub fn handed(program: &Program, connection: u64, request: u64, r14: u64, ids: Ids) {
    let Some(fd) = descriptor(program, connection) else {
        emit::count(Counter::GoConnUnknown);
        return;
    };
    let key = descriptor_key(ids.tgid, fd);
    let found = who(program, request, r14, ids);
    let Some(context) = found.context else {
        // What was pending there is nobody's now.
        let _ = GO_PENDING.remove(key);
        return;
    };
    if GO_PENDING.insert(key, &NOT_PENDING, 0).is_err() {
        emit::count(Counter::CausalityFull);
        return;
    }
    let Some(pending) = GO_PENDING.get_ptr_mut(key) else { return };
    // SAFETY: a live map value, freed only after a grace period that this program's run is part of; the connection
    // is this goroutine's alone.
    let pending = unsafe { &mut *pending };
    pending.context = *context;
    pending.rule = found.rule;
    pending.at_ns = emit::now();
    if found.still() {
        // SAFETY: as above. Volatile, so that it is written last.
        unsafe { (&raw mut pending.key).write_volatile(key) };
    }
}

/// The inbound request that a goroutine calls for.
#[inline(always)]
fn who(program: &Program, request: u64, r14: u64, ids: Ids) -> Found {
    let Some(goroutine) = Goroutine::running(program, r14) else { return Found::NONE };
    let Some(key) = goroutine.key(program, ids.tgid) else { return Found::NONE };
    let named = if globals::rule(Rule::GoContext)
        // The first member of the request that is handed over is the one that was asked for.
        && let Some(request) = read::user(request)
    {
        ancestry::cause(program, request, ids)
    } else {
        Found::NONE
    };
    if let Some(work) = work(key)
        && work.loops == 0
    {
        let own = Found::work(work, Rule::Goroutine, key);
        if own.is_some() && named.is_some() && named.span() != own.span() {
            emit::count(Counter::Conflicts);
            return Found::NONE;
        }
        return own;
    }
    child::cause(program, goroutine, key, named, ids)
}

#[inline(always)]
fn descriptor_key(tgid: u32, fd: u32) -> u64 {
    (u64::from(tgid) << 32) | u64::from(fd)
}

/// The descriptor of a `persistConn` that is plainly a TCP or Unix socket. Wrapped ones, TLS among them, have none.
#[inline(always)]
fn descriptor(program: &Program, connection: u64) -> Option<u32> {
    let layout = &program.layout;
    let member = |base: u64, offset: u16| base.wrapping_add(u64::from(offset));
    if layout.pc_is_client != ABSENT {
        let waits: u8 = read::user(member(connection, layout.pc_is_client))?;
        if waits != 0 {
            return None;
        }
    }
    let [itab, conn]: [u64; 2] = read::user(member(connection, layout.pc_conn))?;
    let hash: u32 = read::user(member(itab, layout.itab_hash))?;
    if hash != layout.tcp_hash && hash != layout.unix_hash {
        return None;
    }
    let fd: u64 = read::user(member(conn, layout.conn_fd))?;
    read::user(member(fd, layout.fd_sysfd))
}

/// The inbound request that caused the outbound one that the running task writes, if that is certain. Whoever has
/// copied it has to ask [`Found::still`], and to call [`spent`].
#[inline(always)]
pub fn cause(ids: Ids) -> Found {
    let Some(program) = program(ids.tgid) else { return Found::NONE };
    let key = descriptor_key(ids.tgid, syscall::descriptor());
    if let Some(pending) = GO_PENDING.get_ptr(key) {
        // SAFETY: a live map value, as above.
        let pending = unsafe { &*pending };
        if emit::now().wrapping_sub(pending.at_ns) >= GO_PENDING_NS {
            return Found::NONE;
        }
        return Found::at(&pending.context, pending.rule, &raw const pending.key, key);
    }
    // Only the goroutine that has the request itself is trusted with what it writes: a child may be the writer of a
    // connection that serves others, too.
    let key = Goroutine::calling(program).and_then(|goroutine| goroutine.key(program, ids.tgid));
    match key.and_then(|key| Some((work(key)?, key))) {
        Some((work, key)) => Found::work(work, Rule::Goroutine, key),
        None => Found::NONE,
    }
}

/// The running task writes a request: what was handed to its connection is used up.
#[inline(always)]
pub fn spent(ids: Ids) {
    if program(ids.tgid).is_some() {
        // Not every client's requests are handed over.
        let _ = GO_PENDING.remove(descriptor_key(ids.tgid, syscall::descriptor()));
    }
}
