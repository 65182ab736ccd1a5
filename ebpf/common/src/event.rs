//! The events of the ring buffer: fixed `repr(C)` structures, native byte order, some followed by payload.
//!
//! Every event starts with a [`Header`]. Sequence numbers count per CPU and without holes at the writer:
//! a hole at the reader is an event that the ring had no room for.

use core::mem::{offset_of, size_of};

use crate::context::Cause;

/// What an event is. The value of [`Header::kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A connection is about to send its first [`Data`]: who talks to whom. Body: [`Conn`].
    Conn = 1,
    /// Bytes moved through a connection. Body: [`Data`], then `payload` captured bytes.
    Data = 2,
    /// One or both directions of a connection ended. Body: [`Close`].
    Close = 3,
    /// A selected or undecided process executed a program. Body: [`Exec`], then the argument and
    /// environment area as the process has it: NUL-ended strings.
    Exec = 4,
    /// A process (not a thread) was forked by a selected one. Body: [`Fork`].
    Fork = 5,
    /// A selected process ended. Body: the header alone.
    Exit = 6,
    /// A process began to listen. Body: [`Listen`].
    Listen = 7,
    /// A process does something that is not traced. Body: [`Notice`]; once a process and cause.
    Notice = 8,
    /// An exchange that was withheld is over, and durations are measured. Body: [`Withheld`].
    Withheld = 9,
}

impl Kind {
    /// The kind for a byte of the ring, if there is such a kind.
    pub const fn from_u8(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Conn,
            2 => Self::Data,
            3 => Self::Close,
            4 => Self::Exec,
            5 => Self::Fork,
            6 => Self::Exit,
            7 => Self::Listen,
            8 => Self::Notice,
            9 => Self::Withheld,
            _ => return None,
        })
    }
}

/// The start of every event. 32 bytes.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Header {
    /// A [`Kind`].
    pub kind: u8,
    /// Zero.
    pub reserved: u8,
    /// The CPU that wrote the event.
    pub cpu: u16,
    /// Bytes that follow the fixed body.
    pub payload: u32,
    /// Number of this event among those of its CPU.
    pub seq: u64,
    /// `CLOCK_MONOTONIC` when the event was written, in nanoseconds.
    pub time_ns: u64,
    /// The process (thread group) that was running. In the initial pid namespace.
    pub tgid: u32,
    /// The thread that was running.
    pub tid: u32,
}

/// `Conn::transport`: a TCP socket.
pub const TRANSPORT_TCP: u8 = 1;
/// `Conn::transport`: a Unix domain stream socket.
pub const TRANSPORT_UNIX: u8 = 2;

/// `role`: this end sent the requests.
pub const ROLE_CLIENT: u8 = 1;
/// `role`: this end answered the requests.
pub const ROLE_SERVER: u8 = 2;

/// `Conn::protocol`: HTTP/1.
pub const PROTOCOL_HTTP1: u8 = 0;
/// `Conn::protocol`: HTTP/2; data events carry what [`crate::http2`] calls the condensed direction.
pub const PROTOCOL_HTTP2: u8 = 1;
/// `Conn::protocol`: Kafka; data events tell all bytes of a direction, in order, and show the first ones of each message.
pub const PROTOCOL_KAFKA: u8 = 2;

/// `dir`: bytes that the application received.
pub const DIR_RX: u8 = 0;
/// `dir`: bytes that the application sent.
pub const DIR_TX: u8 = 1;

/// Who talks to whom, and how. Sent before a connection's first [`Data`], again now and then in case that it was lost,
/// and when the connection turns to another protocol: what came before is over then. 104 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Conn {
    pub header: Header,
    /// Identity of the socket: unique while the agent runs, whatever descriptor or process names it.
    pub conn: u64,
    /// Random bits that the kernel side drew for this connection: see [`crate::ids`].
    pub seed: [u64; 2],
    /// Inode number of the network namespace, 0 if unknown.
    pub netns: u32,
    /// `ROLE_*`.
    pub role: u8,
    /// `TRANSPORT_*`.
    pub transport: u8,
    /// Ports in host byte order; 0 for Unix sockets.
    pub local_port: u16,
    pub peer_port: u16,
    /// 4, 6, or 0 for Unix sockets. v4-mapped IPv6 addresses are given as they are, with 6.
    pub ip_version: u8,
    /// `PROTOCOL_*`.
    pub protocol: u8,
    pub reserved: [u8; 4],
    /// Addresses in network order; an IPv4 address fills the first four bytes. A Unix socket has the number of its
    /// inode in the first eight bytes of the local one, in native order; 0 if unknown.
    pub local_addr: [u8; 16],
    pub peer_addr: [u8; 16],
}

/// `Data::flags`: a message of this direction starts at `pos`, for certain. A message that was open
/// before it in this direction ended unseen or was withheld. HTTP/2: nothing of it came before.
pub const DATA_START: u16 = 1;
/// `Data::flags`: the bytes that were not captured are body of the current message, for certain.
pub const DATA_BODY: u16 = 2;
/// `Data::flags`: the current message ends at `pos + len`, for certain.
pub const DATA_END: u16 = 4;
/// `Data::flags`: the body of this message is ended by the end of the connection.
pub const DATA_TO_CLOSE: u16 = 8;
/// `Data::flags`: more than [`crate::limits::HEAD_CAPTURE`] bytes of this turn: the rest was not captured.
pub const DATA_LIMIT: u16 = 16;
/// `Data::flags`: captured content had to be left out; `Data::unseen` says why. With `DATA_BODY`: the body ended
/// before these bytes, and its last were not seen to move (`splice`); when is not known.
pub const DATA_UNSEEN: u16 = 32;
/// `Data::flags`: on this connection, now or before, a request came before any byte of the response to the
/// one before it, or inside its body.
pub const DATA_PIPELINED: u16 = 64;

/// `Data::flags`: when these bytes were received, others had been sent of which nothing was told yet.
pub const DATA_CROSSED: u16 = 128;

/// `Data::decision`: the kernel side did not judge this request; userspace does, by the same function.
pub const DECISION_OPEN: u8 = 0;
/// `Data::decision`: recorded.
pub const DECISION_SAMPLED: u8 = 1;
/// `Data::decision`: not recorded; told of because rules are tried on it ([`crate::sample::DRY_RUN`]).
pub const DECISION_DROPPED: u8 = 2;

/// Why content was not captured: `Data::unseen` and [`Notice::cause`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Unseen {
    /// All of it was captured, or it needed no capture.
    Nothing = 0,
    /// `sendfile` or `splice`: the bytes never were in the program's memory.
    Splice = 1,
    /// Moved by io_uring.
    IoUring = 2,
    /// The memory could not be read without a page fault.
    Fault = 3,
    /// `MSG_TRUNC`: the kernel threw the bytes away at the program's wish.
    Discarded = 4,
    /// More vectors than [`crate::limits::IOVECS`], or a later message of a `recvmmsg` with a timeout.
    Vectors = 5,
    /// A 32-bit system call.
    Compat = 6,
    /// A system call that this version does not know.
    OtherCall = 7,
    /// Bytes that passed between two seen calls (another process, or a call that no hook sees).
    Between = 8,
}

impl Unseen {
    /// The cause for a byte of the ring; unknown ones are [`Unseen::OtherCall`].
    pub const fn from_u8(byte: u8) -> Self {
        match byte {
            0 => Self::Nothing,
            1 => Self::Splice,
            2 => Self::IoUring,
            3 => Self::Fault,
            4 => Self::Discarded,
            5 => Self::Vectors,
            6 => Self::Compat,
            8 => Self::Between,
            _ => Self::OtherCall,
        }
    }
}

/// Bytes `pos .. pos + len` of one direction moved; the first `header.payload` of them follow. 136 bytes.
///
/// The kernel side withholds only what it is certain of: body bytes of a message whose framing it knows
/// (`DATA_BODY`; several calls may be joined into one event), and whole exchanges that are not sampled.
/// Uncaptured bytes without `DATA_BODY` are a gap in what userspace knows.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Data {
    pub header: Header,
    pub conn: u64,
    /// Position in the direction's byte stream since the connection was first seen.
    pub pos: u64,
    /// Bytes that this event covers, captured or not.
    pub len: u64,
    /// When the first of them moved: for what was sent, not later than when it left; for what was
    /// received, when the application had it. `CLOCK_MONOTONIC`, nanoseconds.
    pub first_ns: u64,
    /// When the last of them moved. Not before `first_ns`.
    pub last_ns: u64,
    /// `DATA_*`.
    pub flags: u16,
    /// `DIR_*`.
    pub dir: u8,
    /// `ROLE_*`.
    pub role: u8,
    /// `DECISION_*`, for the request that starts here.
    pub decision: u8,
    /// An [`Unseen`].
    pub unseen: u8,
    /// With `DATA_START` on a request: earlier requests of this connection that were not sampled and
    /// whose responses are still to come, before this one's.
    pub orphans: u8,
    pub reserved: u8,
    /// Nanoseconds that the bytes waited in the socket before the application read them; 0 if unknown.
    pub wait_ns: u64,
    /// Of the bytes that were not captured, those that are chunk framing and trailers and not content. HTTP/2: of those
    /// that were captured, the first so many are the rest of a frame that an earlier event began.
    pub framing: u64,
    /// The position of the other direction when these bytes moved. Unless requests are pipelined, the response to a
    /// request that starts here begins there.
    pub other: u64,
    /// What caused the outbound request that starts here.
    pub cause: Cause,
}

/// `Close::reason`: the peer ended its direction (an orderly end; nothing more will be received).
pub const CLOSE_PEER: u8 = 1;
/// `Close::reason`: this end closed or shut down.
pub const CLOSE_LOCAL: u8 = 2;
/// `Close::reason`: the connection failed; `Close::errno` says how.
pub const CLOSE_ERROR: u8 = 3;
/// `Close::reason`: the socket is gone. Always the last event of a TCP connection that was announced.
pub const CLOSE_GONE: u8 = 4;
/// `Close::reason`: the connection turned into something that is not HTTP (CONNECT, Upgrade) or was
/// never HTTP; nothing more of it will be sent.
pub const CLOSE_OPAQUE: u8 = 5;

/// `Close::reason`: the process that ends holds this Unix socket. (TCP sockets are closed by that, which is told by
/// itself.) Comes before the process's own event; positions and times are 0.
pub const CLOSE_EXIT: u8 = 6;

/// One or both directions ended. 88 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Close {
    pub header: Header,
    pub conn: u64,
    /// Bytes that moved in each direction, `DIR_RX` and `DIR_TX`.
    pub pos: [u64; 2],
    /// When the last of them moved, nanoseconds.
    pub last_ns: [u64; 2],
    /// `CLOSE_*`.
    pub reason: u8,
    pub reserved: [u8; 3],
    /// A positive `errno`, or 0.
    pub errno: u32,
    pub reserved2: u64,
}

/// Bytes of [`Withheld::method`]: longer ones are no known methods.
pub const WITHHELD_METHOD: usize = 16;
/// Bytes of [`Withheld::host`]: most names of hosts, also those of services in clusters, with a port.
pub const WITHHELD_HOST: usize = 64;

/// `Withheld::end`: the response is complete, as far as can be told.
pub const WITHHELD_COMPLETE: u8 = 0;
/// `Withheld::end`: how the exchange ended was not seen. Other values are a `CLOSE_*`: the connection ended before the
/// response was complete.
pub const WITHHELD_UNSEEN: u8 = u8::MAX;

/// An exchange that is not sampled is over: what its duration is measured by. The header names the process and the
/// thread that the request moved through, and its time is `end_ns`. 144 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Withheld {
    pub header: Header,
    pub conn: u64,
    /// When the first byte of the request moved, as [`Data::first_ns`] is.
    pub start_ns: u64,
    /// When the last byte of the response moved, or when the connection ended.
    pub end_ns: u64,
    /// The first bytes of the request: the method, if there is a space behind it.
    pub method: [u8; WITHHELD_METHOD],
    /// The value of a client's `Host`, if that is its first field, up to the end of the line; else a zero.
    pub host: [u8; WITHHELD_HOST],
    /// With [`CLOSE_ERROR`]: a positive `errno`.
    pub errno: u32,
    /// Of the final response; 0 if none came.
    pub status: u16,
    /// `WITHHELD_*`, or a `CLOSE_*`.
    pub end: u8,
    /// The digit behind `HTTP/1.`.
    pub version: u8,
}

impl Withheld {
    /// Nothing.
    pub const NONE: Self = Self {
        header: Header { kind: 0, reserved: 0, cpu: 0, payload: 0, seq: 0, time_ns: 0, tgid: 0, tid: 0 },
        conn: 0,
        start_ns: 0,
        end_ns: 0,
        method: [0; WITHHELD_METHOD],
        host: [0; WITHHELD_HOST],
        errno: 0,
        status: 0,
        end: WITHHELD_COMPLETE,
        version: 0,
    };
}

/// `Exec::state`: selected by what the kernel side knows.
pub const SELECT_YES: u8 = 1;
/// `Exec::state`: captured until userspace has decided.
pub const SELECT_PENDING: u8 = 2;
/// Value in the process map: not traced.
pub const SELECT_NO: u8 = 3;

/// Which processes are traced when nothing is known about one: all of them.
pub const SCOPE_ALL: u32 = 0;
/// Those that a selector matches: an exec makes a process pending until userspace has decided.
pub const SCOPE_SELECTED: u32 = 1;
/// The descendants of one process: fork passes it on, exec changes nothing.
pub const SCOPE_TREE: u32 = 2;

/// A process executed a program. 304 bytes, then the argument and environment area.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Exec {
    pub header: Header,
    /// The parent's process id.
    pub parent: u32,
    /// `SELECT_*`: what the kernel side did about it.
    pub state: u8,
    pub reserved: [u8; 3],
    /// Bytes of the payload that are arguments; the rest is environment.
    pub args: u32,
    pub reserved2: u32,
    /// The executable as it was named, NUL-ended, cut at the limit.
    pub path: [u8; 256],
}

/// A process was forked. 40 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Fork {
    /// `tgid` is the parent's.
    pub header: Header,
    pub child: u32,
    /// `SELECT_*` of the child, taken over from its parent.
    pub state: u8,
    pub reserved: [u8; 3],
}

/// A process listens. 40 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Listen {
    pub header: Header,
    pub port: u16,
    pub reserved: [u8; 6],
}

/// A process does something that is not traced. 40 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Notice {
    pub header: Header,
    /// An [`Unseen`].
    pub cause: u8,
    pub reserved: [u8; 7],
}

const _: () = assert!(size_of::<Header>() == 32 && offset_of!(Header, tgid) == 24);
const _: () = assert!(size_of::<Conn>() == 104 && offset_of!(Conn, local_addr) == 72);
const _: () =
    assert!(size_of::<Data>() == 136 && offset_of!(Data, flags) == 72 && offset_of!(Data, cause) == 104);
const _: () = assert!(size_of::<Close>() == 88 && offset_of!(Close, reason) == 72);
const _: () = assert!(size_of::<Exec>() == 304 && offset_of!(Exec, path) == 48);
const _: () = assert!(size_of::<Fork>() == 40 && size_of::<Listen>() == 40 && size_of::<Notice>() == 40);
const _: () = assert!(size_of::<Withheld>() == 144 && offset_of!(Withheld, errno) == 136);
