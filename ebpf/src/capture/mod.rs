//! The one body of both capture profiles: bytes moved through a socket.
//!
//! It follows HTTP/1 framing just far enough to know what it may withhold: bodies of messages whose
//! framing is beyond doubt, and whole exchanges that are not sampled. Whatever is in doubt is shipped, up
//! to a limit, and judged in userspace. Nothing here fails: it captures less, and counts it.
//!
//! This file accounts for a call and finds out whether the connection is HTTP; [`message`] follows messages
//! through it; [`tell`] makes the events; [`withheld`] measures what is not told. [`http2`] follows frames
//! instead, on connections that speak HTTP/2.

mod http2;
mod kafka;
mod message;
mod proxied;
mod tell;
mod withheld;

use spandrel_common::{
    event::{CLOSE_OPAQUE, DIR_RX, DIR_TX, ROLE_CLIENT, ROLE_SERVER, TRANSPORT_TCP},
    limits::{HEAD_SCAN, MESSAGE_CAPTURE, SEGMENTS, SNIFF, SNIFF_TURNS},
    stats::Counter,
};

pub use self::{http2::Frames, tell::closed};
use self::{
    http2::{spandrel_frames, spandrel_preface, spandrel_server_preface},
    kafka::spandrel_kafka,
    message::{hold, spandrel_step_rx, spandrel_step_tx},
    proxied::spandrel_proxied,
    withheld::{spandrel_withheld_rx, spandrel_withheld_tx},
};
use crate::{
    call::{Call, gather},
    causality::{self, piece::spandrel_next_piece, spandrel_answered, spandrel_called},
    conn::{
        Ahead, BODY, CHUNKED, FRAMES, Flow, HTTP, HTTP2, IGNORED, KAFKA, SEEK, SHIP, SIZED, SNIFFING, START, State,
        TO_CLOSE,
    },
    emit,
    head::{self, Looks, spandrel_head},
    inject,
    kernel::{
        sock::{Memory, Sock, Tcp},
        task::Ids,
    },
    read,
    scratch::{self, Moved, Scratch},
};

/// Nanoseconds of waiting below which none is told. Before Linux 6.19 a read sets TCP's own time stamp anew (later
/// ones do when they acknowledge), which leaves nothing of the wait but what passed between that and the hook.
const LEAST_WAIT_NS: u64 = 1_000_000;

/// Bytes that moved through a socket.
pub struct Bytes {
    /// Who moved them.
    pub ids: Ids,
    pub len: u64,
    /// Bytes of the same system call that moved behind these (`sendmmsg`, where only the end of the call is seen).
    pub behind: u64,
    pub call: Call,
}

/// `bytes` moved through `sock`, sent if `TX` and received if not. `tcp` is its TCP part, if it has one.
#[inline(always)]
pub fn moved<const TX: bool>(state: &mut State, sock: Sock, tcp: Option<Tcp<impl Memory>>, bytes: Bytes) {
    let ids = bytes.ids;
    let left = scratch::with(|scratch| {
        locked::<TX>(state, sock, tcp, bytes, scratch);
        if TX && state.open != 0 && is_answered(state) {
            spandrel_answered(state);
        }
        scratch.last_tid = u64::from(scratch.moved.ids.tid);
        scratch.last_sk = sock.0;
        scratch.moved.left != 0
    });
    if !TX {
        inject::received(state);
    }
    match left {
        None => emit::count(Counter::ScratchBusy),
        Some(true) if state.announced != 0 => closed(state, ids, CLOSE_OPAQUE, 0),
        Some(_) => {}
    }
}

/// Whether the response to the open request of a server is complete, as far as can be told: where its end is not looked
/// for, its beginning has to do.
#[inline(always)]
fn is_answered(state: &State) -> bool {
    match state.tx.mode {
        BODY | CHUNKED | TO_CLOSE => false,
        _ => state.interim == 0,
    }
}

#[inline(always)]
fn locked<const TX: bool>(
    state: &mut State,
    sock: Sock,
    tcp: Option<Tcp<impl Memory>>,
    bytes: Bytes,
    scratch: &mut Scratch,
) {
    let dir = if TX { DIR_TX } else { DIR_RX };
    let turned = state.last_dir != dir;
    state.last_dir = dir;
    scratch.sk = sock.0;
    state.sk = sock.0;
    scratch.moved.ids = bytes.ids;
    scratch.moved.call = bytes.call;
    scratch.moved.turned = u32::from(turned);
    scratch.moved.left = 0;
    scratch.moved.held = 0;
    scratch.moved.lead = 0;
    account::<TX>(state, sock, tcp, bytes.len, bytes.behind, &mut scratch.moved);
    take_held::<TX>(state, &mut scratch.moved);
    if state.phase != HTTP {
        if state.phase == SNIFFING && !recognise::<TX>(state, scratch) {
            return;
        }
        if state.phase == HTTP2 {
            scratch.moved.request = u32::from((state.role == ROLE_SERVER) != TX);
            spandrel_frames(state, u32::from(TX), 0);
            return;
        }
        if state.phase == KAFKA {
            spandrel_kafka(state, u32::from(TX), scratch.moved.lead);
            return;
        }
    }
    scratch.moved.request = u32::from((state.role == ROLE_SERVER) != TX);
    if scratch.moved.request == 0 {
        state.awaiting = 0;
        if state.single != 0 {
            spandrel_called(state);
        }
    }
    if !TX && scratch.moved.request != 0 && !matches!(state.rx.mode, BODY | CHUNKED) {
        // Another request may begin here, perhaps in pieces: whose work the goroutine does is open from now on.
        causality::go::release(state);
    }
    if !TX && state.pieces != 0 {
        spandrel_next_piece(state);
    }
    let (len, mut offset) = (scratch.moved.len, scratch.moved.lead);
    for _ in 0..SEGMENTS {
        if offset >= len {
            return;
        }
        let done = step::<TX>(state, offset);
        if done == 0 {
            if state.phase == HTTP2 {
                spandrel_frames(state, u32::from(TX), 0);
            }
            return;
        }
        offset += done;
    }
    if offset < len {
        // More messages in one call than are followed one by one.
        let (own, _) = state.flows::<TX>();
        own.mode = SHIP;
        own.shipped = 0;
        scratch.moved.turned = 0;
        step::<TX>(state, offset);
    }
}

#[inline(always)]
fn step<const TX: bool>(state: &mut State, offset: u64) -> u64 {
    if state.measuring != 0 && (state.role == ROLE_SERVER) == TX {
        return if TX { spandrel_withheld_tx(state, offset) } else { spandrel_withheld_rx(state, offset) };
    }
    if TX { spandrel_step_tx(state, offset) } else { spandrel_step_rx(state, offset) }
}

/// Advances positions and finds out when the bytes moved and whether some are missing before them.
#[inline(always)]
fn account<const TX: bool>(
    state: &mut State,
    sock: Sock,
    tcp: Option<Tcp<impl Memory>>,
    len: u64,
    behind: u64,
    moved: &mut Moved,
) {
    let now = emit::now();
    moved.now = now;
    moved.len = len;
    moved.other = across::<TX>(state, tcp);
    let (own, other) = state.flows::<TX>();
    moved.there = other.pos;
    moved.crossed = u32::from(moved.other != moved.there);
    let before = if own.last_ns > other.last_ns { own.last_ns } else { other.last_ns };
    if !TX && moved.crossed != 0 {
        passed(state, tcp, moved);
    }
    let added = if TX { core::mem::take(&mut state.added) } else { 0 };
    let (own, _) = state.flows::<TX>();
    if let Some(tcp) = tcp {
        let seq = if TX { tcp.sent_seq() } else { tcp.received_seq() };
        if let Some(seq) = seq {
            numbered::<TX>(own, sock, seq.wrapping_sub(behind as u32), len, added);
        }
    }
    moved.base = own.pos;
    let first = TX && own.last_ns == 0;
    moved.joined = 0;
    if (first || state.phase == SNIFFING)
        && let Some(total) = tcp.and_then(Tcp::total::<TX>)
    {
        // One more for a SYN.
        moved.joined = u32::from(total > len + behind + u64::from(added) + 1);
    }
    moved.ahead = 0;
    if !TX && state.phase == SNIFFING && state.tx.last_ns == 0 {
        moved.ahead = u32::from(tcp.and_then(Tcp::total::<true>).is_some_and(|total| total > 1));
    }
    if TX {
        sent(state, tcp, before, moved);
    } else {
        received(tcp, before, moved);
    }
    let (own, _) = state.flows::<TX>();
    own.last_ns = moved.last_ns;
    own.pos += len;
}

/// Finds bytes that are missing before those of this call, whose last one has the number `seq`.
#[inline(always)]
fn numbered<const TX: bool>(own: &mut Flow, sock: Sock, seq: u32, len: u64, added: u16) {
    // What injection put in has sequence numbers, but the program did not send it.
    own.seq = own.seq.wrapping_add(u32::from(added));
    let mut missing = seq.wrapping_sub(own.seq).wrapping_sub(len as u32);
    // The peer's FIN takes a number, too, and is consumed with the last bytes.
    if !TX && missing == 1 && sock.peer_finished() {
        missing = 0;
    }
    // Half of the range is "before": another thread's later call was accounted first.
    if own.seq_known != 0 && missing != 0 && missing < 1 << 31 {
        own.pos += u64::from(missing);
        // Inside a body that need not be looked at (`splice` reads unseen), nothing is missed.
        let skips = own.mode == BODY
            || own.mode == CHUNKED
            || (own.mode == FRAMES && own.quiet != 0)
            || (own.mode == SIZED && u64::from(own.shipped) >= MESSAGE_CAPTURE);
        let inside = skips && own.pos <= own.until;
        if !inside {
            emit::count(Counter::Gaps);
            if matches!(own.mode, START | BODY | CHUNKED | FRAMES | SEEK | SIZED) {
                own.mode = SHIP;
                own.shipped = 0;
            }
        }
    }
    own.seq = seq;
    own.seq_known = 1;
}

/// A receive finds bytes sent whose own hook has not run: what it receives may be the answer to them.
#[inline(always)]
fn passed(state: &mut State, tcp: Option<Tcp<impl Memory>>, moved: &Moved) {
    if read::word(&raw const state.ahead.pos) > moved.there {
        return;
    }
    let sent = tcp.map_or(0, Tcp::first_transmitted_ns);
    let known = sent > state.tx.last_ns && sent < moved.now;
    state.ahead.time_ns = if known { sent } else { moved.now - 1 };
    state.ahead.other = state.rx.pos;
    // Last, and before anything else that this receive writes: who does not see this sees nothing of it.
    read::swap(&raw mut state.ahead.pos, moved.other);
}

/// When the bytes of this call were sent. Its hook runs after they have left; on one machine the receiver may have run
/// before, and its answer may have been received by another thread.
#[inline(always)]
fn sent(state: &mut State, tcp: Option<Tcp<impl Memory>>, before: u64, moved: &mut Moved) {
    let (mut first_ns, mut last_ns) = (moved.now, moved.now);
    moved.wait_ns = 0;
    let ahead = read::swap(&raw mut state.ahead.pos, 0);
    // If others were sent before the first that a hook sees, it were they that the receive found.
    let known = state.tx.last_ns != 0 || moved.joined == 0;
    moved.late = u32::from(known && ahead > moved.base);
    let mut before = before;
    if moved.late != 0 {
        moved.other = state.ahead.other;
        before = state.tx.last_ns;
        first_ns = state.ahead.time_ns;
        if ahead >= moved.base + moved.len {
            last_ns = first_ns;
        }
    }
    if let Some(tcp) = tcp {
        let sent = tcp.transmitted_ns();
        if sent > before && sent < last_ns {
            last_ns = sent;
        }
        let first = tcp.first_transmitted_ns();
        if first > before && first < last_ns && first < first_ns {
            first_ns = first;
        } else if last_ns < first_ns {
            first_ns = last_ns;
        }
    }
    moved.first_ns = first_ns;
    moved.last_ns = last_ns;
}

/// When the bytes of this call were received, and how long they had waited.
#[inline(always)]
fn received(tcp: Option<Tcp<impl Memory>>, before: u64, moved: &mut Moved) {
    let now = moved.now;
    moved.first_ns = now;
    moved.last_ns = now;
    moved.wait_ns = 0;
    moved.late = 0;
    if let Some(tcp) = tcp {
        let arrived = tcp.arrived_ns(now);
        if arrived > before && arrived < now && now - arrived >= LEAST_WAIT_NS {
            moved.wait_ns = now - arrived;
        }
    }
}

/// Puts the byte that was held back in front of these, if nothing is missing in between.
#[inline(always)]
fn take_held<const TX: bool>(state: &mut State, moved: &mut Moved) {
    let (own, _) = state.flows::<TX>();
    if own.held == 0 {
        return;
    }
    if own.mode == START && own.until + 1 == moved.base {
        moved.held = u64::from(own.held);
        moved.base -= 1;
        moved.len += 1;
        moved.first_ns = own.held_ns;
        moved.wait_ns = 0;
    }
    own.held = 0;
}

/// Position of the other direction by TCP's own numbers, which know of calls that no hook saw, and of one
/// whose hook is still to run on another CPU. That hook will account for it; here it is only looked at.
#[inline(always)]
fn across<const TX: bool>(state: &mut State, tcp: Option<Tcp<impl Memory>>) -> u64 {
    let added = if TX { 0 } else { u32::from(state.added) };
    let (_, other) = state.flows::<TX>();
    let seq = tcp.and_then(|tcp| if TX { tcp.received_seq() } else { tcp.sent_seq() });
    let Some(seq) = seq else { return other.pos };
    if other.seq_known == 0 {
        other.seq = seq;
        other.seq_known = 1;
    }
    let ahead = seq.wrapping_sub(other.seq);
    let ahead = if ahead >= added { ahead - added } else { ahead };
    if ahead < 1 << 31 { other.pos + u64::from(ahead) } else { other.pos }
}

/// Looks for the start of a request in a connection of which nothing is known yet.
#[inline(always)]
fn recognise<const TX: bool>(state: &mut State, scratch: &mut Scratch) -> bool {
    let lead = lead::<TX>(state, scratch);
    let moved = scratch.moved;
    if lead >= moved.len {
        return false;
    }
    scratch.moved.lead = lead;
    let rest = moved.len - lead;
    let want = if rest < SNIFF as u64 { rest } else { SNIFF as u64 };
    let seen = moved.call.unseen == 0 && gather(moved.call.address, moved.call.vectors, lead, want) == want;
    let looks = if seen { head::looks(scratch.view(), want) } else { Looks::Other };
    if looks == Looks::Preface {
        spandrel_preface(state, u32::from(TX), moved.base + lead);
        return true;
    }
    let first = seen && moved.joined == 0 && moved.base == 0 && lead == 0;
    if first && spandrel_server_preface(state, u32::from(TX), want) != 0 {
        return true;
    }
    if looks != Looks::Other && (moved.joined == 0 || looks == Looks::Request && asks(lead, rest, scratch)) {
        state.phase = HTTP;
        state.turns = 0;
        state.role = if TX { ROLE_CLIENT } else { ROLE_SERVER };
        let (own, other) = state.flows::<TX>();
        own.sent = moved.base + lead;
        other.sent = other.pos;
        return true;
    }
    if TX && seen && kafka::begins(scratch.view(), want) {
        kafka::begin(state, moved.base + lead);
        return true;
    }
    let alone = seen && looks == Looks::Short && rest == 1 && state.flows::<TX>().0.evidence == 0;
    if alone && hold::<TX>(state, scratch) {
        // Where a frame's header seemed to begin, one byte is missing now.
        state.flows::<TX>().0.chunk_phase = 0;
        return false;
    }
    if seen {
        spandrel_frames(state, u32::from(TX), lead);
        if state.phase == HTTP2 {
            return false;
        }
    }
    if !TX {
        if seen && answers_ahead(state, want, scratch) {
            return true;
        }
        causality::opaque(Sock(scratch.sk), moved.ids);
    }
    give_up_slowly(state, scratch);
    false
}

/// Whether the first bytes that were ever received are a response, and none were seen to be sent: the hook of the call
/// that sent the request is still to run, or that call is older than this program.
#[inline(always)]
fn answers_ahead(state: &mut State, len: u64, scratch: &Scratch) -> bool {
    let moved = &scratch.moved;
    let first =
        state.transport == TRANSPORT_TCP && moved.joined == 0 && moved.base == 0 && state.tx.last_ns == 0;
    if !first || len < 12 || !head::is_response(scratch.view()) {
        return false;
    }
    state.phase = HTTP;
    state.turns = 0;
    state.role = ROLE_CLIENT;
    // Its number was taken from behind the request.
    state.tx.seq_known = 0;
    state.ahead = Ahead { pos: 1, other: 0, time_ns: moved.now - 1 };
    true
}

/// Whether a whole request line is there. In the middle of a connection nothing less will do: a piece of a body may
/// begin like one, and it is sent by the other side; and a server that reads a byte ahead may have done so before.
#[inline(always)]
fn asks(lead: u64, rest: u64, scratch: &mut Scratch) -> bool {
    scratch.moved.request = 1;
    spandrel_head(lead, if rest < HEAD_SCAN as u64 { rest } else { HEAD_SCAN as u64 });
    scratch.found.line != 0 && head::is_request_line(scratch) && !head::lacks_first_byte(scratch.view())
}

/// How many of the bytes belong to a header in front of the first request: see [`proxied`]. Where it ends is kept as
/// `until`, which nothing else uses before a connection is known.
#[inline(always)]
fn lead<const TX: bool>(state: &mut State, scratch: &mut Scratch) -> u64 {
    let moved = scratch.moved;
    let (own, _) = state.flows::<TX>();
    if moved.base == 0 && own.until == 0 && moved.call.unseen == 0 {
        own.until = spandrel_proxied(moved.len);
    }
    own.until.saturating_sub(moved.base)
}

/// Counts a turn without a message start, and leaves the connection alone after enough of them.
#[inline(always)]
fn give_up_slowly(state: &mut State, scratch: &mut Scratch) {
    if scratch.moved.turned != 0 {
        state.turns += 1;
        if state.turns >= SNIFF_TURNS {
            leave(state, scratch);
        }
    }
}

/// Leaves a connection alone for good. Userspace is told at the end of the hook, where the stack is not as deep.
#[inline(always)]
fn leave(state: &mut State, scratch: &mut Scratch) {
    state.phase = IGNORED;
    scratch.moved.left = 1;
    emit::count(Counter::NotHttp);
}
