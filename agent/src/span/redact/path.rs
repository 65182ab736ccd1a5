//! Paths by their templates: `/users/42` as `/users/{id}`, on request, and never more than so many of them.

use std::{
    borrow::Cow,
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

/// How paths are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Paths {
    /// As they came.
    #[default]
    AsTheyAre,
    /// As they came, with `url.template`, and the template in the span's name.
    Named,
    /// The template instead of the path everywhere.
    Replaced,
}

/// Segments of a template. What is behind them is one star: deep trees of files are no routes.
const MAX_SEGMENTS: usize = 12;
/// Characters of a segment that can be a word of a route. Longer ones are identifiers.
const LONGEST_WORD: usize = 40;
/// Hexadecimal digits from which on a segment with a digit is taken for an identifier.
const SHORTEST_HEX: usize = 8;
/// Characters from which on letters and digits together are taken for an identifier.
const SHORTEST_MIXED: usize = 16;

/// What stands for an identifier.
const ID: &str = "{id}";
/// The template of every path that came when there were too many.
pub(super) const OVERFLOW: &str = "/{*}";

/// The templates that were given out.
#[derive(Debug)]
pub(super) struct Templates {
    known: Mutex<HashSet<Box<str>>>,
    max: usize,
}

impl Templates {
    /// At most `max` of them.
    pub(super) fn new(max: usize) -> Self {
        Self { known: Mutex::default(), max }
    }

    /// The template of a path; `None` if it is a new one and there are enough.
    pub(super) fn of(&self, path: &str) -> Option<Box<str>> {
        let template = template(path);
        // Nothing panics while it is held.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(&*template) {
            return Some(known.clone());
        }
        if known.len() >= self.max {
            return None;
        }
        let template: Box<str> = template.into();
        known.insert(template.clone());
        Some(template)
    }
}

/// A path with its identifiers replaced.
fn template(path: &str) -> Cow<'_, str> {
    let mut out = String::with_capacity(path.len());
    let segments = path.strip_prefix('/').unwrap_or(path).split('/');
    for (at, segment) in segments.enumerate() {
        out.push('/');
        if at >= MAX_SEGMENTS {
            out.push_str("{*}");
            break;
        }
        // Parameters of a segment (RFC 3986, section 3.3) are no part of a route.
        let word = segment.split(';').next().unwrap_or_default();
        out.push_str(if is_identifier(word) { ID } else { word });
    }
    if out == path { Cow::Borrowed(path) } else { Cow::Owned(out) }
}

/// Whether a segment looks like an identifier rather than like a word of a route.
fn is_identifier(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    let count = |kind: fn(&u8) -> bool| bytes.iter().filter(|byte| kind(byte)).count();
    let (digits, letters) = (count(u8::is_ascii_digit), count(u8::is_ascii_alphabetic));
    if digits == 0 {
        // Addresses, text in other alphabets, and what is too long for a word.
        return bytes.len() > LONGEST_WORD || bytes.contains(&b'@') || segment.contains("%40");
    }
    let others = bytes.len() - digits - letters;
    let numeric = letters == 0 && digits >= others;
    let hex =
        bytes.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-') && bytes.len() >= SHORTEST_HEX;
    let mixed = bytes.len() >= SHORTEST_MIXED && digits >= 2;
    let address = bytes.contains(&b'@') || segment.contains("%40");
    // `v1` and `2fa` are words; `a1b2c3` and `order-4711` are not.
    let mostly = digits >= 4 || digits * 2 >= bytes.len() && bytes.len() > 3;
    numeric || hex || mixed || address || mostly || bytes.len() > LONGEST_WORD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_replaced_and_words_stay() {
        for (path, expect) in [
            ("/", "/"),
            ("", "/"),
            ("/users/42", "/users/{id}"),
            ("/users/42/orders/7b3bf470-9456-11e8-9eb6-529269fb1459", "/users/{id}/orders/{id}"),
            ("/v1/items", "/v1/items"),
            ("/api/v2beta/2fa/login", "/api/v2beta/2fa/login"),
            ("/c/deadbeef00/x", "/c/{id}/x"),
            ("/facade/decade", "/facade/decade"),
            ("/order-4711", "/{id}"),
            ("/u/someone@example.org/mail", "/u/{id}/mail"),
            ("/2026-11-20/report", "/{id}/report"),
            ("/a;jsessionid=7/b", "/a/b"),
            ("/a//b/", "/a//b/"),
            ("relative/1", "/relative/{id}"),
            ("/robots.txt", "/robots.txt"),
        ] {
            assert_eq!(template(path), expect, "{path}");
        }
        assert_eq!(template(&"/a".repeat(100)), "/a".repeat(MAX_SEGMENTS) + "/{*}");
        assert_eq!(template(&format!("/{}", "x".repeat(41))), "/{id}");
    }

    #[test]
    fn there_are_never_too_many() {
        let templates = Templates::new(2);
        assert_eq!(templates.of("/a/1").as_deref(), Some("/a/{id}"));
        assert_eq!(templates.of("/b/1").as_deref(), Some("/b/{id}"));
        assert_eq!(templates.of("/c/1"), None);
        assert_eq!(templates.of("/a/2").as_deref(), Some("/a/{id}"));
    }
}
