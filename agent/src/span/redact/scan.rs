//! One pass over a text that finds what may not be shown.

use super::{
    Redactor,
    cards::card,
    escapes::{LAYERS, Layer, escape},
    glance::may_hold,
    names::LONGEST_NAME,
    pairs::{KEYS, NEAR, VALUES, is_one},
    patterns::{aws_id, aws_secret, email, holds_aws_id, issued, jwt, scheme},
    value::{blank, blanks, slashes, stops, trim_end, value},
};
use crate::{span::semconv::REDACTED, stats::Redaction};

/// A part of a text that may not be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) rule: Redaction,
}

/// What can begin at a byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// A word that may be a token, where it begins.
    Letter,
    Digit,
    /// Nothing, but it goes on a word.
    Underscore,
    /// A key in base64.
    Sign,
    /// The end of a name in front of its value.
    Equals,
    Colon,
    /// The end of credentials, or the middle of an address.
    At,
    /// Perhaps one of the above, percent-encoded.
    Percent,
    /// Nothing.
    Plain,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Plain; 256];
    let mut byte = 0;
    while byte < 256 {
        let letter = byte as u8;
        classes[byte] = match letter {
            b'A'..=b'Z' | b'a'..=b'z' => Class::Letter,
            b'0'..=b'9' => Class::Digit,
            b'_' => Class::Underscore,
            b'+' | b'/' => Class::Sign,
            b'=' => Class::Equals,
            b':' => Class::Colon,
            b'@' => Class::At,
            b'%' => Class::Percent,
            _ => Class::Plain,
        };
        byte += 1;
    }
    classes
};

/// Texts that are shorter hold nothing that is looked for by its form.
const SHORTEST: usize = 8;

/// Everything in a text, and in what its percent-encoding stands for, that may not be shown: in order, without
/// overlaps.
pub(super) fn find(text: &str, rules: &Redactor) -> Vec<Found> {
    let mut found = scan(text.as_bytes(), rules);
    let mut layer = Layer::of(text.as_bytes());
    for _ in 0..LAYERS {
        let Some(shown) = layer else { break };
        if may_hold(&shown.bytes) {
            let place =
                |part: Found| Found { start: shown.place(part.start), end: shown.place(part.end), ..part };
            found.extend(scan(&shown.bytes, rules).into_iter().map(place));
        }
        layer = shown.next();
    }
    found
}

/// Parts in order; those that overlap are made one, by the rule of the first.
pub(super) fn in_order(mut found: Vec<Found>) -> Vec<Found> {
    // Of those that begin together the first that was found is the first.
    found.sort_by_key(|part| part.start);
    found.dedup_by(|part, before| {
        let overlaps = part.start < before.end;
        if overlaps {
            before.end = before.end.max(part.end);
        }
        overlaps
    });
    found
}

/// Everything in a text as it stands that may not be shown, in order, without overlaps. One pass: every look ahead and
/// behind is bounded or ends at what this pass has found before, so that no text takes more than linear time.
pub(super) fn scan(bytes: &[u8], rules: &Redactor) -> Vec<Found> {
    let beside = rules.policy.values.aws_keys && holds_aws_id(bytes);
    let mut pass = Pass { bytes, rules, name: 0, part: 0, beside, pair: Pair::default() };
    let mut found: Vec<Found> = Vec::new();
    let (mut at, mut shown_from) = (0, 0);
    // Whether a word can begin here.
    let mut boundary = true;
    while let Some(byte) = bytes.get(at).copied() {
        let part = match class(byte) {
            Class::Plain | Class::Underscore => None,
            Class::Letter | Class::Digit | Class::Sign if !boundary || bytes.len() < SHORTEST => None,
            Class::Letter | Class::Sign => pass.word(at),
            Class::Digit => pass.number(at),
            Class::Equals => pass.assignment(at, 1),
            Class::Colon => match pass.quoted(at) {
                // It is in front of its name, and may be in front of what was found last.
                Some(part) if part.end <= at => {
                    found.push(part);
                    None
                }
                part => part.or_else(|| pass.field(at)),
            },
            Class::At => pass.user_or_mail(at, 1),
            Class::Percent => match bytes.get(at + 1..at + 3) {
                Some(b"3D" | b"3d") => pass.assignment(at, 3),
                Some(b"40") => pass.user_or_mail(at, 3),
                _ => None,
            },
        };
        // What was found behind a name may begin before the end of the last find.
        let part = part.map(|part| Found { start: part.start.max(shown_from), ..part });
        if let Some(part) = part.filter(|part| part.start < part.end) {
            found.push(part);
            shown_from = part.end;
            at = part.end.max(at + 1);
            boundary = true;
            (pass.name, pass.part) = (at, at);
            continue;
        }
        let escaped = if byte == b'%' { escape(bytes, at) } else { None };
        let (shown, width) = escaped.map_or((byte, 1), |decoded| (decoded, 3));
        at += width;
        // Behind an escape a word begins: `Bearer%20eyJ...`.
        boundary = width == 3 || !is_word(byte);
        if !boundary {
            // Inside of a word nothing begins, and neither a name nor an authority ends.
            at += bytes.get(at..).unwrap_or_default().iter().take_while(|byte| is_word(**byte)).count();
            continue;
        }
        if !is_name(shown) {
            pass.name = at;
        }
        if ends_authority(shown) {
            pass.part = at;
        }
    }
    found
}

fn class(byte: u8) -> Class {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(Class::Plain)
}

fn is_word(byte: u8) -> bool {
    matches!(class(byte), Class::Letter | Class::Digit | Class::Underscore)
}

/// What names of parameters are made of. A zero byte ends a text for some and is nothing to others.
const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'[' | b']' | 0)
}

const fn ends_authority(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'/' | b'?' | b'#' | b'"' | b'<' | b'>')
}

/// What stands before the `//` of a URL without its scheme (RFC 3986, section 4.2): inside of a path it is none.
const fn begins_reference(byte: u8) -> bool {
    byte.is_ascii_whitespace()
        || matches!(
            byte,
            b'=' | b'&' | b'?' | b'#' | b'"' | b'\'' | b'<' | b'>' | b'(' | b',' | b';' | b'[' | b'{' | b'|'
        )
}

/// What is known of `{"name":"password","value":"X"}`, whichever comes first.
#[derive(Default)]
struct Pair {
    /// The colon behind which a secret stands.
    due: Option<usize>,
    /// Where the last value begins whose name may come.
    open: Option<usize>,
}

/// The name between quotes in front of the colon at `at`.
fn key_before(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let before = trim_end(bytes.get(at.saturating_sub(LONGEST_NAME)..at)?);
    let (quote, inside) = before.split_last().filter(|(quote, _)| matches!(quote, b'"' | b'\''))?;
    let inside = inside.get(..inside.len() - slashes(inside))?;
    let start = inside.iter().rposition(|byte| byte == quote).map(|at| at + 1)?;
    inside.get(start..)
}

/// Whether a name ends so, whatever its case.
fn ends_with(name: &[u8], end: &[u8]) -> bool {
    name.len()
        .checked_sub(end.len())
        .and_then(|at| name.get(at..))
        .is_some_and(|tail| tail.eq_ignore_ascii_case(end))
}

/// What a pass over a text knows.
struct Pass<'a> {
    bytes: &'a [u8],
    rules: &'a Redactor,
    /// Where the name begins that may end here.
    name: usize,
    /// Where the authority begins that may end here.
    part: usize,
    /// Whether the text has an access key id of AWS, so that its secret may be near.
    beside: bool,
    pair: Pair,
}

impl Pass<'_> {
    fn word(&self, at: usize) -> Option<Found> {
        let (bytes, values) = (self.bytes, &self.rules.policy.values);
        let find = |end: Option<usize>, rule| end.map(|end| Found { start: at, end, rule });
        let first = *bytes.get(at)?;
        let quick = match first {
            b'b' | b'B' if values.schemes => scheme(bytes, at)
                .filter(|(start, end)| !self.hidden(*start, *end))
                .map(|(start, end)| Found { start, end, rule: Redaction::AuthScheme }),
            b'e' if values.jwt => find(jwt(bytes, at), Redaction::Jwt),
            b'A' if values.aws_keys => find(aws_id(bytes, at), Redaction::AwsKey),
            _ => None,
        };
        quick
            .or_else(|| if values.issued { find(issued(bytes, at), Redaction::IssuedToken) } else { None })
            .or_else(|| {
                if values.aws_keys {
                    find(aws_secret(bytes, at, self.beside), Redaction::AwsKey)
                } else {
                    None
                }
            })
    }

    fn number(&self, at: usize) -> Option<Found> {
        let (bytes, values) = (self.bytes, &self.rules.policy.values);
        let whole = |end: &usize| bytes.get(*end).is_none_or(|byte| !is_word(*byte));
        let card = if values.cards { card(bytes, at).filter(whole) } else { None };
        if let Some(end) = card {
            return Some(Found { start: at, end, rule: Redaction::CardNumber });
        }
        let secret = if values.aws_keys { aws_secret(bytes, at, self.beside) } else { None };
        secret.map(|end| Found { start: at, end, rule: Redaction::AwsKey })
    }

    /// Whether a value is hidden already.
    fn hidden(&self, start: usize, end: usize) -> bool {
        self.bytes.get(start..end).is_some_and(|value| value == REDACTED.as_bytes())
    }

    /// `name=value`, where the equals sign is at `at` and takes `width` bytes.
    fn assignment(&self, at: usize, width: usize) -> Option<Found> {
        let name = self.bytes.get(self.name..at)?;
        let name = if name.is_empty() { self.name_before_blanks(at)? } else { name };
        let from = at + width;
        let spaces = self.bytes.get(from..)?.iter().take_while(|byte| **byte == b' ').count();
        self.value_of(name, from + spaces)
    }

    /// The name that ends in front of the blanks at whose end `at` is.
    fn name_before_blanks(&self, at: usize) -> Option<&[u8]> {
        let near = self.bytes.get(at.saturating_sub(LONGEST_NAME)..at)?;
        let mut name = near;
        while let Some(shorter) = [&b" "[..], b"\t", b"+", b"%20", b"%09", b"%2B", b"%2b"]
            .iter()
            .find_map(|blank| name.strip_suffix(*blank))
        {
            name = shorter;
        }
        let blank = name.len() < near.len();
        let start = name.iter().rposition(|byte| !is_name(*byte) && *byte != b'%').map_or(0, |at| at + 1);
        name.get(start..).filter(|name| blank && !name.is_empty())
    }

    /// `"name":value`, or one half of `"name":"password","value":"X"`, where the colon is at `at`.
    fn quoted(&mut self, at: usize) -> Option<Found> {
        let key = key_before(self.bytes, at)?;
        let from = at + 1 + blanks(self.bytes, at + 1);
        if self.pair.due == Some(at) {
            return self.secret(from);
        }
        if let Some(found) = self.value_of(key, from) {
            return Some(found);
        }
        if is_one(key, &VALUES) {
            self.pair.open = Some(from);
        } else if is_one(key, &KEYS) && self.names_secret(from) {
            self.pair.due = self.value_behind(from);
            // Or the value came before its name.
            let open = self.pair.open.take().filter(|open| at - open <= NEAR)?;
            let (start, end) = value(self.bytes.get(..at)?, open)?;
            let between = self.bytes.get(end..at)?;
            let same = !between.iter().any(|byte| matches!(byte, b'{' | b'}'));
            let found = Found { start, end, rule: Redaction::SecretName };
            return (same && start < end && !self.hidden(start, end)).then_some(found);
        }
        None
    }

    /// Whether the text that begins at `from` is the name of a secret, or of a header field that is one.
    fn names_secret(&self, from: usize) -> bool {
        let near = self.bytes.get(..self.bytes.len().min(from + LONGEST_NAME)).unwrap_or_default();
        let name = value(near, from).and_then(|(start, end)| near.get(start..end)).unwrap_or_default();
        self.rules.names.has(name) || self.rules.headers.has(name)
    }

    /// The colon in front of the value whose name begins at `from`: in the same object, and not far away.
    fn value_behind(&self, from: usize) -> Option<usize> {
        let near = self.bytes.get(..self.bytes.len().min(from + NEAR))?;
        let (_, end) = value(near, from)?;
        let mut depth = 0_usize;
        for (at, byte) in near.iter().enumerate().skip(end) {
            match byte {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.checked_sub(1)?,
                b':' if depth == 0 && key_before(near, at).is_some_and(|key| is_one(key, &VALUES)) => {
                    return Some(at);
                }
                _ => {}
            }
        }
        None
    }

    /// `name: value` as header fields are written, where the colon is at `at`. Without a blank behind it, it may be a part
    /// of a path or a time.
    fn field(&self, at: usize) -> Option<Found> {
        let name = self.bytes.get(self.name..at).filter(|name| !name.is_empty())?;
        let mut from = at + 1;
        while let Some(width) = blank(self.bytes, from) {
            from += width;
        }
        if from == at + 1 {
            return None;
        }
        let rules = self.rules;
        let secret = rules.names.has(name);
        let whole = rules.headers.has(name) && (!secret || ends_with(name, b"authorization"));
        if !whole {
            return if secret { self.secret(from) } else { None };
        }
        if self.is_hidden(from) {
            return None;
        }
        // Credentials and cookies have several parts, some of them between quotes: they go on to the quote that was opened
        // in front of the name.
        let rest = self.bytes.get(from..)?;
        let open = self.bytes.get(..self.name)?.last().filter(|byte| matches!(byte, b'"' | b'\''));
        let ends = |byte: &u8| matches!(byte, b'\r' | b'\n' | b'&' | b'<' | b'>') || open == Some(byte);
        let whole = rest.get(..rest.iter().position(ends).unwrap_or(rest.len()))?;
        let end = from + whole.len() - slashes(whole);
        (from < end).then_some(Found { start: from, end, rule: Redaction::SecretName })
    }

    /// The value that begins at `from`, if its name is a secret's.
    fn value_of(&self, name: &[u8], from: usize) -> Option<Found> {
        if self.rules.names.has(name) { self.secret(from) } else { None }
    }

    /// The value that begins at `from`.
    fn secret(&self, from: usize) -> Option<Found> {
        if self.is_hidden(from) {
            return None;
        }
        let (start, end) = value(self.bytes, from)?;
        (start < end && !self.hidden(start, end)).then_some(Found { start, end, rule: Redaction::SecretName })
    }

    /// Whether what begins at `from` is hidden already.
    fn is_hidden(&self, from: usize) -> bool {
        let rest = self.bytes.get(from..).unwrap_or_default();
        rest.strip_prefix(REDACTED.as_bytes())
            .is_some_and(|behind| behind.first().is_none_or(|byte| stops(*byte)))
    }

    /// The user name and password of a URL, or an e-mail address, around an at sign.
    fn user_or_mail(&self, at: usize, width: usize) -> Option<Found> {
        let bytes = self.bytes;
        let before = bytes.get(..self.part)?;
        let begins = |before: &[u8]| before.last().is_none_or(|byte| begins_reference(*byte));
        let alone = before.strip_suffix(b"//").is_some_and(begins);
        if width == 1 && (alone || before.ends_with(b"://")) {
            // The last at sign of the authority is the one in front of the host.
            let rest = bytes.get(at..)?;
            let authority =
                rest.get(..rest.iter().position(|byte| ends_authority(*byte)).unwrap_or(rest.len()))?;
            let end = at + authority.iter().rposition(|byte| *byte == b'@').unwrap_or(0);
            let shown = bytes.get(self.part..end)?;
            let hidden = shown == b"REDACTED:REDACTED" || shown.is_empty();
            // Without a scheme it may be a handle of somebody, too.
            let hidden = hidden || alone && !shown.contains(&b':');
            let found = Found { start: self.part, end, rule: Redaction::UrlCredentials };
            return (!hidden).then_some(found);
        }
        if !self.rules.policy.values.emails {
            return None;
        }
        email(bytes, at, width).map(|(start, end)| Found { start, end, rule: Redaction::Email })
    }
}
