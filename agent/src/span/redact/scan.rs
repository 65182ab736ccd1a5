//! One pass over a text that finds what may not be shown.

use super::{
    Redactor,
    cards::card,
    escapes::{LAYERS, Layer, escape},
    glance::may_hold,
    names::LONGEST_NAME,
    patterns::{aws_id, aws_secret, email, holds_aws_id, issued, jwt, scheme},
    value::{blanks, slashes, trim_end, value},
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
    let mut pass = Pass { bytes, rules, name: 0, part: 0, beside };
    let mut found: Vec<Found> = Vec::new();
    let mut at = 0;
    // Whether a word can begin here.
    let mut boundary = true;
    while let Some(byte) = bytes.get(at).copied() {
        let part = match class(byte) {
            Class::Plain | Class::Underscore => None,
            Class::Letter | Class::Digit | Class::Sign if !boundary || bytes.len() < SHORTEST => None,
            Class::Letter | Class::Sign => pass.word(at),
            Class::Digit => pass.number(at),
            Class::Equals => pass.assignment(at, 1),
            Class::Colon => pass.quoted(at),
            Class::At => pass.user_or_mail(at, 1),
            Class::Percent => match bytes.get(at + 1..at + 3) {
                Some(b"3D" | b"3d") => pass.assignment(at, 3),
                Some(b"40") => pass.user_or_mail(at, 3),
                _ => None,
            },
        };
        // What was found behind a name may begin before the end of the last find.
        let from = |part: &Found| found.last().map_or(part.start, |last| part.start.max(last.end));
        let part = part.map(|part| Found { start: from(&part), ..part });
        if let Some(part) = part.filter(|part| part.start < part.end) {
            found.push(part);
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
    byte.is_ascii_whitespace() || matches!(byte, b'/' | b'?' | b'#' | b'"' | b'<' | b'>' | b',')
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

    /// `"name":value`, where the colon is at `at`.
    fn quoted(&self, at: usize) -> Option<Found> {
        let before = trim_end(self.bytes.get(at.saturating_sub(LONGEST_NAME)..at)?);
        let (quote, inside) = before.split_last().filter(|(quote, _)| matches!(quote, b'"' | b'\''))?;
        let inside = inside.get(..inside.len() - slashes(inside))?;
        let start = inside.iter().rposition(|byte| byte == quote).map(|at| at + 1)?;
        self.value_of(inside.get(start..)?, at + 1 + blanks(self.bytes, at + 1))
    }

    /// The value that begins at `from`, if its name is a secret's.
    fn value_of(&self, name: &[u8], from: usize) -> Option<Found> {
        if !self.rules.names.has(name) {
            return None;
        }
        let (start, end) = value(self.bytes, from)?;
        (start < end && !self.hidden(start, end)).then_some(Found { start, end, rule: Redaction::SecretName })
    }

    /// The user name and password of a URL, or an e-mail address, around an at sign.
    fn user_or_mail(&self, at: usize, width: usize) -> Option<Found> {
        let bytes = self.bytes;
        if width == 1 && bytes.get(..self.part)?.ends_with(b"://") {
            // The last at sign of the authority is the one in front of the host.
            let rest = bytes.get(at..)?;
            let authority =
                rest.get(..rest.iter().position(|byte| ends_authority(*byte)).unwrap_or(rest.len()))?;
            let end = at + authority.iter().rposition(|byte| *byte == b'@').unwrap_or(0);
            let shown = bytes.get(self.part..end)?;
            let hidden = shown == b"REDACTED:REDACTED" || shown.is_empty();
            let found = Found { start: self.part, end, rule: Redaction::UrlCredentials };
            return (!hidden).then_some(found);
        }
        if !self.rules.policy.values.emails {
            return None;
        }
        email(bytes, at, width).map(|(start, end)| Found { start, end, rule: Redaction::Email })
    }
}
