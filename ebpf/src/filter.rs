//! Is this process traced? Asked first in every hook, so mostly of what this CPU was asked last.

use spandrel_common::event::{SCOPE_ALL, SELECT_NO, SELECT_YES};

use crate::{
    globals,
    maps::{self, CHANGES, PROCESSES},
    read,
};

/// Bits of the number of changes that [`maps::LAST_ASKED`] holds. What it holds is older than so many changes only on a CPU
/// that no hook ran on meanwhile.
const CHANGES_MASK: u64 = 0xff_ffff;

/// What is known of a process: a `SELECT_*`.
#[inline(always)]
pub fn state(tgid: u32) -> u8 {
    let (Some(changes), Some(last)) = (maps::changes(), maps::last_asked()) else { return decided(tgid) };
    let asked = u64::from(tgid) << 32 | (changes & CHANGES_MASK) << 8;
    let known = last.get();
    if known & !0xff == asked {
        return known as u8;
    }
    // The changes were counted before, so that one that comes in between is noticed the next time.
    let state = decided(tgid);
    last.set(asked | u64::from(state));
    state
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
