//! Is this process traced? Asked first in every hook, so mostly of what this CPU was asked last.

use spandrel_common::event::{SCOPE_ALL, SELECT_NO, SELECT_YES};

use crate::{
    globals,
    maps::{self, CHANGES, LAST_ASKED, PROCESSES},
    read, scratch,
};

/// Bits of the number of changes that [`LAST_ASKED`] holds. What it holds is older than so many changes only on a CPU that no
/// hook ran on meanwhile.
const CHANGES_MASK: u64 = 0xff_ffff;

/// What is known of a process: a `SELECT_*`.
#[inline(always)]
pub fn state(tgid: u32) -> u8 {
    spandrel_state(tgid) as u8
}

/// The same. A global function, because the keys of its maps are many: they would lie in the frames of the hooks, below
/// which the deepest chains of calls are.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spandrel_state(tgid: u32) -> u32 {
    let (Some(changes), Some(last)) = (changes(), LAST_ASKED.get_ptr_mut(scratch::cpu())) else {
        return decided(tgid).into();
    };
    let last = last.cast::<u64>();
    let asked = u64::from(tgid) << 32 | (changes & CHANGES_MASK) << 8;
    // Only this CPU uses it. One word, so that who interrupts this program leaves a whole one.
    let known = read::word(last);
    if known & !0xff == asked {
        return known as u8 as u32;
    }
    // The changes were counted before, so that one that comes in between is noticed the next time.
    let state = decided(tgid);
    read::set_word(last, asked | u64::from(state));
    state.into()
}

/// How often anything was changed, by both sides.
#[inline(always)]
fn changes() -> Option<u64> {
    let (kernel, user) = (CHANGES.get_ptr(0)?, CHANGES.get_ptr(1)?);
    Some(read::word(kernel).wrapping_add(read::word(user)))
}

#[inline(always)]
fn decided(tgid: u32) -> u8 {
    match maps::process(tgid) {
        Some(state) => state,
        None if globals::scope() == SCOPE_ALL => SELECT_YES,
        None => SELECT_NO,
    }
}

/// Whether the bytes of a process are looked at.
#[inline(always)]
pub fn selected(tgid: u32) -> bool {
    tgid != globals::agent_tgid() && state(tgid) != SELECT_NO
}

/// Decides about a process. Returns false if there is no room.
#[inline(always)]
pub fn decide(tgid: u32, state: u8) -> bool {
    let done = PROCESSES.insert(tgid, state, 0).is_ok();
    changed();
    done
}

/// Forgets a process. Of one that nobody decided about, nothing is known.
#[inline(always)]
pub fn forget(tgid: u32) {
    if PROCESSES.remove(tgid).is_ok() {
        changed();
    }
}

#[inline(always)]
fn changed() {
    if let Some(changes) = CHANGES.get_ptr_mut(0) {
        read::fetch_add(changes, 1);
    }
}
