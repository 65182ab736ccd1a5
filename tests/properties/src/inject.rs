//! Injection: a line goes into nothing but a whole head of a request, right behind its first line.

use spandrel_common::{inject::place, limits::INJECT_SCAN};

/// A message as a program sends it.
pub fn inject(message: &[u8]) {
    let searched = message.get(..INJECT_SCAN).unwrap_or(message);
    let expected = read(searched);
    let found = place(message).ok().map(|at| at as usize);
    assert_eq!(found, expected, "{}", message.escape_ascii());
}

/// The same by reading line by line, as one would for a person.
fn read(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 2;
    let head = bytes.get(..end)?;
    let mut lines = head.split_inclusive(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r\n"));
    let first = lines.next()??;
    let good = is_request(first) && lines.all(|line| line.is_some_and(is_harmless));
    good.then_some(first.len() + 2)
}

fn is_request(line: &[u8]) -> bool {
    let Some(space) = line.iter().position(|byte| *byte == b' ') else { return false };
    let (method, rest) = line.split_at(space);
    let named = !method.is_empty() && method.len() <= 16;
    let letters = method.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'-');
    let target = rest.get(1).is_some_and(|byte| b"/*".contains(byte) || byte.is_ascii_alphabetic());
    let version = rest.ends_with(b" HTTP/1.1") || rest.ends_with(b" HTTP/1.0");
    // At least one byte of target between the two spaces.
    named && letters && target && version && rest.len() > 10 && method != b"CONNECT"
}

fn is_harmless(line: &[u8]) -> bool {
    let lower = line.to_ascii_lowercase();
    let upgrade = lower.strip_prefix(b"upgrade").is_some_and(|rest| rest.first() != Some(&b'-'));
    let context = lower.starts_with(b"traceparent") || lower.starts_with(b"tracesta");
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    line.first().is_some_and(|byte| token(*byte)) && !upgrade && !context
}
