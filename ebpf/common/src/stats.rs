//! Counters that the kernel side keeps, one slot a cause, summed over the CPUs by the agent.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $label:literal;)*) => {
        /// A slot of the counter map.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Counter { $($(#[$doc])* $name,)* }

        impl Counter {
            /// Every counter, in the order of its slots.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
            /// How the counter is called in metrics and reports.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

counters! {
    /// Events that the ring had no room for.
    EventsLost = "events_lost";
    /// Requests among the lost events. They are `seen` and dropped with the cause `ring_full`.
    RequestsLost = "requests_lost";
    /// Requests that were withheld because they are not sampled. They are `seen` and `unsampled`.
    RequestsUnsampled = "requests_unsampled";
    /// A hook ran while another one was using this CPU's scratch memory: the call was not captured.
    ScratchBusy = "scratch_busy";
    /// Runs of hooks that the kernel left out, because the same hook was still running on that CPU in a task that another
    /// one had interrupted, and that no second program stood in for. Calls of any process: at most so many of traced ones
    /// were not seen.
    HooksSkipped = "hooks_skipped";
    /// Calls that the second program of a hook looked at, because the kernel had left out the first.
    HooksRepeated = "hooks_repeated";
    /// User memory could not be read without a page fault.
    UserFault = "user_fault";
    /// The kernel had no memory for a socket's state, or the map was full: the call was not captured.
    NoState = "no_state";
    /// Connections left alone because their bytes are not HTTP.
    NotHttp = "not_http";
    /// Directions of HTTP/2 connections in which the walk from frame to frame lost its place, because bytes were not seen. It is
    /// looked for again.
    FramesLost = "http2_frames_lost";
    /// Kafka connections left alone because the walk from message to message lost its place.
    MessagesLost = "kafka_messages_lost";
    /// Calls whose content was not seen, by cause.
    UnseenSplice = "unseen_splice";
    UnseenIoUring = "unseen_io_uring";
    UnseenCompat = "unseen_compat";
    UnseenOther = "unseen_other";
    /// Bytes were missing between two calls of a connection.
    Gaps = "gaps";
    /// Outbound requests that got a parent, by rule.
    CausedWorker = "caused_worker";
    CausedGoroutine = "caused_goroutine";
    CausedGoContext = "caused_go_context";
    CausedIdentifier = "caused_identifier";
    CausedUpstream = "caused_upstream";
    CausedSingle = "caused_single_in_flight";
    /// Outbound requests while inbound ones were open in their process, of which no rule found the cause.
    Abstained = "abstained";
    /// Outbound requests whose rules named different causes.
    Conflicts = "conflicts";
    /// Threads, goroutines, functions and processes that a rule holds for no longer, because they contradicted it.
    Demoted = "demoted";
    /// Inbound requests of a Go process whose goroutine could not be told.
    GoroutineUnread = "goroutine_unread";
    /// Outbound requests of goroutines that may be older than the request that their parent works on.
    GoroutineElder = "goroutine_elder";
    /// Outbound requests of Go programs on connections of a kind that is not known (TLS, wrapped ones).
    GoConnUnknown = "go_conn_unknown";
    /// A `tracestate` that was not passed on for want of room.
    TracestatesFull = "tracestates_full";
    /// Threads or processes that were not followed for want of room.
    CausalityFull = "causality_full";
    /// The process map was full: a process is not traced.
    ProcessesFull = "processes_full";
    /// Requests into which a `traceparent` was put.
    Injected = "injected";
    /// Requests that were left as they are, by cause: the first bytes are none of an HTTP/1 request.
    AsideNotRequest = "aside_not_request";
    /// The head came in pieces, or is too long.
    AsideUnfinished = "aside_unfinished";
    /// A line of the head is folded or ends otherwise than by CR LF.
    AsideUnusual = "aside_unusual";
    /// The program writes a trace context by itself, there or before on that connection.
    AsideOwnContext = "aside_own_context";
    /// The connection is about to turn into another protocol.
    AsideUpgrade = "aside_upgrade";
    /// It is not certain that a request starts there.
    AsidePosition = "aside_position";
    /// Bytes sent before were not acknowledged yet, or the send buffer is too small.
    AsideBusy = "aside_busy";
    /// Whether the trace is sampled is for userspace to say, because sampling rules are set.
    AsideOpen = "aside_open";
    /// The program asked for time stamps of what it sends, or for sending without copies: both count bytes.
    AsideOption = "aside_option";
    /// The kernel had no memory for it.
    AsideMemory = "aside_memory";
    /// Connections to a peer that refused a request with a `traceparent`, or that does not speak HTTP.
    AsidePeer = "aside_peer";
    /// Peers that answered the first request with a `traceparent` by 400 or 431, or by a reset.
    PeersRefused = "peers_refused";
    /// Requests of connections that were opened before the agent started, or whose last response had just been read.
    AsideUnarmed = "aside_unarmed";
    /// Requests to peers that had not answered one in HTTP/1 yet.
    AsideNewPeer = "aside_new_peer";
    /// Sockets that could not be put into the socket map.
    AsideSocket = "aside_socket";
    /// Times that a socket was put into the socket map.
    Armed = "sockets_armed";
}

/// Slots of the counter map.
pub const SLOTS: u32 = 64;
const _: () = assert!(Counter::ALL.len() <= SLOTS as usize);
