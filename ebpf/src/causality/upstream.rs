//! nginx: it makes the upstream request for an inbound request in the same turn of its loop in which it has read that
//! one whole. So the call before the one that connects, or that writes to a connection that was kept, was a read of
//! the inbound request, on the same CPU, by the same thread. Each request that was read counts for the first of them only:
//! a second one may be the repetition of another request's, whose upstream failed by an event that no call shows.
//!
//! Requests that go on from a timer (a delay by `limit_req`, a resolver, a lock of the cache) can follow the read of
//! another one; so this does not hold under `strict`.

use spandrel_common::{context::Context, runtime::Runtime};

use super::worker;
use crate::{conn::State, kernel::task::Ids, maps, scratch};

/// Of [`Context::known`]: not of a request, but of the one for which the connection was opened.
pub const ORIGIN: u8 = 2;
/// The same, if that is not known: what is written to the connection first was not read just before.
pub const NO_ORIGIN: u8 = 3;

/// The inbound request for which the running thread sends.
#[inline(always)]
pub fn cause(ids: Ids) -> Option<&'static Context> {
    if maps::runtime(ids.tgid) != Runtime::Nginx {
        return None;
    }
    read_just_now(ids)
}

/// The inbound request that the running thread has read in its last call.
#[inline(always)]
fn read_just_now(ids: Ids) -> Option<&'static Context> {
    let scratch = scratch::held()?;
    let here = scratch.last_tid == u64::from(ids.tid);
    // Asked in any case: a thread that has moved to this CPU meanwhile has made its last call on another.
    worker::take(ids.tid, if here { scratch.last_sk } else { 0 })
}

/// Whether it matters that the process connects.
#[inline(always)]
pub fn connects(ids: Ids) -> bool {
    maps::runtime(ids.tgid) == Runtime::Nginx
}

/// The running thread connects: remembers for whom.
#[inline(always)]
pub fn connecting(state: &mut State, ids: Ids) {
    if let Some(context) = read_just_now(ids) {
        state.context = *context;
        state.context.known = ORIGIN;
    } else {
        state.context.known = NO_ORIGIN;
    }
}
