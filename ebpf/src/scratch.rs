//! Working memory: one slot a CPU, reached only through here.

use spandrel_common::{
    event::{Conn, Data, Exec},
    limits::{EXEC_AREA, HEAD_CAPTURE, HEAD_SCAN},
    w3c::TRACEPARENT_LEN,
};

use crate::{
    call::{Call, Gather},
    capture::Frames,
    chunk::Walk,
    kernel::task::Ids,
    maps::{EXEC_SCRATCH, SCRATCH},
    read,
};

/// Three times the capture limit, so that the verifier sees any masked offset (below one limit) plus any masked
/// length (below two) inside.
pub const BUFFER: usize = 3 * HEAD_CAPTURE;

/// The event that is being made, and the captured bytes right behind it.
#[repr(C)]
pub struct Scratch {
    /// 1 while a hook on this CPU works here.
    pub busy: u64,
    /// What [`crate::head`] found. In memory and not in registers, because the verifier does not follow
    /// the contents of map values: its work stays small however many paths lead here.
    pub found: Found,
    /// The connection's own event. Made here and not on the stack, which has 512 bytes for all functions of a
    /// call chain together.
    pub conn: Conn,
    /// Of the connection that `data` belongs to, if it is not announced yet.
    pub seed: [u64; 2],
    pub transport: u64,
    /// `PROTOCOL_*`.
    pub protocol: u64,
    pub sk: u64,
    /// The copy that [`crate::call::gather`] makes.
    pub gather: Gather,
    /// The call that is being looked at.
    pub moved: Moved,
    /// The walk through the chunks of it.
    pub walk: Walk,
    /// The walk through the frames of it.
    pub frames: Frames,
    /// Thread and socket of the call before this one.
    pub last_tid: u64,
    pub last_sk: u64,
    pub data: Data,
    pub bytes: [u8; BUFFER],
}

/// One call, or one message of a call, that moved bytes.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Moved {
    pub ids: Ids,
    pub call: Call,
    /// Bytes, more than 0.
    pub len: u64,
    /// Position of the first of them.
    pub base: u64,
    /// Position of the other direction.
    pub other: u64,
    pub first_ns: u64,
    pub last_ns: u64,
    pub wait_ns: u64,
    /// When the hook began.
    pub now: u64,
    /// 1 if bytes of the peer's direction came since the last call of this one.
    pub turned: u32,
    /// 1 if these bytes belong to requests.
    pub request: u32,
    /// 1 if bytes of the other direction moved that no hook has accounted for yet.
    pub crossed: u32,
    /// 1 once it is clear that the connection is to be left alone.
    pub left: u32,
    /// 1 if bytes of this direction moved before the first that a hook saw. Only told while nothing else is known.
    pub joined: u32,
    /// 1 if something was sent of which no hook has told. Only for what is received while nothing else is known.
    pub ahead: u32,
    /// 1 if the receive of an answer was seen before this call, which sent what it answers.
    pub late: u32,
    /// Position of the other direction by its own hooks.
    pub there: u64,
    /// Bytes in front of the first message, which belong to none.
    pub lead: u64,
    /// The byte that counts as the first of these although an earlier call moved it; 0 if there is none.
    pub held: u64,
}

/// Offsets into [`Scratch::bytes`]; 0 is "not found" (no field can stand at 0).
#[repr(C)]
pub struct Found {
    /// Behind the empty line that ends the head.
    pub end: u32,
    /// Value of the first `traceparent`.
    pub traceparent: u32,
    /// Value of `Content-Length`.
    pub length: u32,
    /// Value of `Transfer-Encoding`.
    pub coding: u32,
    /// Behind the first line.
    pub line: u32,
    /// A field came twice, or a line was folded: only userspace's parser may judge.
    pub odd: u32,
    /// Value of an `Upgrade` field.
    pub upgrade: u32,
    /// Bytes that are searched.
    pub len: u32,
    /// `traceparent` fields.
    pub parents: u32,
    /// `tracestate` fields, and the values of the first few.
    pub states: u32,
    pub state: [u32; STATES],
}

/// `tracestate` fields of one head that are combined (a power of two, for the verifier). Senders use one.
pub const STATES: usize = 4;

/// The same for exec events.
#[repr(C)]
pub struct ExecScratch {
    pub busy: u64,
    pub exec: Exec,
    pub bytes: [u8; 2 * EXEC_AREA],
}

const _: () = assert!(
    core::mem::offset_of!(Scratch, bytes) - core::mem::offset_of!(Scratch, data) == size_of::<Data>()
);
const _: () = assert!(core::mem::offset_of!(ExecScratch, bytes) == 8 + size_of::<Exec>());

/// Number of the CPU that this runs on.
#[inline(always)]
pub fn cpu() -> u32 {
    // SAFETY: the helper takes nothing and only returns a number.
    unsafe { aya_ebpf::helpers::generated::bpf_get_smp_processor_id() as u32 }
}

/// Runs `body` with this CPU's slot; `None` if a hook that this one interrupted has it.
#[inline(always)]
pub fn with<R>(body: impl FnOnce(&mut Scratch) -> R) -> Option<R> {
    let slot = SCRATCH.get_ptr_mut(cpu())?;
    // SAFETY: the slot is a live map value of this CPU; hooks do not migrate, and `busy` keeps one that
    // interrupts another out.
    let scratch = unsafe { &mut *slot };
    if scratch.busy != 0 {
        return None;
    }
    scratch.busy = 1;
    let result = body(scratch);
    scratch.busy = 0;
    Some(result)
}

/// Runs `body` with this CPU's slot for exec events.
#[inline(always)]
pub fn with_exec<R>(body: impl FnOnce(&mut ExecScratch) -> R) -> Option<R> {
    let slot = EXEC_SCRATCH.get_ptr_mut(cpu())?;
    // SAFETY: as in `with`.
    let scratch = unsafe { &mut *slot };
    if scratch.busy != 0 {
        return None;
    }
    scratch.busy = 1;
    let result = body(scratch);
    scratch.busy = 0;
    Some(result)
}

/// This CPU's slot, for a function that its holder calls: the borrow must end with that function.
#[inline(always)]
pub fn held() -> Option<&'static mut Scratch> {
    let slot = SCRATCH.get_ptr_mut(cpu())?;
    // SAFETY: a live map value of this CPU. Its holder set `busy` and waits for the function that asks.
    Some(unsafe { &mut *slot })
}

/// The bytes of a slot, read at offsets that are masked to lie inside.
#[derive(Clone, Copy)]
pub struct Bytes(*const u8);

/// Mask of the offsets that [`Bytes`] reads at: a head that is searched, and as much again.
const INSIDE: u64 = 2 * HEAD_SCAN as u64 - 1;
const _: () = assert!(2 * HEAD_CAPTURE + INSIDE as usize + 64 < BUFFER);

impl Bytes {
    /// Eight bytes at an offset, the first in the lowest bits.
    #[inline(always)]
    pub fn word(self, offset: u32) -> u64 {
        // SAFETY: the masked offset plus eight is inside the buffer.
        unsafe { self.0.add(inside(offset)).cast::<u64>().read_unaligned() }
    }

    /// The byte at an offset.
    #[inline(always)]
    pub fn byte(self, offset: u32) -> u8 {
        // SAFETY: the masked offset is inside the buffer.
        unsafe { *self.0.add(inside(offset)) }
    }

    /// Where the byte at an offset lies, with 63 more behind it.
    #[inline(always)]
    pub fn at(self, offset: u32) -> *const u8 {
        // SAFETY: the masked offset plus 64 is inside the buffer.
        unsafe { self.0.add(inside(offset)) }
    }

    /// As many bytes as a `traceparent` has.
    #[inline(always)]
    pub fn traceparent(self, offset: u32) -> &'static [u8; TRACEPARENT_LEN] {
        // SAFETY: the masked offset plus 55 is inside the buffer, which is a map's and outlives the program.
        unsafe { &*self.0.add(inside(offset)).cast() }
    }
}

#[inline(always)]
fn inside(offset: u32) -> usize {
    (read::opaque(u64::from(offset)) & INSIDE) as usize
}

impl Scratch {
    /// What was captured last.
    #[inline(always)]
    pub fn view(&self) -> Bytes {
        Bytes((&raw const self.bytes).cast())
    }

    /// Where captured bytes go.
    #[inline(always)]
    pub fn room(&mut self) -> *mut u8 {
        (&raw mut self.bytes).cast()
    }

    /// Where bytes of a call are looked at before it is known which of them are told: behind all that is captured.
    #[inline(always)]
    pub fn window(&mut self) -> *mut u8 {
        self.room().wrapping_add(2 * HEAD_CAPTURE)
    }

    /// The same, to be read.
    #[inline(always)]
    pub fn window_view(&self) -> Bytes {
        Bytes((&raw const self.bytes).cast::<u8>().wrapping_add(2 * HEAD_CAPTURE))
    }

    /// Puts a byte where the first captured one goes.
    #[inline(always)]
    pub fn set_first(&mut self, byte: u8) {
        self.bytes[0] = byte;
    }
}

impl ExecScratch {
    /// Where the argument and environment area goes.
    #[inline(always)]
    pub fn room(&mut self) -> *mut u8 {
        (&raw mut self.bytes).cast()
    }
}
