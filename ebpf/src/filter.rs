//! Is this process traced? One map lookup, first in every hook.

use spandrel_common::event::{SCOPE_ALL, SELECT_NO, SELECT_YES};

use crate::{globals, maps};

/// What is known of a process: a `SELECT_*`.
#[inline(always)]
pub fn state(tgid: u32) -> u8 {
    if let Some(state) = maps::process(tgid) {
        return state;
    }
    if globals::scope() == SCOPE_ALL { SELECT_YES } else { SELECT_NO }
}

/// Whether the bytes of a process are looked at.
#[inline(always)]
pub fn selected(tgid: u32) -> bool {
    tgid != globals::agent_tgid() && state(tgid) != SELECT_NO
}
