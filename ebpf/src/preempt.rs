//! Keeps a hook from being interrupted by another task, on kernels whose tracepoints leave that to the program.
//!
//! Since Linux 7.0 the kernel calls the programs of a tracepoint with preemption enabled. It does not call a program that
//! is still running on the same CPU in a task that was interrupted: from then on until that task goes on, which may be
//! many milliseconds, nothing that others do on this CPU is seen. So a hook disables preemption while it works, by the
//! kernel's own functions for that.

use core::mem::MaybeUninit;

use spandrel_common::kfunc::{LOCAL_IRQ_RESTORE, LOCAL_IRQ_SAVE, PREEMPT_DISABLE, PREEMPT_ENABLE};

use crate::globals;

/// Calls a function of the kernel by the number that stands for it until the loader puts the kernel's own there.
macro_rules! kfunc {
    ($number:expr, $kind:ty $(, $argument:expr)?) => {{
        // SAFETY: the number is not an address: it becomes the call instruction's operand. Where the loader does not
        // replace it, the verifier sees that the call is never reached.
        let function: $kind = unsafe { core::mem::transmute($number as usize) };
        // SAFETY: the verifier checks the argument, and that what was disabled is enabled again.
        unsafe { function($($argument)?) }
    }};
}

/// Runs `body` while no other task can take its CPU.
///
/// When preemption is enabled again the kernel switches at once to a task that waits for that, while this program still
/// counts as running. With interrupts disabled around that it does not, and switches a little later, behind the program.
#[inline(always)]
pub fn without<R>(body: impl FnOnce() -> R) -> R {
    if globals::preemptible() {
        kfunc!(PREEMPT_DISABLE, unsafe extern "C" fn());
    }
    let result = body();
    if globals::preemptible() {
        let mut flags = MaybeUninit::<u64>::uninit();
        kfunc!(LOCAL_IRQ_SAVE, unsafe extern "C" fn(*mut u64), flags.as_mut_ptr());
        kfunc!(PREEMPT_ENABLE, unsafe extern "C" fn());
        kfunc!(LOCAL_IRQ_RESTORE, unsafe extern "C" fn(*mut u64), flags.as_mut_ptr());
    }
    result
}
