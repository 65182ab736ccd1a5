//! Every bound of the kernel side, each with its reason. Powers of two where the verifier masks with them.

/// Bytes of one call that one event can carry, and of one message head that is captured over any number
/// of calls. nginx, Apache and Node refuse heads above 8 to 16 KiB by default.
pub const HEAD_CAPTURE: usize = 16 * 1024;

/// Bytes of a message head that the kernel side itself searches for its end, its framing and its
/// `traceparent`. Longer heads are shipped and judged in userspace. 4 KiB covers nearly all real heads
/// and bounds what a long one costs the program that sends it.
pub const HEAD_SCAN: usize = 4096;

/// First bytes of a call that are enough to recognise a request line's method or `HTTP/1.`.
pub const SNIFF: usize = 24;

/// Changes of direction after which a connection that never showed an HTTP message is left alone. One
/// that was joined in the middle of an exchange shows a message start after two at the most; the rest is
/// for early responses and interleaved polls.
pub const SNIFF_TURNS: u8 = 8;

/// Input or output vectors of one call that are walked: as many as the kernel accepts (`UIO_MAXIOV`).
pub const IOVECS: u32 = 1024;

/// Windows of a chunked body that are looked at in one call, about one a chunk. Beyond them the call is shipped
/// instead. A call that moves 64 KiB in chunks of 16 bytes has 2,800; at some 50 ns each this many take 0.2 ms,
/// which is about what moving them took.
pub const CHUNKS: u32 = 4096;

/// Bytes of a window: a size line without extension and its line end fit.
pub const CHUNK_WINDOW: usize = 24;

/// Messages inside one call that the kernel side follows one by one before it ships the rest unjudged.
pub const SEGMENTS: usize = 3;

/// Steps of the walk through the HTTP/2 frames of one call: one a frame, one more where a payload is carried over, one
/// for every byte of a header that was cut in two. Beyond them the walk's place is lost and looked for anew. A call that moves 64 KiB
/// in frames of 32 bytes has 2,048; at some 50 ns each this many take 0.2 ms, about what moving them took.
pub const FRAME_STEPS: u32 = 4096;

/// Bytes of a Kafka message that are told. Headers of small batches are in them, and what is asked for; of larger batches, how
/// many messages there are, and the headers of the first ones.
pub const MESSAGE_CAPTURE: u64 = 8 * 1024;

/// Kafka messages of one call that are followed. Beyond them the connection is left alone. A call that moves 64 KiB of
/// the shortest responses that clients get has some 1,500.
pub const MESSAGES: u32 = 2048;

/// Bytes of a call that the walk through HTTP/2 frames copies at a time: some tens of requests, and not much to
/// copy in vain where only the header of a large DATA frame is wanted. (A power of two, for the verifier.)
pub const FRAME_WINDOW: usize = 1024;

/// Bytes of a process's argument and environment area that its exec event carries, so that a program
/// that lives for a few milliseconds still has a name.
pub const EXEC_AREA: usize = 8 * 1024;

/// Bytes of the executable's path in an exec event (the kernel's own PATH_MAX is 4096; longer paths are cut).
pub const EXEC_PATH: usize = 256;

/// Bytes of the ring buffer. At 400 bytes a request this holds 20,000 requests, which is a third of a second of
/// the fastest nginx worker seen on the reference machine: longer than any scheduling delay of the reader. It
/// is mapped twice, and counts twice in the agent's resident memory.
pub const RING_BYTES: usize = 8 * 1024 * 1024;

/// Bytes waiting in the ring at which its reader is woken at once: an eighth of it.
pub const RING_WAKE: usize = RING_BYTES / 8;

/// Processes whose selection is remembered at once (the default `pid_max` of small machines).
pub const PROCESSES: u32 = 32_768;

/// Names of programs whose runtime is known to the kernel side before userspace has looked at them: those of proxies that
/// begin to serve some milliseconds after they were executed, by processes that they fork before that.
pub const NAMES: u32 = 16;

/// Sockets followed at once by the system call profile, which keeps them in a map. (The socket profile
/// hangs them on the sockets themselves and needs no limit.)
pub const SOCKETS: u32 = 65_536;

/// Threads that are remembered to have read a request, each 96 bytes: twice as many as `pid_max` of a small machine.
pub const THREADS: u32 = 65_536;

/// Destinations that processes called while they worked on no request. Older ones give way: the process is then
/// believed once more than it should be.
pub const DESTINATIONS: u32 = 16_384;

/// Inbound requests whose heads came in part at this moment, each 8 KiB. Beyond them, what they cause starts new
/// traces, which is counted.
pub const HEADS: u32 = 1024;

/// Inbound requests whose `tracestate` is kept for what they cause, each 0.7 KiB while it lives. Beyond them traces
/// go on without it, which is counted.
pub const TRACESTATES: u32 = 16_384;

/// Unix sockets that are known to carry HTTP, to tell which of them a process still holds when it ends: as many as
/// four processes have by the usual limit of 1024 descriptors. The least used one is forgotten; if it is held to the
/// end after all, it counts as closed just before.
pub const UNIX_SOCKETS: u32 = 4096;

/// Descriptors of a process that ends which are looked at: four times the usual limit of a process. A Unix socket
/// beyond them counts as closed just before the end.
pub const EXIT_FDS: u32 = 4096;

/// Listening ports that `--port` can name.
pub const PORTS: u32 = 1024;

/// Nanoseconds after which a request announces its connection again, in case that userspace had to forget
/// it: half a minute of blindness at the most, for one small event in that time.
pub const ANNOUNCE_EVERY_NS: u64 = 30_000_000_000;

/// Go processes whose goroutines are told apart at once: more than a machine runs services.
pub const GO_PROGRAMS: u32 = 1024;

/// Requests that goroutines of all processes work on at once. Beyond it the ones that were not asked for the longest
/// time are forgotten, and cause nothing. At 136 bytes each the table takes 3 MB, and those of as many contexts and
/// children, which are of the same number, 1.5 MB each.
pub const GOROUTINES: u32 = 16_384;

/// Requests of Go clients that are handed over and not written yet, at once. That takes microseconds.
pub const GO_PENDING: u32 = 4096;

/// Functions of Go programs whose goroutines call out for requests that others read. A program has a few.
pub const GO_FUNCTIONS: u32 = 1024;

/// Goroutines of a function in a row that have to be seen to end with the request that they were started for, before
/// the others are believed to. More would be surer, and leave more of a new program's first calls without a parent.
pub const GO_TRIAL: u64 = 4;

/// Nanoseconds in which a Go client's request is written after it was handed over; a later one on the same descriptor
/// may be another's. Two threads have to run in between, which takes microseconds, and on a machine at its
/// limits a few time slices.
pub const GO_PENDING_NS: u64 = 1_000_000_000;

/// Bytes of a message that injection searches for the end of a request head. A longer head is left as it is:
/// 4 KiB covers nearly all real ones.
pub const INJECT_SCAN: usize = 4096;

/// Bytes of a request line, at most, into whose head a line is put. TCP takes at least this much of a message
/// before it can refuse the rest for lack of memory (`tcp_wmem[0]` is 4096), so what a program is told about a
/// partial write always lies behind the line that was put in.
pub const INJECT_LINE: u32 = 3072;

/// Bytes that a socket's send buffer must be able to hold for a line to be put in: the line and the request line in
/// front of it then always fit into an empty one, with the kernel's own overhead.
pub const INJECT_SNDBUF: u32 = 16_384;

/// Sockets that wait for their next request with injection armed. One takes about 1.5 KiB while it does.
pub const INJECT_SOCKETS: u32 = 65_536;

/// Peers about which injection has learned something. The least recently used one is forgotten.
pub const INJECT_PEERS: u32 = 4096;

/// Nanoseconds for which nothing is put into requests to a peer that refused the first one, or that does not speak
/// HTTP: ten minutes, so that a peer that was replaced is found out on the same day.
pub const INJECT_PAUSE_NS: u64 = 600_000_000_000;
