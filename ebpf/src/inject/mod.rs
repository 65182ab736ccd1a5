//! Puts `traceparent` into plain HTTP/1 requests, on their way from `sendmsg` to TCP.
//!
//! A socket is *armed* by being in a socket map: the kernel then shows each message to [`message`] first. That is
//! also all that it changes for the program, and it is not nothing: a socket in such a map answers FIONREAD by 0
//! on many kernels, and a blocking `recv` on it returns EAGAIN after a signal or a reset. So a socket is armed only
//! while nothing can be read from it, and is taken out while its request is being sent: when the call returns,
//! it is a plain TCP socket again, until its response was read.

mod message;
mod socket;

use spandrel_common::{
    event::SELECT_YES,
    inject::{Head, Injection, Window},
    limits::INJECT_SCAN,
};

use crate::{
    filter,
    maps::{INJECT_SCRATCH, INJECTION},
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

/// Bytes of a slot's copy: what is searched, and as much again, so that any masked offset is inside.
const ROOM: usize = 2 * INJECT_SCAN + 64;

/// Working memory of one CPU. Not the one of capture, because these programs can be preempted.
#[repr(C)]
pub struct Slot {
    /// 1 while a program works here.
    pub busy: u64,
    pub head: Head,
    /// The line to be put in.
    pub line: [u64; 9],
    pub bytes: [u8; ROOM],
}

/// What the agent says.
#[inline(always)]
fn injection() -> Injection {
    INJECTION.get(0).copied().unwrap_or_default()
}

/// Whether requests of a process may be changed.
#[inline(always)]
fn selected(tgid: u32) -> bool {
    let injection = injection();
    if injection.on == 0 {
        return false;
    }
    tgid == injection.tester || (filter::selected(tgid) && filter::state(tgid) == SELECT_YES)
}

/// Whether a process may yet be selected.
#[inline(always)]
fn followed(tgid: u32) -> bool {
    let injection = injection();
    injection.on != 0 && (tgid == injection.tester || filter::selected(tgid))
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
