//! Reads of memory that is not ours. Every one is bounded and may fail; none can fault.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};

/// Reads a `T` at `base + offset` of kernel memory.
#[inline(always)]
pub fn kernel<T: Copy>(base: u64, offset: u32) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes at most `size_of::<T>()` bytes to our own memory and checks the source.
    let failed = unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            (base + u64::from(offset)) as *const _,
        )
    };
    if failed != 0 {
        return None;
    }
    // SAFETY: the helper filled all of it, and every `T` used here is plain data.
    Some(unsafe { value.assume_init() })
}

/// Reads `N` bytes at `base + offset` of kernel memory to the start of `to`, which is left alone or zeroed if
/// they cannot be read.
#[inline(always)]
pub fn kernel_bytes<const N: usize>(to: &mut [u8; 16], base: u64, offset: u32) {
    const { assert!(N <= 16) };
    // SAFETY: the helper writes at most `N` bytes to `to`, which has 16, and checks the source.
    unsafe {
        bpf_probe_read_kernel(to.as_mut_ptr().cast(), N as u32, (base + u64::from(offset)) as *const _)
    };
}

/// Reads a `T` of user memory.
#[inline(always)]
pub fn user<T: Copy>(address: u64) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: as above.
    let failed =
        unsafe { bpf_probe_read_user(value.as_mut_ptr().cast(), size_of::<T>() as u32, address as *const _) };
    if failed != 0 {
        return None;
    }
    // SAFETY: as above.
    Some(unsafe { value.assume_init() })
}

/// Copies `len` bytes of user memory to `to`, which must have room for them.
#[inline(always)]
pub fn user_bytes(to: *mut u8, len: u32, address: u64) -> bool {
    // SAFETY: the verifier proves that `to` has room for the largest value that `len` can have.
    unsafe { bpf_probe_read_user(to.cast(), len, address as *const _) == 0 }
}

/// Keeps the compiler from remembering what it knows about a number, so that a bound written next to its
/// use stays in the program for the verifier to see.
#[inline(always)]
pub fn opaque(mut value: u64) -> u64 {
    // SAFETY: an instruction that changes nothing. (None at all would give two source lines one address,
    // which the kernel refuses.)
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// The smaller of a number and a power of two less one, in a form that the verifier follows.
#[inline(always)]
pub fn at_most(value: u64, mask: u64) -> u64 {
    let value = if value > mask { mask } else { value };
    opaque(value) & mask
}

/// Copies a NUL-ended string of kernel memory, cut at the room there is.
#[inline(always)]
pub fn kernel_string<const N: usize>(to: &mut [u8; N], address: u64) {
    // SAFETY: the helper writes at most `N` bytes, ends them with NUL and checks the source.
    unsafe {
        aya_ebpf::helpers::generated::bpf_probe_read_kernel_str(
            to.as_mut_ptr().cast(),
            N as u32,
            address as *const _,
        )
    };
}

/// Adds to a word of a map in one atomic instruction (kernel 5.12) and returns what was there: a hook in an
/// interrupt can come between a read and a write.
#[inline(always)]
pub fn fetch_add(slot: *mut u64, mut value: u64) -> u64 {
    // SAFETY: `slot` is a live, aligned map value.
    unsafe {
        core::arch::asm!("{0} = atomic_fetch_add((u64 *)({1} + 0), {0})", inout(reg) value, in(reg) slot, options(nostack));
    }
    value
}

/// Copies `len` bytes between two places of our own memory, which must have them.
#[inline(always)]
pub fn copy(to: *mut u8, len: u32, from: *const u8) -> bool {
    // SAFETY: the verifier proves that `to` has room for the largest value that `len` can have; the source is checked.
    unsafe { bpf_probe_read_kernel(to.cast(), len, from.cast()) == 0 }
}

/// Writes a byte of our own memory, at a place below a power of two that it has.
#[inline(always)]
pub fn put<const N: usize>(to: &mut [u8; N], at: u64, byte: u8) {
    const { assert!(N.is_power_of_two()) };
    let at = opaque(at) & (N as u64 - 1);
    // SAFETY: the masked place is inside.
    unsafe { *to.as_mut_ptr().add(at as usize) = byte };
}

/// Reads a word of a map that others may write to meanwhile.
#[inline(always)]
pub fn word(slot: *const u64) -> u64 {
    // SAFETY: `slot` is a live, aligned map value.
    unsafe { slot.read_volatile() }
}

/// Writes a word of a map that others may read meanwhile: they see all of it, or nothing.
#[inline(always)]
pub fn set_word(slot: *mut u64, value: u64) {
    // SAFETY: `slot` is a live, aligned map value.
    unsafe { slot.write_volatile(value) };
}

/// Puts a word into a map in one atomic instruction (kernel 5.12) and returns what was there.
#[inline(always)]
pub fn swap(slot: *mut u64, mut value: u64) -> u64 {
    // SAFETY: `slot` is a live, aligned map value.
    unsafe {
        core::arch::asm!("{0} = xchg_64({1} + 0, {0})", inout(reg) value, in(reg) slot, options(nostack));
    }
    value
}

/// Calls `turn` with 0, 1, ... until it returns another number than 0, at most `count` times.
///
/// `turn` has to be a global function: the verifier looks at it once, however often it is called, and the loop
/// around it costs ten of its steps a turn. (`bpf_loop` does no better, and 5.15 does not have it.)
#[inline(always)]
pub fn repeat(count: u32, turn: impl Fn(u32) -> u32) {
    for index in 0..count {
        if turn(index) != 0 {
            break;
        }
    }
}

/// What a turn of [`repeat`] is given.
#[inline(always)]
pub fn context<C>(context: *mut C) -> Option<&'static mut C> {
    // SAFETY: `repeat` made it from a reference, and waits.
    unsafe { context.as_mut() }
}
