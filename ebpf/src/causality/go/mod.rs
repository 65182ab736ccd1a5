//! Goroutines: the one that reads a request's head works on it, and so do those that it starts meanwhile.
//!
//! - The goroutine that completes the head of a request on an accepted connection runs the handler (`net/http`'s
//!   `serve`; every server that handles a request where it reads it). What it sends before the response is
//!   complete was caused by the request. One that reads the head of another connection meanwhile is a loop.
//! - What is sent with a Go context that was made from the request's own was caused by it, whoever sends it:
//!   [`ancestry`].
//! - So was, by and large, what a goroutine sends first that was started by the one that works on the request,
//!   after the head was read: [`child`].
//! - `net/http`'s client hands a request to another goroutine, which writes it: [`client`].
//!
//! Go never uses an id of a goroutine twice, so nothing stale is ever found by one.

pub mod ancestry;
mod child;
pub mod client;
pub mod trial;

use spandrel_common::{
    context::{Context, Rule},
    go::Program,
    stats::Counter,
};

use crate::{
    conn::State,
    emit,
    kernel::{
        goroutine::{Goroutine, Key},
        task::Ids,
    },
    maps::{self, GOROUTINES},
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
    /// Address of the request's own Go context, once its handler runs; else 0.
    origin: u64,
    /// It has read the head of a connection while another one's request was open: nothing is said of it again.
    loops: u64,
}

/// An inbound request in an entry of a map, or none.
///
/// The kernel gives the memory of an entry that is removed to the next one at once. So whoever has copied what he
/// needs has to ask whether it was this entry's all the while.
///
/// No `Option` of it: what that leaves undefined where there is none, the compiler copies all the same, and verifiers
/// before 6.3 refuse. For the same reason all of it are whole words.
#[derive(Clone, Copy)]
pub struct Found {
    /// `None` where nothing was found.
    pub context: Option<&'static Context>,
    /// What says that it is the cause: a [`Rule`].
    rule: u64,
    slot: *const u64,
    key: u64,
}

impl Found {
    /// Nothing was found.
    pub const NONE: Self = Self { context: None, rule: 0, slot: core::ptr::null(), key: 0 };

    #[inline(always)]
    fn at(context: &'static Context, rule: u64, slot: *const u64, key: u64) -> Self {
        let found = Self { context: Some(context), rule, slot, key };
        if context.known != 0 && found.still() { found } else { Self::NONE }
    }

    #[inline(always)]
    fn work(work: &'static Work, rule: Rule, key: Key) -> Self {
        Self::at(&work.context, rule as u64, &raw const work.key, key.0)
    }

    /// Whether something was found.
    #[inline(always)]
    fn is_some(self) -> bool {
        self.context.is_some()
    }

    /// Whether the entry is still the same. So is what was not found.
    #[inline(always)]
    pub fn still(self) -> bool {
        // SAFETY: memory of a map's entries is never given back to the kernel while a program runs.
        self.slot.is_null() || unsafe { self.slot.read_volatile() == self.key }
    }

    /// Whether a Go context says that it is the cause, and not a goroutine.
    #[inline(always)]
    pub fn by_context(self) -> bool {
        self.rule == Rule::GoContext as u64
    }

    /// The request's own span, as a number, which is not 0; 0 where nothing was found.
    #[inline(always)]
    fn span(self) -> u64 {
        self.context.map_or(0, |context| u64::from_ne_bytes(context.span_id))
    }
}

static NO_WORK: Work =
    Work { key: 0, context: Context::UNKNOWN, next: 0, next_end: 0, taken: u64::MAX, origin: 0, loops: 0 };

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
    let goroutine = Goroutine::calling(program);
    let Some((goroutine, key)) = goroutine.and_then(|g| Some((g, g.key(program, ids.tgid)?))) else {
        emit::count(Counter::GoroutineUnread);
        return 0;
    };
    if let Some(work) = work_mut(key) {
        if work.loops == 0 {
            work.loops = 1;
            emit::count(Counter::Demoted);
        }
        // SAFETY: a live map value. Volatile: whoever copies it now has to notice.
        unsafe { (&raw mut work.key).write_volatile(0) };
        return 0;
    }
    if GOROUTINES.insert(key.0, &NO_WORK, 0).is_err() {
        emit::count(Counter::CausalityFull);
        return 0;
    }
    let Some(work) = work_mut(key) else { return 0 };
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
        if work(Key(state.goroutine)).is_none_or(|work| work.loops == 0) {
            // One that was forgotten for want of room is the wished-for state, too.
            let _ = GOROUTINES.remove(state.goroutine);
        }
        state.goroutine = 0;
    }
}

#[inline(always)]
fn work(key: Key) -> Option<&'static Work> {
    let work = GOROUTINES.get_ptr(key.0)?;
    // SAFETY: a live map value, freed only after a grace period that this program's run is part of.
    Some(unsafe { &*work })
}

/// The same, to be written to by its goroutine.
#[inline(always)]
fn work_mut(key: Key) -> Option<&'static mut Work> {
    let work = GOROUTINES.get_ptr_mut(key.0)?;
    // SAFETY: as above. Others read it, and ask afterwards whether it was whole: see `Found`.
    Some(unsafe { &mut *work })
}

/// What is known of a Go process.
#[inline(always)]
pub fn program(tgid: u32) -> Option<&'static Program> {
    let program = maps::GO_PROGRAMS.get_ptr(tgid)?;
    // SAFETY: a live map value, freed only after a grace period; userspace replaces it as a whole.
    Some(unsafe { &*program })
}
