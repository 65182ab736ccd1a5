//! TCP state changes: connections that end, ports that begin to listen. Runs in any context, also in
//! interrupts, where the running task has nothing to do with the socket.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use spandrel_common::{
    context::Rule,
    event::{CLOSE_ERROR, CLOSE_GONE, CLOSE_LOCAL, SELECT_YES},
};

use crate::{
    capture,
    causality::{piece, spandrel_answered, spandrel_called, upstream},
    conn::{self, BODY, FRESH, NO_ERRNO, State},
    emit, filter, globals, inject,
    kernel::{
        preempt,
        sock::{Raw, Sock, Tcp},
        task,
    },
    maps,
};

// include/net/tcp_states.h
const TCP_SYN_SENT: i32 = 2;
const TCP_FIN_WAIT1: i32 = 4;
const TCP_FIN_WAIT2: i32 = 5;
const TCP_CLOSE: i32 = 7;
const TCP_LAST_ACK: i32 = 9;
const TCP_LISTEN: i32 = 10;
const TCP_CLOSING: i32 = 11;

/// Socket profile: the state hangs on the socket.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    let sk: *const u8 = ctx.arg(0);
    let new: i32 = ctx.arg(2);
    preempt::without(|| {
        if new == TCP_LISTEN {
            listening(Sock(sk as u64));
        } else if new == TCP_SYN_SENT {
            released(conn::on_socket(sk), Sock(sk as u64));
            connecting(sk);
        } else if ends(Sock(sk as u64), ctx.arg(1), new)
            && let Some(state) = conn::on_socket(sk)
        {
            changed(state, Sock(sk as u64), new);
        }
    });
    0
}

/// System call profile: the state is in a map.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn inet_sock_set_state_map(ctx: BtfTracePointContext) -> i32 {
    let sk: *const u8 = ctx.arg(0);
    let new: i32 = ctx.arg(2);
    preempt::without(|| {
        if new == TCP_LISTEN {
            listening(Sock(sk as u64));
        } else if new == TCP_SYN_SENT {
            released(conn::in_map(sk as u64), Sock(sk as u64));
        } else if ends(Sock(sk as u64), ctx.arg(1), new)
            && let Some(state) = conn::in_map(sk as u64)
        {
            changed(state, Sock(sk as u64), new);
            if new == TCP_CLOSE && state.failed == 0 {
                conn::forget(sk as u64);
            }
        }
    });
    0
}

/// Socket profile: the last program has released a connection's socket.
#[btf_tracepoint(function = "tcp_destroy_sock")]
pub fn tcp_destroy_sock(ctx: BtfTracePointContext) -> i32 {
    let sk: *const u8 = ctx.arg(0);
    preempt::without(|| released(conn::on_socket(sk), Sock(sk as u64)));
    0
}

/// The same in the system call profile.
#[btf_tracepoint(function = "tcp_destroy_sock")]
pub fn tcp_destroy_sock_map(ctx: BtfTracePointContext) -> i32 {
    let sk: *const u8 = ctx.arg(0);
    preempt::without(|| {
        if let Some(state) = conn::in_map(sk as u64) {
            released(Some(state), Sock(sk as u64));
            conn::forget(sk as u64);
        }
    });
    0
}

/// Whether a change of state ends something.
///
/// After `shutdown` of the sending side, the peer's FIN closes the connection for TCP while the program has yet to
/// read what came before it: for the program it ends when it has read, or when it closes.
#[inline(always)]
fn ends(sock: Sock, old: i32, new: i32) -> bool {
    if new == TCP_CLOSE {
        let both = old == TCP_FIN_WAIT1 || old == TCP_FIN_WAIT2 || old == TCP_CLOSING;
        return !(both && sock.is_held() && sock.error() == 0);
    }
    new == TCP_FIN_WAIT1 || new == TCP_LAST_ACK
}

#[inline(always)]
fn changed(state: &mut State, sock: Sock, new: i32) {
    // What happens after the program has closed it is not the program's.
    let errno = if sock.is_held() { sock.error() } else { 0 };
    if new != TCP_CLOSE {
        ended(state, sock, CLOSE_LOCAL, 0);
    } else if state.is_followed() && state.announced != 0 && is_moving(state, sock) {
        state.failed = if errno == 0 || errno > u32::from(NO_ERRNO) { NO_ERRNO } else { errno as u8 };
    } else {
        over(state, sock, errno);
    }
}

/// A connection that had failed, but not for its program, is over: its socket is released, or connected anew.
#[inline(always)]
fn released(state: Option<&mut State>, sock: Sock) {
    let Some(state) = state.filter(|state| state.failed != 0) else { return };
    let errno = if state.failed == NO_ERRNO { 0 } else { u32::from(state.failed) };
    over(state, sock, errno);
}

/// Whether bytes may still be told of although the connection is no more: a program reads what came before a reset as if
/// there had been none, and the hook of the call that was answered by the reset is still to run.
#[inline(always)]
fn is_moving(state: &State, sock: Sock) -> bool {
    if !sock.is_held() {
        return false;
    }
    let tcp = Tcp(Raw(sock.0));
    // A FIN takes a number, too.
    let unread = tcp.unread().is_some_and(|unread| unread > u32::from(sock.peer_finished()));
    let unsaid = state.tx.seq_known != 0
        && tcp.sent_seq().is_some_and(|seq| seq != state.tx.seq.wrapping_add(u32::from(state.added)));
    unread || unsaid
}

/// One direction ended, or both.
#[inline(always)]
fn ended(state: &mut State, sock: Sock, reason: u8, errno: u32) {
    if state.is_followed() && state.announced != 0 {
        take_unread(state, sock);
        take_unsaid(state, sock);
        capture::closed(state, task::ids(), reason, errno);
    }
    spandrel_answered(state);
    if state.single != 0 {
        spandrel_called(state);
    }
}

/// The connection is over. The socket may be connected anew: that is another one.
#[inline(always)]
fn over(state: &mut State, sock: Sock, errno: u32) {
    ended(state, sock, if errno == 0 { CLOSE_GONE } else { CLOSE_ERROR }, errno);
    state.phase = FRESH;
    state.failed = 0;
    state.announced = 0;
    state.turns = 0;
    state.awaiting = 0;
    state.pipelined = 0;
    state.ahead.pos = 0;
    state.orphans = 0;
    state.batch = 0;
    if errno != 0 {
        inject::failed(state);
    }
    state.inject = 0;
    state.added = 0;
    if state.pieces != 0 {
        piece::forget(state);
    }
    state.context.known = 0;
    state.measuring = 0;
    reset(&mut state.rx);
    reset(&mut state.tx);
}

/// What `splice` took of a body is known by TCP's own numbers alone.
#[inline(always)]
fn take_unread(state: &mut State, sock: Sock) {
    let flow = &mut state.rx;
    if flow.mode != BODY || flow.seq_known == 0 {
        return;
    }
    let Some(seq) = Tcp(Raw(sock.0)).received_seq() else { return };
    let ahead = seq.wrapping_sub(flow.seq);
    if ahead > 0 && ahead < 1 << 31 {
        let pos = flow.pos + u64::from(ahead);
        flow.pos = if pos < flow.until { pos } else { flow.until };
        flow.seq = seq;
    }
}

/// What a call has sent whose hook is yet to run is known by TCP's own numbers: the peer's answer to it may be what ends the
/// connection.
#[inline(always)]
fn take_unsaid(state: &mut State, sock: Sock) {
    let flow = &mut state.tx;
    if flow.mode != BODY || flow.seq_known == 0 {
        return;
    }
    let Some(seq) = Tcp(Raw(sock.0)).sent_seq() else { return };
    let ahead = seq.wrapping_sub(flow.seq);
    if ahead > 0 && ahead < 1 << 31 {
        let pos = flow.pos + u64::from(ahead);
        flow.pos = if pos < flow.until { pos } else { flow.until };
    }
}

#[inline(always)]
fn reset(flow: &mut conn::Flow) {
    flow.pos = 0;
    flow.sent = 0;
    flow.shipped = 0;
    flow.mode = conn::START;
    flow.quiet = 0;
    flow.held = 0;
    flow.seq_known = 0;
}

/// A program connects: in its own thread, which may know for which request.
#[inline(always)]
fn connecting(sk: *const u8) {
    let ids = task::ids();
    if globals::rule(Rule::Upstream)
        && upstream::connects(ids)
        && filter::selected(ids.tgid)
        && let Some(state) = conn::on_socket_or_new(sk)
    {
        upstream::connecting(state, ids);
    }
}

/// Selects a process that listens on a port that was asked for.
#[inline(always)]
fn listening(sock: Sock) {
    let ids = task::ids();
    let port = sock.local_port();
    if ids.tgid == globals::agent_tgid() || !maps::watched(port) {
        return;
    }
    if !filter::decide(ids.tgid, SELECT_YES) {
        emit::count(spandrel_common::stats::Counter::ProcessesFull);
    }
    emit::listen(ids, port);
}
