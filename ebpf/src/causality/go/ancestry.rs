//! Go contexts: what is sent with one that was made from a request's own was caused by that request, whichever
//! goroutine sends it, and however the work came to it (a channel, a pool, an error group).
//!
//! A request's own context is an object of its own (`net/http`'s `readRequest` makes one for each). Whatever is made
//! from it keeps it alive, so its address is nobody else's while the request is open and somebody still has it.
//! The chain from a context to what it was made from is followed through the kinds that the standard library makes,
//! which a type's hash tells; at any other the search ends.

use spandrel_common::{context::Rule, go::Program};

use super::{Found, work, work_mut};
use crate::{
    kernel::{
        goroutine::{Goroutine, Key},
        task::Ids,
    },
    maps::GO_CONTEXTS,
    read,
};

/// Contexts that are looked at on the way up. Each layer of a program that adds a value or a deadline adds one.
const MAX_DEPTH: u32 = 24;

/// Of a context: its address, and its process.
pub type Address = [u64; 2];

/// A `context.Context`: type and object.
type Interface = [u64; 2];

/// The handler of the `net/http.Request` at `request` begins, in the goroutine in `r14`.
#[inline(always)]
pub fn began(program: &Program, request: u64, r14: u64, ids: Ids) {
    let Some([itab, object]) = read::user::<Interface>(member(request, program.layout.req_ctx)) else {
        return;
    };
    if object == 0 || kind(program, itab) != Some(program.layout.cancel_hash) {
        return;
    }
    let address = [object, u64::from(ids.tgid)];
    let key = Goroutine::running(program, r14).and_then(|goroutine| goroutine.key(program, ids.tgid));
    if let Some(key) = key
        && let Some(work) = work_mut(key)
        && work.loops == 0
        && GO_CONTEXTS.insert(address, key.0, 0).is_ok()
    {
        work.origin = object;
    } else {
        // A former request's may have been there.
        let _ = GO_CONTEXTS.remove(address);
    }
}

/// The open inbound request from whose context that of the outbound `net/http.Request` at `request` was made.
#[inline(always)]
pub fn cause(program: &Program, request: u64, ids: Ids) -> Found {
    let layout = &program.layout;
    let mut at = member(request, layout.req_ctx);
    for _ in 0..MAX_DEPTH {
        let Some([itab, object]) = read::user::<Interface>(at) else { break };
        if object == 0 {
            break;
        }
        let Some(kind) = kind(program, itab) else { break };
        if kind == layout.cancel_hash {
            let found = of(object, ids.tgid);
            if found.is_some() {
                return found;
            }
        } else if kind != layout.timer_hash && kind != layout.value_hash && kind != layout.without_hash {
            break;
        }
        // The first member of each of them.
        at = object;
    }
    Found::NONE
}

/// The request that a context belongs to.
#[inline(always)]
fn of(object: u64, tgid: u32) -> Found {
    let Some(key) = GO_CONTEXTS.get_ptr([object, u64::from(tgid)]) else { return Found::NONE };
    // SAFETY: a live map value, freed only after a grace period that this program's run is part of.
    let key = Key(unsafe { *key });
    match work(key) {
        Some(work) if work.origin == object => Found::work(work, Rule::GoContext, key),
        _ => Found::NONE,
    }
}

/// The hash of an interface's type; `None` if there is none.
#[inline(always)]
fn kind(program: &Program, itab: u64) -> Option<u32> {
    if itab == 0 {
        return None;
    }
    read::user(member(itab, program.layout.itab_hash)).filter(|hash| *hash != 0)
}

#[inline(always)]
fn member(base: u64, offset: u16) -> u64 {
    base.wrapping_add(u64::from(offset))
}
