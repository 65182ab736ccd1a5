//! Where a header line is put into a request head, and what it says. The same code runs in the kernel and under
//! the fuzzer.
//!
//! One rule: the bytes that leave are the program's own, or these and one whole header line right behind the
//! request line. So a head is judged only if all of it is at hand, and everything that is not certainly a head
//! of HTTP/1 as RFC 9112 writes it is left as it is.
#![expect(clippy::inline_always, reason = "old verifiers refuse calls that pass pointers to the stack")]

use crate::{
    ids::{SpanId, TraceId},
    limits::INJECT_SCAN,
};

/// The line that is put in: `traceparent: 00-`, trace id, `-`, span id, `-`, flags, line end (W3C Trace Context
/// Level 2, section 3.2.2).
pub const LINE: usize = 70;

/// [`Injection::on`]: nothing is put in.
pub const OFF: u32 = 0;
/// [`Injection::on`]: into requests to peers that have answered one in HTTP/1 before. A program that speaks another
/// protocol is never touched, not even to find that out.
pub const KNOWN_PEERS: u32 = 1;
/// [`Injection::on`]: from the first request on.
pub const ALL: u32 = 2;

/// What the agent tells the kernel side about injection: the value of a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Injection {
    /// [`OFF`], [`KNOWN_PEERS`] or [`ALL`].
    pub on: u32,
    /// Process whose connections are treated as those of a selected one: the agent, during its self-test.
    pub tester: u32,
}

/// Whether a port's registered service is none of HTTP/1 in plain text (IANA, Service Name and Transport Protocol Port
/// Number Registry): FTP, SSH, telnet, SMTP, DNS, POP3, NNTP, IMAP, LDAP, HTTPS, and the usual databases and brokers.
/// Who speaks first there, and what a waiting receive returns, is not to depend on us at all.
pub const fn is_foreign(port: u16) -> bool {
    matches!(
        port,
        20..=23
            | 25
            | 53
            | 88
            | 110
            | 119
            | 143
            | 179
            | 389
            | 443
            | 465
            | 563
            | 587
            | 636
            | 853
            | 989
            | 990
            | 993
            | 995
            | 1433
            | 1521
            | 1883
            | 3306
            | 4222
            | 5222
            | 5432
            | 5671
            | 5672
            | 5900
            | 6379
            | 6443
            | 8443
            | 8883
            | 9042
            | 9092
            | 11211
            | 27017
    )
}

/// Bytes that are looked at, read at any offset: beyond the end whatever is there, which is never relied on.
pub trait Window: Copy {
    /// Eight bytes at an offset, the first in the lowest bits.
    fn word(self, at: u32) -> u64;
    /// The byte at an offset.
    fn byte(self, at: u32) -> u8;
}

impl Window for &[u8] {
    fn word(self, at: u32) -> u64 {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(self.iter().skip(at as usize)) {
            *to = *from;
        }
        u64::from_le_bytes(word)
    }

    fn byte(self, at: u32) -> u8 {
        self.get(at as usize).copied().unwrap_or(0)
    }
}

/// Where a line goes in a message, as the kernel side finds it.
///
/// # Errors
/// The number of an [`Aside`].
pub fn place(message: &[u8]) -> Result<u32, u32> {
    let mut head = Head::new(u32::try_from(message.len()).unwrap_or(u32::MAX));
    for index in 0..STEPS {
        if head.step(message, index) {
            break;
        }
    }
    head.place(message)
}

/// Why a message is left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Aside {
    /// The first line is none of an HTTP/1 request.
    NotRequest = 1,
    /// The head does not end in these bytes: it comes in pieces, or is longer than what is searched.
    Unfinished = 2,
    /// A line that is folded, or that does not end in CR LF, or does not start with a name.
    Unusual = 3,
    /// The program writes the trace context by itself.
    OwnContext = 4,
    /// The connection is about to turn into another protocol.
    Upgrade = 5,
}

/// What was found of a head. Offsets of 0 are "not found".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Head {
    /// Bytes that may be looked at, at most [`INJECT_SCAN`].
    pub len: u32,
    /// Behind the request line.
    pub line: u32,
    /// Behind the empty line.
    pub end: u32,
    /// Of an [`Aside`], the first that was found.
    pub aside: u32,
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;
const LOWER: u64 = 0x2020_2020_2020_2020;
const NEWLINES: u64 = ONES * b'\n' as u64;
/// Words of a step: enough to make the step's own cost small.
const STEP: u32 = 4;
/// Steps that search everything.
pub const STEPS: u32 = INJECT_SCAN as u32 / 8 / STEP;

const fn text(text: [u8; 8]) -> u64 {
    u64::from_le_bytes(text)
}

/// The longest method that is taken for one: the registry's longest has 16 letters (RFC 9110, section 16.1.1).
const METHOD: u32 = 16;
/// The shortest request line: `A * HTTP/1.1` and its end.
const SHORTEST: u32 = 14;

impl Head {
    /// The start of a search in `len` bytes.
    pub const fn new(len: u32) -> Self {
        let len = if len > INJECT_SCAN as u32 { INJECT_SCAN as u32 } else { len };
        Self { len, line: 0, end: 0, aside: 0 }
    }

    /// Looks at some more words. True once nothing more is to be looked at.
    #[inline(always)]
    pub fn step(&mut self, bytes: impl Window, index: u32) -> bool {
        let first = index * 8 * STEP;
        if first >= self.len {
            return true;
        }
        for number in 0..STEP {
            let base = first + 8 * number;
            let diff = bytes.word(base) ^ NEWLINES;
            // Exact for every byte: a borrow would only mark what follows a newline too much.
            let mut marks = !(((diff & !HIGH) + !HIGH) | diff) & HIGH;
            for _ in 0..8 {
                if marks == 0 {
                    break;
                }
                let lowest = ((((marks - 1) & ONES).wrapping_mul(ONES)) >> 56) as u32 - 1;
                if self.line_at(bytes, base + lowest + 1) {
                    return true;
                }
                marks &= marks - 1;
            }
        }
        false
    }

    /// A line ended before `at`. True if the search is over.
    #[inline(always)]
    fn line_at(&mut self, bytes: impl Window, at: u32) -> bool {
        // The two bytes that would make the next line the empty one are needed to judge it.
        if at > self.len {
            return true;
        }
        if at < 2 || bytes.byte(at - 2) != b'\r' {
            return self.stop(Aside::Unusual);
        }
        if self.line == 0 {
            if at < SHORTEST || !is_version(bytes.word(at - 10), bytes.byte(at - 11)) {
                return self.stop(Aside::NotRequest);
            }
            self.line = at;
        }
        if at + 2 > self.len {
            return true;
        }
        let word = bytes.word(at);
        if word as u16 == u16::from_le_bytes(*b"\r\n") {
            self.end = at + 2;
            return true;
        }
        if !crate::http1::is_token(word as u8) {
            return self.stop(Aside::Unusual);
        }
        // Names are compared with the case bit set, which no other letter, digit or `-` turns into another.
        let lower = word | LOWER;
        if lower == text(*b"tracepar") && (bytes.word(at + 8) | LOWER) as u32 & 0x00ff_ffff == NT {
            return self.stop(Aside::OwnContext);
        }
        // A `tracestate` alone means nothing, and would get a meaning by our line.
        if lower == text(*b"tracesta") {
            return self.stop(Aside::OwnContext);
        }
        if lower & 0x00ff_ffff_ffff_ffff == text(*b"upgrade\0") && (word >> 56) as u8 != b'-' {
            return self.stop(Aside::Upgrade);
        }
        false
    }

    #[inline(always)]
    fn stop(&mut self, why: Aside) -> bool {
        self.aside = why as u32;
        true
    }

    /// Where the line goes, once the search is over: behind the request line.
    ///
    /// # Errors
    /// Why the message is left as it is: the number of an [`Aside`].
    #[inline(always)]
    pub fn place(&self, bytes: impl Window) -> Result<u32, u32> {
        if self.aside != 0 {
            return Err(self.aside);
        }
        let target = match method(bytes, self.len) {
            Method::Before(target) => target,
            Method::Connect => return Err(Aside::Upgrade as u32),
            Method::None => return Err(Aside::NotRequest as u32),
        };
        // Between the two spaces is a target: the second one is eleven bytes from the line's end.
        if self.line != 0 && target + 11 >= self.line {
            return Err(Aside::NotRequest as u32);
        }
        if self.end == 0 || self.end > self.len || self.line == 0 {
            return Err(Aside::Unfinished as u32);
        }
        Ok(self.line)
    }
}

/// The end of `traceparent`.
const NT: u32 = u32::from_le_bytes(*b"ent\0");

/// Whether ` HTTP/1.0` or ` HTTP/1.1` and a line end stand there, of which `word` is all but the first space and the
/// line's last bytes.
#[inline(always)]
const fn is_version(word: u64, space: u8) -> bool {
    let (name, minor) = (word & 0x00ff_ffff_ffff_ffff, (word >> 56) as u8);
    space == b' ' && name == text(*b"HTTP/1.\0") && (minor == b'0' || minor == b'1')
}

enum Method {
    None,
    /// The target starts there.
    Before(u32),
    Connect,
}

/// The request line's method: capital letters and `-`, one space, and the first byte of a target.
#[inline(always)]
fn method(bytes: impl Window, len: u32) -> Method {
    if bytes.word(0) == text(*b"CONNECT ") {
        return Method::Connect;
    }
    for at in 0..=METHOD {
        if at + 1 >= len {
            return Method::None;
        }
        let byte = bytes.byte(at);
        if byte == b' ' {
            let target = bytes.byte(at + 1);
            let starts = target == b'/' || target == b'*' || target.is_ascii_alphabetic();
            return if at > 0 && starts { Method::Before(at + 1) } else { Method::None };
        }
        if !byte.is_ascii_uppercase() && byte != b'-' {
            return Method::None;
        }
    }
    Method::None
}

/// Eight digits of base 16 in text order, lower case.
#[inline(always)]
const fn hex(value: u32) -> u64 {
    // One digit a byte, the most significant first in memory.
    let value = value.swap_bytes() as u64;
    let value = (value | (value << 16)) & 0x0000_ffff_0000_ffff;
    let value = (value | (value << 8)) & 0x00ff_00ff_00ff_00ff;
    let digits = ((value >> 4) & 0x000f_000f_000f_000f) | ((value & 0x000f_000f_000f_000f) << 8);
    // 6 more carries into bit 4 exactly from ten on.
    let letters = ((digits + ONES * 6) >> 4) & ONES;
    digits + ONES * b'0' as u64 + letters * (b'a' - b'0' - 10) as u64
}

/// The flags that Level 2 knows; others are sent as 0.
const KNOWN: u8 = crate::w3c::FLAG_SAMPLED | crate::w3c::FLAG_RANDOM;

/// The words of the line, the last one only as far as [`LINE`] goes.
#[inline(always)]
pub fn line(trace_id: TraceId, span_id: SpanId, flags: u8) -> [u64; 9] {
    let [t0, t1, t2, t3, t4, t5, t6, t7, t8, t9, ta, tb, tc, td, te, tf] = trace_id;
    let [s0, s1, s2, s3, s4, s5, s6, s7] = span_id;
    let trace = [
        hex(u32::from_be_bytes([t0, t1, t2, t3])),
        hex(u32::from_be_bytes([t4, t5, t6, t7])),
        hex(u32::from_be_bytes([t8, t9, ta, tb])),
        hex(u32::from_be_bytes([tc, td, te, tf])),
    ];
    let span = [hex(u32::from_be_bytes([s0, s1, s2, s3])), hex(u32::from_be_bytes([s4, s5, s6, s7]))];
    let [trace0, trace1, trace2, trace3] = trace;
    let [span0, span1] = span;
    // `traceparent: 00-` fills two words, the trace id four; the dash shifts the span id by one byte.
    let tail = text(*b"-00\r\n\0\0\0") + ((flags & KNOWN) as u64) * (1 << 16);
    [
        text(*b"tracepar"),
        text(*b"ent: 00-"),
        trace0,
        trace1,
        trace2,
        trace3,
        (span0 << 8) | b'-' as u64,
        (span1 << 8) | (span0 >> 56),
        (tail << 8) | (span1 >> 56),
    ]
}

#[cfg(test)]
mod tests;
