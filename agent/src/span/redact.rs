//! What may not be shown, taken out before anything is queued.
//!
//! Three kinds of rules, each on by default:
//!
//! - by name: the values of query parameters, of `name=value` wherever it stands, and of captured header fields,
//!   whose names are those of secrets ([`SECRET_NAMES`], [`SECRET_HEADERS`]) or in the conventions' list;
//! - by place: the user name and password of a URL;
//! - by form: bearer tokens, JSON Web Tokens, keys of clouds, card numbers, and e-mail addresses on request.
//!
//! Every text of a span that came from the wire goes through [`Redactor::text`], its trace state too. What is
//! replaced is counted by rule. Lists of what may be shown, and templates for paths, are there on request.

mod cards;
#[cfg(test)]
mod context_tests;
mod escapes;
mod glance;
mod names;
mod pairs;
mod path;
mod patterns;
mod scan;
#[cfg(test)]
mod tests;
mod value;

use std::borrow::Cow;

use self::{
    glance::may_hold,
    path::{OVERFLOW, Templates},
    scan::{Found, find, in_order},
};
pub use self::{
    names::{Names, SECRET_HEADERS, SECRET_NAMES},
    path::Paths,
};
use super::semconv::REDACTED;
use crate::stats::{Redaction, Stats};

/// The parameters that the conventions list (http-spans.md, `url.full`). They are matched by case.
pub const SENSITIVE_QUERY: [&str; 7] = [
    "X-Amz-Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
    "AWSAccessKeyId",
    "Signature",
    "sig",
    "X-Goog-Signature",
];

/// Path templates unless configured otherwise: more routes than a large application has.
pub const DEFAULT_TEMPLATES: usize = 500;

/// Which values are recognised by their form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Values {
    /// Credentials behind `Bearer` and `Basic`.
    pub schemes: bool,
    pub jwt: bool,
    pub aws_keys: bool,
    /// Tokens with a prefix of their issuer (`ghp_`, `sk_live_`, ...).
    pub issued: bool,
    pub cards: bool,
    pub emails: bool,
}

impl Values {
    /// None of them.
    pub const NONE: Self =
        Self { schemes: false, jwt: false, aws_keys: false, issued: false, cards: false, emails: false };
}

impl Default for Values {
    fn default() -> Self {
        Self { schemes: true, jwt: true, aws_keys: true, issued: true, cards: true, emails: false }
    }
}

/// What people can choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Query parameters of the conventions; matched by case.
    pub sensitive_query: Vec<Box<str>>,
    /// Names of secrets; a star stands for anything in front or behind.
    pub names: Vec<Box<str>>,
    /// The same for header fields.
    pub headers: Vec<Box<str>>,
    pub values: Values,
    /// The query parameters whose values may be shown, if only some may.
    pub allowed_query: Option<Vec<Box<str>>>,
    /// The attributes that spans may have, if only some may.
    pub allowed_attributes: Option<Vec<Box<str>>>,
    pub paths: Paths,
    /// Templates of paths at most.
    pub max_templates: usize,
}

impl Default for Policy {
    fn default() -> Self {
        let boxed = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
        Self {
            sensitive_query: boxed(&SENSITIVE_QUERY),
            names: boxed(SECRET_NAMES),
            headers: boxed(SECRET_HEADERS),
            values: Values::default(),
            allowed_query: None,
            allowed_attributes: None,
            paths: Paths::default(),
            max_templates: DEFAULT_TEMPLATES,
        }
    }
}

impl Policy {
    /// Nothing is hidden but what the conventions list.
    pub fn off() -> Self {
        Self { names: Vec::new(), headers: Vec::new(), values: Values::NONE, ..Self::default() }
    }
}

/// A path as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShownPath<'a> {
    pub(super) path: Cow<'a, str>,
    /// On request.
    pub(super) template: Option<Box<str>>,
}

/// Takes out what may not be shown.
#[derive(Debug)]
pub struct Redactor {
    policy: Policy,
    names: Names,
    headers: Names,
    allowed_query: Option<Names>,
    allowed_attributes: Option<Names>,
    templates: Templates,
}

impl Redactor {
    /// A redactor for these choices.
    pub fn new(policy: Policy) -> Self {
        Self {
            names: Names::new(&policy.names),
            headers: Names::new(&policy.headers),
            allowed_query: policy.allowed_query.as_ref().map(Names::new),
            allowed_attributes: policy.allowed_attributes.as_ref().map(Names::new),
            templates: Templates::new(policy.max_templates),
            policy,
        }
    }

    /// The choices.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Text from the wire as it may be shown.
    pub fn text<'a>(&self, text: impl Into<Cow<'a, str>>, stats: &Stats) -> Cow<'a, str> {
        let text = text.into();
        if !may_hold(text.as_bytes()) {
            return text;
        }
        match Self::hide(&text, find(&text, self), stats) {
            Some(shown) => Cow::Owned(shown),
            None => text,
        }
    }

    /// A query as it may be shown. Here a value goes up to the next `&`, whatever it holds.
    pub fn query<'a>(&self, query: &'a str, stats: &Stats) -> Cow<'a, str> {
        let mut found = Vec::new();
        self.parameters(query.as_bytes(), 0, &mut found);
        if found.is_empty() {
            return self.text(query, stats);
        }
        found.extend(find(query, self));
        Self::hide(query, found, stats).map_or(Cow::Borrowed(query), Cow::Owned)
    }

    /// What may not be shown of the parameters of a query, which begins at `from`.
    fn parameters(&self, query: &[u8], from: usize, found: &mut Vec<Found>) {
        let mut at = from;
        for part in query.split(|byte| *byte == b'&') {
            let end = at + part.len();
            found.extend(self.secret(part).map(|(start, rule)| Found { start: at + start, end, rule }));
            at = end + 1;
        }
    }

    /// What may not be shown of the queries of the URLs in a text, if only some parameters may be. A URL goes up to a
    /// blank or what stands around it.
    fn queries(&self, text: &[u8]) -> Vec<Found> {
        let mut found = Vec::new();
        let mut at = 0;
        for word in text.split(|byte| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'<' | b'>')) {
            if let Some(mark) = memchr::memchr(b'?', word) {
                let query = word.get(mark + 1..).unwrap_or_default();
                let mut from = at + mark + 1;
                // The fragment may be one more: that is how some servers hand out tokens.
                for part in query.split(|byte| *byte == b'#') {
                    self.parameters(part, from, &mut found);
                    from += part.len() + 1;
                }
            }
            at += word.len() + 1;
        }
        found
    }

    /// A text without what was found in it, which is counted. `None` if nothing was found.
    fn hide(text: &str, found: Vec<Found>, stats: &Stats) -> Option<String> {
        if found.is_empty() {
            return None;
        }
        let mut out = String::with_capacity(text.len() + found.len() * REDACTED.len());
        let mut shown = 0;
        for part in in_order(found) {
            out.push_str(text.get(shown..part.start).unwrap_or_default());
            out.push_str(REDACTED);
            if part.rule == Redaction::UrlCredentials {
                out.extend([":", REDACTED]);
            }
            shown = part.end;
            stats.redacted(part.rule);
        }
        out.push_str(text.get(shown..).unwrap_or_default());
        Some(out)
    }

    /// Where the first value of a part of a query begins that may not be shown. Some servers part parameters by
    /// `;`. What has no equals sign may be a value as well as a name: it is shown if everything is, or this name.
    fn secret(&self, part: &[u8]) -> Option<(usize, Redaction)> {
        let mut at = 0;
        for pair in part.split(|byte| *byte == b';') {
            match memchr::memchr(b'=', pair).and_then(|equals| pair.split_at_checked(equals)) {
                Some((key, [_, _, ..])) => {
                    if let Some(rule) = self.name(key) {
                        return Some((at + key.len() + 1, rule));
                    }
                }
                Some(([], _)) => {}
                key => {
                    let name = key.map_or(pair, |(key, _)| key);
                    if !name.is_empty() && name != REDACTED.as_bytes() && !self.may_be_shown(name) {
                        return Some((at, Redaction::NotAllowed));
                    }
                }
            }
            at += pair.len() + 1;
        }
        None
    }

    fn name(&self, key: &[u8]) -> Option<Redaction> {
        if self.names.has(key) || self.policy.sensitive_query.iter().any(|name| same(key, name.as_bytes())) {
            return Some(Redaction::SecretName);
        }
        (!self.may_be_shown(key)).then_some(Redaction::NotAllowed)
    }

    /// Whether the list of what may be shown, if there is one, has a parameter.
    fn may_be_shown(&self, key: &[u8]) -> bool {
        self.allowed_query.as_ref().is_none_or(|allowed| allowed.has(key))
    }

    /// The lines of a captured header field as they may be shown. Those of one field are one value (RFC 9110, section 5.3):
    /// what begins in one may go on in the next.
    pub(super) fn header<'a>(
        &self,
        name: &str,
        sanitize: bool,
        lines: Vec<Cow<'a, str>>,
        stats: &Stats,
    ) -> Vec<Cow<'a, str>> {
        if sanitize || self.headers.has(name.as_bytes()) {
            let hidden = |_| {
                stats.redacted(Redaction::SecretHeader);
                Cow::Borrowed("[REDACTED]")
            };
            return lines.into_iter().map(hidden).collect();
        }
        if lines.len() < 2 {
            return lines.into_iter().map(|line| self.line(line, stats)).collect();
        }
        // A blank parts words, and neither ends a quoted text nor is it missed in one. A comma, by which recipients join
        // them, goes on a value that has no quotes. Both are one byte: the places are the same.
        let mut whole = find(&lines.join(" "), self);
        whole.extend(find(&lines.join(","), self));
        let mut from = 0;
        let lines = lines.into_iter().map(|line| {
            let (start, end) = (from, from + line.len());
            from = end + 1;
            let inside = whole.iter().filter(|part| part.start < end && start < part.end);
            let clipped = inside.map(|part| Found {
                start: part.start.max(start) - start,
                end: part.end.min(end) - start,
                rule: part.rule,
            });
            let shown = Self::hide(&line, clipped.collect(), stats).map_or(line, Cow::Owned);
            self.line(shown, stats)
        });
        lines.collect()
    }

    /// A line of a captured header field by itself.
    fn line<'a>(&self, value: Cow<'a, str>, stats: &Stats) -> Cow<'a, str> {
        if self.allowed_query.is_some() {
            let mut found = self.queries(value.as_bytes());
            if !found.is_empty() {
                found.extend(find(&value, self));
                return Self::hide(&value, found, stats).map_or(value, Cow::Owned);
            }
        }
        self.text(value, stats)
    }

    /// The value of an attribute that a program declares for itself as it may be shown.
    pub fn attribute<'a>(&self, name: &str, value: &'a str, stats: &Stats) -> Cow<'a, str> {
        if self.names.has(name.as_bytes()) && !value.is_empty() {
            stats.redacted(Redaction::SecretName);
            return Cow::Borrowed(REDACTED);
        }
        self.text(value, stats)
    }

    /// A path as it may be shown, and its template if that is wanted.
    pub(super) fn path<'a>(&self, path: &'a str, stats: &Stats) -> ShownPath<'a> {
        // The asterisk of OPTIONS and the nothing of CONNECT are no paths.
        if self.policy.paths == Paths::AsTheyAre || path == "*" || path.is_empty() {
            return ShownPath { path: self.text(path, stats), template: None };
        }
        let safe = self.text(path, stats);
        let template = self.templates.of(&safe);
        if template.is_none() {
            stats.redacted(Redaction::PathOverflow);
        }
        if self.policy.paths == Paths::Named {
            return ShownPath { path: safe, template };
        }
        let shown: Cow<'_, str> = match &template {
            None => Cow::Borrowed(OVERFLOW),
            Some(template) if **template == *safe => safe,
            Some(template) => {
                stats.redacted(Redaction::PathTemplate);
                Cow::Owned(template.to_string())
            }
        };
        ShownPath { path: shown, template }
    }

    /// Whether spans may have this attribute; counted if not.
    pub(super) fn allows(&self, key: &str, stats: &Stats) -> bool {
        let allowed = self.allowed_attributes.as_ref().is_none_or(|allowed| allowed.has(key.as_bytes()));
        if !allowed {
            stats.redacted(Redaction::NotAllowed);
        }
        allowed
    }
}

/// Whether a key, written plainly or percent-encoded, is this name, by case.
fn same(mut key: &[u8], name: &[u8]) -> bool {
    if key.len() <= name.len() {
        return key == name;
    }
    let hex = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    for expect in name {
        let (byte, rest) = match key {
            [b'%', high, low, rest @ ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, rest),
                _ => return false,
            },
            [byte, rest @ ..] => (*byte, rest),
            [] => return false,
        };
        if byte != *expect {
            return false;
        }
        key = rest;
    }
    key.is_empty()
}
