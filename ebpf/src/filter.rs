//! Is this process traced? Asked first in every hook, so mostly of what this CPU was asked last.

use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use spandrel_common::event::{SCOPE_ALL, SELECT_NO, SELECT_YES};

use crate::{
    globals,
    maps::{self, CHANGES, LAST_ASKED, PROCESSES},
    read,
};

/// Bits of the number of changes that [`LAST_ASKED`] holds. What it holds is older than so many changes only on a CPU that no
/// hook ran on meanwhile.
const CHANGES_MASK: u64 = 0xff_ffff;

/// What is known of a process: a `SELECT_*`.
#[inline(always)]
pub fn state(tgid: u32) -> u8 {
    // SAFETY: the helper takes nothing and only returns a number.
    let cpu = unsafe { bpf_get_smp_processor_id() } as u32;
    let (Some(changes), Some(last)) = (changes(), LAST_ASKED.get_ptr_mut(cpu)) else { return decided(tgid) };
    let last = last.cast::<u64>();
    let asked = u64::from(tgid) << 32 | (changes & CHANGES_MASK) << 8;
    // SAFETY: a live map value, which only this CPU uses. One word, so that who interrupts this program leaves a whole one.
    let known = unsafe { last.read_volatile() };
    if known & !0xff == asked {
        return known as u8;
    }
    // The changes were counted before, so that one that comes in between is noticed the next time.
    let state = decided(tgid);
    // SAFETY: as above.
    unsafe { last.write_volatile(asked | u64::from(state)) };
    state
}

/// How often anything was changed, by both sides.
#[inline(always)]
fn changes() -> Option<u64> {
    let (kernel, user) = (CHANGES.get_ptr(0)?, CHANGES.get_ptr(1)?);
    // SAFETY: live map values.
    Some(unsafe { kernel.read_volatile().wrapping_add(user.read_volatile()) })
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
