//! Offsets inside kernel structures that the agent finds in this kernel's BTF and gives to the kernel side.

/// An offset that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

macro_rules! layout {
    ($($(#[$doc:meta])* $name:ident: $owner:literal, $member:literal, $need:ident;)*) => {
        /// Byte offsets; [`ABSENT`] where this kernel has no such member.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(C)]
        pub struct Layout { $($(#[$doc])* pub $name: u32,)* }

        impl Layout {
            /// Nothing found yet.
            pub const NONE: Self = Self { $($name: ABSENT,)* };
            /// Field name, owning structure, member path and need, in the order of the fields.
            pub const FIELDS: &'static [(&'static str, &'static str, &'static str, Need)] =
                &[$((stringify!($name), $owner, $member, Need::$need),)*];
            /// The offsets in the order of the fields, as they lie in memory.
            pub fn words(&self) -> [u32; Self::FIELDS.len()] {
                [$(self.$name,)*]
            }
            /// The field with the given index of [`Self::FIELDS`].
            pub fn set(&mut self, index: usize, offset: u32) {
                let mut at = 0;
                $(if at == index { self.$name = offset; } at += 1;)*
                let _ = at;
            }
        }
    };
}

/// What is lost without a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing works without it.
    Always,
    /// The system call profile does not work without it.
    Syscalls,
    /// Something is less exact.
    Nice,
}

layout! {
    sk_family: "sock_common", "skc_family", Always;
    sk_num: "sock_common", "skc_num", Always;
    sk_dport: "sock_common", "skc_dport", Always;
    sk_daddr: "sock_common", "skc_daddr", Always;
    sk_rcv_saddr: "sock_common", "skc_rcv_saddr", Always;
    sk_v6_daddr: "sock_common", "skc_v6_daddr", Nice;
    sk_v6_rcv_saddr: "sock_common", "skc_v6_rcv_saddr", Nice;
    sk_net: "sock_common", "skc_net", Nice;
    sk_type: "sock", "sk_type", Always;
    sk_protocol: "sock", "sk_protocol", Always;
    sk_err: "sock", "sk_err", Nice;
    sk_socket: "sock", "sk_socket", Nice;
    sk_flags: "sock_common", "skc_flags", Nice;
    sk_tsflags: "sock", "sk_tsflags", Nice;
    icsk_bind_hash: "inet_connection_sock", "icsk_bind_hash", Nice;
    bind_fastreuse: "inet_bind_bucket", "fastreuse", Nice;
    sk_shutdown: "sock", "sk_shutdown", Nice;
    net_inum: "net", "ns.inum", Nice;
    tcp_wstamp: "tcp_sock", "tcp_wstamp_ns", Nice;
    tcp_mstamp: "tcp_sock", "tcp_mstamp", Nice;
    tcp_lrcvtime: "inet_connection_sock", "icsk_ack.lrcvtime", Nice;
    tcp_first_tx: "tcp_sock", "first_tx_mstamp", Nice;
    tcp_copied_seq: "tcp_sock", "copied_seq", Nice;
    tcp_write_seq: "tcp_sock", "write_seq", Nice;
    tcp_snd_una: "tcp_sock", "snd_una", Nice;
    tcp_bytes_acked: "tcp_sock", "bytes_acked", Nice;
    tcp_rcv_nxt: "tcp_sock", "rcv_nxt", Nice;
    tcp_bytes_received: "tcp_sock", "bytes_received", Nice;
    sk_sndbuf: "sock", "sk_sndbuf", Nice;
    task_files: "task_struct", "files", Syscalls;
    task_parent: "task_struct", "real_parent", Nice;
    task_tgid: "task_struct", "tgid", Always;
    task_pid: "task_struct", "pid", Always;
    task_mm: "task_struct", "mm", Always;
    task_flags: "task_struct", "flags", Always;
    task_status: "task_struct", "thread_info.status", Nice;
    task_signal: "task_struct", "signal", Always;
    task_io_uring: "task_struct", "io_uring", Nice;
    signal_live: "signal_struct", "live", Always;
    files_fdt: "files_struct", "fdt", Syscalls;
    fdt_fd: "fdtable", "fd", Syscalls;
    fdt_max: "fdtable", "max_fds", Syscalls;
    file_private: "file", "private_data", Syscalls;
    file_inode: "file", "f_inode", Syscalls;
    inode_mode: "inode", "i_mode", Syscalls;
    inode_ino: "inode", "i_ino", Syscalls;
    socket_inode: "socket_alloc", "vfs_inode", Nice;
    socket_sk: "socket", "sk", Syscalls;
    socket_file: "socket", "file", Nice;
    file_flags: "file", "f_flags", Nice;
    file_ep: "file", "f_ep", Nice;
    task_comm: "task_struct", "comm", Nice;
    epitem_link: "epitem", "fllink", Nice;
    epitem_ep: "epitem", "ep", Nice;
    eventpoll_wq: "eventpoll", "wq", Nice;
    wait_head: "wait_queue_head", "head", Nice;
    wait_entry: "wait_queue_entry", "entry", Nice;
    wait_private: "wait_queue_entry", "private", Nice;
    mm_arg_start: "mm_struct", "arg_start", Always;
    mm_arg_end: "mm_struct", "arg_end", Always;
    mm_env_end: "mm_struct", "env_end", Always;
    bprm_filename: "linux_binprm", "filename", Always;
}
