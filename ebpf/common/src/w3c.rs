//! W3C Trace Context Level 2: `traceparent` and `tracestate`, parsed strictly and without allocation.
//!
//! [`parse55`] is what the kernel side runs on a header that it found. [`Extract`] takes the header fields
//! of one message in their order and ends in a [`Context`]: everything the two headers said, or nothing.

#![expect(clippy::inline_always, reason = "old verifiers refuse calls that pass pointers to the stack")]

pub mod members;

use core::hint::black_box;

use crate::ids::{SpanId, TraceId};

/// Length of a version 00 `traceparent` value.
pub const TRACEPARENT_LEN: usize = 55;
/// `trace-flags`: sampled.
pub const FLAG_SAMPLED: u8 = 1;
/// `trace-flags`: the right-most seven bytes of the trace id are random (Level 2).
pub const FLAG_RANDOM: u8 = 2;

/// What a `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    pub trace_id: TraceId,
    pub parent_id: SpanId,
    /// Only the bits that Level 2 defines.
    pub flags: u8,
    /// The version that the sender spoke.
    pub version: u8,
}

impl TraceParent {
    /// Whether the sender recorded its trace.
    pub const fn sampled(&self) -> bool {
        self.flags & FLAG_SAMPLED != 0
    }
}

/// Values of the lower-case hexadecimal digits (upper case is not allowed by section 3.2.2), 0xff for all
/// other bytes. A table, because the kernel's verifier would walk both sides of every comparison.
static NIBBLES: [u8; 256] = nibbles();

const fn nibbles() -> [u8; 256] {
    let mut table = [0xff; 256];
    let mut value = 0;
    while value < 16 {
        table[b"0123456789abcdef"[value] as usize] = value as u8;
        value += 1;
    }
    table
}

#[inline(always)]
fn nibble(byte: u8) -> u8 {
    NIBBLES[byte as usize]
}

/// Whether a value of this version may go on as it does: version 00 ends after 55 characters, and a
/// higher one ends there or goes on with a dash (section 3.2.4). `next` is the 56th byte, if there is one.
#[inline(always)]
pub const fn follows(version: u8, next: Option<u8>) -> bool {
    match next {
        None => true,
        Some(byte) => version != 0 && byte == b'-',
    }
}

/// A header value without the optional whitespace around it (RFC 9110, section 5.6.3).
pub const fn trim(value: &[u8]) -> &[u8] {
    let mut value = value;
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Parses a `traceparent` value; optional whitespace around it is allowed.
pub fn parse(value: &[u8]) -> Option<TraceParent> {
    let (head, rest) = trim(value).split_first_chunk::<TRACEPARENT_LEN>()?;
    let parent = parse55(head)?;
    follows(parent.version, rest.first().copied()).then_some(parent)
}

/// The `traceparent` value that names a span: always version 00, only the flags that Level 2 defines.
pub fn format(trace_id: TraceId, span_id: SpanId, flags: u8) -> [u8; TRACEPARENT_LEN] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
    let mut i = 0;
    while i < 16 {
        out[3 + 2 * i] = DIGITS[(trace_id[i] >> 4) as usize];
        out[4 + 2 * i] = DIGITS[(trace_id[i] & 15) as usize];
        i += 1;
    }
    i = 0;
    while i < 8 {
        out[36 + 2 * i] = DIGITS[(span_id[i] >> 4) as usize];
        out[37 + 2 * i] = DIGITS[(span_id[i] & 15) as usize];
        i += 1;
    }
    out[54] = DIGITS[(flags & (FLAG_SAMPLED | FLAG_RANDOM)) as usize];
    out
}

/// Parses the first 55 bytes of a value. What follows them is the caller's to judge ([`follows`]).
#[inline(always)]
pub fn parse55(value: &[u8; TRACEPARENT_LEN]) -> Option<TraceParent> {
    // Everything is kept in a few words: the kernel side has 512 bytes of stack.
    let mut bad = (value[2] ^ b'-') | (value[35] ^ b'-') | (value[52] ^ b'-');
    let (high, low) = (hex64(value, 3, &mut bad), hex64(value, 19, &mut bad));
    let parent = hex64(value, 36, &mut bad);
    let (v1, v0) = (nibble(value[0]), nibble(value[1]));
    let (f1, f0) = (nibble(value[53]), nibble(value[54]));
    bad |= (v1 | v0 | f1 | f0) & 0xf0;
    let version = (v1 << 4) | (v0 & 0x0f);
    let flags = ((f1 << 4) | (f0 & 0x0f)) & (FLAG_SAMPLED | FLAG_RANDOM);
    if bad != 0 || high | low == 0 || parent == 0 || version == 0xff {
        return None;
    }
    let trace_id = ((u128::from(high) << 64) | u128::from(low)).to_be_bytes();
    Some(TraceParent { trace_id, parent_id: parent.to_be_bytes(), flags, version })
}

/// The 16 digits from `at` on; what is no digit shows in the upper half of `bad`. A function of its own, so
/// that the kernel side needs the stack for one of them only.
#[inline(never)]
fn hex64(value: &[u8; TRACEPARENT_LEN], at: usize, bad: &mut u8) -> u64 {
    let mut word = 0_u64;
    let mut i = 0;
    while i < 16 {
        let digit = nibble(value[at + i]);
        *bad |= digit & 0xf0;
        word = (word << 4) | u64::from(digit & 0x0f);
        if cfg!(target_arch = "bpf") {
            // One after the other: otherwise all are loaded before the first is used, and wait on the stack.
            word = black_box(word);
        }
        i += 1;
    }
    word
}

/// List members that a `tracestate` may have (section 3.3.1.1).
pub const STATE_MEMBERS: usize = 32;
/// Characters that a key or a value of `tracestate` may have (sections 3.3.1.3.1 and 3.3.1.3.2).
pub const STATE_PART: usize = 256;

/// The members of a message's `tracestate` headers, in order, each checked. The first that is not valid
/// spoils the whole: half a `tracestate` could say what nobody said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State<'a> {
    members: [&'a [u8]; STATE_MEMBERS],
    len: usize,
    bad: bool,
}

impl<'a> State<'a> {
    /// No members.
    pub const EMPTY: Self = Self { members: [&[]; STATE_MEMBERS], len: 0, bad: false };

    /// The members, `key=value` without whitespace around them; none if one of them is not valid.
    pub fn members(&self) -> &[&'a [u8]] {
        if self.bad { &[] } else { self.members.get(..self.len).unwrap_or(&[]) }
    }

    /// Whether something in it was not valid, so that all of it was dropped.
    pub const fn bad(&self) -> bool {
        self.bad
    }

    /// Takes the value of one more `tracestate` header.
    pub fn push(&mut self, value: &'a [u8]) {
        for member in value.split(|byte| *byte == b',') {
            let member = trim(member);
            // Empty members are allowed (section 3.3.1.2) and say nothing.
            if !member.is_empty() && !self.bad {
                self.bad = self.add(member).is_none();
            }
        }
    }

    fn add(&mut self, member: &'a [u8]) -> Option<()> {
        let key = key_of(member)?;
        if self.members().iter().any(|other| key_of(other) == Some(key)) {
            return None;
        }
        *self.members.get_mut(self.len)? = member;
        self.len += 1;
        Some(())
    }
}

/// The key of a list member, if the member is valid.
fn key_of(member: &[u8]) -> Option<&[u8]> {
    let equals = member.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (member.get(..equals)?, member.get(equals + 1..)?);
    let first = key.first().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let valid = first
        && key.len() <= STATE_PART
        && key.iter().all(|byte| {
            byte.is_ascii_lowercase()
                || byte.is_ascii_digit()
                || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@')
        })
        && (1..=STATE_PART).contains(&value.len())
        && value.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'='))
        && value.last() != Some(&b' ');
    valid.then_some(key)
}

/// What a message's headers say about the trace that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context<'a> {
    /// The caller's span.
    pub parent: Option<TraceParent>,
    /// What comes with it. Without a valid parent there is none, whatever the headers said.
    pub state: Option<State<'a>>,
    /// There was a `traceparent`, and it was not valid.
    pub bad_parent: bool,
}

/// Reads the header fields of one message, in their order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extract<'a> {
    parent: Option<TraceParent>,
    parents: u8,
    state: Option<State<'a>>,
}

impl<'a> Extract<'a> {
    /// Takes a field; those that are not about traces are passed over.
    pub fn field(&mut self, name: &[u8], value: &'a [u8]) {
        if name.eq_ignore_ascii_case(b"traceparent") {
            self.traceparent(value);
        } else if name.eq_ignore_ascii_case(b"tracestate") {
            self.tracestate(value);
        }
    }

    /// Takes the value of a `traceparent` field.
    pub fn traceparent(&mut self, value: &[u8]) {
        self.parents = self.parents.saturating_add(1);
        // Of two parents neither is certain.
        self.parent = if self.parents == 1 { parse(value) } else { None };
    }

    /// Takes the value of a `tracestate` field.
    pub fn tracestate(&mut self, value: &'a [u8]) {
        self.state.get_or_insert(State::EMPTY).push(value);
    }

    /// What the fields said together.
    pub fn finish(self) -> Context<'a> {
        let Self { parent, parents, state } = self;
        let state = if parent.is_some() { state } else { None };
        Context { parent, state, bad_parent: parents > 0 && parent.is_none() }
    }
}

#[cfg(test)]
mod tests;
