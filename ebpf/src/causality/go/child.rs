//! Goroutines that were started by the one that works on a request.
//!
//! One was started for the request if it was born after the head was read. A goroutine's id says so: ids are given to
//! processors in batches, so an id that was not given out when the head was complete belongs to somebody who was born
//! later. A child whose id does not prove that is left alone: its parent may have served another request when it
//! started it.
//!
//! What it was started for need not be all that it does: pools start their workers when the first work comes. So only
//! the first call of a child counts, and only if its function has stood its [`trial`]; none under `strict`.

use spandrel_common::{context::Rule, go::Program, stats::Counter};

use super::{
    Found,
    trial::{self, Child},
    work,
};
use crate::{
    emit, globals,
    kernel::{
        goroutine::{Goroutine, Key},
        task::Ids,
    },
    maps::GO_CHILDREN,
};

/// The request that a goroutine without one of its own calls for: `named`, if its Go context says so, or else the one
/// that its parent works on.
#[inline(always)]
pub(super) fn cause(program: &Program, goroutine: Goroutine, key: Key, named: Found, ids: Ids) -> Found {
    let parent = parent(program, goroutine, key, ids);
    let before = GO_CHILDREN.get_ptr(key.0);
    // SAFETY: a live map value, freed only after a grace period that this program's run is part of.
    let before = before.map_or(0, |span| unsafe { *span });
    let of_parent = parent.span();
    let Some(address) = goroutine.function(program) else { return Found::NONE };
    let Some(function) = trial::of([address, u64::from(ids.tgid)]) else { return Found::NONE };
    let other = named.is_some() && parent.is_some() && named.span() != of_parent;
    if other || (before != 0 && before != of_parent) {
        function.outlives();
    } else if named.is_some() || parent.is_some() {
        let span = if named.is_some() { named.span() } else { of_parent };
        // For want of room it is asked again.
        let _ = GO_CHILDREN.insert(key.0, span, 0);
    }
    if before == 0 && parent.is_some() {
        function.first_call(
            program,
            Child { g: goroutine.address(), key: key.0, parent: parent.key, span: of_parent },
        );
    }
    if named.is_some() {
        return named;
    }
    let first = before == 0 && !globals::strict() && function.trusted();
    if first { parent } else { Found::NONE }
}

/// The request that a goroutine's parent works on, if the goroutine was born after its head was read.
#[inline(always)]
fn parent(program: &Program, goroutine: Goroutine, key: Key, ids: Ids) -> Found {
    let parent = goroutine.parent(program).and_then(|goid| Key::of(ids.tgid, goid));
    let Some((parent, work)) = parent.and_then(|parent| Some((parent, work(parent)?))) else {
        return Found::NONE;
    };
    let goid = key.goid();
    let later = goid > work.taken || (goid >= work.next && goid < work.next_end);
    if !later {
        emit::count(Counter::GoroutineElder);
        return Found::NONE;
    }
    Found::work(work, Rule::Goroutine, parent)
}
