//! Two functions of `net/http`, of the Go processes that are traced: `serverHandler.ServeHTTP`, where the handler of a
//! request begins, and `(*persistConn).roundTrip`, where a request is handed to a connection.
//!
//! Arguments are where Go's internal ABI has them: RAX, RBX, RCX, RDI, and the goroutine in R14.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};

use spandrel_common::{context::Rule, go::Program};

use crate::{
    causality::go,
    filter, globals,
    kernel::task::{self, Ids},
};

/// A request is handed over: RAX is the connection, RBX the request.
#[uprobe]
pub fn go_round_trip(ctx: ProbeContext) -> u32 {
    if let Some((program, ids)) = followed() {
        // SAFETY: the kernel gives a probe its task's registers; the verifier checks the loads.
        let (connection, request, goroutine) = unsafe { ((*ctx.regs).rax, (*ctx.regs).rbx, (*ctx.regs).r14) };
        go::client::handed(program, connection, request, goroutine, ids);
    }
    0
}

/// A handler begins: RDI is the request (RAX the server, RBX and RCX the writer of the response).
#[uprobe]
pub fn go_serve_http(ctx: ProbeContext) -> u32 {
    if globals::rule(Rule::GoContext)
        && let Some((program, ids)) = followed()
    {
        // SAFETY: as above.
        let (request, goroutine) = unsafe { ((*ctx.regs).rdi, (*ctx.regs).r14) };
        go::ancestry::began(program, request, goroutine, ids);
    }
    0
}

/// What is known of the running program, if its goroutines are followed.
#[inline(always)]
fn followed() -> Option<(&'static Program, Ids)> {
    let ids = task::ids();
    if !filter::selected(ids.tgid) || !globals::rule(Rule::Goroutine) {
        return None;
    }
    Some((go::program(ids.tgid)?, ids))
}
