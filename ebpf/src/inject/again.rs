//! Arms idle client connections again, after their responses were read.
//!
//! Programs at a receive may not change a socket map, so the agent runs this iterator over all sockets with state as
//! soon as [`super::received`] has asked for it.

use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_map_update_elem};
use spandrel_common::{event::ROLE_CLIENT, stats::Counter};

use super::{
    INJECT_ARMED, INJECT_CLIENT, INJECT_OFF, INJECT_PROVED,
    peer::{self, Peer},
};
use crate::{
    conn::{HTTP, START, State},
    emit,
    kernel::sock::Sock,
    maps::ARMED,
};

/// One socket: `struct bpf_iter__bpf_sk_storage_map` has it as its third member, and its state as its fourth.
#[unsafe(link_section = "iter/bpf_sk_storage_map")]
#[unsafe(no_mangle)]
pub extern "C" fn inject_again(ctx: *const u64) -> i32 {
    // SAFETY: the verifier knows the context and its members.
    let (sk, state) = unsafe { (*ctx.add(2), *ctx.add(3)) };
    if sk == 0 || state == 0 {
        return 0;
    }
    // SAFETY: the verifier knows it as this map's value.
    let state = unsafe { &mut *(state as *mut State) };
    if !idle(state) {
        return 0;
    }
    // It refused what was put into a request of another connection.
    if state.inject & INJECT_PROVED == 0 && peer::known(Sock(state.sk)) == Peer::Aside {
        state.inject |= INJECT_OFF;
        emit::count(Counter::AsidePeer);
        return 0;
    }
    // Before, because the socket can send as soon as it is in.
    state.inject |= INJECT_ARMED;
    // SAFETY: the helpers check the socket's type; the map and the key are live.
    let failed = unsafe {
        let mut cookie = bpf_get_socket_cookie(sk as *mut _);
        bpf_map_update_elem((&raw const ARMED).cast_mut().cast(), (&raw mut cookie).cast(), sk as *const _, 0)
    };
    if failed != 0 {
        state.inject &= !INJECT_ARMED;
        emit::count(Counter::AsideSocket);
    } else {
        emit::count(Counter::Armed);
    }
    0
}

/// Whether nothing is under way: the last response was read whole, so nothing can be waiting to be read.
#[inline(always)]
fn idle(state: &State) -> bool {
    state.inject & (INJECT_CLIENT | INJECT_ARMED | INJECT_OFF) == INJECT_CLIENT
        && state.phase == HTTP
        && state.role == ROLE_CLIENT
        && state.awaiting == 0
        && state.pipelined == 0
        && state.tx.mode == START
        && state.rx.mode == START
        && state.tx.seq_known != 0
        && !Sock(state.sk).accounts()
}
