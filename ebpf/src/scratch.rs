//! Working memory: one slot a CPU, reached only through here.

use spandrel_common::{
    event::{Data, Exec},
    limits::{EXEC_AREA, HEAD_CAPTURE},
};

use crate::{
    call::Call,
    chunk::Walk,
    kernel::task::Ids,
    maps::{EXEC_SCRATCH, SCRATCH},
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
    /// Of the connection that `data` belongs to, if it is not announced yet.
    pub seed: [u64; 2],
    pub transport: u64,
    pub sk: u64,
    /// The call that is being looked at.
    pub moved: Moved,
    /// The walk through the chunks of it.
    pub walk: Walk,
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
    pub first_ns: u64,
    pub last_ns: u64,
    pub wait_ns: u64,
    /// When the hook began.
    pub now: u64,
    /// 1 if bytes of the peer's direction came since the last call of this one.
    pub turned: u32,
    /// 1 if these bytes belong to requests.
    pub request: u32,
}

/// Offsets into [`Scratch::bytes`]; 0 is "not found" (no field can stand at 0).
#[repr(C)]
pub struct Found {
    /// Behind the empty line that ends the head.
    pub end: u32,
    /// Value of `traceparent`.
    pub traceparent: u32,
    /// Value of `Content-Length`.
    pub length: u32,
    /// Value of `Transfer-Encoding`.
    pub coding: u32,
    /// Behind the first line.
    pub line: u32,
    /// A field came twice, or a line was folded: only userspace's parser may judge.
    pub odd: u32,
    /// There is an `Upgrade` field.
    pub upgrade: u32,
    pub reserved: u32,
}

/// The same for exec events.
#[repr(C)]
pub struct ExecScratch {
    pub busy: u64,
    pub exec: Exec,
    pub bytes: [u8; 2 * EXEC_AREA],
}

const _: () = assert!(core::mem::offset_of!(Scratch, bytes) - core::mem::offset_of!(Scratch, data) == size_of::<Data>());
const _: () = assert!(core::mem::offset_of!(ExecScratch, bytes) == 8 + size_of::<Exec>());

#[inline(always)]
fn cpu() -> u32 {
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

/// This CPU's buffer, for a function that the holder of the slot calls.
#[inline(always)]
pub fn bytes() -> Option<*mut u8> {
    let slot = SCRATCH.get_ptr_mut(cpu())?;
    // SAFETY: an address inside a live map value.
    Some(unsafe { (&raw mut (*slot).bytes).cast() })
}

/// This CPU's slot, for a function that its holder calls.
#[inline(always)]
pub fn held() -> Option<*mut Scratch> {
    SCRATCH.get_ptr_mut(cpu())
}
