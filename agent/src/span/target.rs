//! Request targets in their four forms (RFC 9112, section 3.2), and URLs put together again.

use std::net::SocketAddr;

use super::{
    address::{Authority, push_socket},
    http::lossy,
    redact::Redactor,
    semconv::REDACTED,
};
use crate::stats::{Redaction, Stats};

/// A request target in its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// Of the absolute form only.
    pub(super) scheme: Option<&'a str>,
    /// Of the absolute form, and of CONNECT, whose target is nothing else.
    pub(super) authority: Option<&'a str>,
    /// `*` of the asterisk form; empty for CONNECT.
    pub(super) path: &'a str,
    /// Without its question mark.
    pub(super) query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Takes the target of a request apart.
    pub(super) fn of(target: &'a str, connect: bool) -> Self {
        // The usual form: a path, with or without a query.
        if target.starts_with('/') {
            return Self::default().with_path(target);
        }
        if connect {
            return Self { authority: Some(target), ..Self::default() };
        }
        let absolute = target.split_once("://").filter(|(scheme, _)| is_scheme(scheme));
        let Some((scheme, rest)) = absolute else { return Self::default().with_path(target) };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
        Self { scheme: Some(scheme), authority: Some(authority), ..Self::default() }.with_path(path)
    }

    fn with_path(self, rest: &'a str) -> Self {
        let mark = memchr::memchr(b'?', rest.as_bytes()).and_then(|mark| rest.split_at_checked(mark));
        let (path, query) = mark.map_or((rest, None), |(path, query)| (path, query.get(1..)));
        // An empty path means the same as a slash (RFC 9110, section 4.2.3).
        let path = if path.is_empty() && self.authority.is_some() { "/" } else { path };
        Self { path, query, ..self }
    }
}

/// Characters of a scheme. Those that requests name (`http`, `wss`, `coaps+tcp`) have fewer.
const LONGEST_SCHEME: usize = 16;

/// Whether text is a scheme (RFC 3986, section 3.1).
pub(super) fn is_scheme(text: &str) -> bool {
    text.len() <= LONGEST_SCHEME
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// Whether a target that was cut ends inside what may be its authority. The part of a password that was
/// captured looks like a host or a port there.
pub(super) fn open_authority(target: &[u8]) -> bool {
    let slash_later = target.split(|byte| *byte == b'/').nth(3).is_some();
    !target.starts_with(b"/") && !slash_later && !target.contains(&b'?') && !target.contains(&b'#')
}

/// Who a URL leads to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    /// As the request said it.
    Named(Authority<'a>),
    /// The request did not say it, and this is where it went.
    Peer(SocketAddr),
    /// Neither is known.
    Nowhere,
}

/// Puts a URL together as it may be shown. `path` is the target's, as that may be.
pub(super) fn full_url(
    scheme: &str,
    place: Place<'_>,
    path: &str,
    target: &Target<'_>,
    redactor: &Redactor,
    stats: &Stats,
) -> String {
    let authority = match place {
        Place::Named(authority) => authority.written.len(),
        Place::Peer(_) => 21,
        Place::Nowhere => 0,
    };
    let query = target.query.map_or(0, |query| 1 + query.len());
    // Exact for what is usual, so that nothing is allocated twice.
    let mut url = String::with_capacity(scheme.len() + 3 + authority + path.len() + query);
    // What CONNECT asks for is a place and no resource: it has no scheme.
    if !matches!(place, Place::Nowhere) {
        let scheme = if target.path.is_empty() { "" } else { scheme };
        url.extend([scheme, if scheme.is_empty() { "//" } else { "://" }]);
    }
    match place {
        Place::Named(authority) => {
            if authority.user {
                url.extend([REDACTED, ":", REDACTED, "@"]);
                stats.redacted(Redaction::UrlCredentials);
            }
            url.push_str(&redactor.text(lossy(authority.written), stats));
        }
        Place::Peer(addr) => push_socket(&mut url, addr),
        Place::Nowhere => {}
    }
    // The asterisk stands for the server itself, whose URL has no path (RFC 9112, section 3.3).
    if target.path != "*" {
        url.push_str(path);
    }
    if let Some(query) = target.query {
        url.push('?');
        url.push_str(&redactor.query(query, stats));
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        span::{address::authority, redact::Policy},
        stats::Count,
    };

    #[test]
    fn the_four_forms() {
        let is = |target, connect, scheme, authority, path, query| {
            assert_eq!(Target::of(target, connect), Target { scheme, authority, path, query }, "{target}");
        };
        is("/", false, None, None, "/", None);
        is("/a/b?c=d&e", false, None, None, "/a/b", Some("c=d&e"));
        is("/a?", false, None, None, "/a", Some(""));
        is("/a??b", false, None, None, "/a", Some("?b"));
        is("/go?to=http://x/y", false, None, None, "/go", Some("to=http://x/y"));
        is("//a/b", false, None, None, "//a/b", None);
        is("http://h:1/p?q", false, Some("http"), Some("h:1"), "/p", Some("q"));
        is("HTTP://h?q", false, Some("HTTP"), Some("h"), "/", Some("q"));
        is("http://", false, Some("http"), Some(""), "/", None);
        is("a/b://c", false, None, None, "a/b://c", None);
        is("*", false, None, None, "*", None);
        is("h:443", true, None, Some("h:443"), "", None);
        is("/odd", true, None, None, "/odd", None);
        is("", false, None, None, "", None);
        is("", true, None, Some(""), "", None);
    }

    #[track_caller]
    fn check(place: Place<'_>, target: &Target<'_>, expect: &str, redacted: u64) {
        let (redactor, stats) = (Redactor::new(Policy::default()), Stats::default());
        assert_eq!(full_url("http", place, target.path, target, &redactor, &stats), expect);
        assert_eq!(stats.counted(Count::Redacted), redacted);
    }

    #[test]
    fn a_cut_authority_is_known() {
        for target in ["", "h", "http:", "http:/", "http://", "http://u", "http://u:p", "h:443"] {
            assert!(open_authority(target.as_bytes()), "{target}");
        }
        for target in ["/", "/a", "//a", "http://u:p@h/", "http://u:p@h?", "http://h/a"] {
            assert!(!open_authority(target.as_bytes()), "{target}");
        }
    }

    #[test]
    fn urls() {
        let named = |value: &'static str| Place::Named(authority(value.as_bytes()));
        let origin = Target::of("/a?b=c", false);
        check(named("h:1"), &origin, "http://h:1/a?b=c", 0);
        check(named("[::1]:81"), &origin, "http://[::1]:81/a?b=c", 0);
        check(named("u:p@h"), &origin, "http://REDACTED:REDACTED@h/a?b=c", 1);
        check(named("u:p@h"), &Target::of("/?sig=x", false), "http://REDACTED:REDACTED@h/?sig=REDACTED", 2);
        check(Place::Peer("10.0.0.1:81".parse().unwrap()), &origin, "http://10.0.0.1:81/a?b=c", 0);
        check(Place::Peer("[::1]:80".parse().unwrap()), &origin, "http://[::1]/a?b=c", 0);
        check(Place::Nowhere, &origin, "/a?b=c", 0);
        check(named("h:1"), &Target::of("*", false), "http://h:1", 0);
        check(named("h:443"), &Target::of("h:443", true), "//h:443", 0);
    }
}
