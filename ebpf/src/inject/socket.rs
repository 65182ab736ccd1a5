//! Which sockets are armed, and when they are taken out again.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_HDR_OPT_LEN_CB,
        BPF_SOCK_OPS_PARSE_ALL_HDR_OPT_CB_FLAG, BPF_SOCK_OPS_PARSE_HDR_OPT_CB, BPF_SOCK_OPS_STATE_CB,
        BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG,
    },
    helpers::generated::{bpf_get_socket_cookie, bpf_map_delete_elem},
    macros::sock_ops,
    programs::SockOpsContext,
};
use spandrel_common::{
    event::TRANSPORT_TCP,
    inject::{KNOWN_PEERS, is_foreign},
    stats::Counter,
};

use super::{
    INJECT_ARMED, INJECT_CLIENT, INJECT_OFF, INJECT_PROVED, INJECT_SPENT, INJECT_STAYS,
    peer::{self, Peer},
};
use crate::{
    conn::{self, FRESH, HTTP, State},
    emit,
    kernel::{
        sock::{Sock, Tcp, Typed},
        task, wait,
    },
    maps::{self, ARMED},
};

/// Lets other programs' answers stand: 0 would turn them into an error.
const GO_ON: u32 = 1;
/// What is to be told of a socket that is armed: packets that leave, packets that come, changes of state.
const WISHES: u32 =
    BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG | BPF_SOCK_OPS_PARSE_ALL_HDR_OPT_CB_FLAG | BPF_SOCK_OPS_STATE_CB_FLAG;

/// Something happens to a TCP connection.
#[sock_ops]
pub fn inject_socket(ctx: SockOpsContext) -> u32 {
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => connecting(&ctx),
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => established(&ctx),
        BPF_SOCK_OPS_HDR_OPT_LEN_CB => sending(&ctx),
        BPF_SOCK_OPS_PARSE_HDR_OPT_CB => receiving(&ctx),
        BPF_SOCK_OPS_STATE_CB => changing(&ctx),
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
    let tgid = task::ids().tgid;
    if !super::followed(tgid) {
        return;
    }
    let Some(sk) = socket(ctx) else { return };
    let Some(state) = conn::on_socket_or_new(sk) else { return };
    if state.phase == FRESH {
        state.begin(TRANSPORT_TCP);
    }
    let address = super::address(state, sk);
    if is_foreign(Sock(address).peer_port()) {
        state.inject = INJECT_OFF;
        return;
    }
    state.inject = match peer::known(Sock(address)) {
        // Known only here, where its program runs: see [`established`].
        Peer::Unknown if unnoticed(Sock(address), tgid) => INJECT_CLIENT | INJECT_STAYS,
        Peer::Unknown | Peer::Speaks => INJECT_CLIENT,
        Peer::Proved => INJECT_CLIENT | INJECT_PROVED,
        Peer::Aside => {
            emit::count(Counter::AsidePeer);
            INJECT_OFF
        }
    };
}

/// Whether a program cannot notice that its new socket is armed until it has sent something: it never blocks in a call, as
/// these runtimes never do, and they do not ask how much there is to read before they have asked for it.
#[inline(always)]
fn unnoticed(sock: Sock, tgid: u32) -> bool {
    maps::runtime(tgid).never_blocks() && wait::never_blocks(sock)
}

/// The connection is open, and nothing was sent through it.
#[inline(always)]
fn established(ctx: &SockOpsContext) {
    let Some(sk) = socket(ctx) else { return };
    let Some(state) = conn::on_socket(sk) else { return };
    if state.inject & (INJECT_CLIENT | INJECT_ARMED | INJECT_OFF) != INJECT_CLIENT {
        return;
    }
    let unnoticed = state.inject & INJECT_STAYS != 0;
    state.inject &= !INJECT_STAYS;
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
    if Sock(state.sk).accounts() {
        emit::count(Counter::AsideOption);
        return;
    }
    let wish = ctx.cb_flags() | WISHES;
    // Without these calls the socket would stay in the map.
    if ctx.set_cb_flags(wish as i32).is_err() {
        emit::count(Counter::AsideSocket);
        return;
    }
    // It is armed when its first response was read.
    if super::injection().on == KNOWN_PEERS && !unnoticed && peer::known(Sock(state.sk)) == Peer::Unknown {
        return;
    }
    // SAFETY: the context is the kernel's, and only handed back to it.
    let ops = unsafe { &mut *ctx.ops };
    match ARMED.update(cookie, ops, 0) {
        Ok(()) => {
            state.inject |= INJECT_ARMED;
            super::count(Counter::Armed);
        }
        Err(_) => emit::count(Counter::AsideSocket),
    }
}

/// TCP asks for options of a packet: inside the call that sends, before it returns.
#[inline(always)]
fn sending(ctx: &SockOpsContext) {
    let Some(state) = armed(ctx) else { return };
    let spent = state.inject & INJECT_SPENT != 0;
    // SAFETY: the verifier knows the context.
    let data = unsafe { (*ctx.ops).skb_len } > 0;
    // Data that no program has seen are those of a call that began before the socket was armed.
    if spent || data && state.inject & INJECT_STAYS == 0 {
        disarm(ctx, state);
    }
}

/// A packet has come, whose bytes cannot be read yet.
#[inline(always)]
fn receiving(ctx: &SockOpsContext) {
    let Some(state) = armed(ctx) else { return };
    if state.inject & INJECT_STAYS != 0 || payload(ctx) == 0 {
        return;
    }
    // A peer that speaks first does not speak HTTP/1.
    if state.tx.pos == 0 && state.inject & INJECT_SPENT == 0 {
        state.inject |= INJECT_OFF;
        // The self-test's own server does so.
        if super::injection().tester == 0 {
            emit::count(Counter::AsideNotRequest);
            peer::spandrel_peer(state.sk, peer::FOREIGN);
        }
    }
    disarm(ctx, state);
}

/// The connection is no longer simply open: errors and ends are told to the program by TCP itself.
#[inline(always)]
fn changing(ctx: &SockOpsContext) {
    if let Some(state) = armed(ctx) {
        state.inject |= INJECT_OFF;
        disarm(ctx, state);
    }
}

/// The state of a socket that is armed.
#[inline(always)]
fn armed(ctx: &SockOpsContext) -> Option<&'static mut State> {
    let state = conn::on_socket(socket(ctx)?)?;
    if state.inject & INJECT_ARMED != 0 {
        return Some(state);
    }
    // Something else than a request came first, so nothing will ever be put in here.
    if state.phase != HTTP && state.rx.pos > 0 {
        state.inject |= INJECT_OFF;
        quiet(ctx);
    }
    None
}

/// Nothing more is to be done on this connection. If the flags stay, they cost a little and do nothing.
#[inline(always)]
fn quiet(ctx: &SockOpsContext) {
    let _ = ctx.set_cb_flags((ctx.cb_flags() & !WISHES) as i32);
}

/// Bytes behind the TCP header of a packet that has come.
#[inline(always)]
fn payload(ctx: &SockOpsContext) -> u32 {
    /// Where the header says how long it is, in words of four bytes, in the upper half (RFC 9293, section 3.1).
    const OFFSET: usize = 12;
    // SAFETY: the verifier knows the context and its packet pointers.
    let (start, end, len) = unsafe {
        let ops = &*ctx.ops;
        (ops.__bindgen_anon_3.skb_data as usize, ops.__bindgen_anon_4.skb_data_end as usize, ops.skb_len)
    };
    if start + OFFSET + 1 > end {
        return 0;
    }
    // SAFETY: the check above, which the verifier follows.
    let words = unsafe { *((start + OFFSET) as *const u8) } >> 4;
    len.saturating_sub(4 * u32::from(words))
}

/// Takes a socket out of the map: from now on it is a plain one.
#[inline(always)]
fn disarm(ctx: &SockOpsContext, state: &mut State) {
    // SAFETY: the helper takes the context and returns a number.
    let mut cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    // SAFETY: the map and the key are live. A key that is not there is the wished-for state.
    unsafe {
        bpf_map_delete_elem((&raw const ARMED).cast_mut().cast(), (&raw mut cookie).cast());
    }
    state.inject &= !(INJECT_ARMED | INJECT_SPENT | INJECT_STAYS);
    if state.inject & INJECT_OFF != 0 {
        quiet(ctx);
    }
}
