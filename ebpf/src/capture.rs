//! The one body of both capture profiles: bytes moved through a socket.
//!
//! It follows HTTP/1 framing just far enough to know what it may withhold: bodies of messages whose
//! framing is beyond doubt, and whole exchanges that are not sampled. Whatever is in doubt is shipped, up
//! to a limit, and judged in userspace. Nothing here fails: it captures less, and counts it.

use spandrel_common::{
    event::{
        CLOSE_OPAQUE, Close, Conn, DATA_BODY, DATA_END, DATA_LIMIT, DATA_TO_CLOSE, DATA_UNSEEN,
        DECISION_OPEN, DECISION_SAMPLED, DIR_RX, DIR_TX, Header, ROLE_CLIENT, ROLE_SERVER, TRANSPORT_TCP,
        Unseen,
    },
    limits::{ANNOUNCE_EVERY_NS, HEAD_CAPTURE, HEAD_SCAN, SEGMENTS, SNIFF, SNIFF_TURNS},
    stats::Counter,
};

use crate::{
    call::{Call, spandrel_gather},
    chunk::{self, How},
    conn::{self, BODY, CHUNKED, HTTP, IGNORED, SHIP, SNIFFING, START, State, TO_CLOSE, WITHHELD},
    emit,
    decide::{DROP, KEEP, spandrel_decide},
    head::{self, Framing, Looks, spandrel_scan},
    kernel::{
        sock::{Memory, Sock, Tcp},
        task::{self, Ids},
    },
    scratch::{self, Moved, Scratch},
};

/// A flag of [`tell`] alone: the head of a message is in the event.
const HEAD: u16 = 1 << 15;

/// `len` bytes moved through `sock`, sent if `TX` and received if not. `tcp` is its TCP part, if it has one.
#[inline(always)]
pub fn moved<const TX: bool>(
    state: &mut State,
    sock: Sock,
    tcp: Option<Tcp<impl Memory>>,
    len: u64,
    call: Call,
) {
    if scratch::with(|scratch| locked::<TX>(state, sock, tcp, len, call, scratch)).is_none() {
        emit::count(Counter::ScratchBusy);
    }
}

#[inline(always)]
fn locked<const TX: bool>(
    state: &mut State,
    sock: Sock,
    tcp: Option<Tcp<impl Memory>>,
    len: u64,
    call: Call,
    scratch: &mut Scratch,
) {
    let dir = if TX { DIR_TX } else { DIR_RX };
    let turned = state.last_dir != dir;
    state.last_dir = dir;
    scratch.sk = sock.0;
    account::<TX>(state, sock, tcp, len, &mut scratch.moved);
    scratch.moved.call = call;
    scratch.moved.turned = u32::from(turned);
    if state.phase == SNIFFING && !recognise::<TX>(state, scratch.moved) {
        return;
    }
    scratch.moved.request = u32::from((state.role == ROLE_SERVER) != TX);
    if scratch.moved.request == 0 {
        state.awaiting = 0;
    }
    let mut offset = 0;
    for _ in 0..SEGMENTS {
        if offset >= len {
            return;
        }
        let done = if TX { spandrel_step_tx(state, offset) } else { spandrel_step_rx(state, offset) };
        if done == 0 {
            return;
        }
        offset += done;
    }
    if offset < len {
        // More messages in one call than are followed one by one.
        state.flows::<TX>().0.mode = SHIP;
        state.flows::<TX>().0.shipped = 0;
        scratch.moved.turned = 0;
        if TX { spandrel_step_tx(state, offset) } else { spandrel_step_rx(state, offset) };
    }
}

/// Takes what it understands of the sent bytes from `offset` on and returns how many that were; 0 for all.
///
/// A global function, like its twin: the verifier checks it once, whoever calls it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_step_tx(state: *mut State, offset: u64) -> u64 {
    // SAFETY: the caller has the state and the scratch slot; the verifier asks for the null check.
    match (unsafe { state.as_mut() }, scratch::held()) {
        (Some(state), Some(scratch)) => step::<true>(state, offset, unsafe { &mut *scratch }),
        _ => 0,
    }
}

/// The same for received bytes.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_step_rx(state: *mut State, offset: u64) -> u64 {
    // SAFETY: as above.
    match (unsafe { state.as_mut() }, scratch::held()) {
        (Some(state), Some(scratch)) => step::<false>(state, offset, unsafe { &mut *scratch }),
        _ => 0,
    }
}

/// Advances positions and finds out when the bytes moved and whether some are missing before them.
#[inline(always)]
fn account<const TX: bool>(
    state: &mut State,
    sock: Sock,
    tcp: Option<Tcp<impl Memory>>,
    len: u64,
    moved: &mut Moved,
) {
    let now = emit::now();
    let (own, other) = state.flows::<TX>();
    let before = if own.last_ns > other.last_ns { own.last_ns } else { other.last_ns };
    let (mut first_ns, mut last_ns, mut wait_ns) = (now, now, 0);
    match tcp {
        Some(tcp) if TX => {
            // This hook runs after the bytes have left, and on one machine the receiver may have run before.
            let sent = tcp.transmitted_ns();
            if sent > before && sent < now {
                last_ns = sent;
            }
            let first = tcp.first_transmitted_ns();
            first_ns = if first > before && first < last_ns { first } else { last_ns };
        }
        Some(tcp) => {
            let arrived = tcp.segment_ns();
            if arrived > before && arrived < now {
                wait_ns = now - arrived;
            }
        }
        None => {}
    }
    own.last_ns = last_ns;
    if let Some(tcp) = tcp {
        let seq = if TX { tcp.sent_seq() } else { tcp.received_seq() };
        if let Some(seq) = seq {
            let mut missing = seq.wrapping_sub(own.seq).wrapping_sub(len as u32);
            // The peer's FIN takes a number, too, and is consumed with the last bytes.
            if !TX && missing == 1 && sock.peer_finished() {
                missing = 0;
            }
            // Half of the range is "before": another thread's later call was accounted first.
            if own.seq_known != 0 && missing != 0 && missing < 1 << 31 {
                emit::count(Counter::Gaps);
                own.pos += u64::from(missing);
                if own.mode == START || (own.mode == BODY && own.pos > own.until) || own.mode == CHUNKED {
                    own.mode = SHIP;
                    own.shipped = 0;
                }
            }
            own.seq = seq;
            own.seq_known = 1;
        }
    }
    moved.ids = task::ids();
    moved.len = len;
    moved.base = own.pos;
    moved.first_ns = first_ns;
    moved.last_ns = last_ns;
    moved.wait_ns = wait_ns;
    moved.now = now;
    own.pos += len;
}

/// Looks for the start of a request in a connection of which nothing is known yet.
#[inline(always)]
fn recognise<const TX: bool>(state: &mut State, moved: Moved) -> bool {
    let want = if moved.len < SNIFF as u64 { moved.len } else { SNIFF as u64 };
    let seen = moved.call.unseen == 0
        && spandrel_gather(moved.call.address, moved.call.vectors, 0, want) == want;
    if seen && head::looks(want) != Looks::Other {
        state.phase = HTTP;
        state.turns = 0;
        state.role = if TX { ROLE_CLIENT } else { ROLE_SERVER };
        let (own, other) = state.flows::<TX>();
        own.sent = moved.base;
        other.sent = other.pos;
        return true;
    }
    give_up_slowly(state, moved);
    false
}

/// Counts a turn without a message start, and leaves the connection alone after enough of them.
#[inline(always)]
fn give_up_slowly(state: &mut State, moved: Moved) {
    if moved.turned != 0 {
        state.turns += 1;
        if state.turns >= SNIFF_TURNS {
            leave(state, moved.ids);
        }
    }
}

/// Leaves a connection alone for good.
#[inline(always)]
fn leave(state: &mut State, ids: Ids) {
    state.phase = IGNORED;
    emit::count(Counter::NotHttp);
    if state.announced != 0 {
        closed(state, ids, CLOSE_OPAQUE, 0);
    }
}

/// Takes what it understands of the bytes from `offset` on and returns how many that were; 0 for all.
#[inline(always)]
fn step<const TX: bool>(
    state: &mut State,
    offset: u64,
    scratch: &mut Scratch,
) -> u64 {
    let moved = scratch.moved;
    let at = moved.base + offset;
    let rest = moved.len - offset;
    let (own, other) = state.flows::<TX>();
    match own.mode {
        BODY => {
            let left = own.until - at;
            if rest < left {
                return 0;
            }
            own.mode = START;
            let until = own.until;
            body::<TX>(state, until, DATA_END, scratch);
            left
        }
        CHUNKED => chunks::<TX>(state, offset, scratch),
        TO_CLOSE | WITHHELD => 0,
        START => begin::<TX>(state, offset, scratch),
        _ => {
            // A new turn is a new chance to find a message start: for a request once the other side has
            // answered, for a response once a request came.
            if moved.turned != 0 && offset == 0 && other.pos > 0 {
                own.shipped = 0;
                return begin::<TX>(state, offset, scratch);
            }
            ship::<TX>(state, offset, 0, scratch);
            0
        }
    }
}

/// A message may start at `offset`.
#[inline(always)]
fn begin<const TX: bool>(
    state: &mut State,
    offset: u64,
    scratch: &mut Scratch,
) -> u64 {
    let moved = scratch.moved;
    let rest = moved.len - offset;
    let want = if rest < HEAD_SCAN as u64 { rest } else { HEAD_SCAN as u64 };
    let bytes = (&raw const scratch.bytes).cast::<u8>();
    state.flows::<TX>().0.shipped = 0;
    if moved.call.unseen != 0
        || spandrel_gather(moved.call.address, moved.call.vectors, offset, want) != want
    {
        return ship::<TX>(state, offset, 0, scratch);
    }
    let looks = if moved.request != 0 { head::looks(want) } else { Looks::Other };
    let starts = if moved.request != 0 {
        looks == Looks::Request
    } else {
        want >= 12 && head::is_response(bytes)
    };
    if !starts {
        if looks == Looks::Other && moved.request != 0 {
            give_up_slowly(state, moved);
            if state.phase == IGNORED {
                return 0;
            }
        }
        let flag = if looks == Looks::Short { state.flows::<TX>().0.starts() } else { 0 };
        return ship::<TX>(state, offset, flag, scratch);
    }
    spandrel_scan(want);
    if moved.request != 0 && scratch.found.line != 0 && !head::is_request_line(scratch) {
        if state.announced == 0 {
            leave(state, moved.ids);
            return 0;
        }
        give_up_slowly(state, moved);
        return ship::<TX>(state, offset, 0, scratch);
    }
    let framing = if scratch.found.end == 0 { Framing::Unclear } else { head::framing() };
    if moved.request != 0 {
        request::<TX>(state, offset, framing, scratch)
    } else {
        response::<TX>(state, offset, framing, scratch)
    }
}

/// A request starts at `offset`; its head was searched.
#[inline(always)]
fn request<const TX: bool>(
    state: &mut State,
    offset: u64,
    framing: Framing,
    scratch: &mut Scratch,
) -> u64 {
    let moved = scratch.moved;
    let at = moved.base + offset;
    let bytes = (&raw const scratch.bytes).cast::<u8>();
    let end = u64::from(scratch.found.end);
    let starts = state.flows::<TX>().0.starts();
    state.turns = 0;
    state.method = head::method(bytes);
    let withheld_before = state.flows::<TX>().1.mode == WITHHELD;
    if state.awaiting != 0 {
        state.pipelined = 1;
        if withheld_before {
            state.orphans = state.orphans.saturating_add(1);
        }
    }
    state.awaiting = 1;
    let (_, other) = state.flows::<TX>();
    if withheld_before {
        other.mode = START;
        other.sent = other.pos;
    }

    let mut decision = DECISION_OPEN;
    if framing != Framing::Unclear && state.pipelined == 0 {
        match decide(state, at, scratch) {
            Some(true) => decision = DECISION_SAMPLED,
            Some(false) => {
                emit::count(Counter::RequestsUnsampled);
                return withhold::<TX>(state, moved, offset, end, framing);
            }
            None => {}
        }
    }
    let (own, _) = state.flows::<TX>();
    own.quiet = 0;
    scratch.data.decision = decision;
    if framing == Framing::Unclear || state.pipelined != 0 {
        return ship::<TX>(state, offset, starts | HEAD, scratch);
    }
    let framing = if framing == Framing::Absent { Framing::Length(0) } else { framing };
    told::<TX>(state, offset, end, framing, scratch)
}

/// The sampling decision, if the head leaves no doubt about its parent.
#[inline(always)]
fn decide(state: &State, at: u64, scratch: &Scratch) -> Option<bool> {
    // What may become a tunnel is followed to see whether it does.
    if scratch.found.upgrade != 0 || state.method == conn::METHOD_CONNECT {
        return None;
    }
    match spandrel_decide(state.seed[1], at) {
        KEEP => Some(true),
        DROP => Some(false),
        _ => None,
    }
}

/// A request that is not sampled: nothing of it or of its response is told.
#[inline(always)]
fn withhold<const TX: bool>(
    state: &mut State,
    moved: Moved,
    offset: u64,
    end: u64,
    framing: Framing,
) -> u64 {
    let at = moved.base + offset;
    let rest = moved.len - offset;
    let (own, other) = state.flows::<TX>();
    other.mode = WITHHELD;
    own.quiet = 1;
    match framing {
        Framing::Length(length) if end + length > rest => {
            own.mode = BODY;
            own.until = at + end + length;
            0
        }
        Framing::Length(length) => {
            own.sent = at + end + length;
            end + length
        }
        Framing::Chunked => {
            own.chunked(at + end);
            end
        }
        Framing::Absent | Framing::Unclear => {
            own.sent = at + end;
            end
        }
    }
}

/// A response starts at `offset`; its head was searched.
#[inline(always)]
fn response<const TX: bool>(
    state: &mut State,
    offset: u64,
    framing: Framing,
    scratch: &mut Scratch,
) -> u64 {
    let bytes = (&raw const scratch.bytes).cast::<u8>();
    let end = u64::from(scratch.found.end);
    let status = head::status(bytes);
    let starts = state.flows::<TX>().0.starts();
    scratch.data.decision = DECISION_OPEN;
    if framing == Framing::Unclear || state.pipelined != 0 || status < 100 {
        return ship::<TX>(state, offset, starts, scratch);
    }
    let tunnel =
        status == 101 || (state.method == conn::METHOD_CONNECT && status >= 200 && status < 300);
    let empty = status < 200 || status == 204 || status == 304 || state.method == conn::METHOD_HEAD;
    let framing = if tunnel || empty { Framing::Length(0) } else { framing };
    let done = told::<TX>(state, offset, end, framing, scratch);
    if tunnel {
        state.phase = IGNORED;
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
    let starts = own.starts() | HEAD;
    let (flags, covered, done) = match framing {
        Framing::Length(0) => {
            own.mode = START;
            (starts, end, end)
        }
        Framing::Length(length) if end + length <= rest => {
            own.mode = START;
            (starts | DATA_BODY | DATA_END, end + length, end + length)
        }
        Framing::Length(length) => {
            own.mode = BODY;
            own.until = at + end + length;
            (starts | DATA_BODY, rest, 0)
        }
        Framing::Chunked => {
            own.chunked(at + end);
            (starts, end, end)
        }
        Framing::Absent | Framing::Unclear => {
            own.mode = TO_CLOSE;
            (starts | DATA_BODY | DATA_TO_CLOSE, rest, 0)
        }
    };
    tell::<TX>(state, at, covered, end, flags, scratch);
    done
}

/// Tells of body bytes up to the position `until`, from wherever the last event ended.
#[inline(always)]
fn body<const TX: bool>(
    state: &mut State,
    until: u64,
    flags: u16,
    scratch: &mut Scratch,
) {
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
fn chunks<const TX: bool>(
    state: &mut State,
    offset: u64,
    scratch: &mut Scratch,
) -> u64 {
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
fn ship<const TX: bool>(
    state: &mut State,
    offset: u64,
    flags: u16,
    scratch: &mut Scratch,
) -> u64 {
    let moved = scratch.moved;
    let rest = moved.len - offset;
    let (own, _) = state.flows::<TX>();
    own.mode = SHIP;
    let room = HEAD_CAPTURE as u64 - u64::from(own.shipped);
    let want = if rest < room { rest } else { room };
    let mut flags = flags;
    let mut captured = 0;
    scratch.data.unseen = moved.call.unseen;
    if moved.call.unseen != 0 {
        flags |= DATA_UNSEEN;
    } else if want > 0 {
        captured = spandrel_gather(moved.call.address, moved.call.vectors, offset, want);
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

/// Sends a data event, after the connection's own if that was not sent yet.
#[inline(always)]
fn tell<const TX: bool>(
    state: &mut State,
    pos: u64,
    len: u64,
    captured: u64,
    flags: u16,
    scratch: &mut Scratch,
) {
    let moved = scratch.moved;
    let starts = flags & HEAD != 0 && moved.request != 0;
    let data = &mut scratch.data;
    data.conn = state.id;
    data.pos = pos;
    data.len = len;
    data.first_ns = moved.first_ns;
    data.last_ns = moved.last_ns;
    data.flags = flags & !HEAD;
    data.dir = if TX { DIR_TX } else { DIR_RX };
    data.role = state.role;
    if flags & DATA_UNSEEN == 0 {
        data.unseen = 0;
    }
    data.orphans = 0;
    data.framing = 0;
    data.reserved = 0;
    data.wait_ns = 0;
    if flags & DATA_BODY != 0 {
        let own = state.flows::<TX>().0;
        data.framing = own.framing;
        own.framing = 0;
    }
    if starts {
        data.orphans = state.orphans;
        data.wait_ns = moved.wait_ns;
        state.orphans = 0;
    }
    state.flows::<TX>().0.sent = pos + len;
    let mut what = if starts { TELL_REQUEST } else { 0 };
    // Userspace may have forgotten it, or its event was lost: requests renew it now and then.
    if state.announced == 0 || (starts && moved.now - state.announced_ns > ANNOUNCE_EVERY_NS) {
        scratch.seed = state.seed;
        scratch.transport = u64::from(state.transport);
        what |= TELL_CONN;
    }
    if spandrel_tell(captured, what) != 0 {
        state.announced = 1;
        if what & TELL_CONN != 0 {
            state.announced_ns = moved.now;
        }
    }
}

/// For [`spandrel_tell`]: a request starts in the event.
const TELL_REQUEST: u32 = 1;
/// For [`spandrel_tell`]: the connection is not announced yet.
const TELL_CONN: u32 = 2;

/// Sends the event in this CPU's scratch slot with `captured` bytes. Returns whether the connection is
/// announced now.
///
/// A global function: the verifier checks it once, whoever calls it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_tell(captured: u64, what: u32) -> u32 {
    let Some(scratch) = scratch::held() else { return 0 };
    // SAFETY: the caller holds the slot; the borrow ends with this function.
    let scratch = unsafe { &mut *scratch };
    let ids = task::ids();
    let announced = what & TELL_CONN == 0 || announce(scratch, Sock(scratch.sk), ids);
    emit::data(scratch, ids, captured, what & TELL_REQUEST != 0);
    u32::from(announced)
}

/// Sends a connection's own event.
#[inline(always)]
fn announce(scratch: &Scratch, sock: Sock, ids: Ids) -> bool {
    let mut event = Conn {
        header: Header::default(),
        conn: scratch.data.conn,
        seed: scratch.seed,
        netns: sock.netns(),
        role: scratch.data.role,
        transport: scratch.transport as u8,
        local_port: 0,
        peer_port: 0,
        ip_version: 0,
        reserved: [0; 5],
        local_addr: [0; 16],
        peer_addr: [0; 16],
    };
    if event.transport == TRANSPORT_TCP {
        event.local_port = sock.local_port();
        event.peer_port = sock.peer_port();
        if sock.is_v6() {
            event.ip_version = 6;
            event.local_addr = sock.v6_local();
            event.peer_addr = sock.v6_peer();
        } else {
            event.ip_version = 4;
            let (local, peer) = sock.v4();
            event.local_addr = [local[0], local[1], local[2], local[3], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            event.peer_addr = [peer[0], peer[1], peer[2], peer[3], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        }
    }
    emit::conn(ids, event)
}

/// Tells that a connection ended in one or both directions.
#[inline(always)]
pub fn closed(state: &State, ids: Ids, reason: u8, errno: u32) {
    emit::close(
        ids,
        Close {
            header: Header::default(),
            conn: state.id,
            pos: [state.rx.pos, state.tx.pos],
            last_ns: [state.rx.last_ns, state.tx.last_ns],
            reason,
            reserved: [0; 3],
            errno,
            reserved2: 0,
        },
    );
}
