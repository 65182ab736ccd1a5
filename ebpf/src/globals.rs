//! Values that the loader sets before the programs are verified. They are frozen then, so the verifier
//! sees constants and drops the branches that this machine does not need.

use core::ptr::read_volatile;

use spandrel_common::{
    context::{Rule, STRICT},
    event::SCOPE_ALL,
    layout::{ABSENT, Layout},
};

#[unsafe(no_mangle)]
static LAYOUT: Layout = Layout::NONE;
#[unsafe(no_mangle)]
static SCOPE: u32 = SCOPE_ALL;
#[unsafe(no_mangle)]
static AGENT_TGID: u32 = 0;
#[unsafe(no_mangle)]
static RULES: u32 = 0;
#[unsafe(no_mangle)]
static TICK_NS: u64 = 0;
#[unsafe(no_mangle)]
static PREEMPTIBLE: u32 = 0;

/// Reads one member of a frozen static without letting the compiler see its build-time value.
macro_rules! member {
    ($name:ident) => {
        /// Byte offset of the member that [`Layout`] names alike, [`ABSENT`] if this kernel has none.
        #[inline(always)]
        pub fn $name() -> u32 {
            // SAFETY: a shared read of an immutable static; volatile because the loader replaces the value.
            unsafe { read_volatile(&raw const LAYOUT.$name) }
        }
    };
}

member!(sk_family);
member!(sk_num);
member!(sk_dport);
member!(sk_daddr);
member!(sk_rcv_saddr);
member!(sk_v6_daddr);
member!(sk_v6_rcv_saddr);
member!(sk_net);
member!(sk_type);
member!(sk_protocol);
member!(sk_err);
member!(sk_socket);
member!(icsk_bind_hash);
member!(bind_fastreuse);
member!(sk_shutdown);
member!(sk_flags);
member!(sk_tsflags);
member!(net_inum);
member!(tcp_wstamp);
member!(tcp_mstamp);
member!(tcp_lrcvtime);
member!(tcp_first_tx);
member!(tcp_copied_seq);
member!(tcp_write_seq);
member!(tcp_snd_una);
member!(tcp_bytes_acked);
member!(tcp_rcv_nxt);
member!(tcp_bytes_received);
member!(sk_sndbuf);
member!(task_files);
member!(task_parent);
member!(task_tgid);
member!(task_pid);
member!(task_mm);
member!(task_flags);
member!(task_status);
member!(task_signal);
member!(task_io_uring);
member!(signal_live);
member!(files_fdt);
member!(fdt_fd);
member!(fdt_max);
member!(file_private);
member!(file_inode);
member!(inode_mode);
member!(inode_ino);
member!(socket_inode);
member!(socket_sk);
member!(socket_file);
member!(file_flags);
member!(file_ep);
member!(task_comm);
member!(epitem_link);
member!(epitem_ep);
member!(eventpoll_wq);
member!(wait_head);
member!(wait_entry);
member!(wait_private);
member!(mm_arg_start);
member!(mm_arg_end);
member!(mm_env_end);
member!(bprm_filename);

/// Whether this kernel has a member.
#[inline(always)]
pub fn has(offset: u32) -> bool {
    offset != ABSENT
}

/// `SCOPE_*`.
#[inline(always)]
pub fn scope() -> u32 {
    // SAFETY: as in `member!`.
    unsafe { read_volatile(&raw const SCOPE) }
}

/// The agent's own process, which is never traced.
#[inline(always)]
pub fn agent_tgid() -> u32 {
    // SAFETY: as in `member!`.
    unsafe { read_volatile(&raw const AGENT_TGID) }
}

/// Nanoseconds between two ticks of the kernel's clock; 0 if unknown.
#[inline(always)]
pub fn tick_ns() -> u64 {
    // SAFETY: as in `member!`.
    unsafe { read_volatile(&raw const TICK_NS) }
}

/// Whether hooks have to keep others from their CPU: see [`crate::kernel::preempt`].
#[inline(always)]
pub fn preemptible() -> bool {
    // SAFETY: as in `member!`.
    unsafe { read_volatile(&raw const PREEMPTIBLE) != 0 }
}

/// Whether a rule of causality is on. Bit numbers are values of [`Rule`]; [`STRICT`] is one more.
#[inline(always)]
pub fn rule(rule: Rule) -> bool {
    // SAFETY: as in `member!`.
    unsafe { read_volatile(&raw const RULES) & (1 << rule as u32) != 0 }
}

/// Whether only evidence counts that is sound by itself.
#[inline(always)]
pub fn strict() -> bool {
    // SAFETY: as in `member!`.
    unsafe { read_volatile(&raw const RULES) & STRICT != 0 }
}
