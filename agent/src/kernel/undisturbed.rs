//! Work that no signal interrupts: `bpf(2)` gives up with EAGAIN while the verifier runs and a signal waits for the thread
//! (`bpf_check`, kernel/bpf/verifier.c), however well the program is.

use std::{mem::MaybeUninit, ptr};

/// Does some work while this thread takes no signals. Another thread of the process takes them, or this one afterwards.
pub fn undisturbed<T>(work: impl FnOnce() -> T) -> T {
    let before = change(libc::SIG_BLOCK, None);
    let result = work();
    if let Some(before) = before {
        change(libc::SIG_SETMASK, Some(&before));
    }
    result
}

/// Changes which signals this thread takes: all of them, or as given. Returns what was before.
fn change(how: libc::c_int, to: Option<&libc::sigset_t>) -> Option<libc::sigset_t> {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: `sigfillset` writes the whole set that it is given, and `pthread_sigmask` reads that set, or the one that was
    // given, and writes the other, which is only read if it succeeded.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        let to = to.map_or(all.as_ptr(), ptr::from_ref);
        (libc::pthread_sigmask(how, to, before.as_mut_ptr()) == 0).then(|| before.assume_init())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(signal: libc::c_int) -> bool {
        let now = change(libc::SIG_BLOCK, Some(&none())).unwrap();
        // SAFETY: the set was written by the system.
        unsafe { libc::sigismember(&raw const now, signal) == 0 }
    }

    fn none() -> libc::sigset_t {
        let mut none = MaybeUninit::uninit();
        // SAFETY: `sigemptyset` writes the whole set.
        unsafe {
            libc::sigemptyset(none.as_mut_ptr());
            none.assume_init()
        }
    }

    #[test]
    fn signals_are_taken_before_and_after_and_not_within() {
        assert!(takes(libc::SIGHUP));
        assert!(!undisturbed(|| takes(libc::SIGHUP)));
        assert!(takes(libc::SIGHUP));
    }
}
