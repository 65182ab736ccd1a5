//! `net/http.(*persistConn).roundTrip`, of the Go processes that are traced: a request is handed to a connection.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};

use crate::{causality::go, filter, globals, kernel::task};

/// A request is handed over: by Go's internal ABI, RAX is the connection and R14 the goroutine.
#[uprobe]
pub fn go_round_trip(ctx: ProbeContext) -> u32 {
    let ids = task::ids();
    if filter::selected(ids.tgid)
        && globals::rule(spandrel_common::context::Rule::Goroutine)
        && let Some(program) = go::program(ids.tgid)
    {
        // SAFETY: the kernel gives a probe its task's registers; the verifier checks the two loads.
        let (connection, goroutine) = unsafe { ((*ctx.regs).rax, (*ctx.regs).r14) };
        go::handed(program, connection, goroutine, ids);
    }
    0
}
