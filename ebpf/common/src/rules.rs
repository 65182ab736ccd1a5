//! What sampling rules are made of: patterns and rate limits. Pure, without allocation, and the same on both sides.

/// Bytes of a pattern at most; of a longer one nothing matches. Paths of routes are shorter.
pub const PATTERN_MAX: usize = 256;

/// Whether a text matches a pattern, in which `*` stands for any bytes and `?` for one. It looks at each byte of the
/// text at most as often as the pattern has bytes.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    if pattern.len() > PATTERN_MAX {
        return false;
    }
    let (mut p, mut t) = (0, 0);
    // Behind the last star, and how much of the text it stands for so far.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(t) {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some(expect) if *expect == b'?' || expect == byte => {
                p += 1;
                t += 1;
                continue;
            }
            _ => {}
        }
        let Some((behind, from)) = star else { return false };
        star = Some((behind, from + 1));
        p = behind;
        t = from + 1;
    }
    pattern.get(p..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

/// A rate limit: a bucket of tokens that holds those of one second and is full at first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Bucket {
    /// Billionths of a token that are missing.
    missing: u64,
    /// When that was so; `CLOCK_MONOTONIC`, nanoseconds.
    at_ns: u64,
}

impl Bucket {
    /// A token.
    const TOKEN: u64 = 1_000_000_000;

    /// Takes a token, if there is one. Times that go backwards count as no time.
    pub fn take(&mut self, now_ns: u64, per_second: u32) -> bool {
        let rate = u64::from(per_second);
        let full = rate * Self::TOKEN;
        // In a second it fills up, whatever it lacks; so nothing overflows.
        let passed = now_ns.saturating_sub(self.at_ns).min(Self::TOKEN);
        self.missing = self.missing.min(full).saturating_sub(passed * rate);
        self.at_ns = self.at_ns.max(now_ns);
        let fits = self.missing + Self::TOKEN <= full;
        if fits {
            self.missing += Self::TOKEN;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expect) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("/health*", "/healthz", true),
            ("/health*", "/heal", false),
            ("*/health", "/a/b/health", true),
            ("/a/*/c", "/a/b/b/c", true),
            ("/a/*/c", "/a/b/cd", false),
            ("/?", "/a", true),
            ("/?", "/", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "acb", false),
            ("**a", "ba", true),
            ("GET", "get", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expect, "{pattern} {text}");
        }
        assert!(!matches(&[b'*'; PATTERN_MAX + 1], b"a"));
        assert!(!matches(&b"*a".repeat(PATTERN_MAX / 2), &[b'b'; 16_384]));
    }

    #[test]
    fn so_many_a_second() {
        let second = 1_000_000_000;
        let mut bucket = Bucket::default();
        let taken = |bucket: &mut Bucket, now| (0..100).filter(|_| bucket.take(now, 10)).count();
        assert_eq!(taken(&mut bucket, 5 * second), 10);
        assert_eq!(taken(&mut bucket, 5 * second), 0);
        assert_eq!(taken(&mut bucket, 5 * second + second / 2), 5);
        assert_eq!(taken(&mut bucket, 4 * second), 0);
        assert_eq!(taken(&mut bucket, 100 * second), 10);
        assert!(!Bucket::default().take(u64::MAX, 0));
        let mut fast = Bucket::default();
        assert!((0..1000).all(|n| fast.take(n * 1_000_000, 1000)));
        assert!(Bucket::default().take(u64::MAX, u32::MAX));
    }
}
