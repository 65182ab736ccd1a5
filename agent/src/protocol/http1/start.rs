//! Start lines (RFC 9112, sections 3 and 4), and whether bytes may be the beginning of one.

use spandrel_common::http1::is_token;

use super::super::{Detect, Side};

/// Longest method that is taken for one. The longest registered one (`UPDATEREDIRECTREF`) has 17 bytes;
/// what comes without a space for longer is another protocol.
const METHOD_MAX: usize = 20;

/// What a status line starts with; a digit follows.
const VERSION: &[u8] = b"HTTP/1.";

/// The methods that prove HTTP by themselves, at the first space.
const METHODS: [&[u8]; 16] = [
    b"GET",
    b"POST",
    b"PUT",
    b"HEAD",
    b"DELETE",
    b"OPTIONS",
    b"PATCH",
    b"CONNECT",
    b"TRACE",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"REPORT",
    b"QUERY",
];

/// What a start line says about the framing of the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Request(Method),
    Response(u16),
}

/// What a method means for the framing of the response (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Head,
    Connect,
    /// Another method of [`METHODS`].
    Known,
    /// Any other token.
    Other,
}

/// A line without its line end.
pub(super) fn parse(side: Side, line: &[u8]) -> Option<Start> {
    match side {
        Side::Request => request(line).map(Start::Request),
        Side::Response => response(line).map(Start::Response),
    }
}

fn request(line: &[u8]) -> Option<Method> {
    let (line, version) = line.split_at_checked(line.len().checked_sub(9)?)?;
    let [b' ', version @ .., digit] = version else { return None };
    if version != VERSION || !digit.is_ascii_digit() {
        return None;
    }
    let space = memchr::memchr(b' ', line.get(..=METHOD_MAX).unwrap_or(line))?;
    let (method, target) = (line.get(..space)?, line.get(space + 1..)?);
    if target.is_empty() {
        return None;
    }
    // Folded without a branch so that the compiler can use vectors.
    let bad = target.iter().fold(0, |bad, byte| bad | u8::from(*byte <= b' ') | u8::from(*byte == 0x7f));
    // What no target may hold (RFC 3986) is sent all the same, and many servers take it: method, version and the target's
    // beginning prove enough. An unknown method does not.
    method_of(method).filter(|method| {
        bad == 0
            || *method != Method::Other && target.first().is_some_and(|byte| *byte > b' ' && *byte != 0x7f)
    })
}

fn method_of(method: &[u8]) -> Option<Method> {
    match method {
        b"GET" | b"POST" | b"PUT" | b"DELETE" | b"OPTIONS" | b"PATCH" => Some(Method::Known),
        b"HEAD" => Some(Method::Head),
        b"CONNECT" => Some(Method::Connect),
        [] => None,
        _ if METHODS.contains(&method) => Some(Method::Known),
        _ => method.iter().all(|byte| is_token(*byte)).then_some(Method::Other),
    }
}

fn response(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(VERSION)?;
    let [minor, b' ', a @ b'1'..=b'9', b, c, reason @ ..] = rest else { return None };
    let digits = minor.is_ascii_digit() && b.is_ascii_digit() && c.is_ascii_digit();
    (digits && matches!(reason, [] | [b' ', ..]))
        .then(|| u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0'))
}

/// Whether `head`, which does not start with an empty line, may be the beginning of a start line.
pub(super) fn detect(side: Side, head: &[u8]) -> Detect {
    match side {
        Side::Request => detect_request(head),
        Side::Response => detect_response(head),
    }
}

fn detect_request(head: &[u8]) -> Detect {
    let sniff = head.get(..=METHOD_MAX).unwrap_or(head);
    let Some(end) = sniff.iter().position(|byte| !is_token(*byte)) else {
        return if sniff.len() > METHOD_MAX { Detect::No } else { Detect::Need(1) };
    };
    let (Some(method), Some([b' ', target @ ..])) = (head.get(..end), head.get(end..)) else {
        return Detect::No;
    };
    let known = METHODS.contains(&method);
    match target.first() {
        _ if method.is_empty() => Detect::No,
        None => Detect::Need(1),
        Some(b'\0'..=b' ' | 0x7f) => Detect::No,
        // `GET /`, `GET http://`, `OPTIONS *`, `CONNECT host:1` and `CONNECT [::1]:1`.
        Some(first) if known && (first.is_ascii_alphanumeric() || matches!(first, b'/' | b'*' | b'[')) => {
            Detect::Yes
        }
        // An unknown method proves nothing (memcached, SMTP and others look like one): wait for the version.
        Some(_) => match memchr::memchr(b'\n', target) {
            Some(end) => {
                let line = head.get(..head.len() - target.len() + end).unwrap_or(head);
                if request(line.strip_suffix(b"\r").unwrap_or(line)).is_some() {
                    Detect::Yes
                } else {
                    Detect::No
                }
            }
            None if target.iter().any(|byte| byte.is_ascii_control() && *byte != b'\r') => Detect::No,
            None => Detect::Need(1),
        },
    }
}

fn detect_response(head: &[u8]) -> Detect {
    let len = head.len().min(VERSION.len());
    if head.get(..len) != VERSION.get(..len) {
        return Detect::No;
    }
    match head.get(VERSION.len()..) {
        None | Some([]) => Detect::Need(VERSION.len() + 1 - len),
        Some([minor, ..]) if minor.is_ascii_digit() => Detect::Yes,
        Some(_) => Detect::No,
    }
}

/// How many bytes of empty lines `bytes` start with. A server ignores them before a request line (RFC
/// 9112, section 2.2); some old servers send them behind a response.
pub(super) fn empty_lines(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
}
