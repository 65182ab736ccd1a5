//! `tracestate` byte by byte, for the kernel side: checked like [`super::State`], and written anew with a comma
//! between its members and no whitespace around them.

use super::{STATE_MEMBERS, STATE_PART};

/// Bytes of `tracestate` that are passed on: what every participant should propagate at least (W3C Trace
/// Context Level 2, section 3.3.1.5). The longest that the conformance suite sends has 288.
pub const STATE_LEN: usize = 512;

/// The members so far. 160 bytes; an all-zero value is one without members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Members {
    /// Hashes of the keys: two that are equal by chance lose a `tracestate` in one of ten million requests.
    keys: [u32; STATE_MEMBERS],
    hash: u32,
    /// Members that are complete.
    count: u16,
    /// Characters of the key, or of the value up to the last that is no space.
    part: u16,
    /// Characters of the value, with the spaces behind it.
    spaced: u16,
    /// Bytes of the output: those that count, and those of the member that is open.
    len: u16,
    open: u16,
    /// 0 before a member, 1 in a key, 2 behind a key, 3 in a value, 4 behind a tab in a value.
    phase: u8,
    /// Something was not valid: there is no `tracestate`.
    bad: u8,
    /// No room was left: later members are checked but not passed on.
    full: u8,
    reserved: [u8; 3],
}

const BEFORE: u8 = 0;
const KEY: u8 = 1;
const BEHIND_KEY: u8 = 2;
const VALUE: u8 = 3;
const BEHIND_VALUE: u8 = 4;

impl Default for Members {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Members {
    /// No members.
    pub const EMPTY: Self = Self {
        keys: [0; STATE_MEMBERS],
        hash: 0,
        count: 0,
        part: 0,
        spaced: 0,
        len: 0,
        open: 0,
        phase: BEFORE,
        bad: 0,
        full: 0,
        reserved: [0; 3],
    };

    /// Bytes of the output that count; 0 if something was not valid. Only after [`Self::end`].
    #[inline]
    pub const fn len(&self) -> u16 {
        if self.bad != 0 { 0 } else { self.len }
    }

    /// Whether there is nothing to pass on.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the next byte of a header value. `write` is given a place in the output, below [`STATE_LEN`], and
    /// a byte.
    #[inline]
    pub fn push(&mut self, byte: u8, write: &mut impl FnMut(u16, u8)) {
        if self.bad != 0 {
            return;
        }
        if self.phase == BEFORE && self.len > 0 && !matches!(byte, b',' | b' ' | b'\t') {
            self.open = self.len;
            if let Some(at) = self.put() {
                write(at, b',');
            }
        }
        if let Some(at) = self.take(byte) {
            write(at, byte);
        }
    }

    /// Takes a byte. Returns where to put it in the output, if it is part of it.
    #[inline]
    fn take(&mut self, byte: u8) -> Option<u16> {
        match byte {
            b',' => {
                self.end();
                None
            }
            b' ' | b'\t' => self.blank(byte),
            _ if self.phase == BEFORE => self.first(byte),
            _ if self.phase == KEY => self.key(byte),
            b'!'..=b'~' if byte != b'=' && self.phase == VALUE => {
                self.spaced = self.spaced.saturating_add(1);
                self.part = self.spaced;
                if self.part as usize > STATE_PART {
                    self.bad = 1;
                }
                self.put()
            }
            _ => {
                self.bad = 1;
                None
            }
        }
    }

    /// Whitespace: around a member it says nothing, a space inside a value is part of it.
    #[inline]
    fn blank(&mut self, byte: u8) -> Option<u16> {
        match self.phase {
            KEY => self.phase = BEHIND_KEY,
            VALUE if byte == b' ' => {
                self.spaced = self.spaced.saturating_add(1);
                return self.put();
            }
            VALUE => self.phase = BEHIND_VALUE,
            _ => {}
        }
        None
    }

    /// The first character of a key.
    #[inline]
    fn first(&mut self, byte: u8) -> Option<u16> {
        if self.count as usize >= STATE_MEMBERS || !(byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
            self.bad = 1;
            return None;
        }
        self.phase = KEY;
        self.part = 1;
        self.hash = hash(0x811c_9dc5, byte);
        self.put()
    }

    #[inline]
    fn key(&mut self, byte: u8) -> Option<u16> {
        if byte == b'=' {
            self.phase = VALUE;
            self.part = 0;
            self.spaced = 0;
            return self.put();
        }
        let valid = byte.is_ascii_lowercase()
            || byte.is_ascii_digit()
            || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@');
        self.part = self.part.saturating_add(1);
        if !valid || self.part as usize > STATE_PART {
            self.bad = 1;
            return None;
        }
        self.hash = hash(self.hash, byte);
        self.put()
    }

    /// The place of one more byte of the output.
    #[inline]
    fn put(&mut self) -> Option<u16> {
        let at = self.open;
        if self.full != 0 || at as usize >= STATE_LEN {
            self.full = 1;
            return None;
        }
        self.open = at + 1;
        Some(at)
    }

    /// A member, or a header, ends.
    #[inline]
    pub fn end(&mut self) {
        match self.phase {
            BEFORE => return,
            VALUE | BEHIND_VALUE if self.part > 0 => {}
            _ => {
                self.bad = 1;
                return;
            }
        }
        // A zero is no key: what no member has written yet.
        let hash = if self.hash == 0 { 1 } else { self.hash };
        let mut at = 0;
        while at < STATE_MEMBERS {
            if self.keys[at] == hash {
                self.bad = 1;
            }
            at += 1;
        }
        self.keys[self.count as usize % STATE_MEMBERS] = hash;
        self.count += 1;
        self.phase = BEFORE;
        if self.full == 0 {
            // Without the spaces behind the value.
            self.len = self.open - (self.spaced - self.part);
        }
    }
}

/// One step of FNV-1a.
#[inline]
const fn hash(hash: u32, byte: u8) -> u32 {
    (hash ^ byte as u32).wrapping_mul(0x0100_0193)
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    fn compact(headers: &[&[u8]]) -> Vec<u8> {
        let mut members = Members::EMPTY;
        let mut out = [0; STATE_LEN];
        for header in headers {
            for byte in *header {
                members.push(*byte, &mut |at, byte| out[usize::from(at)] = byte);
            }
            members.end();
        }
        out[..usize::from(members.len())].to_vec()
    }

    fn joined(headers: &[&[u8]]) -> Vec<u8> {
        let mut state = State::EMPTY;
        for header in headers {
            state.push(header);
        }
        let mut out = Vec::new();
        for member in state.members() {
            let comma = usize::from(!out.is_empty());
            if out.len() + comma + member.len() > STATE_LEN {
                break;
            }
            out.extend(std::iter::repeat_n(b',', comma));
            out.extend_from_slice(member);
        }
        out
    }

    #[test]
    fn examples() {
        let long = format!("k={}", "v".repeat(256));
        let longer = format!("k={}", "v".repeat(257));
        let key = format!("{}=v", "k".repeat(256));
        let longer_key = format!("{}=v", "k".repeat(257));
        let many: Vec<String> = (0..33).map(|n| format!("k{n}=v")).collect();
        let (all, most) = (many.join(","), many[..32].join(","));
        let big: Vec<String> = (0..4).map(|n| format!("k{n}={}", "v".repeat(200))).collect();
        let big = big.join(" , ");
        for headers in [
            &[&b""[..]][..],
            &[b"a=1"],
            &[b"a=1,b=2"],
            &[b"a=1", b"b=2"],
            &[b" a=1 ,\tb=2\t, ,", b",c= 3"],
            &[b"a=1 2  ,b=2"],
            &[b"a=1,a=2"],
            &[b"a=1,b"],
            &[b"a =1"],
            &[b"a=1\t2"],
            &[b"a=\t1"],
            &[b"a= "],
            &[b"=1"],
            &[b"A=1"],
            &[b"a@b/c*d_e-f=1"],
            &[b"a=b=c"],
            &[long.as_bytes()],
            &[longer.as_bytes()],
            &[key.as_bytes()],
            &[longer_key.as_bytes()],
            &[all.as_bytes()],
            &[most.as_bytes()],
            &[big.as_bytes()],
        ] {
            let text = headers.iter().map(|header| String::from_utf8_lossy(header)).collect::<Vec<_>>();
            assert_eq!(
                String::from_utf8_lossy(&compact(headers)),
                String::from_utf8_lossy(&joined(headers)),
                "{text:?}"
            );
        }
    }

    #[test]
    fn like_the_parser() {
        let mut word = 1_u64;
        let mut draw = |from: &[u8]| {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            from[(word >> 33) as usize % from.len()]
        };
        let lengths: Vec<u8> = (0..40).collect();
        for _ in 0..200_000 {
            let header = |draw: &mut dyn FnMut(&[u8]) -> u8| -> Vec<u8> {
                (0..draw(&lengths)).map(|_| draw(b"ab===,,\t x1\x7f\x80")).collect()
            };
            let (one, two) = (header(&mut draw), header(&mut draw));
            let headers = [one.as_slice(), two.as_slice()];
            assert_eq!(compact(&headers), joined(&headers), "{headers:?}");
        }
    }
}
