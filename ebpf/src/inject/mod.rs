//! Puts `traceparent` into plain HTTP/1 requests, on their way from `sendmsg` to TCP.
//!
//! A socket is *armed* by being in a socket map: the kernel then shows each message to [`message`] first. That is
//! also all that it changes for the program, and it is not nothing: a socket in such a map answers FIONREAD by 0
//! on many kernels, and a blocking `recv` on it returns EAGAIN after a signal or a reset. So a socket is armed only
//! while nothing can be read from it. It is taken out while its request is being sent, so that it is a plain TCP
//! socket again when the call returns, until its response was read; and before bytes that the peer sends unasked
//! can be read, and before a change of the connection's state can be noticed.

mod again;
mod message;
mod peer;
mod socket;

use spandrel_common::{
    event::SELECT_YES,
    inject::{Head, Injection, KNOWN_PEERS, OFF, Window},
    limits::INJECT_SCAN,
    stats::Counter,
};

use crate::{
    conn::{HTTP, State},
    emit, filter,
    maps::{INJECT_SCRATCH, INJECT_WANTED, INJECTION},
    read,
};

/// `State::inject`: this end opened the connection.
pub const INJECT_CLIENT: u8 = 1;
/// `State::inject`: the socket is in the map.
pub const INJECT_ARMED: u8 = 2;
/// `State::inject`: a message was seen; the socket is to be taken out.
pub const INJECT_SPENT: u8 = 4;
/// `State::inject`: never again on this connection.
pub const INJECT_OFF: u8 = 8;
/// `State::inject`: the last request got a line, and its response did not begin.
pub const INJECT_PUT: u8 = 16;
/// `State::inject`: the peer has answered a request that got a line as ever.
pub const INJECT_PROVED: u8 = 32;
/// `State::inject`: a message was judged since capture last saw a request.
pub const INJECT_SEEN: u8 = 64;
/// `State::inject`: the socket stays in the map: see [`message`].
pub const INJECT_STAYS: u8 = 128;

/// Bytes of a slot's copy: what is searched, and as much again, so that any masked offset is inside.
const ROOM: usize = 2 * INJECT_SCAN + 64;

/// Words of the longest insertion: `traceparent`, and a `tracestate` of 512 bytes with its name, spaces and line end; and
/// as much again, so that any masked offset is inside.
const WORDS: usize = 256;

/// Working memory of one CPU. Not the one of capture, because these programs can be preempted.
#[repr(C)]
pub struct Slot {
    /// 1 while a program works here.
    pub busy: u64,
    pub head: Head,
    /// The words of what is put in, and how many bytes of them.
    pub line: [u64; WORDS],
    pub len: u32,
    pub reserved: u32,
    pub bytes: [u8; ROOM],
}

/// What the agent says.
#[inline(always)]
fn injection() -> Injection {
    INJECTION.get(0).copied().unwrap_or_default()
}

/// Whether requests of a process may be changed. During the agent's self-test, only the agent's own are.
#[inline(always)]
fn selected(tgid: u32) -> bool {
    let injection = injection();
    match (injection.on, injection.tester) {
        (OFF, _) => false,
        (_, 0) => filter::selected(tgid) && filter::state(tgid) == SELECT_YES,
        (_, tester) => tgid == tester,
    }
}

/// Whether a process may yet be selected.
#[inline(always)]
fn followed(tgid: u32) -> bool {
    let injection = injection();
    match (injection.on, injection.tester) {
        (OFF, _) => false,
        (_, 0) => filter::selected(tgid),
        (_, tester) => tgid == tester,
    }
}

/// Adds one to a counter, but not for the self-test.
#[inline(always)]
fn count(counter: Counter) {
    if injection().tester == 0 {
        emit::count(counter);
    }
}

/// Remembers a socket's address, and returns it as a number: the verifier lets nobody calculate with the pointer.
#[inline(always)]
fn address(state: &mut State, sk: *const u8) -> u64 {
    // SAFETY: plain writes and reads of our own memory; volatile, so that what is read is not the pointer itself.
    unsafe {
        (&raw mut state.sk).write_volatile(sk as u64);
        (&raw const state.sk).read_volatile()
    }
}

/// This CPU's slot.
#[inline(always)]
fn slot() -> Option<&'static mut Slot> {
    // SAFETY: the helper takes nothing and only returns a number.
    let cpu = unsafe { aya_ebpf::helpers::generated::bpf_get_smp_processor_id() } as u32;
    let slot = INJECT_SCRATCH.get_ptr_mut(cpu)?;
    // SAFETY: a live map value of this CPU, from which programs do not migrate; `busy` keeps one that
    // interrupts another out.
    Some(unsafe { &mut *slot })
}

/// The copy of a message, read at offsets that are masked to lie inside.
#[derive(Clone, Copy)]
struct Copied(*const u8);

const INSIDE: u64 = 2 * INJECT_SCAN as u64 - 1;
const _: () = assert!(INSIDE as usize + 8 < ROOM);

impl Window for Copied {
    #[inline(always)]
    fn word(self, at: u32) -> u64 {
        // SAFETY: the masked offset plus eight is inside the buffer.
        unsafe { self.0.add(inside(at)).cast::<u64>().read_unaligned() }
    }

    #[inline(always)]
    fn byte(self, at: u32) -> u8 {
        // SAFETY: the masked offset is inside the buffer.
        unsafe { *self.0.add(inside(at)) }
    }
}

#[inline(always)]
fn inside(at: u32) -> usize {
    (read::opaque(u64::from(at)) & INSIDE) as usize
}

impl Slot {
    #[inline(always)]
    fn view(&self) -> Copied {
        Copied((&raw const self.bytes).cast())
    }
}

/// Bytes were received: if the connection is a client's, its socket is to be armed for the next request.
#[inline(always)]
pub fn received(state: &State) {
    if state.phase != HTTP || state.inject & (INJECT_CLIENT | INJECT_ARMED | INJECT_OFF) != INJECT_CLIENT {
        return;
    }
    if let Some(wanted) = INJECT_WANTED.get_ptr_mut(0) {
        // SAFETY: a live map value; every writer but the reader of it writes 1.
        unsafe {
            if *wanted == 0 {
                *wanted = 1;
            }
        }
    }
}

/// The response to a request begins.
#[inline(always)]
pub fn answered(state: &mut State, sk: u64, status: u32) {
    if state.inject & INJECT_PUT == 0 {
        let new = state.inject & (INJECT_CLIENT | INJECT_PROVED | INJECT_OFF) == INJECT_CLIENT;
        if new && injection().on == KNOWN_PEERS {
            peer::spandrel_speaks(sk);
        }
        return;
    }
    state.inject &= !INJECT_PUT;
    if state.inject & INJECT_PROVED == 0 {
        let refused = status == 400 || status == 431;
        state.inject |= if refused { INJECT_OFF } else { INJECT_PROVED };
        peer::spandrel_peer(sk, if refused { peer::REFUSED } else { peer::PROVED });
    }
}

/// The connection failed.
#[inline(always)]
pub fn failed(state: &mut State) {
    // The self-test resets its own connection.
    if state.inject & (INJECT_PUT | INJECT_PROVED) == INJECT_PUT && injection().tester == 0 {
        state.inject &= !INJECT_PUT;
        peer::spandrel_peer(state.sk, peer::REFUSED);
    }
}

/// A request of a client connection was sent. Counts those that no program of this room has seen.
#[inline(always)]
pub fn sent(state: &mut State) {
    if state.inject & INJECT_SEEN != 0 {
        state.inject &= !INJECT_SEEN;
    } else if injection().on != OFF {
        peer::spandrel_unseen(state.sk);
    }
}
