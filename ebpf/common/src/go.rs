//! What the kernel side needs to know of a Go program to tell goroutines apart.

use core::mem::size_of;

/// An offset that this release of Go does not have.
pub const ABSENT: u16 = u16::MAX;

/// Byte offsets inside Go's own structures; [`ABSENT`] where a release has no such member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Layout {
    /// `g.m`: the thread that a goroutine runs on.
    pub g_m: u16,
    /// `g.goid`: never used twice in a process.
    pub g_goid: u16,
    /// `g.parentGoid` (Go 1.21).
    pub g_parent: u16,
    /// `m.curg`: the goroutine that a thread runs.
    pub m_curg: u16,
    /// `m.p`: the processor that a thread holds, outside of system calls.
    pub m_p: u16,
    /// `m.oldp`: the one that it held before a system call.
    pub m_oldp: u16,
    /// `p.goidcache` and, behind it, `p.goidcacheend`: ids that the processor will give next.
    pub p_cache: u16,
    /// `net/http.persistConn.conn`, an interface.
    pub pc_conn: u16,
    /// `net/http.persistConn.isClientConn` (Go 1.26): its `roundTrip` waits inside for its turn.
    pub pc_is_client: u16,
    /// From a `net.TCPConn` or `net.UnixConn` to the pointer to its `netFD`.
    pub conn_fd: u16,
    /// `net.netFD.pfd.Sysfd`.
    pub fd_sysfd: u16,
    /// The hash in an itab.
    pub itab_hash: u16,
    /// `net/http.Request.ctx`, an interface.
    pub req_ctx: u16,
    /// `g.startpc`: the function that a goroutine was started with.
    pub g_startpc: u16,
    /// Hashes of the types `*net.TCPConn` and `*net.UnixConn`.
    pub tcp_hash: u32,
    pub unix_hash: u32,
    /// The same of `*context.cancelCtx`, `*context.timerCtx` and `*context.valueCtx`, whose first member is the
    /// context that they were made from, and of `context.withoutCancelCtx` (Go 1.21; else 0), which has it alone.
    pub cancel_hash: u32,
    pub timer_hash: u32,
    pub value_hash: u32,
    pub without_hash: u32,
}

/// A Go process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Program {
    /// Address of `runtime.sched.goidgen`, the last id given to a processor; 0 if it was not found.
    pub goidgen: u64,
    /// First address of Go's own code, and the one behind it.
    pub text: u64,
    pub text_end: u64,
    pub layout: Layout,
}

/// Words of a [`Program`].
pub const WORDS: usize = size_of::<Program>() / 8;

impl Program {
    /// As it lies in memory.
    pub fn words(&self) -> [u64; WORDS] {
        let layout = &self.layout;
        let four = |a: u16, b: u16, c: u16, d: u16| {
            u64::from(a) | u64::from(b) << 16 | u64::from(c) << 32 | u64::from(d) << 48
        };
        let two = |a: u32, b: u32| u64::from(a) | u64::from(b) << 32;
        [
            self.goidgen,
            self.text,
            self.text_end,
            four(layout.g_m, layout.g_goid, layout.g_parent, layout.m_curg),
            four(layout.m_p, layout.m_oldp, layout.p_cache, layout.pc_conn),
            four(layout.pc_is_client, layout.conn_fd, layout.fd_sysfd, layout.itab_hash),
            two(u32::from(layout.req_ctx) | u32::from(layout.g_startpc) << 16, layout.tcp_hash),
            two(layout.unix_hash, layout.cancel_hash),
            two(layout.timer_hash, layout.value_hash),
            u64::from(layout.without_hash),
        ]
    }
}

/// Ids that a processor takes at once (`_GoidCacheBatch`).
pub const BATCH: u64 = 16;

const _: () = assert!(size_of::<Layout>() == 52 && size_of::<Program>() == 80);
const _: () = assert!(cfg!(target_endian = "little"));
