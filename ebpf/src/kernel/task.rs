//! `struct task_struct`.

use aya_ebpf::helpers::{
    bpf_get_current_comm, bpf_get_current_pid_tgid,
    generated::{bpf_get_current_task, bpf_get_current_task_btf, bpf_task_pt_regs},
};

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

/// Name of the running thread (`comm`), of a program that was just executed its file's, cut to 15 bytes.
#[inline(always)]
pub fn name() -> [u8; 16] {
    bpf_get_current_comm().unwrap_or_default()
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

/// The running task, by a pointer whose type the verifier knows: its members are plain loads, where [`Task`] and
/// [`ids`] call a helper for each.
#[derive(Clone, Copy)]
pub struct Running(*const u8);

impl Running {
    #[inline(always)]
    pub fn task() -> Self {
        // SAFETY: the helper takes nothing and always returns the running task.
        Self(unsafe { bpf_get_current_task_btf() }.cast_const().cast())
    }

    #[inline(always)]
    fn get<T: Copy>(self, offset: u32) -> T {
        // SAFETY: the verifier refuses an offset that is not a member of the structure.
        unsafe { self.0.add(offset as usize).cast::<T>().read_volatile() }
    }

    /// Its ids.
    #[inline(always)]
    pub fn ids(self) -> Ids {
        Ids { tgid: self.get(globals::task_tgid()), tid: self.get(globals::task_pid()) }
    }

    /// What kind of thread it is.
    #[inline(always)]
    pub fn thread(self) -> Thread {
        let flags: u32 = self.get(globals::task_flags());
        match flags & (KERNEL | IO_WORKER) {
            0 => Thread::Program,
            IO_WORKER => Thread::IoWorker,
            _ => Thread::Kernel,
        }
    }

    /// It has used io_uring, so that a completion may run at the end of any of its system calls.
    #[inline(always)]
    pub fn has_ring(self) -> bool {
        globals::has(globals::task_io_uring()) && self.get::<u64>(globals::task_io_uring()) != 0
    }

    /// Inside a 32-bit system call.
    #[inline(always)]
    pub fn is_compat(self) -> bool {
        globals::has(globals::task_status()) && self.get::<u32>(globals::task_status()) & COMPAT != 0
    }

    /// Address of its descriptor table, 0 if it has none.
    #[inline(always)]
    pub fn files(self) -> u64 {
        self.get(globals::task_files())
    }

    /// The registers that user mode left behind (kernel 5.15). The verifier knows their type.
    #[inline(always)]
    pub fn registers(self) -> *const u64 {
        // SAFETY: the helper accepts a pointer that the verifier knows as a task, and returns one that it knows
        // as registers.
        unsafe { bpf_task_pt_regs(self.0.cast_mut().cast()) as *const u64 }
    }
}

/// Kinds of threads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Thread {
    /// A program's own.
    Program,
    /// One that io_uring made for a program.
    IoWorker,
    /// One of the kernel's.
    Kernel,
}
