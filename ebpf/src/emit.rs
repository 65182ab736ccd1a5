//! The only writer of the ring and of the counters.

use aya_ebpf::helpers::generated::{
    bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_ringbuf_output, bpf_ringbuf_query,
};
use spandrel_common::{
    event::{Close, Conn, Data, Exec, Fork, Header, Kind, Listen, Notice, Withheld},
    limits::{self, EXEC_AREA, HEAD_CAPTURE},
    runtime::Runtime,
    stats::Counter,
};

use crate::{
    kernel::task::Ids,
    maps::{self, COUNTERS, EVENTS, SEQUENCES},
    read,
    scratch::{ExecScratch, Scratch},
};

/// Adds one to a counter of this CPU.
#[inline(always)]
pub fn count(counter: Counter) {
    let Some(slot) = COUNTERS.get_ptr_mut(counter as u32) else { return };
    if matches!(counter, Counter::RequestsLost | Counter::RequestsUnsampled) {
        // The ledger is reckoned with these.
        read::fetch_add(slot, 1);
    } else {
        // SAFETY: the slot is this CPU's own. A hook in an interrupt may add in between: at worst a count
        // of one is lost, in a counter that nothing is reckoned with.
        unsafe { *slot += 1 };
    }
}

/// Adds to a counter of this CPU that the ledger is reckoned with.
#[inline(always)]
pub fn add(counter: Counter, more: u64) {
    if let Some(slot) = COUNTERS.get_ptr_mut(counter as u32) {
        read::fetch_add(slot, more);
    }
}

/// `CLOCK_MONOTONIC`, nanoseconds.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the helper takes nothing and only returns a number.
    unsafe { bpf_ktime_get_ns() }
}

/// A header with this CPU's next sequence number.
#[inline(always)]
fn header(kind: Kind, ids: Ids, payload: u32, time_ns: u64) -> Header {
    // SAFETY: the helper only returns a number.
    let cpu = unsafe { bpf_get_smp_processor_id() } as u16;
    let mut seq = 0;
    if let Some(slot) = SEQUENCES.get_ptr_mut(0) {
        seq = read::fetch_add(slot, 1);
    }
    Header { kind: kind as u8, reserved: 0, cpu, payload, seq, time_ns, tgid: ids.tgid, tid: ids.tid }
}

/// `BPF_RB_NO_WAKEUP`
const NO_WAKEUP: u64 = 1;
/// `BPF_RB_FORCE_WAKEUP`
const FORCE_WAKEUP: u64 = 2;
/// `BPF_RB_AVAIL_DATA`
const AVAIL_DATA: u64 = 0;

/// How many events pass between two looks at how much is waiting: 64 of the largest are half of what may wait.
const ASK_EVERY: u64 = 64;

/// How to wake the reader. It looks by itself every few milliseconds, because a wake-up costs the traced
/// program more than the whole rest of a hook; it is woken early only when much is waiting.
#[inline(always)]
fn lazily(seq: u64) -> u64 {
    if !seq.is_multiple_of(ASK_EVERY) {
        return NO_WAKEUP;
    }
    // SAFETY: the helper only reads the ring's positions.
    let waiting = unsafe { bpf_ringbuf_query((&raw const EVENTS).cast_mut().cast(), AVAIL_DATA) };
    if waiting > limits::RING_WAKE as u64 { FORCE_WAKEUP } else { NO_WAKEUP }
}

/// Writes `len` bytes at `from` to the ring.
#[inline(always)]
fn output(from: *const u8, len: u64, wake: u64) -> bool {
    // SAFETY: the verifier proves that `len` bytes are readable at `from`.
    let failed = unsafe {
        bpf_ringbuf_output((&raw const EVENTS).cast_mut().cast(), from.cast_mut().cast(), len, wake)
    };
    if failed != 0 {
        count(Counter::EventsLost);
    }
    failed == 0
}

/// Writes a fixed event.
#[inline(always)]
fn fixed<T>(event: &T) -> bool {
    output(core::ptr::from_ref(event).cast(), size_of::<T>() as u64, NO_WAKEUP)
}

/// Announces a connection. Of a process whose runtime is not known the reader is to find it out soon: causes of requests
/// are not told until then.
#[inline(always)]
pub fn conn(ids: Ids, event: &mut Conn) -> bool {
    event.header = header(Kind::Conn, ids, 0, now());
    let wake = if maps::runtime(ids.tgid) == Runtime::Unknown { FORCE_WAKEUP } else { NO_WAKEUP };
    output(core::ptr::from_ref(event).cast(), size_of::<Conn>() as u64, wake)
}

/// Sends `scratch.data` with the first `captured` bytes of the buffer. Returns whether there was room.
#[inline(always)]
pub fn data(scratch: &mut Scratch, ids: Ids, captured: u64) -> bool {
    let captured = read::at_most(captured, 2 * HEAD_CAPTURE as u64 - 1);
    scratch.data.header = header(Kind::Data, ids, captured as u32, scratch.moved.now);
    output(
        (&raw const scratch.data).cast(),
        size_of::<Data>() as u64 + captured,
        lazily(scratch.data.header.seq),
    )
}

/// Tells that one or both directions ended.
#[inline(always)]
pub fn close(ids: Ids, mut event: Close) -> bool {
    event.header = header(Kind::Close, ids, 0, now());
    fixed(&event)
}

/// Tells how an exchange went that was withheld. Its header says who moved the request.
#[inline(always)]
pub fn withheld(event: &mut Withheld) {
    let ids = Ids { tgid: event.header.tgid, tid: event.header.tid };
    // Not later than now, and one reading of the clock less.
    event.header = header(Kind::Withheld, ids, 0, event.end_ns);
    fixed(event);
}

/// Sends `scratch.exec` with the first `strings` bytes of the buffer.
#[inline(always)]
pub fn exec(scratch: &mut ExecScratch, ids: Ids, strings: u64) -> bool {
    let strings = read::at_most(strings, 2 * EXEC_AREA as u64 - 1);
    scratch.exec.header = header(Kind::Exec, ids, strings as u32, now());
    output((&raw const scratch.exec).cast(), size_of::<Exec>() as u64 + strings, FORCE_WAKEUP)
}

/// Tells that a process was forked.
#[inline(always)]
pub fn fork(ids: Ids, child: u32, state: u8) -> bool {
    fixed(&Fork { header: header(Kind::Fork, ids, 0, now()), child, state, reserved: [0; 3] })
}

/// Tells that a process ended.
#[inline(always)]
pub fn exit(ids: Ids) -> bool {
    fixed(&header(Kind::Exit, ids, 0, now()))
}

/// Tells that a process listens.
#[inline(always)]
pub fn listen(ids: Ids, port: u16) -> bool {
    fixed(&Listen { header: header(Kind::Listen, ids, 0, now()), port, reserved: [0; 6] })
}

/// Tells that a process does something untraced.
#[inline(always)]
pub fn notice(ids: Ids, cause: u8) -> bool {
    fixed(&Notice { header: header(Kind::Notice, ids, 0, now()), cause, reserved: [0; 7] })
}
