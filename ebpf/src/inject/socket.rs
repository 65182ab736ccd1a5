//! Which sockets are armed, and when they are taken out again.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_HDR_OPT_LEN_CB, BPF_SOCK_OPS_TCP_CONNECT_CB,
        BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG,
    },
    helpers::generated::{bpf_get_socket_cookie, bpf_map_delete_elem},
    macros::sock_ops,
    programs::SockOpsContext,
};
use spandrel_common::{event::TRANSPORT_TCP, stats::Counter};

use super::{INJECT_ARMED, INJECT_CLIENT, INJECT_OFF, INJECT_PROVED, INJECT_SPENT, peer};
use crate::{
    conn::{self, FRESH},
    emit,
    kernel::{
        sock::{Sock, Tcp, Typed},
        task,
    },
    maps::ARMED,
};

/// Lets other programs' answers stand: 0 would turn them into an error.
const GO_ON: u32 = 1;

/// Something happens to a TCP connection.
#[sock_ops]
pub fn inject_socket(ctx: SockOpsContext) -> u32 {
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => connecting(&ctx),
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => established(&ctx),
        BPF_SOCK_OPS_HDR_OPT_LEN_CB => sending(&ctx),
        _ => {}
    }
    GO_ON
}

/// The socket that it is about.
#[inline(always)]
fn socket(ctx: &SockOpsContext) -> Option<*const u8> {
    // SAFETY: the verifier knows the context, and gives a socket or null.
    let sk = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    (!sk.is_null()).then_some(sk.cast_const().cast())
}

/// The running thread opens a connection. (The later steps run wherever the peer's answer is handled.)
#[inline(always)]
fn connecting(ctx: &SockOpsContext) {
    if !super::followed(task::ids().tgid) {
        return;
    }
    let Some(sk) = socket(ctx) else { return };
    let Some(state) = conn::on_socket_or_new(sk) else { return };
    if state.phase == FRESH {
        state.begin(TRANSPORT_TCP);
    }
    let address = super::address(state, sk);
    state.inject = match peer::known(Sock(address)) {
        None => INJECT_CLIENT,
        Some(true) => INJECT_CLIENT | INJECT_PROVED,
        Some(false) => {
            emit::count(Counter::AsidePeer);
            INJECT_OFF
        }
    };
}

/// The connection is open, and nothing was sent through it.
#[inline(always)]
fn established(ctx: &SockOpsContext) {
    let Some(sk) = socket(ctx) else { return };
    let Some(state) = conn::on_socket(sk) else { return };
    if state.inject & (INJECT_CLIENT | INJECT_ARMED | INJECT_OFF) != INJECT_CLIENT {
        return;
    }
    let Some(seq) = Typed::of(sk).and_then(|tcp| Tcp(tcp).sent_seq()) else { return };
    // What was sent with the first packet (TCP Fast Open) is beyond reach.
    // SAFETY: the verifier knows the context.
    if seq != unsafe { (*ctx.ops).snd_nxt } {
        return;
    }
    state.tx.pos = 0;
    state.tx.seq = seq;
    state.tx.seq_known = 1;
    // SAFETY: the helper takes the context and returns a number.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    let wish = ctx.cb_flags() | BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG;
    // Without that call the socket would stay in the map.
    if ctx.set_cb_flags(wish as i32).is_err() {
        emit::count(Counter::AsideSocket);
        return;
    }
    // SAFETY: the context is the kernel's, and only handed back to it.
    let ops = unsafe { &mut *ctx.ops };
    match ARMED.update(cookie, ops, 0) {
        Ok(()) => state.inject |= INJECT_ARMED,
        Err(_) => emit::count(Counter::AsideSocket),
    }
}

/// TCP asks for options of a packet: inside the call that sends, before it returns.
#[inline(always)]
fn sending(ctx: &SockOpsContext) {
    let Some(sk) = socket(ctx) else { return };
    let Some(state) = conn::on_socket(sk) else { return };
    if state.inject & (INJECT_ARMED | INJECT_SPENT) != INJECT_ARMED | INJECT_SPENT {
        return;
    }
    // SAFETY: the helper takes the context and returns a number.
    let mut cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    // SAFETY: the map and the key are live. A key that is not there is the wished-for state.
    unsafe {
        bpf_map_delete_elem((&raw const ARMED).cast_mut().cast(), (&raw mut cookie).cast());
    }
    state.inject &= !(INJECT_ARMED | INJECT_SPENT);
    if state.inject & INJECT_OFF != 0 {
        // Nothing more is to be done on this connection. If the flag stays, it costs a little and does nothing.
        let _ = ctx.set_cb_flags((ctx.cb_flags() & !BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG) as i32);
    }
}
