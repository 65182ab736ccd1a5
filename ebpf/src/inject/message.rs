//! A message on its way to TCP: is it a request, and where does the line go?

use aya_ebpf::{
    helpers::generated::{bpf_msg_pull_data, bpf_probe_read_kernel},
    macros::sk_msg,
    programs::SkMsgContext,
};
use spandrel_common::{
    event::ROLE_CLIENT,
    inject::{Aside, Head, LINE, STEPS, Window as _, line},
    limits::{INJECT_LINE, INJECT_SCAN, INJECT_SNDBUF},
    runtime::Runtime,
    stats::Counter,
    w3c::members::STATE_LEN,
};

use super::{INJECT_OFF, INJECT_PUT, INJECT_SEEN, INJECT_SPENT, INJECT_STAYS, Slot, WORDS, peer};
use crate::{
    causality::{
        spandrel_outbound,
        tracestate::{self, Tracestate},
    },
    conn::{self, HTTP, SNIFFING, START, State},
    decide::UNCLEAR,
    kernel::{
        sock::{Sock, Tcp, Typed},
        task, wait,
    },
    maps, read,
};

const PASS: u32 = 1;

/// A message of an armed socket. Runs in the call that sends, with the socket locked.
#[sk_msg]
pub fn inject_message(ctx: SkMsgContext) -> u32 {
    // SAFETY: the verifier knows the context, and gives a socket or null.
    let sk: *const u8 = unsafe { (*ctx.msg).__bindgen_anon_3.sk }.cast_const().cast();
    if sk.is_null() {
        return PASS;
    }
    let Some(state) = conn::on_socket(sk) else { return PASS };
    // Whatever comes of it: this socket is a plain one again when the call returns.
    if state.inject & INJECT_SPENT != 0 {
        return PASS;
    }
    state.inject |= INJECT_SPENT;
    let tgid = task::ids().tgid;
    if !super::selected(tgid) {
        return PASS;
    }
    let address = super::address(state, sk);
    let Some(slot) = super::slot() else { return PASS };
    // Another task's message, which this one interrupted.
    if slot.busy != 0 {
        super::count(Counter::AsideMemory);
        return PASS;
    }
    slot.busy = 1;
    state.inject |= INJECT_SEEN;
    match prepare(&ctx, sk, state, slot) {
        Ok(at) => put(&ctx, state, at, slot),
        Err(why) => super::count(why),
    }
    slot.busy = 0;
    if state.inject & INJECT_OFF == 0 && stays(Sock(address), tgid) {
        state.inject = (state.inject & !INJECT_SPENT) | INJECT_STAYS;
    } else {
        state.inject &= !INJECT_STAYS;
    }
    PASS
}

/// Whether a socket may stay armed, so that the next request finds it so, however soon it comes. What is different
/// about such a socket is FIONREAD and what a blocking receive returns after signals and resets: the runtimes that
/// are named here ask for neither.
#[inline(always)]
fn stays(sock: Sock, tgid: u32) -> bool {
    matches!(maps::runtime(tgid), Runtime::Go | Runtime::Node) && wait::never_blocks(sock)
}

/// Where the line goes, which is in the slot then.
#[inline(always)]
fn prepare(ctx: &SkMsgContext, sk: *const u8, state: &mut State, slot: &mut Slot) -> Result<u32, Counter> {
    if state.inject & INJECT_OFF != 0 {
        return Err(Counter::AsideOwnContext);
    }
    if Sock(state.sk).accounts() {
        state.inject |= INJECT_OFF;
        return Err(Counter::AsideOption);
    }
    let tcp = Tcp(Typed::of(sk).ok_or(Counter::AsidePosition)?);
    certain(state, tcp)?;
    let size = ctx.size();
    let want = if size > INJECT_SCAN as u32 { INJECT_SCAN as u32 } else { size };
    // SAFETY: the helper checks the range against the message.
    if unsafe { bpf_msg_pull_data(ctx.msg, 0, want, 0) } != 0 {
        return Err(Counter::AsideMemory);
    }
    judge(ctx, state, slot, want)
}

/// That a request can start here, and that it will leave whole.
#[inline(always)]
fn certain(state: &State, tcp: Tcp<Typed>) -> Result<(), Counter> {
    let first = state.phase == SNIFFING && state.tx.pos == 0;
    let next =
        state.phase == HTTP && state.role == ROLE_CLIENT && state.awaiting == 0 && state.pipelined == 0;
    let seq = tcp.sent_seq().ok_or(Counter::AsidePosition)?;
    let known = state.tx.mode == START && state.tx.seq_known != 0 && seq == state.tx.seq;
    if !known || !(first || next) {
        return Err(Counter::AsidePosition);
    }
    let buffer = tcp.send_buffer().ok_or(Counter::AsideBusy)?;
    let acknowledged = tcp.acknowledged_seq().ok_or(Counter::AsideBusy)?;
    // Behind bytes that still fill the buffer, a non-blocking call could end inside the line.
    if seq != acknowledged || buffer < INJECT_SNDBUF {
        return Err(Counter::AsideBusy);
    }
    Ok(())
}

#[inline(always)]
fn judge(ctx: &SkMsgContext, state: &mut State, slot: &mut Slot, want: u32) -> Result<u32, Counter> {
    let len = read::at_most(u64::from(want), 2 * INJECT_SCAN as u64 - 1) as u32;
    // SAFETY: the slot has room for `len` bytes; the helper checks the source, where as many were pulled.
    let failed = unsafe { bpf_probe_read_kernel((&raw mut slot.bytes).cast(), len, ctx.data() as *const _) };
    if failed != 0 {
        return Err(Counter::AsideMemory);
    }
    slot.head = Head::new(want);
    read::repeat(STEPS, |index| spandrel_inject_step(index));
    let at = match slot.head.place(slot.view()) {
        Ok(at) if at > INJECT_LINE => return Err(Counter::AsideUnfinished),
        Ok(at) => at,
        Err(why) => return Err(stand_aside(state, why, slot.view().byte(0))),
    };
    if spandrel_outbound(state, state.tx.pos) == UNCLEAR {
        return Err(Counter::AsideOpen);
    }
    let context = state.context;
    let words = line(context.trace_id, context.span_id, context.flags);
    for (to, from) in slot.line.iter_mut().zip(words) {
        *to = from;
    }
    slot.len = LINE as u32;
    if let Some(tracestate) = tracestate::of(&context) {
        add_state(slot, tracestate);
    }
    Ok(at)
}

/// Appends `tracestate`, with as many spaces before its value that whole words are filled (RFC 9110, section 5.5: they
/// do not belong to the value).
#[inline(always)]
fn add_state(slot: &mut Slot, tracestate: &Tracestate) {
    const NAME: &[u8; 16] = b"tracestate:     ";
    const NAMED: u32 = LINE as u32 + 11;
    let value = read::at_most(u64::from(tracestate.len), 1023) as u32;
    let spaces = 8 - (NAMED + value + 2) % 8;
    let bytes = (&raw mut slot.line).cast::<u8>();
    let name = u128::from_le_bytes(*NAME);
    let end = NAMED + spaces + value;
    if value as usize > STATE_LEN || end as usize + 2 > 8 * WORDS / 2 {
        return;
    }
    // SAFETY: all of it is inside, as checked above; the value is masked for the verifier.
    unsafe {
        bytes.add(LINE).cast::<u128>().write_unaligned(name);
        bytes.add(LINE + 11).cast::<u64>().write_unaligned(u64::from_le_bytes([b' '; 8]));
        let at = read::opaque(u64::from(NAMED + spaces)) & 127;
        if bpf_probe_read_kernel(bytes.add(at as usize).cast(), value, (&raw const tracestate.bytes).cast())
            != 0
        {
            return;
        }
        let at = read::opaque(u64::from(end)) & 1023;
        bytes.add(at as usize).cast::<u16>().write_unaligned(u16::from_le_bytes(*b"\r\n"));
    }
    slot.len = end + 2;
}

/// One step of the search. Returns 1 to end it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn spandrel_inject_step(index: u32) -> u32 {
    let Some(slot) = super::slot() else { return 1 };
    let view = slot.view();
    u32::from(slot.head.step(view, index))
}

/// What follows from a message that is left as it is.
#[inline(always)]
fn stand_aside(state: &mut State, why: u32, first: u8) -> Counter {
    const UNFINISHED: u32 = Aside::Unfinished as u32;
    const UNUSUAL: u32 = Aside::Unusual as u32;
    const OWN: u32 = Aside::OwnContext as u32;
    const UPGRADE: u32 = Aside::Upgrade as u32;
    match why {
        UNFINISHED => Counter::AsideUnfinished,
        UNUSUAL => Counter::AsideUnusual,
        OWN => {
            state.inject |= INJECT_OFF;
            Counter::AsideOwnContext
        }
        UPGRADE => {
            state.inject |= INJECT_OFF;
            Counter::AsideUpgrade
        }
        _ => {
            state.inject |= INJECT_OFF;
            // TLS and binary protocols; a port that speaks several by their first letters is asked each time, or has to
            // answer in HTTP/1 again first.
            if state.tx.pos == 0 {
                let what = if first.is_ascii_alphabetic() { peer::DOUBTFUL } else { peer::FOREIGN };
                peer::spandrel_peer(state.sk, what);
            }
            Counter::AsideNotRequest
        }
    }
}

/// Puts the line in.
#[inline(always)]
fn put(ctx: &SkMsgContext, state: &mut State, at: u32, slot: &Slot) {
    let len = slot.len;
    if ctx.push_data(at, len, 0).is_err() {
        super::count(Counter::AsideMemory);
        return;
    }
    // What was pushed is a piece of memory of its own, so this needs none and does not fail.
    // SAFETY: the helper checks the range against the message.
    let pulled = unsafe { bpf_msg_pull_data(ctx.msg, at, at + len, 0) } == 0;
    if !(pulled && write(ctx, slot)) {
        // The program's bytes, then. Taking out what was just put in needs no memory either.
        let _ = ctx.pop_data(at, len, 0);
        super::count(Counter::AsideMemory);
        return;
    }
    state.added = len as u16;
    state.inject |= INJECT_PUT;
    super::count(Counter::Injected);
    // In one piece again: the pieces would leave as packets of their own, and the second of them would wait for
    // the acknowledgement of the first (RFC 896). If there is no memory for that, the bytes are right all the same.
    // SAFETY: as above.
    unsafe { bpf_msg_pull_data(ctx.msg, 0, at + len + 1, 0) };
}

/// Copies what is put in to where the message's data begin.
#[inline(always)]
fn write(ctx: &SkMsgContext, slot: &Slot) -> bool {
    let (data, end) = (ctx.data(), ctx.data_end());
    if data + LINE > end {
        return false;
    }
    let to = data as *mut u8;
    let line = &slot.line;
    if slot.len == LINE as u32 {
        // SAFETY: the check above, which the verifier follows, covers all of it.
        unsafe {
            for (index, word) in line.iter().take(8).enumerate() {
                to.add(8 * index).cast::<u64>().write_unaligned(*word);
            }
            to.add(64).cast::<u32>().write_unaligned(line[8] as u32);
            to.add(68).cast::<u16>().write_unaligned((line[8] >> 32) as u16);
        }
        return true;
    }
    let words = slot.len / 8;
    for (index, word) in line.iter().enumerate().take(WORDS / 2) {
        if index as u32 >= words {
            return true;
        }
        if data + 8 * index + 8 > end {
            return false;
        }
        // SAFETY: the check above, which the verifier follows, covers this word.
        unsafe { to.add(8 * index).cast::<u64>().write_unaligned(*word) };
    }
    true
}
