//! Messages of a connection, one after the other: where each starts, how it is framed, and what of it is told.

use spandrel_common::{
    event::{
        DATA_BODY, DATA_END, DATA_LIMIT, DATA_TO_CLOSE, DATA_UNSEEN, DECISION_DROPPED, DECISION_OPEN,
        DECISION_SAMPLED, SELECT_PENDING, TRANSPORT_UNIX, Unseen,
    },
    limits::{HEAD_CAPTURE, HEAD_SCAN, SNIFF},
    stats::Counter,
};

use super::{
    http2::{spandrel_held_preface, spandrel_tunnel},
    tell::{HEAD, tell},
    withheld,
};
use crate::{
    call::gather,
    causality::{self, piece::spandrel_first_piece, spandrel_answered, spandrel_called, spandrel_outbound},
    chunk::{self, How},
    conn::{BODY, CHUNKED, IGNORED, METHOD_CONNECT, METHOD_HEAD, SHIP, START, State, TO_CLOSE, WITHHELD},
    decide::{self, DROP, KEEP, UNCLEAR},
    emit, filter,
    head::{self, Framing, Looks, spandrel_head},
    inject, read,
    scratch::{self, Moved, Scratch},
};

/// Takes what it understands of the sent bytes from `offset` on and returns how many that were; 0 for all.
///
/// A global function, like its twin: the verifier checks it once, whoever calls it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_step_tx(state: *mut State, offset: u64) -> u64 {
    match (State::given(state), scratch::held()) {
        (Some(state), Some(scratch)) => step::<true>(state, offset, scratch),
        _ => 0,
    }
}

/// The same for received bytes.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_step_rx(state: *mut State, offset: u64) -> u64 {
    match (State::given(state), scratch::held()) {
        (Some(state), Some(scratch)) => step::<false>(state, offset, scratch),
        _ => 0,
    }
}

#[inline(always)]
fn step<const TX: bool>(state: &mut State, offset: u64, scratch: &mut Scratch) -> u64 {
    let moved = scratch.moved;
    let at = moved.base + offset;
    let rest = moved.len - offset;
    let unix = state.transport == TRANSPORT_UNIX;
    let (own, other) = state.flows::<TX>();
    if own.mode == BODY {
        let (until, left) = (own.until, own.until.wrapping_sub(at));
        if left > rest {
            return 0;
        }
        own.mode = START;
        if left > 0 {
            body::<TX>(state, until, DATA_END, scratch);
            return left;
        }
        // The body ended between two calls, in bytes that were not seen.
        scratch.data.unseen = Unseen::Between as u8;
        body::<TX>(state, until, DATA_END | DATA_UNSEEN, scratch);
        return begin::<TX>(state, offset, scratch);
    }
    match own.mode {
        CHUNKED => chunks::<TX>(state, offset, scratch),
        // No event tells the end of a Unix socket, and with it how long the body was.
        TO_CLOSE if unix => {
            body::<TX>(state, moved.base + moved.len, 0, scratch);
            0
        }
        TO_CLOSE | WITHHELD => 0,
        START => begin::<TX>(state, offset, scratch),
        // A new turn is a new chance to find a message start: for a request once the other side has
        // answered, for a response once a request came.
        _ if moved.turned != 0 && offset == 0 && other.pos > 0 => begin::<TX>(state, offset, scratch),
        _ => {
            // The body of a request that was answered early ended somewhere, and userspace may know where.
            if moved.request != 0 && offset == 0 && own.shipped > 0 && moved.call.unseen == 0 {
                let want = if rest < SNIFF as u64 { rest } else { SNIFF as u64 };
                let got = spandrel_head(0, want);
                if head::looks(scratch.view(), got) == Looks::Request {
                    own.shipped = 0;
                }
            }
            ship::<TX>(state, offset, 0, scratch)
        }
    }
}

/// A message may start at `offset`.
#[inline(always)]
fn begin<const TX: bool>(state: &mut State, offset: u64, scratch: &mut Scratch) -> u64 {
    let moved = scratch.moved;
    let rest = moved.len - offset;
    let want = if rest < HEAD_SCAN as u64 { rest } else { HEAD_SCAN as u64 };
    state.flows::<TX>().0.shipped = 0;
    if moved.call.unseen != 0 {
        return ship::<TX>(state, offset, 0, scratch);
    }
    let got = spandrel_head(offset, want);
    let bytes = scratch.view();
    let looks = if moved.request != 0 { head::looks(bytes, got) } else { Looks::Other };
    let starts =
        if moved.request != 0 { looks == Looks::Request } else { got >= 12 && head::is_response(bytes) };
    if !starts {
        if looks == Looks::Preface && spandrel_held_preface(state, u32::from(TX), offset) != 0 {
            return 0;
        }
        if looks == Looks::Short && rest == 1 && hold::<TX>(state, scratch) {
            return 0;
        }
        if looks == Looks::Other && moved.request != 0 {
            super::give_up_slowly(state, scratch);
            if state.phase == IGNORED {
                return 0;
            }
        }
        let flag = if looks == Looks::Short { state.flows::<TX>().0.starts() } else { 0 };
        return ship::<TX>(state, offset, flag, scratch);
    }
    if moved.request != 0 {
        let blank = head::blank(bytes);
        if blank > 0 {
            scratch.data.decision = DECISION_OPEN;
            let starts = state.flows::<TX>().0.starts();
            tell::<TX>(state, moved.base + offset, blank, blank, starts, scratch);
            return blank;
        }
    }
    if moved.request != 0 && scratch.found.line != 0 && !head::is_request_line(scratch) {
        if state.announced == 0 {
            super::leave(state, scratch);
            return 0;
        }
        super::give_up_slowly(state, scratch);
        return ship::<TX>(state, offset, 0, scratch);
    }
    let framing = if scratch.found.end == 0 { Framing::UNCLEAR } else { head::framing(&scratch.found) };
    if moved.request != 0 {
        request::<TX>(state, offset, framing, scratch)
    } else {
        response::<TX>(state, offset, framing, scratch)
    }
}

/// Holds the lone first byte of a request, the last of this call, until more comes: with it the kernel side can
/// follow the request, alone it would have to leave all of it to userspace. Go's server reads it ahead.
#[inline(always)]
pub fn hold<const TX: bool>(state: &mut State, scratch: &mut Scratch) -> bool {
    let byte = scratch.view().byte(0);
    let (own, _) = state.flows::<TX>();
    if own.mode != START || !byte.is_ascii_uppercase() {
        return false;
    }
    own.held = byte;
    own.held_ns = scratch.moved.first_ns;
    own.until = scratch.moved.base + scratch.moved.len - 1;
    true
}

/// A request starts at `offset`; its head was searched.
#[inline(always)]
fn request<const TX: bool>(state: &mut State, offset: u64, framing: Framing, scratch: &mut Scratch) -> u64 {
    let moved = scratch.moved;
    let at = moved.base + offset;
    let bytes = scratch.view();
    let end = u64::from(scratch.found.end);
    let starts = state.flows::<TX>().0.starts();
    state.turns = 0;
    state.interim = 0;
    if TX {
        inject::sent(state);
    }
    state.method = head::method(bytes);
    if state.measuring != 0 {
        withheld::spandrel_overtaken(state);
    }
    let withheld_before = state.flows::<TX>().1.mode == WITHHELD;
    if moved.crossed != 0 {
        state.awaiting = 0;
    } else if matches!(state.flows::<TX>().1.mode, BODY | CHUNKED) {
        state.pipelined = 1;
    }
    if state.awaiting != 0 {
        // What a client takes from a Unix socket by `splice` is not seen where the state hangs on the socket: one
        // request after the other proves nothing there.
        let blind = TX && state.transport == TRANSPORT_UNIX && state.ino == 0;
        if !blind || offset > 0 {
            state.pipelined = 1;
        }
        if withheld_before {
            state.orphans = state.orphans.saturating_add(1);
        }
    }
    awaits::<TX>(state, &moved);
    let (_, other) = state.flows::<TX>();
    if withheld_before {
        other.mode = START;
        other.sent = other.pos;
    }

    // Written at once: what is carried along needs stack.
    scratch.data.decision = DECISION_OPEN;
    let kept = context::<TX>(state, at, scratch);
    if TX && state.awaiting == 0 && state.single != 0 {
        spandrel_called(state);
    }
    // What may become a tunnel is followed to see whether it does.
    let tunnel = scratch.found.upgrade != 0 || state.method == METHOD_CONNECT;
    if framing != Framing::UNCLEAR && state.pipelined == 0 && !tunnel {
        match kept {
            KEEP => scratch.data.decision = DECISION_SAMPLED,
            DROP if decide::spandrel_dry_run() != 0 => scratch.data.decision = DECISION_DROPPED,
            // About a process that may yet turn out not to be selected, nothing is counted here.
            DROP if filter::state(moved.ids.tgid) == SELECT_PENDING => {}
            // It may be text in a body that is not followed: what comes behind it is not withheld for its sake.
            DROP if starts == 0 => {}
            DROP => {
                emit::count(Counter::RequestsUnsampled);
                withheld::begin::<TX>(state);
                return withhold::<TX>(state, moved, offset, end, framing);
            }
            _ => {}
        }
    }
    let (own, _) = state.flows::<TX>();
    own.quiet = 0;
    if framing == Framing::UNCLEAR {
        return ship::<TX>(state, offset, starts | HEAD, scratch);
    }
    let framing = if framing == Framing::ABSENT { Framing::EMPTY } else { framing };
    told::<TX>(state, offset, end, framing, scratch)
}

/// The response to a request is awaited from now on, unless it was received already.
#[inline(always)]
fn awaits<const TX: bool>(state: &mut State, moved: &Moved) {
    // A receive on another CPU advances its position first and says then that the answer has come: either is seen here,
    // or comes behind this.
    read::swap(&raw mut state.awaiting, 1);
    let (_, other) = state.flows::<TX>();
    if moved.late != 0 || read::word(&raw const other.pos) != moved.there {
        state.awaiting = 0;
    }
}

/// Makes the context of the request at `at`, whose head was searched, and decides about it.
#[inline(always)]
fn context<const TX: bool>(state: &mut State, at: u64, scratch: &Scratch) -> u32 {
    let found = &scratch.found;
    let plain = found.end != 0 && found.odd == 0;
    if TX {
        // What the program itself says counts more than what it is thought to do.
        return if plain && found.traceparent != 0 {
            decide::decide(state, at, scratch)
        } else {
            spandrel_outbound(state, at)
        };
    }
    // Of what came before, nothing more is to be told.
    spandrel_answered(state);
    let kept = if plain { decide::decide(state, at, scratch) } else { UNCLEAR };
    causality::inbound(state, at, kept, scratch);
    if found.end == 0 {
        spandrel_first_piece(state, at, scratch.moved.len - (at - scratch.moved.base));
    }
    kept
}

/// A request that is not sampled: nothing of it or of its response is told.
#[inline(always)]
fn withhold<const TX: bool>(state: &mut State, moved: Moved, offset: u64, end: u64, framing: Framing) -> u64 {
    let at = moved.base + offset;
    let rest = moved.len - offset;
    if state.measuring == 0 {
        state.flows::<TX>().1.mode = WITHHELD;
    }
    let (own, _) = state.flows::<TX>();
    own.quiet = 1;
    match framing {
        Framing::CHUNKED => {
            own.chunked(at + end);
            end
        }
        Framing::ABSENT | Framing::UNCLEAR => {
            own.sent = at + end;
            end
        }
        Framing(length) if end + length > rest => {
            own.mode = BODY;
            own.until = at + end + length;
            0
        }
        Framing(length) => {
            own.sent = at + end + length;
            end + length
        }
    }
}

/// A response starts at `offset`; its head was searched.
#[inline(always)]
fn response<const TX: bool>(state: &mut State, offset: u64, framing: Framing, scratch: &mut Scratch) -> u64 {
    let bytes = scratch.view();
    let end = u64::from(scratch.found.end);
    let status = head::status(bytes);
    if !TX {
        inject::answered(state, scratch.sk, status);
    }
    let starts = state.flows::<TX>().0.starts();
    scratch.data.decision = DECISION_OPEN;
    state.interim = u8::from(status < 200);
    if framing == Framing::UNCLEAR || state.pipelined != 0 || status < 100 {
        return ship::<TX>(state, offset, starts, scratch);
    }
    let tunnel = status == 101 || (state.method == METHOD_CONNECT && (200..300).contains(&status));
    let empty = status < 200 || status == 204 || status == 304 || state.method == METHOD_HEAD;
    let framing = if tunnel || empty { Framing::EMPTY } else { framing };
    let done = told::<TX>(state, offset, end, framing, scratch);
    if tunnel {
        spandrel_tunnel(state, u32::from(TX));
        return 0;
    }
    done
}

/// Tells of a head of `end` bytes at `offset` and of as much of its body as is in this call.
#[inline(always)]
fn told<const TX: bool>(
    state: &mut State,
    offset: u64,
    end: u64,
    framing: Framing,
    scratch: &mut Scratch,
) -> u64 {
    let moved = scratch.moved;
    let at = moved.base + offset;
    let rest = moved.len - offset;
    let (own, _) = state.flows::<TX>();
    own.quiet = 0;
    let sure = own.mode == START;
    let starts = own.starts() | HEAD;
    let (flags, covered, done) = match framing {
        Framing::EMPTY => {
            own.mode = START;
            (starts, end, end)
        }
        Framing::CHUNKED => {
            own.chunked(at + end);
            (starts, end, end)
        }
        Framing::ABSENT | Framing::UNCLEAR => {
            own.mode = TO_CLOSE;
            (starts | DATA_BODY | DATA_TO_CLOSE, rest, 0)
        }
        Framing(length) if end + length <= rest => {
            own.mode = START;
            (starts | DATA_BODY | DATA_END, end + length, end + length)
        }
        Framing(length) => {
            own.mode = BODY;
            own.until = at + end + length;
            (starts | DATA_BODY, rest, 0)
        }
    };
    // Where nothing was known to start, a message is believed that ends with its call.
    if !sure && own.mode == START && covered < rest {
        own.mode = SHIP;
    }
    tell::<TX>(state, at, covered, end, flags, scratch);
    done
}

/// Tells of body bytes up to the position `until`, from wherever the last event ended.
#[inline(always)]
fn body<const TX: bool>(state: &mut State, until: u64, flags: u16, scratch: &mut Scratch) {
    let (own, _) = state.flows::<TX>();
    let from = own.sent;
    own.sent = until;
    if own.quiet == 0 && until > from {
        scratch.data.decision = DECISION_OPEN;
        tell::<TX>(state, from, until - from, 0, DATA_BODY | flags, scratch);
    }
}

/// Walks the chunks of a chunked body (RFC 9112, section 7.1).
#[inline(always)]
pub fn chunks<const TX: bool>(state: &mut State, offset: u64, scratch: &mut Scratch) -> u64 {
    let moved = scratch.moved;
    let (own, _) = state.flows::<TX>();
    if own.until >= moved.base + moved.len {
        return 0;
    }
    let from = own.until - moved.base;
    let (how, place) = if moved.call.unseen == 0 {
        chunk::walk(own, scratch, &moved.call, from, moved.len)
    } else {
        (How::Unclear, from)
    };
    let until = moved.base + place;
    match how {
        How::Inside => {
            own.until = until;
            0
        }
        How::Ended => {
            own.mode = START;
            body::<TX>(state, until, DATA_END, scratch);
            place - offset
        }
        How::Unclear => {
            own.mode = SHIP;
            // Of what is withheld, nothing is shipped.
            own.shipped = if own.quiet != 0 { HEAD_CAPTURE as u32 } else { 0 };
            body::<TX>(state, until, 0, scratch);
            if state.flows::<TX>().0.quiet != 0 { 0 } else { place - offset }
        }
    }
}

/// Ships the bytes from `offset` on, as many as the limit of the turn allows. Always the rest of the call.
#[inline(always)]
fn ship<const TX: bool>(state: &mut State, offset: u64, flags: u16, scratch: &mut Scratch) -> u64 {
    let moved = scratch.moved;
    let rest = moved.len - offset;
    let (own, _) = state.flows::<TX>();
    own.mode = SHIP;
    let room = HEAD_CAPTURE as u64 - u64::from(own.shipped);
    let want = if rest < room { rest } else { room };
    let mut flags = flags;
    let mut captured = 0;
    scratch.data.unseen = moved.call.unseen as u8;
    if moved.call.unseen != 0 {
        flags |= DATA_UNSEEN;
    } else if want > 0 {
        captured = gather(moved.call.address, moved.call.vectors, offset, want);
        if captured < want {
            emit::count(Counter::UserFault);
            scratch.data.unseen =
                if moved.call.vectors > 0 { Unseen::Vectors as u8 } else { Unseen::Fault as u8 };
            flags |= DATA_UNSEEN;
        }
    }
    if want < rest {
        flags |= DATA_LIMIT;
    }
    own.shipped += want as u32;
    if flags & HEAD == 0 {
        scratch.data.decision = DECISION_OPEN;
    }
    tell::<TX>(state, moved.base + offset, rest, captured, flags, scratch);
    0
}
