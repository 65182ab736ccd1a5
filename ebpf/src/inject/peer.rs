//! What was learned about peers: who refuses a request with one more header line, and who does not speak HTTP.

use aya_ebpf::bindings::BPF_ANY;
use spandrel_common::{inject::KNOWN_PEERS, limits::INJECT_PAUSE_NS, stats::Counter};

use crate::{emit, kernel::sock::Sock, maps::INJECT_PEERS};

/// It answered a request with a line as ever.
pub const PROVED: u32 = 0;
/// It answered a request that was left as it was.
pub const SPEAKS: u32 = 3;
/// It refused the first one.
pub const REFUSED: u32 = 1;
/// It is spoken to in another protocol.
pub const FOREIGN: u32 = 2;
/// It may be spoken to in several protocols: nothing is known about it any more.
pub const DOUBTFUL: u32 = 4;

/// In place of a time: see [`INJECT_PEERS`].
const UNTIL_PROVED: u64 = 0;
const UNTIL_SPEAKS: u64 = 1;

/// Address, port and network namespace. An IPv4 address is the same peer through a socket of IPv6 (RFC 4291, section 2.5.5.2).
#[inline(always)]
fn key(sock: Sock) -> [u64; 3] {
    /// The third word of such an address, as it is read: `::ffff:0:0`.
    const MAPPED: u32 = 0xffff_0000;
    let [low, high] = match sock.peer_words() {
        [0, high] if high as u32 == MAPPED => [high >> 32, 0],
        words => words,
    };
    [low, high, u64::from(sock.peer_port()) | (u64::from(sock.netns()) << 32)]
}

/// Remembers something about the peer of the socket at an address.
///
/// A global function: the verifier checks it once, and it has a stack frame of its own.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_peer(sk: u64, what: u32) -> u32 {
    if what == DOUBTFUL {
        // A peer that is not there is the wished-for state, too.
        let _ = INJECT_PEERS.remove(key(Sock(sk)));
        return 0;
    }
    let until = match what {
        PROVED => UNTIL_PROVED,
        SPEAKS => UNTIL_SPEAKS,
        _ => emit::now() + INJECT_PAUSE_NS,
    };
    if what == REFUSED {
        emit::count(Counter::PeersRefused);
    }
    // A full map makes room by itself; without memory it is learned the next time.
    let _ = INJECT_PEERS.insert(key(Sock(sk)), until, u64::from(BPF_ANY));
    0
}

/// A peer has answered a request in HTTP/1.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_speaks(sk: u64) -> u32 {
    // Once: what is known already is more, or is to stay.
    if known(Sock(sk)) == Peer::Unknown {
        spandrel_peer(sk, SPEAKS);
    }
    0
}

/// A request was sent that no program of this room has seen.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_unseen(sk: u64) -> u32 {
    let new = super::injection().on == KNOWN_PEERS && known(Sock(sk)) == Peer::Unknown;
    emit::count(if new { Counter::AsideNewPeer } else { Counter::AsideUnarmed });
    0
}

/// What is known about the peer of a socket.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Unknown,
    /// It speaks HTTP/1.
    Speaks,
    /// Besides, it takes requests with one more line.
    Proved,
    /// It is to be left alone.
    Aside,
}

#[inline(always)]
pub fn known(sock: Sock) -> Peer {
    // SAFETY: one word is copied out.
    match unsafe { INJECT_PEERS.get(key(sock)) }.copied() {
        None => Peer::Unknown,
        Some(UNTIL_PROVED) => Peer::Proved,
        Some(UNTIL_SPEAKS) => Peer::Speaks,
        Some(until) if emit::now() < until => Peer::Aside,
        Some(_) => Peer::Unknown,
    }
}
