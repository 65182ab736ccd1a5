//! What was learned about peers: who refuses a request with one more header line, and who does not speak HTTP.

use aya_ebpf::bindings::BPF_ANY;
use spandrel_common::{limits::INJECT_PAUSE_NS, stats::Counter};

use crate::{emit, kernel::sock::Sock, maps::INJECT_PEERS};

/// It answered a request with a line as ever.
pub const PROVED: u32 = 0;
/// It refused the first one.
pub const REFUSED: u32 = 1;
/// It is spoken to in another protocol.
pub const FOREIGN: u32 = 2;

/// Address, port and network namespace.
#[inline(always)]
fn key(sock: Sock) -> [u64; 3] {
    let [low, high] = sock.peer_words();
    [low, high, u64::from(sock.peer_port()) | (u64::from(sock.netns()) << 32)]
}

/// Remembers something about the peer of the socket at an address.
///
/// A global function: the verifier checks it once, and it has a stack frame of its own.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_peer(sk: u64, what: u32) -> u32 {
    let until = if what == PROVED { 0 } else { emit::now() + INJECT_PAUSE_NS };
    if what == REFUSED {
        emit::count(Counter::PeersRefused);
    }
    // A full map makes room by itself; without memory it is learned the next time.
    let _ = INJECT_PEERS.insert(key(Sock(sk)), until, u64::from(BPF_ANY));
    0
}

/// What is known about the peer of a socket: nothing, that it is proved, or that it is to be left alone.
#[inline(always)]
pub fn known(sock: Sock) -> Option<bool> {
    // SAFETY: one word is copied out.
    let until = unsafe { INJECT_PEERS.get(key(sock)) }.copied()?;
    if until == 0 {
        return Some(true);
    }
    (emit::now() < until).then_some(false)
}
