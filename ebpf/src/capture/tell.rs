//! Events about a connection, made from what the scratch slot and the connection's state hold.

use spandrel_common::{
    event::{
        Close, DATA_BODY, DATA_PIPELINED, DATA_UNSEEN, DIR_RX, DIR_TX, Header, PROTOCOL_HTTP1,
        SELECT_PENDING, TRANSPORT_TCP, TRANSPORT_UNIX,
    },
    limits::ANNOUNCE_EVERY_NS,
    stats::Counter,
};

use super::withheld;
use crate::{
    causality,
    conn::State,
    emit, filter,
    kernel::{sock::Sock, task::Ids},
    maps::UNIX,
    read,
    scratch::{self, Scratch},
};

/// A flag of [`tell`] alone: the head of a message is in the event.
pub const HEAD: u16 = 1 << 15;

/// Sends a data event, after the connection's own if that was not sent yet.
#[inline(always)]
pub fn tell<const TX: bool>(
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
    data.flags = flags & !HEAD | if state.pipelined != 0 { DATA_PIPELINED } else { 0 };
    data.dir = if TX { DIR_TX } else { DIR_RX };
    data.role = state.role;
    if flags & DATA_UNSEEN == 0 {
        data.unseen = 0;
    }
    // A number that the compiler does not know: it would make one call of the zeros, to a loop over bytes.
    let none = read::opaque(0);
    data.orphans = none as u8;
    data.framing = none;
    data.reserved = none as u8;
    data.wait_ns = none;
    data.other = moved.other;
    data.cause.trace_id = u128::from(none).to_ne_bytes();
    data.cause.parent_id = none.to_ne_bytes();
    data.cause.flags = none as u8;
    data.cause.rule = none as u8;
    if TX && starts {
        data.cause = causality::told(state, pos);
    }
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
        scratch.protocol = u64::from(PROTOCOL_HTTP1);
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
pub const TELL_REQUEST: u32 = 1;
/// For [`spandrel_tell`]: the connection is not announced yet.
pub const TELL_CONN: u32 = 2;
/// For [`spandrel_tell`]: the bits from this one on are how many requests more start in the event.
pub const TELL_MORE: u32 = 8;

/// Sends the event in this CPU's scratch slot with `captured` bytes. Returns whether the connection is
/// announced now.
///
/// A global function: the verifier checks it once, whoever calls it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_tell(captured: u64, what: u32) -> u32 {
    let Some(scratch) = scratch::held() else { return 0 };
    let ids = scratch.moved.ids;
    let announced = what & TELL_CONN == 0 || announce(scratch, Sock(scratch.sk), ids);
    let sent = emit::data(scratch, ids, captured);
    // What a process that may not be selected loses is nobody's loss.
    if !sent && what & TELL_REQUEST != 0 && filter::state(ids.tgid) != SELECT_PENDING {
        emit::add(Counter::RequestsLost, 1 + u64::from(what >> TELL_MORE));
    }
    u32::from(announced)
}

/// Announces the connection in this CPU's scratch slot, unless that was done lately. A request begins.
///
/// A global function, for its stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_announce(state: *mut State) -> u32 {
    let (Some(state), Some(scratch)) = (State::given(state), scratch::held()) else { return 0 };
    let now = scratch.moved.now;
    if state.announced != 0 && now - state.announced_ns <= ANNOUNCE_EVERY_NS {
        return 1;
    }
    scratch.data.conn = state.id;
    scratch.data.role = state.role;
    scratch.seed = state.seed;
    scratch.transport = u64::from(state.transport);
    scratch.protocol = u64::from(PROTOCOL_HTTP1);
    let ids = scratch.moved.ids;
    if announce(scratch, Sock(scratch.sk), ids) {
        state.announced = 1;
        state.announced_ns = now;
    }
    1
}

/// Sends a connection's own event.
#[inline(always)]
fn announce(scratch: &mut Scratch, sock: Sock, ids: Ids) -> bool {
    let event = &mut scratch.conn;
    event.conn = scratch.data.conn;
    event.seed = scratch.seed;
    event.netns = sock.netns();
    event.role = scratch.data.role;
    event.transport = scratch.transport as u8;
    event.local_port = 0;
    event.peer_port = 0;
    event.ip_version = 0;
    event.protocol = scratch.protocol as u8;
    event.reserved = [0; 4];
    event.local_addr = [0; 16];
    event.peer_addr = [0; 16];
    if event.transport == TRANSPORT_TCP {
        event.local_port = sock.local_port();
        event.peer_port = sock.peer_port();
        if sock.is_v6() {
            event.ip_version = 6;
            sock.v6_local(&mut event.local_addr);
            sock.v6_peer(&mut event.peer_addr);
        } else {
            event.ip_version = 4;
            sock.v4(&mut event.local_addr, &mut event.peer_addr);
        }
    }
    if event.transport == TRANSPORT_UNIX {
        let inode = sock.inode();
        event.local_addr = inode_bytes(inode);
        // Without it, the end of the process tells nothing of this connection.
        let _ = UNIX.insert(inode, event.conn, 0);
    }
    emit::conn(ids, event)
}

/// An inode number where an address would be.
#[inline(always)]
fn inode_bytes(inode: u64) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h] = inode.to_ne_bytes();
    [a, b, c, d, e, f, g, h, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// Tells that a connection ended in one or both directions. Not inlined: the event would be on its caller's
/// stack all the while.
#[inline(never)]
pub fn closed(state: &mut State, ids: Ids, reason: u8, errno: u32) {
    if state.measuring != 0 {
        withheld::closed(state, reason, errno);
    }
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
