//! What is remembered of a connection: hung on its socket, or in a map by the socket's address.

use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_sk_storage_get};
use spandrel_common::{
    context::Context,
    event::{DATA_START, ROLE_CLIENT, Withheld},
    stats::Counter,
};

use crate::{
    emit,
    maps::{SEQUENCES, SOCKET_MAP, SOCKETS},
};

/// `Flow::mode`: the next byte starts a message.
pub const START: u8 = 0;
/// `Flow::mode`: body up to the position `until`.
pub const BODY: u8 = 1;
/// `Flow::mode`: chunked body; nothing before the position `until` need be looked at.
pub const CHUNKED: u8 = 2;
/// `Flow::mode`: body up to the end of the connection.
pub const TO_CLOSE: u8 = 3;
/// `Flow::mode`: response to a request that is not sampled.
pub const WITHHELD: u8 = 4;
/// `Flow::mode`: the framing is for userspace to find; everything is shipped up to the limit.
pub const SHIP: u8 = 5;

/// `Flow::mode`: frames of HTTP/2. `until` is where the payload of the current frame ends; the next frame begins there.
/// See [`crate::capture`].
pub const FRAMES: u8 = 6;
/// `Flow::mode`: frames of HTTP/2, if it is that, and nobody knows yet where one begins.
pub const SEEK: u8 = 7;

/// `Flow::mode`: messages of Kafka. `until` is where the current one ends; the next one begins there, with its size.
pub const SIZED: u8 = 8;

/// `State::phase`: never seen before.
pub const FRESH: u8 = 0;
/// `State::phase`: no message start was seen yet.
pub const SNIFFING: u8 = 1;
/// `State::phase`: HTTP/1.
pub const HTTP: u8 = 2;
/// `State::phase`: left alone.
pub const IGNORED: u8 = 3;
/// `State::phase`: HTTP/2.
pub const HTTP2: u8 = 4;
/// `State::phase`: Kafka, seen by a client.
pub const KAFKA: u8 = 5;

/// `State::failed`: there is no error number.
pub const NO_ERRNO: u8 = u8::MAX;

/// `State::method`: any other.
pub const METHOD_OTHER: u8 = 0;
/// `State::method`: `HEAD`, whose response has no body.
pub const METHOD_HEAD: u8 = 1;
/// `State::method`: `CONNECT`, which opens a tunnel.
pub const METHOD_CONNECT: u8 = 2;

/// `State::method` of a connection that speaks HTTP/2: it was recognised in the middle.
pub const MIDWAY: u8 = 3;

/// One direction.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Flow {
    /// Bytes that moved.
    pub pos: u64,
    /// Bytes that events have told of, or that were withheld.
    pub sent: u64,
    /// See the modes.
    pub until: u64,
    /// When the last byte moved.
    pub last_ns: u64,
    /// TCP's sequence number behind the last byte.
    pub seq: u32,
    /// Bytes captured since the turn began, while in mode [`SHIP`]. In mode [`FRAMES`]: the newest stream that this
    /// direction has opened. In mode [`SIZED`]: bytes of the message that were told.
    pub shipped: u32,
    pub mode: u8,
    /// `seq` is known.
    pub seq_known: u8,
    /// The message is not sampled: nothing of it is told. In mode [`FRAMES`]: the frame's payload is not told.
    pub quiet: u8,
    /// Where in a size line or the trailers a chunked body stands: see [`crate::chunk`]. In mode [`FRAMES`]: bytes of
    /// a frame header that have come. In mode [`SIZED`]: bytes of a size that have come.
    pub chunk_phase: u8,
    /// In mode [`START`]: the first byte of a request, at the position `until`, which came alone and is looked at
    /// together with what follows; 0 if there is none.
    pub held: u8,
    /// In mode [`FRAMES`]: no event has told of this direction yet.
    pub fresh: u8,
    /// In mode [`SEEK`]: what speaks for a frame at the position `until`.
    pub evidence: u8,
    pub reserved: u8,
    /// When that byte moved, or the first byte of the frame header that has come in part.
    pub held_ns: u64,
    /// Value of the digits of the size line so far. In mode [`FRAMES`]: the bytes of the frame header, the first in the
    /// lowest bits. In mode [`SIZED`]: the value of the bytes of a size that have come.
    pub chunk_size: u64,
    /// Bytes of chunk framing that no event has told of.
    pub framing: u64,
}

impl Flow {
    /// [`DATA_START`] if the next byte starts a message for certain.
    #[inline(always)]
    pub fn starts(&self) -> u16 {
        if self.mode == START { DATA_START } else { 0 }
    }

    /// Whether frames of HTTP/2 are walked through that may turn out to be none: `until` is where the next one would begin.
    #[inline(always)]
    pub fn walks(&self) -> bool {
        self.evidence != 0 || self.chunk_phase != 0
    }

    /// A chunked body begins at a position.
    #[inline(always)]
    pub fn chunked(&mut self, at: u64) {
        self.mode = CHUNKED;
        self.until = at;
        self.chunk_size = 0;
        self.chunk_phase = 0;
        self.framing = 0;
    }
}

/// What a receive found sent by a call whose own hook had not run yet: the call had not returned, or its thread was kept
/// from going on.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Ahead {
    /// Position behind the last of these bytes; 0 if there are none.
    pub pos: u64,
    /// Position of the received direction in front of that receive.
    pub other: u64,
    /// When the first of these bytes were sent, as far as TCP tells; an instant before that receive, if it does not.
    /// Nanoseconds.
    pub time_ns: u64,
}

/// A connection. Two hooks can work on it at once, each on its own direction; what they share is written
/// at message starts only, which one conversation does not have in both directions at the same time.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct State {
    pub id: u64,
    pub seed: [u64; 2],
    /// Inode of the socket: tells a new socket at an old one's address (system call profile).
    pub ino: u64,
    pub rx: Flow,
    pub tx: Flow,
    /// When the connection's event was last sent, nanoseconds.
    pub announced_ns: u64,
    /// Vector of the `recvmmsg` or `sendmmsg` that is under way, its thread and its next index.
    pub batch: u64,
    pub batch_tid: u32,
    pub batch_index: u32,
    pub phase: u8,
    /// `ROLE_*`.
    pub role: u8,
    /// Changes of direction without a message start.
    pub turns: u8,
    /// Direction of the last call.
    pub last_dir: u8,
    /// The connection's event was sent.
    pub announced: u8,
    /// `TRANSPORT_*`.
    pub transport: u8,
    pub method: u8,
    /// A request came before the response to the one before it began: from then on nothing is withheld.
    pub pipelined: u8,
    /// Withheld requests whose responses are still to come.
    pub orphans: u8,
    /// The response that is being sent is an interim one: the request goes on behind it.
    pub interim: u8,
    /// An outbound request that its process's only inbound one caused waits for its response.
    pub single: u8,
    /// The head of an inbound request has come in part: see [`crate::causality::piece`].
    pub pieces: u8,
    /// `INJECT_*`, of [`crate::inject`].
    pub inject: u8,
    /// The connection failed while there was something left to read, or a call was under way: its error number, or
    /// [`NO_ERRNO`]. For the program it goes on.
    pub failed: u8,
    /// Bytes that injection has put into the call that is under way. They have sequence numbers, but no place in
    /// the stream as the program knows it.
    pub added: u16,
    /// 1 if no byte of the response to the last request was seen yet. A word: see [`crate::capture`].
    pub awaiting: u64,
    pub ahead: Ahead,
    /// 1 while an inbound request is being worked on. A word, for what ends it: see [`crate::causality`].
    pub open: u64,
    /// The socket's address.
    pub sk: u64,
    /// Key of the goroutine that works on the inbound request; 0 if there is none. See `causality::go`.
    pub goroutine: u64,
    /// Of the last request: the inbound one that the program works on, or the outbound one that it sent.
    pub context: Context,
    /// 1 while the duration of a withheld exchange is measured. A word, for what ends it: see
    /// [`crate::capture`].
    pub measuring: u64,
    /// Position of the response direction at which its response begins; its content, once its head was seen.
    pub answer_at: u64,
    /// What is told of it when it is over.
    pub withheld: Withheld,
}

impl State {
    /// Both directions: the one that `TX` names, and the other.
    #[inline(always)]
    pub fn flows<const TX: bool>(&mut self) -> (&mut Flow, &mut Flow) {
        if TX { (&mut self.tx, &mut self.rx) } else { (&mut self.rx, &mut self.tx) }
    }

    /// Whether a protocol is followed, so that userspace is told how the connection ends.
    #[inline(always)]
    pub fn is_followed(&self) -> bool {
        matches!(self.phase, HTTP | HTTP2 | KAFKA)
    }

    /// The direction of the responses.
    #[inline(always)]
    pub fn responses(&mut self) -> &mut Flow {
        if self.role == ROLE_CLIENT { &mut self.rx } else { &mut self.tx }
    }

    /// The state that a global function is given: the verifier asks it to check for null.
    #[inline(always)]
    pub fn given(state: *mut Self) -> Option<&'static mut Self> {
        // SAFETY: the caller has it from one of the functions below, and waits.
        unsafe { state.as_mut() }
    }

    /// Draws identity and seed.
    #[inline(always)]
    pub fn begin(&mut self, transport: u8) {
        self.phase = SNIFFING;
        self.transport = transport;
        self.last_dir = u8::MAX;
        self.id = next_id();
        self.seed = [random(), random()];
    }
}

#[inline(always)]
fn random() -> u64 {
    // SAFETY: the helper takes nothing and only returns a number.
    unsafe { (u64::from(bpf_get_prandom_u32() as u32) << 32) | u64::from(bpf_get_prandom_u32() as u32) }
}

/// A number that no other connection has: the CPU above, a count below.
#[inline(always)]
fn next_id() -> u64 {
    let Some(slot) = SEQUENCES.get_ptr_mut(1) else { return 0 };
    // SAFETY: the slot is this CPU's own; hooks do not migrate.
    unsafe {
        *slot += 1;
        (u64::from(aya_ebpf::helpers::generated::bpf_get_smp_processor_id() as u32 + 1) << 48) | *slot
    }
}

/// The state on a socket, if there is one. `sk` must be a pointer that the verifier knows as a socket.
#[inline(always)]
pub fn on_socket(sk: *const u8) -> Option<&'static mut State> {
    // SAFETY: the helper checks the pointer's type; the value lives as long as the socket, and the socket
    // longer than this program's run.
    unsafe {
        bpf_sk_storage_get(
            (&raw const SOCKETS).cast_mut().cast(),
            sk.cast_mut().cast(),
            core::ptr::null_mut(),
            0,
        )
        .cast::<State>()
        .as_mut()
    }
}

/// The state on a socket, made now if there is none.
#[inline(always)]
pub fn on_socket_or_new(sk: *const u8) -> Option<&'static mut State> {
    // SAFETY: as above; 1 is BPF_SK_STORAGE_GET_F_CREATE, which gives a zeroed value.
    let state = unsafe {
        bpf_sk_storage_get(
            (&raw const SOCKETS).cast_mut().cast(),
            sk.cast_mut().cast(),
            core::ptr::null_mut(),
            1,
        )
        .cast::<State>()
        .as_mut()
    };
    if state.is_none() {
        emit::count(Counter::NoState);
    }
    state
}

/// The state of the socket at an address (system call profile).
#[inline(always)]
pub fn in_map(sk: u64) -> Option<&'static mut State> {
    let state = SOCKET_MAP.get_ptr_mut(sk)?;
    // SAFETY: a live map value; it is freed only after a grace period that this program's run is part of.
    Some(unsafe { &mut *state })
}

/// New state for the socket at an address, in place of a former socket's.
#[inline(always)]
pub fn new_in_map(sk: u64, ino: u64) -> Option<&'static mut State> {
    forget(sk);
    if SOCKET_MAP.insert(sk, &EMPTY, 0).is_err() {
        emit::count(Counter::NoState);
    }
    let state = in_map(sk)?;
    state.ino = ino;
    Some(state)
}

/// Forgets the socket at an address.
#[inline(always)]
pub fn forget(sk: u64) {
    // A key that is not there is the wished-for state, too.
    let _ = SOCKET_MAP.remove(sk);
}

/// A direction in which nothing moved.
const FLOW: Flow = Flow {
    pos: 0,
    sent: 0,
    until: 0,
    last_ns: 0,
    seq: 0,
    shipped: 0,
    mode: START,
    seq_known: 0,
    quiet: 0,
    chunk_phase: 0,
    held: 0,
    fresh: 0,
    evidence: 0,
    reserved: 0,
    held_ns: 0,
    chunk_size: 0,
    framing: 0,
};

/// What [`new_in_map`] starts from. Not on the stack, which it would nearly fill.
static EMPTY: State = State {
    id: 0,
    seed: [0; 2],
    ino: 0,
    rx: FLOW,
    tx: FLOW,
    announced_ns: 0,
    batch: 0,
    batch_tid: 0,
    batch_index: 0,
    phase: FRESH,
    role: 0,
    turns: 0,
    last_dir: 0,
    announced: 0,
    transport: 0,
    method: 0,
    pipelined: 0,
    orphans: 0,
    interim: 0,
    single: 0,
    pieces: 0,
    inject: 0,
    failed: 0,
    added: 0,
    awaiting: 0,
    ahead: Ahead { pos: 0, other: 0, time_ns: 0 },
    open: 0,
    sk: 0,
    goroutine: 0,
    context: Context::UNKNOWN,
    measuring: 0,
    answer_at: 0,
    withheld: Withheld::NONE,
};
