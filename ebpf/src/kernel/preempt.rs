//! Keeps a hook from being interrupted by another task, on kernels whose tracepoints leave that to the program.
//!
//! Since Linux 7.0 the kernel calls the programs of a tracepoint with preemption enabled. It does not call a program that
//! is still running on the same CPU in a task that was interrupted: from then on until that task goes on, which may be
//! many milliseconds, nothing that others do on this CPU is seen. So a hook disables preemption while it works, by the
//! kernel's own functions for that.
//!
//! A few instructions at its beginning and at its end are left, where a task can still be interrupted. So the hooks of
//! calls are there twice, as two programs: the second looks at the calls for which the kernel left out the first.

use core::{mem::MaybeUninit, ptr};

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_storage_get};
use spandrel_common::{
    kfunc::{LOCAL_IRQ_RESTORE, LOCAL_IRQ_SAVE, PREEMPT_DISABLE, PREEMPT_ENABLE},
    stats::Counter,
};

use crate::{emit, globals, maps::CALLS};

/// Calls a function of the kernel by the number that stands for it until the loader puts the kernel's own there.
macro_rules! kfunc {
    ($number:expr, $kind:ty $(, $argument:expr)?) => {{
        // SAFETY: the number is not an address: it becomes the call instruction's operand. Where the loader does not
        // replace it, the verifier sees that the call is never reached; where it does, the verifier checks the argument,
        // and that what was disabled is enabled again.
        let function: $kind = unsafe { core::mem::transmute($number as usize) };
        function($($argument)?)
    }};
}

/// Runs `body` while no other task can take its CPU.
///
/// When preemption is enabled again the kernel switches at once to a task that waits for that, while this program still
/// counts as running. With interrupts disabled around that it does not, and switches a little later, behind the program.
#[inline(always)]
pub fn without<R>(body: impl FnOnce() -> R) -> R {
    if globals::preemptible() {
        kfunc!(PREEMPT_DISABLE, extern "C" fn());
    }
    let result = body();
    if globals::preemptible() {
        let mut flags = MaybeUninit::<u64>::uninit();
        kfunc!(LOCAL_IRQ_SAVE, extern "C" fn(*mut u64), flags.as_mut_ptr());
        kfunc!(PREEMPT_ENABLE, extern "C" fn());
        kfunc!(LOCAL_IRQ_RESTORE, extern "C" fn(*mut u64), flags.as_mut_ptr());
    }
    result
}

/// `BPF_MAP_TYPE_TASK_STORAGE` (`enum bpf_map_type`)
const TASK_STORAGE: usize = 29;
/// `BPF_F_NO_PREALLOC`
const NO_PREALLOC: usize = 1;
/// `BPF_LOCAL_STORAGE_GET_F_CREATE`
const CREATE: u64 = 1;

/// A map of one [`Called`] a task, in the form that the loader reads. (aya has none of this type.)
#[repr(C)]
pub struct Calls {
    r#type: *const [i32; TASK_STORAGE],
    key: *const i32,
    value: *const Called,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; NO_PREALLOC],
}

// SAFETY: the pointers are never followed: only their types say something.
unsafe impl Sync for Calls {}

impl Calls {
    pub const fn new() -> Self {
        Self {
            r#type: ptr::null(),
            key: ptr::null(),
            value: ptr::null(),
            max_entries: ptr::null(),
            map_flags: ptr::null(),
        }
    }
}

/// A call that a hook looks at. The first word is not 0.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Called(pub u64, pub u64);

/// Whether this program is to look at a call of the running task: the first, `SECOND` not being set, at every one, and
/// the second at those that the first has not seen.
///
/// The two run one behind the other, but the task may have changed its CPU in between, and others may have run: so what
/// the first has seen is kept with the task. If the kernel leaves out the second, that stays there; it can only hide an
/// equal call for which the kernel leaves out the first.
#[inline(always)]
pub fn looks<const SECOND: bool>(call: Called) -> bool {
    if !globals::preemptible() {
        return !SECOND;
    }
    let flags = if SECOND { 0 } else { CREATE };
    // SAFETY: the helper takes our map and the running task, and gives a live value or none, zeroed if it is new.
    let last = unsafe {
        bpf_task_storage_get(
            (&raw const CALLS).cast_mut().cast(),
            bpf_get_current_task_btf(),
            ptr::null_mut(),
            flags,
        )
        .cast::<Called>()
        .as_mut()
    };
    if !SECOND {
        // Without memory the second finds nothing either, and looks.
        let Some(last) = last else { return false };
        *last = call;
        return true;
    }
    if let Some(last) = last {
        let seen = last.0 == call.0 && last.1 == call.1;
        last.0 = 0;
        if seen {
            return false;
        }
    }
    emit::count(Counter::HooksRepeated);
    true
}
