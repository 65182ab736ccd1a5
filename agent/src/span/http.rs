//! The head of an HTTP/1 message, read once: the start line, and the fields in their order.
//!
//! Nothing here refuses anything. What cannot be a start line or a field is passed over, and a field that
//! the capture limit cut in two is not told at all: half a value is not what anybody sent.

use std::borrow::Cow;

use memchr::memchr;

use crate::protocol::message::Head;

/// A request line (RFC 9112, section 3). Parts that are missing are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RequestLine<'a> {
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
    /// `1.1` of `HTTP/1.1`.
    pub(super) version: &'a [u8],
}

/// The lines of a head.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    rest: &'a [u8],
    /// The last line has no end because the capture stopped there.
    cut: bool,
}

impl<'a> Lines<'a> {
    /// The lines of a head from its start line on. (Empty lines before it are allowed by RFC 9112,
    /// section 2.2.)
    pub(super) fn of(head: &'a Head) -> Self {
        let mut rest: &[u8] = head.bytes();
        while let [b'\r' | b'\n', tail @ ..] = rest {
            rest = tail;
        }
        Self { rest, cut: head.truncated }
    }

    /// The start line, and whether its end is there. The beginning of one still tells something.
    pub(super) fn start(&mut self) -> (&'a [u8], bool) {
        match memchr(b'\n', self.rest) {
            Some(end) => (self.take(end), true),
            None => (std::mem::take(&mut self.rest), false),
        }
    }

    /// The line that ends at `end`, without its end.
    fn take(&mut self, end: usize) -> &'a [u8] {
        let line = self.rest.get(..end).unwrap_or(self.rest);
        self.rest = self.rest.get(end + 1..).unwrap_or(&[]);
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// The next line of the fields, with those that continue it; none behind the empty one.
    fn line(&mut self) -> Option<&'a [u8]> {
        let mut end = match memchr(b'\n', self.rest) {
            Some(end) => end,
            None if self.rest.is_empty() || self.cut => return None,
            None => self.rest.len(),
        };
        while matches!(self.rest.get(end + 1), Some(b' ' | b'\t')) {
            let from = end + 1;
            end = match self.rest.get(from..).and_then(|rest| memchr(b'\n', rest)) {
                Some(more) => from + more,
                None if self.cut => return None,
                None => self.rest.len(),
            };
        }
        Some(self.take(end)).filter(|line| !line.is_empty())
    }

    /// The fields whose names begin so. Others are not taken apart, which costs more than to find their ends.
    pub(super) fn beginning(mut self, wanted: impl Fn(u8) -> bool) -> impl Iterator<Item = Field<'a>> {
        std::iter::from_fn(move || {
            loop {
                let line = self.line()?;
                if line.first().is_some_and(|first| wanted(*first))
                    && let Some(field) = field(line)
                {
                    return Some(field);
                }
            }
        })
    }
}

/// A field's name and value. A value that is folded over several lines (RFC 9112, section 5.2) comes with the folds in
/// it; [`text`] takes them out.
type Field<'a> = (&'a [u8], &'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(field) = field(self.line()?) {
                return Some(field);
            }
        }
    }
}

fn field(line: &[u8]) -> Option<Field<'_>> {
    let (name, value) = line.split_at_checked(memchr(b':', line)?)?;
    Some((name, trim(value.get(1..)?)))
}

/// Whether a name is this one. The usual spelling is compared at once, others byte by byte.
pub(super) fn is_name(name: &[u8], usual: &[u8]) -> bool {
    name == usual || name.eq_ignore_ascii_case(usual)
}

/// A value without the whitespace and folds around it.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] | [rest @ .., b' ' | b'\t' | b'\r' | b'\n'] = value {
        value = rest;
    }
    value
}

/// Bytes as text; what is not UTF-8 is replaced. Most is, which is cheaper to see for all of it than piece by piece.
pub(super) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// A value as text: each fold becomes a space, and bytes that are not UTF-8 are replaced.
pub(super) fn text(value: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(value) {
        Ok(text) if memchr(b'\n', value).is_none() => text.into(),
        _ => {
            let text = String::from_utf8_lossy(value);
            let lines: Vec<_> = text.split('\n').map(|line| line.trim_matches([' ', '\t', '\r'])).collect();
            lines.join(" ").into()
        }
    }
}

/// Reads a request line. Spaces inside the target are kept, as peers that accept them do.
pub(super) fn request_line(line: &[u8]) -> RequestLine<'_> {
    let Some((method, rest)) = memchr(b' ', line).and_then(|end| line.split_at_checked(end)) else {
        return RequestLine { method: line, ..RequestLine::default() };
    };
    let rest = rest.trim_ascii();
    let split = memchr::memrchr(b' ', rest).and_then(|end| rest.split_at_checked(end));
    let version = split.and_then(|(_, last)| last.trim_ascii_start().strip_prefix(b"HTTP/"));
    match (split, version) {
        (Some((target, _)), Some(version)) => {
            RequestLine { method, target: target.trim_ascii_end(), version }
        }
        _ => RequestLine { method, target: rest, version: &[] },
    }
}

/// Reads the first line of a request of HTTP/2: method, space, target, each empty if it is not known.
pub(super) fn stream_line(line: &[u8]) -> RequestLine<'_> {
    let split = memchr(b' ', line).and_then(|end| line.split_at_checked(end));
    let (method, target) = split.unwrap_or((line, &[]));
    RequestLine { method, target: target.trim_ascii_start(), version: b"2" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str, truncated: bool) -> Head {
        Head::copy(text.as_bytes(), truncated)
    }

    fn fields(head: &Head) -> Vec<(String, String)> {
        let mut lines = Lines::of(head);
        lines.start();
        lines.map(|(name, value)| (text(name).into(), text(value).into())).collect()
    }

    #[track_caller]
    fn check(input: &str, expect: &[(&str, &str)]) {
        let found = fields(&head(input, false));
        let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(found, expect, "{input:?}");
    }

    #[test]
    fn fields_in_their_order() {
        check("GET / HTTP/1.1\r\nA: 1\r\nb:2\r\nA:\t3 \r\n\r\n", &[("A", "1"), ("b", "2"), ("A", "3")]);
        check("GET / HTTP/1.1\nA: 1\nb:2\n\nC: body\n", &[("A", "1"), ("b", "2")]);
        check("\r\n\r\nGET / HTTP/1.1\r\nA: 1\r\n\r\n", &[("A", "1")]);
        check("GET / HTTP/1.1\r\n\r\n", &[]);
        check("GET / HTTP/1.1\r\nnothing\r\nA: :\r\nB:\r\n\r\n", &[("A", ":"), ("B", "")]);
        check("GET / HTTP/1.1\r\nA: 1", &[("A", "1")]);
        check("", &[]);
    }

    #[test]
    fn folds_become_spaces() {
        check("G / H\r\nA: 1\r\n  2\r\n\t3\r\nB: 4\r\n\r\n", &[("A", "1 2 3"), ("B", "4")]);
        check("G / H\r\nA:\r\n 1\r\n\r\n", &[("A", "1")]);
        check("G / H\r\nA: 1\r\n \r\nB: 2\r\n\r\n", &[("A", "1"), ("B", "2")]);
        check("G / H\r\nA: 1\r\n 2", &[("A", "1 2")]);
    }

    #[test]
    fn a_field_that_was_cut_is_not_told() {
        assert_eq!(fields(&head("GET / HTTP/1.1\r\nA: 1\r\nB: 2", true)), [("A".into(), "1".into())]);
        assert_eq!(fields(&head("GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\n 3", true)), [("A".into(), "1".into())]);
        assert_eq!(Lines::of(&head("GET /lo", true)).start(), (&b"GET /lo"[..], false));
        assert_eq!(Lines::of(&head("GET /\n", true)).start(), (&b"GET /"[..], true));
    }

    #[test]
    fn request_lines() {
        for (line, method, target, version) in [
            ("GET /a HTTP/1.1", "GET", "/a", "1.1"),
            ("GET /a b HTTP/1.0", "GET", "/a b", "1.0"),
            ("GET  /a  HTTP/1.1 ", "GET", "/a", "1.1"),
            ("GET /a", "GET", "/a", ""),
            ("GET /a b", "GET", "/a b", ""),
            ("GET HTTP/1.1", "GET", "HTTP/1.1", ""),
            ("GET", "GET", "", ""),
            ("GET ", "GET", "", ""),
            ("", "", "", ""),
        ] {
            let expect = RequestLine {
                method: method.as_bytes(),
                target: target.as_bytes(),
                version: version.as_bytes(),
            };
            assert_eq!(request_line(line.as_bytes()), expect, "{line:?}");
        }
    }

    #[test]
    fn what_is_not_text_is_replaced() {
        assert_eq!(&*text(b"caf\xe9"), "caf\u{fffd}");
        assert_eq!(&*text(b"caf\xe9\r\n au lait"), "caf\u{fffd} au lait");
    }
}
