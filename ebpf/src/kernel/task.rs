//! `struct task_struct`.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated::bpf_get_current_task};

use crate::{globals, read};

/// `PF_KTHREAD` (include/linux/sched.h).
const KERNEL: u32 = 0x0020_0000;
/// `PF_IO_WORKER`: a thread of io_uring, which does a process's work without its registers.
const IO_WORKER: u32 = 0x10;
/// `TS_COMPAT` (arch/x86/include/asm/thread_info.h): in a 32-bit system call.
const COMPAT: u32 = 2;

/// Process and thread id of the running task, in the initial pid namespace.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Ids {
    pub tgid: u32,
    pub tid: u32,
}

/// Ids of the running task.
#[inline(always)]
pub fn ids() -> Ids {
    let both = bpf_get_current_pid_tgid();
    Ids { tgid: (both >> 32) as u32, tid: both as u32 }
}

/// A task. The address is only ever used for bounded reads.
#[derive(Clone, Copy)]
pub struct Task(pub u64);

impl Task {
    /// The running task.
    #[inline(always)]
    pub fn current() -> Self {
        // SAFETY: the helper takes nothing and always returns the running task.
        Self(unsafe { bpf_get_current_task() })
    }

    #[inline(always)]
    pub fn tgid(self) -> u32 {
        read::kernel(self.0, globals::task_tgid()).unwrap_or(0)
    }

    /// The thread's id.
    #[inline(always)]
    pub fn tid(self) -> u32 {
        read::kernel(self.0, globals::task_pid()).unwrap_or(0)
    }

    /// Whether the thread's name begins like this.
    #[inline(always)]
    pub fn is_named(self, start: &[u8; 8]) -> bool {
        globals::has(globals::task_comm())
            && read::kernel::<u64>(self.0, globals::task_comm()) == Some(u64::from_ne_bytes(*start))
    }

    /// The parent's process id.
    #[inline(always)]
    pub fn parent_tgid(self) -> u32 {
        if !globals::has(globals::task_parent()) {
            return 0;
        }
        read::kernel::<u64>(self.0, globals::task_parent()).map_or(0, |parent| Self(parent).tgid())
    }

    #[inline(always)]
    fn flags(self) -> u32 {
        read::kernel(self.0, globals::task_flags()).unwrap_or(KERNEL)
    }

    /// A thread of the kernel.
    #[inline(always)]
    pub fn is_kernel(self) -> bool {
        self.flags() & KERNEL != 0
    }

    /// A thread that io_uring made for a process.
    #[inline(always)]
    pub fn is_io_worker(self) -> bool {
        self.flags() & IO_WORKER != 0
    }

    /// It has used io_uring, so that a completion may run at the end of any of its system calls.
    #[inline(always)]
    pub fn has_ring(self) -> bool {
        globals::has(globals::task_io_uring())
            && read::kernel::<u64>(self.0, globals::task_io_uring()).is_some_and(|context| context != 0)
    }

    /// Inside a 32-bit system call.
    #[inline(always)]
    pub fn is_compat(self) -> bool {
        globals::has(globals::task_status())
            && read::kernel::<u32>(self.0, globals::task_status()).is_some_and(|status| status & COMPAT != 0)
    }

    /// The last thread of its process is ending.
    #[inline(always)]
    pub fn is_last_thread(self) -> bool {
        let Some(signal) = read::kernel::<u64>(self.0, globals::task_signal()) else { return true };
        read::kernel::<u32>(signal, globals::signal_live()).is_none_or(|live| live == 0)
    }

    /// Start of the arguments, end of the arguments, end of the environment, in user memory.
    #[inline(always)]
    pub fn strings(self) -> Option<(u64, u64, u64)> {
        let mm = read::kernel::<u64>(self.0, globals::task_mm())?;
        if mm == 0 {
            return None;
        }
        Some((
            read::kernel(mm, globals::mm_arg_start())?,
            read::kernel(mm, globals::mm_arg_end())?,
            read::kernel(mm, globals::mm_env_end())?,
        ))
    }
}
