//! The running system call: its number and arguments, from the registers that user mode left behind.
//! The only file that knows an architecture (x86-64: registers of `struct pt_regs`, numbers of the table).

use super::task::Running;

/// How a call names the memory that it moves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Not a call that moves bytes through a descriptor.
    Other,
    /// `(fd, buffer, length)`.
    Flat,
    /// `(fd, iovec array, count)`.
    Vector,
    /// `(fd, struct msghdr)`.
    Message,
    /// `(fd, struct mmsghdr array, count)`.
    Messages,
    /// `sendfile`, `splice`: no user memory.
    Splice,
    /// `io_uring_setup`, `io_uring_enter`: the memory is named elsewhere.
    Ring,
}

/// Which way a call moves bytes, seen from the program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Rx,
    Tx,
}

/// Number and arguments of a system call.
#[derive(Clone, Copy)]
pub struct Syscall {
    pub nr: u32,
    pub args: [u64; 5],
}

const R14: usize = 1;
const DI: usize = 14;
const SI: usize = 13;
const DX: usize = 12;
const R10: usize = 7;
const R8: usize = 9;
const ORIG_AX: usize = 15;
const IP: usize = 16;

impl Syscall {
    /// From the registers at the entry of user mode into the kernel.
    ///
    /// `regs` must be a pointer that the verifier knows as `struct pt_regs`.
    #[inline(always)]
    pub fn from_regs(regs: *const u64) -> Self {
        // SAFETY: the verifier knows the pointer's type and refuses an offset outside of it.
        unsafe {
            Self {
                nr: *regs.add(ORIG_AX) as u32,
                args: [*regs.add(DI), *regs.add(SI), *regs.add(DX), *regs.add(R10), *regs.add(R8)],
            }
        }
    }

    /// Of the running task.
    #[inline(always)]
    pub fn of(task: Running) -> Self {
        Self::from_regs(task.registers())
    }

    /// How the call names its memory.
    #[inline(always)]
    pub fn shape(&self) -> Shape {
        match self.nr {
            0 | 1 | 44 | 45 => Shape::Flat,
            19 | 20 | 327 | 328 => Shape::Vector,
            46 | 47 => Shape::Message,
            299 | 307 => Shape::Messages,
            40 | 275 => Shape::Splice,
            425 | 426 => Shape::Ring,
            _ => Shape::Other,
        }
    }

    /// Which way the call moves bytes through its first descriptor (`sendfile`: the second argument is the source).
    #[inline(always)]
    pub fn way(&self) -> Way {
        match self.nr {
            0 | 19 | 327 | 45 | 47 | 299 => Way::Rx,
            _ => Way::Tx,
        }
    }

    /// `splice`, whose two descriptors may both be sockets.
    #[inline(always)]
    pub fn is_splice(&self) -> bool {
        self.nr == 275
    }

    /// The flags argument of a receiving call that has one (`MSG_*`).
    #[inline(always)]
    pub fn receive_flags(&self) -> u64 {
        match self.nr {
            45 | 299 => self.args[3],
            47 => self.args[2],
            _ => 0,
        }
    }

    /// `recvmmsg` with a timeout, which can end between two messages without a trace.
    #[inline(always)]
    pub fn has_timeout(&self) -> bool {
        self.nr == 299 && self.args[4] != 0
    }
}

/// The descriptor that the running call names.
#[inline(always)]
pub fn descriptor() -> u32 {
    // SAFETY: as in `Syscall::current`.
    unsafe { *registers().add(DI) as u32 }
}

/// The register in which Go keeps its goroutine.
#[inline(always)]
pub fn goroutine_register() -> u64 {
    // SAFETY: as above.
    unsafe { *registers().add(R14) }
}

/// Address behind the instruction that made the call.
#[inline(always)]
pub fn instruction() -> u64 {
    // SAFETY: as above.
    unsafe { *registers().add(IP) }
}

#[inline(always)]
fn registers() -> *const u64 {
    // SAFETY: both helpers accept what they are given and return typed kernel pointers.
    unsafe {
        aya_ebpf::helpers::generated::bpf_task_pt_regs(
            aya_ebpf::helpers::generated::bpf_get_current_task_btf(),
        ) as *const u64
    }
}
