//! Whether the goroutines that are started with a function live for one request each.
//!
//! A pool's worker does its first work for any request that waits, perhaps not for the one whose handler started it.
//! What tells it from a goroutine that was started for one request alone is that it is still there when that request
//! is over. So a function is on trial: the first call of its children is believed once enough of them, in a row and
//! without an exception, had ended after the request that they were started for; never again once a child worked for
//! another one.

use aya_ebpf::bindings::BPF_NOEXIST;
use spandrel_common::{go::Program, limits::GO_TRIAL, stats::Counter};

use super::work;
use crate::{
    emit,
    kernel::goroutine::{self, Key},
    maps::GO_FUNCTIONS,
    read,
};

/// Children of a function that are watched at the same time: enough that a busy service's trial is over with the
/// second of its waves of requests. A power of two, which an id is masked with.
const WATCHED: usize = 8;

/// A child, at its first call.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Child {
    /// Where its structure is. 0 where none is watched.
    pub g: u64,
    /// Its [`Key`].
    pub key: u64,
    /// The same of the goroutine that started it.
    pub parent: u64,
    /// The span of the request that it was started for.
    pub span: u64,
}

/// What was seen of a function's goroutines.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Function {
    /// One of them worked for another request than the one that it was started for.
    outlives: u64,
    /// Those in a row that had ended when the request was over.
    ended: u64,
    /// Somebody writes to `watched`.
    busy: u64,
    watched: [Child; WATCHED],
}

static UNKNOWN: Function = Function {
    outlives: 0,
    ended: 0,
    busy: 0,
    watched: [Child { g: 0, key: 0, parent: 0, span: 0 }; WATCHED],
};

/// What is known of a function of a process.
#[inline(always)]
pub fn of(function: [u64; 2]) -> Option<&'static mut Function> {
    let mut found = GO_FUNCTIONS.get_ptr_mut(function);
    if found.is_none() {
        // Somebody else may have been quicker.
        let _ = GO_FUNCTIONS.insert(function, &UNKNOWN, BPF_NOEXIST.into());
        found = GO_FUNCTIONS.get_ptr_mut(function);
    }
    // SAFETY: a live map value, freed only after a grace period that this program's run is part of. Others write to
    // it, each word on its own, or under `busy`.
    found.map(|found| unsafe { &mut *found })
}

impl Function {
    /// One of its goroutines worked for another request.
    #[inline(always)]
    pub fn outlives(&mut self) {
        if read::swap(&raw mut self.outlives, 1) == 0 {
            emit::count(Counter::Demoted);
        }
    }

    /// Whether what its goroutines do first is done for the request that they were started for.
    #[inline(always)]
    pub fn trusted(&self) -> bool {
        self.outlives == 0 && self.ended >= GO_TRIAL
    }

    /// A child calls for the first time: judges the one that was watched in its place, and watches it.
    #[inline(always)]
    pub fn first_call(&mut self, program: &Program, child: Child) {
        if self.outlives != 0 || read::swap(&raw mut self.busy, 1) != 0 {
            return;
        }
        let Some(place) = self.watched.get_mut(child.key as usize & (WATCHED - 1)) else { return };
        let watched = *place;
        let over = work(Key(watched.parent))
            .is_none_or(|work| u64::from_ne_bytes(work.context.span_id) != watched.span);
        if watched.g == 0 {
            *place = child;
        } else if over {
            self.ended = if goroutine::ended(program, watched.g, Key(watched.key)) {
                self.ended.wrapping_add(1)
            } else {
                0
            };
            *place = child;
        }
        read::swap(&raw mut self.busy, 0);
    }
}
