//! Every hook, in one table: the program, where it is attached, and what is lost without it.

/// One of the two ways to see bytes move. See ARCHITECTURE.md, "Capture profiles".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Socket tracepoints.
    Socket,
    /// System call tracepoints.
    Syscall,
}

impl Profile {
    /// The name on the command line and in reports.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Syscall => "syscall",
        }
    }
}

/// A program and its place.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// Name of the program in the kernel object.
    pub program: &'static str,
    /// Name of the BTF tracepoint.
    pub tracepoint: &'static str,
    /// The profile that needs it; `None` for both.
    pub profile: Option<Profile>,
    /// Without it the agent does not start.
    pub required: bool,
    /// What it is for; what is lost without it.
    pub purpose: &'static str,
    /// The first kernel that has it.
    pub since: &'static str,
    /// The name of a second program for the same, where the kernel leaves out hooks at times: the calls for which it
    /// left out the first.
    pub second: Option<&'static str>,
}

/// All hooks.
pub const HOOKS: &[Hook] = &[
    Hook {
        program: "sock_send_length",
        tracepoint: "sock_send_length",
        profile: Some(Profile::Socket),
        required: true,
        purpose: "bytes that programs send (socket profile)",
        since: "6.3",
        second: Some("sock_send_length_2"),
    },
    Hook {
        program: "sock_recv_length",
        tracepoint: "sock_recv_length",
        profile: Some(Profile::Socket),
        required: true,
        purpose: "bytes that programs receive (socket profile)",
        since: "6.3",
        second: Some("sock_recv_length_2"),
    },
    Hook {
        program: "sys_exit",
        tracepoint: "sys_exit",
        profile: Some(Profile::Syscall),
        required: true,
        purpose: "bytes that programs send and receive (system call profile)",
        since: "5.5",
        second: Some("sys_exit_2"),
    },
    Hook {
        program: "inet_sock_set_state",
        tracepoint: "inet_sock_set_state",
        profile: Some(Profile::Socket),
        required: true,
        purpose: "ends of connections, and processes that begin to listen",
        since: "5.5",
        second: None,
    },
    Hook {
        program: "inet_sock_set_state_map",
        tracepoint: "inet_sock_set_state",
        profile: Some(Profile::Syscall),
        required: true,
        purpose: "ends of connections, and processes that begin to listen",
        since: "5.5",
        second: None,
    },
    Hook {
        program: "tcp_destroy_sock",
        tracepoint: "tcp_destroy_sock",
        profile: Some(Profile::Socket),
        required: true,
        purpose: "ends of connections that failed before all was read",
        since: "5.5",
        second: None,
    },
    Hook {
        program: "tcp_destroy_sock_map",
        tracepoint: "tcp_destroy_sock",
        profile: Some(Profile::Syscall),
        required: true,
        purpose: "ends of connections that failed before all was read",
        since: "5.5",
        second: None,
    },
    Hook {
        program: "sched_process_exec",
        tracepoint: "sched_process_exec",
        profile: None,
        required: true,
        purpose: "programs that start after the agent, from their first instruction",
        since: "5.5",
        second: None,
    },
    Hook {
        program: "sched_process_fork",
        tracepoint: "sched_process_fork",
        profile: None,
        required: true,
        purpose: "children of traced programs",
        since: "5.5",
        second: None,
    },
    Hook {
        program: "sched_process_exit",
        tracepoint: "sched_process_exit",
        profile: None,
        required: true,
        purpose: "requests that a dying program leaves behind",
        since: "5.5",
        second: None,
    },
];
