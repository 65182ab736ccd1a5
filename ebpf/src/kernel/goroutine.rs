//! The running goroutine of a Go process, from the registers that user mode left behind (x86-64: Go's internal ABI
//! keeps `g` in R14, and the stub of a system call does not touch it; `internal/runtime/syscall/linux`, Go 1.26).

use spandrel_common::go::{ABSENT, Program};

use super::syscall;
use crate::read;

/// Bits of a goroutine's id that a key holds. Nobody starts a million millions.
const ID_BITS: u32 = 40;

/// A goroutine of a process: the only one of this name that there ever is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key(pub u64);

impl Key {
    /// Of the goroutine `goid`. None is 0.
    #[inline(always)]
    pub fn of(tgid: u32, goid: u64) -> Option<Self> {
        (goid != 0 && goid >> ID_BITS == 0).then_some(Self((u64::from(tgid) << ID_BITS) | goid))
    }

    /// The goroutine's id.
    #[inline(always)]
    pub fn goid(self) -> u64 {
        self.0 & ((1 << ID_BITS) - 1)
    }
}

/// Where a goroutine's structure is, and the thread's that runs it.
#[derive(Clone, Copy)]
pub struct Goroutine {
    g: u64,
    m: u64,
}

impl Goroutine {
    /// The one that made the running system call, if Go's own code made it. C code may leave anything in the
    /// registers, also what it found there.
    #[inline(always)]
    pub fn calling(program: &Program) -> Option<Self> {
        let at = syscall::instruction();
        if at < program.text || at >= program.text_end {
            return None;
        }
        Self::running(program, syscall::goroutine_register())
    }

    /// The one that `r14` points to, if it is the one that its thread runs. What C code leaves in the register, and
    /// the runtime's own stack, are not.
    #[inline(always)]
    pub fn running(program: &Program, r14: u64) -> Option<Self> {
        let m: u64 = member(r14, program.layout.g_m)?;
        (m != 0 && member::<u64>(m, program.layout.m_curg)? == r14).then_some(Self { g: r14, m })
    }

    /// By `g.goid`.
    #[inline(always)]
    pub fn key(self, program: &Program, tgid: u32) -> Option<Key> {
        Key::of(tgid, member(self.g, program.layout.g_goid)?)
    }

    /// Where its structure is.
    #[inline(always)]
    pub fn address(self) -> u64 {
        self.g
    }

    /// `g.startpc`: address of the function that it was started with.
    #[inline(always)]
    pub fn function(self, program: &Program) -> Option<u64> {
        member(self.g, program.layout.g_startpc)
    }

    /// `g.parentGoid`, from Go 1.21 on.
    #[inline(always)]
    pub fn parent(self, program: &Program) -> Option<u64> {
        member(self.g, program.layout.g_parent)
    }

    /// The ids that its processor will give next: from the first up to, not including, the second. `(0, 0)` if that
    /// cannot be told.
    #[inline(always)]
    pub fn next_ids(self, program: &Program) -> (u64, u64) {
        let p = match member::<u64>(self.m, program.layout.m_p) {
            Some(p) if p != 0 => p,
            // In a system call that may block, the thread has let it go.
            _ => member(self.m, program.layout.m_oldp).unwrap_or(0),
        };
        if p == 0 {
            return (0, 0);
        }
        // One read, so that at most one refill of the cache falls into it. If one does, the range is empty, too
        // long, or all of the new one, which is right, too.
        match member::<[u64; 2]>(p, program.layout.p_cache) {
            Some([first, end]) if end.wrapping_sub(first) <= spandrel_common::go::BATCH => (first, end),
            _ => (0, 0),
        }
    }
}

/// Whether the goroutine `key` has ended, whose structure was at `g`: it is marked as unused, or is another's by now
/// (Go never gives such memory back). Not so if that cannot be read.
#[inline(always)]
pub fn ended(program: &Program, g: u64, key: Key) -> bool {
    /// From `g.atomicstatus` to `g.goid`: itself and `g.stackLock` (Go 1.5 to 1.27).
    const STATUS_BEFORE_ID: u64 = 8;
    /// `_Gdead`.
    const DEAD: u32 = 6;
    if program.layout.g_goid == ABSENT {
        return false;
    }
    let goid = g.wrapping_add(u64::from(program.layout.g_goid));
    let Some(now) = read::user::<u64>(goid) else { return false };
    now != key.goid() || read::user::<u32>(goid.wrapping_sub(STATUS_BEFORE_ID)).unwrap_or(0) == DEAD
}

/// A member of one of the program's structures.
#[inline(always)]
fn member<T: Copy>(base: u64, offset: u16) -> Option<T> {
    if offset == ABSENT || base == 0 {
        return None;
    }
    read::user(base.wrapping_add(u64::from(offset)))
}
