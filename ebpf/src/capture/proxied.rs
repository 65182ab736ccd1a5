//! The PROXY protocol: what a load balancer says of its client in front of the first byte of a connection, as a line of text
//! (version 1) or in binary (version 2). <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>

use crate::{call::gather, head::spandrel_head, scratch};

/// What version 1 starts with.
const TEXT: u64 = u64::from_le_bytes(*b"PROXY \0\0");
/// Bytes of its longest line, with the line end (section 2.1).
const LINE: u64 = 107;
/// What version 2 starts with (section 2.2): twelve bytes, then version and command, family, and the length of the rest.
const BINARY: [u64; 2] = [u64::from_le_bytes(*b"\r\n\r\n\0\r\nQ"), u32::from_le_bytes(*b"UIT\n") as u64];
/// Bytes up to there.
const FIXED: u64 = 16;

/// How long the header is that the first `len` bytes of a connection start with, which are those of the running call; 0 if
/// they do not.
///
/// A global function: the verifier checks it once, whoever calls it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn spandrel_proxied(len: u64) -> u64 {
    let Some(scratch) = scratch::held() else { return 0 };
    let call = scratch.moved.call;
    if len < FIXED || gather(call.address, call.vectors, 0, FIXED) != FIXED {
        return 0;
    }
    let bytes = scratch.view();
    let [first, second] = [bytes.word(0), bytes.word(8)];
    if [first, second & 0xffff_ffff] == BINARY {
        return FIXED + (second >> 56 | (second >> 48 & 0xff) << 8);
    }
    if first & 0xffff_ffff_ffff != TEXT {
        return 0;
    }
    spandrel_head(0, if len < LINE { len } else { LINE });
    u64::from(scratch.found.line)
}
