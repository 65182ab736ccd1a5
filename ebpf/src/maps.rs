//! Every map: what it holds, who writes, who reads, and why it is that large.

use aya_ebpf::{
    btf_maps::SkStorage,
    macros::{btf_map, map},
    maps::{Array, HashMap, PerCpuArray, RingBuf, SockHash},
};
use spandrel_common::{inject::Injection, limits, runtime::Runtime, sample::Policy, stats};

use crate::{
    causality::{piece::Head, program::Program, tracestate::Tracestate, worker::Thread},
    conn::State,
    scratch::Scratch,
};

/// Events for userspace. Written by `emit`, read by the agent.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(limits::RING_BYTES as u32, 0);

/// State of a connection, on its socket (socket profile). Dies with the socket; needs no bound of ours.
#[btf_map]
pub static SOCKETS: SkStorage<State> = SkStorage::new();

/// The call that a hook last looked at, by task. See [`crate::kernel::preempt`].
#[btf_map]
pub static CALLS: crate::kernel::preempt::Calls = crate::kernel::preempt::Calls::new();

/// State of a connection by the address of its socket (system call profile). The loader sets its size to
/// 1 where the socket profile is in use.
#[map]
pub static SOCKET_MAP: HashMap<u64, State> =
    HashMap::with_max_entries(limits::SOCKETS, aya_ebpf::bindings::BPF_F_NO_PREALLOC);

/// `SELECT_*` of processes that userspace or a hook has decided about.
#[map]
pub static PROCESSES: HashMap<u32, u8> =
    HashMap::with_max_entries(limits::PROCESSES, aya_ebpf::bindings::BPF_F_NO_PREALLOC);

/// How often [`PROCESSES`] was changed: by hooks (slot 0), by the agent (slot 1).
#[map]
pub static CHANGES: Array<u64> = Array::with_max_entries(2, 0);

/// What each CPU asked [`PROCESSES`] last, in one word: process, changes until then, answer; the rest keeps
/// the CPUs' words in cache lines of their own. Written and read by `filter`. The loader sets the number of CPUs.
#[map]
pub static LAST_ASKED: Array<[u64; 8]> = Array::with_max_entries(1, 0);

/// Listening ports that select a process. Written by the agent.
#[map]
pub static PORTS: HashMap<u16, u8> = HashMap::with_max_entries(limits::PORTS, 0);

/// The sampling policy, in slot 0. Written by the agent, at start and when it changes.
#[map]
pub static POLICY: Array<Policy> = Array::with_max_entries(1, 0);

/// Working memory of one CPU's socket hooks. The loader sets the number of CPUs. (Not a per-CPU map:
/// their values end at 32 KiB.)
#[map]
pub static SCRATCH: Array<Scratch> = Array::with_max_entries(1, 0);

/// The same for process hooks, which can interrupt a socket hook's system call on another stack.
#[map]
pub static EXEC_SCRATCH: Array<crate::scratch::ExecScratch> = Array::with_max_entries(1, 0);

/// `spandrel_common::stats::Counter`, summed over the CPUs by the agent.
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(stats::SLOTS, 0);

/// Numbers of the events of this CPU (slot 0) and of the connections first met on it (slot 1).
#[map]
pub static SEQUENCES: PerCpuArray<u64> = PerCpuArray::with_max_entries(2, 0);

/// Go processes. Written by the agent.
#[map]
pub static GO_PROGRAMS: HashMap<u32, spandrel_common::go::Program> =
    HashMap::with_max_entries(limits::GO_PROGRAMS, aya_ebpf::bindings::BPF_F_NO_PREALLOC);

/// Requests that goroutines work on, by [`crate::kernel::goroutine::Key`]. What is not asked for any more makes room.
#[map]
pub static GOROUTINES: aya_ebpf::maps::LruHashMap<u64, crate::causality::go::Work> =
    aya_ebpf::maps::LruHashMap::with_max_entries(limits::GOROUTINES, 0);

/// Requests that were handed to a connection and are not written yet, by process and descriptor.
#[map]
pub static GO_PENDING: aya_ebpf::maps::LruHashMap<u64, crate::causality::go::client::Pending> =
    aya_ebpf::maps::LruHashMap::with_max_entries(limits::GO_PENDING, 0);

/// Go contexts that belong to inbound requests, and the key of the goroutine that works on each.
#[map]
pub static GO_CONTEXTS: aya_ebpf::maps::LruHashMap<crate::causality::go::ancestry::Address, u64> =
    aya_ebpf::maps::LruHashMap::with_max_entries(limits::GOROUTINES, 0);

/// Goroutines that have called for a request without having read it, by their keys, and the span that they called for.
#[map]
pub static GO_CHILDREN: aya_ebpf::maps::LruHashMap<u64, u64> =
    aya_ebpf::maps::LruHashMap::with_max_entries(limits::GOROUTINES, 0);

/// Functions that goroutines were started with, by address and process, and what was seen of those goroutines.
#[map]
pub static GO_FUNCTIONS: aya_ebpf::maps::LruHashMap<[u64; 2], crate::causality::go::trial::Function> =
    aya_ebpf::maps::LruHashMap::with_max_entries(limits::GO_FUNCTIONS, 0);

/// `spandrel_common::runtime::Runtime` of processes. Written by the agent.
#[map]
pub static RUNTIMES: HashMap<u32, u8> =
    HashMap::with_max_entries(limits::PROCESSES, aya_ebpf::bindings::BPF_F_NO_PREALLOC);

/// What programs of some names run on, by `comm`: see `spandrel_common::limits::NAMES`. Written by the agent at the start.
#[map]
pub static NAMES: HashMap<[u8; 16], u8> =
    HashMap::with_max_entries(limits::NAMES, aya_ebpf::bindings::BPF_F_NO_PREALLOC);

/// Threads that have read a request. Written and read by `causality`.
#[map]
pub static THREADS: HashMap<u32, Thread> =
    HashMap::with_max_entries(limits::THREADS, aya_ebpf::bindings::BPF_F_NO_PREALLOC);

/// What processes work on. Written and read by `causality`.
#[map]
pub static PROGRAMS: HashMap<u32, Program> =
    HashMap::with_max_entries(limits::PROCESSES, aya_ebpf::bindings::BPF_F_NO_PREALLOC);

/// Destinations that a process called of its own accord: process id above, hash below.
#[map]
pub static DESTINATIONS: aya_ebpf::maps::LruHashMap<[u64; 2], u8> =
    aya_ebpf::maps::LruHashMap::with_max_entries(limits::DESTINATIONS, 0);

/// Heads of inbound requests that came in part, by connection.
#[map]
pub static HEADS: HashMap<u64, Head> =
    HashMap::with_max_entries(limits::HEADS, aya_ebpf::bindings::BPF_F_NO_PREALLOC);

/// `tracestate` of inbound requests, by connection.
#[map]
pub static TRACESTATES: HashMap<u64, Tracestate> =
    HashMap::with_max_entries(limits::TRACESTATES, aya_ebpf::bindings::BPF_F_NO_PREALLOC);

/// Processes of which something untraced was told once: key is process and cause.
#[map]
pub static NOTICED: aya_ebpf::maps::LruHashMap<u64, u8> =
    aya_ebpf::maps::LruHashMap::with_max_entries(limits::PORTS, 0);

/// Sockets whose next message is looked at for injection, by their cookies. See [`crate::inject`].
#[map]
pub static ARMED: SockHash<u64> = SockHash::with_max_entries(limits::INJECT_SOCKETS, 0);

/// What the agent says about injection, in slot 0.
#[map]
pub static INJECTION: Array<Injection> = Array::with_max_entries(1, 0);

/// 1 in slot 0 once a client connection waits for being armed again. The agent sets it back.
#[map]
pub static INJECT_WANTED: Array<u32> = Array::with_max_entries(1, 0);

/// Until when (nanoseconds of the monotonic clock) nothing is put into requests to a peer; 0 if one has answered such a
/// request as ever, 1 if it has answered one that was left as it was. See [`crate::inject`].
#[map]
pub static INJECT_PEERS: aya_ebpf::maps::LruHashMap<[u64; 3], u64> =
    aya_ebpf::maps::LruHashMap::with_max_entries(limits::INJECT_PEERS, 0);

/// Working memory of one CPU's injection. The loader sets the number of CPUs.
#[map]
pub static INJECT_SCRATCH: Array<crate::inject::Slot> = Array::with_max_entries(1, 0);
/// Connections over Unix sockets that were announced, by the socket's inode.
#[map]
pub static UNIX: aya_ebpf::maps::LruHashMap<u64, u64> =
    aya_ebpf::maps::LruHashMap::with_max_entries(limits::UNIX_SOCKETS, 0);

/// The connection over the Unix socket with this inode.
#[inline(always)]
pub fn unix(inode: u64) -> Option<u64> {
    // SAFETY: one word is copied out; a concurrent write gives the old or the new one.
    unsafe { UNIX.get(inode) }.copied()
}

/// What was decided about a process, a `SELECT_*`.
#[inline(always)]
pub fn process(tgid: u32) -> Option<u8> {
    // SAFETY: one byte is copied out; a concurrent write gives the old or the new one.
    unsafe { PROCESSES.get(tgid) }.copied()
}

/// What a process runs on.
#[inline(always)]
pub fn runtime(tgid: u32) -> Runtime {
    // SAFETY: one byte is copied out.
    Runtime::from_u8(unsafe { RUNTIMES.get(tgid) }.copied().unwrap_or(0))
}

/// A forked process runs on what its parent runs on.
#[inline(always)]
pub fn inherit_runtime(parent: u32, child: u32) {
    let runtime = runtime(parent) as u8;
    if runtime != 0 {
        // Without room it is recognised a little later, by userspace.
        let _ = RUNTIMES.insert(child, runtime, 0);
    }
}

/// What the running process has just executed tells by its name what it runs on, or nothing.
#[inline(always)]
pub fn name_runtime(tgid: u32, name: &[u8; 16]) {
    // SAFETY: one byte is copied out; the agent writes it once.
    match unsafe { NAMES.get(name) }.copied() {
        // Without room it is recognised a little later, by userspace.
        Some(runtime) => drop(RUNTIMES.insert(tgid, runtime, 0)),
        None => forget_runtime(tgid),
    }
}

/// Forgets what a process runs on.
#[inline(always)]
pub fn forget_runtime(tgid: u32) {
    // One that was not recognised has no entry.
    let _ = RUNTIMES.remove(tgid);
}

/// Whether a listening port selects a process.
#[inline(always)]
pub fn watched(port: u16) -> bool {
    // SAFETY: only the presence of the entry is asked.
    unsafe { PORTS.get(port) }.is_some()
}

/// Whether something untraced was told of already.
#[inline(always)]
pub fn noticed(key: u64) -> bool {
    // SAFETY: only the presence of the entry is asked.
    unsafe { NOTICED.get(key) }.is_some()
}

macro_rules! door {
    ($(#[$doc:meta])* $name:ident, $map:ident, $key:ty, $value:ty) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $name(key: $key) -> Option<&'static mut $value> {
            let value = $map.get_ptr_mut(key)?;
            // SAFETY: a live map value, freed only after a grace period that this program's run is part of. Who else
            // may write it, the rule that owns it says.
            Some(unsafe { &mut *value })
        }
    };
}

door!(
    /// A thread that has read a request.
    thread, THREADS, u32, Thread
);
door!(
    /// A process that serves requests.
    program, PROGRAMS, u32, Program
);
door!(
    /// A head that came in part.
    head, HEADS, u64, Head
);
door!(
    /// The `tracestate` of a connection's request.
    tracestate, TRACESTATES, u64, Tracestate
);

/// Whether a process has called a destination of its own accord.
#[inline(always)]
pub fn called_idle(key: [u64; 2]) -> bool {
    // SAFETY: only the presence of the entry is asked.
    unsafe { DESTINATIONS.get(key) }.is_some()
}
