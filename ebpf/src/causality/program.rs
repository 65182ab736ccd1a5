//! What a process works on: the requests that it has read and not answered.

use spandrel_common::{context::Context, stats::Counter};

use crate::{
    conn::State,
    emit,
    kernel::{sock::Sock, task::Ids},
    maps::{self, PROGRAMS},
    read,
};

/// A process that serves requests. Counts are changed by atomic instructions; the rest is written by the request
/// that began while there was no other.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Program {
    /// Requests that it works on.
    pub open: u64,
    /// Sum of the ids of their connections: that of the only one, if there is one.
    sum: u64,
    /// The connection of [`Program::context`]: a request that began while there was no other. 0 if another began since.
    conn: u64,
    /// Outbound requests that the single one caused and whose responses have not begun.
    pub calls: u64,
    context: Context,
    /// When that one was read.
    read_ns: u64,
    /// It has contradicted the rule of the single request.
    pub demoted: u8,
    /// It also serves something that is not followed.
    opaque: u8,
    reserved: [u8; 6],
}

const EMPTY: Program = Program {
    open: 0,
    sum: 0,
    conn: 0,
    calls: 0,
    context: Context::UNKNOWN,
    read_ns: 0,
    demoted: 0,
    opaque: 0,
    reserved: [0; 6],
};

#[inline(always)]
fn of_or_new(tgid: u32) -> Option<&'static mut Program> {
    // 1 is BPF_NOEXIST: another thread may be faster.
    if maps::program(tgid).is_none()
        && PROGRAMS.insert(tgid, &EMPTY, 1).is_err()
        && maps::program(tgid).is_none()
    {
        emit::count(Counter::CausalityFull);
    }
    maps::program(tgid)
}

/// A request was read.
#[inline(always)]
pub fn begin(state: &State, ids: Ids) {
    let Some(program) = of_or_new(ids.tgid) else { return };
    read::fetch_add(&raw mut program.sum, state.id);
    if read::fetch_add(&raw mut program.open, 1) == 0 {
        program.context = state.context;
        program.read_ns = state.rx.last_ns;
        program.conn = if state.pipelined == 0 { state.id } else { 0 };
    } else {
        program.conn = 0;
    }
}

/// A request that process `tgid` read is over.
#[inline(always)]
pub fn end(state: &State, tgid: u32) {
    let Some(program) = maps::program(tgid) else { return };
    read::fetch_add(&raw mut program.sum, state.id.wrapping_neg());
    if read::fetch_add(&raw mut program.open, u64::MAX) == 1 && program.calls != 0 {
        // It has answered, and what it was thought to have asked for was not there yet.
        program.calls = 0;
        program.demoted = 1;
        emit::count(Counter::Demoted);
    }
}

impl Program {
    /// The only request that it works on, if that is all it can be doing, and it was read before `sent_ns`. (Who calls
    /// himself may have read on another CPU already what he has just sent.)
    #[inline(always)]
    pub fn only(&self, sent_ns: u64) -> Option<&Context> {
        let alone = self.open == 1 && self.conn != 0 && self.sum == self.conn && self.read_ns < sent_ns;
        (alone && self.opaque == 0 && self.context.known != 0).then_some(&self.context)
    }
}

/// Something that is not followed came in by a socket of a process.
#[inline(always)]
pub fn opaque(sock: Sock, ids: Ids) {
    if !sock.is_dialled()
        && let Some(program) = of_or_new(ids.tgid)
    {
        program.opaque = 1;
    }
}

/// A process ends.
#[inline(always)]
pub fn forget(tgid: u32) {
    // A process that served nothing has no entry.
    let _ = PROGRAMS.remove(tgid);
}
