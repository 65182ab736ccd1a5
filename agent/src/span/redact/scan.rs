//! One pass over a text that finds what may not be shown.

use super::{
    Redactor,
    cards::card,
    patterns::{aws_id, aws_secret, email, issued, jwt, scheme},
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

/// A quoted name is looked for so far back. Longer names are none that people give.
const LONGEST_NAME: usize = 128;

/// Everything in a text that may not be shown, in order, without overlaps. One pass: every look ahead and behind
/// is bounded or ends at what this pass has found before, so that no text takes more than linear time.
pub(super) fn scan(text: &str, rules: &Redactor) -> Vec<Found> {
    let bytes = text.as_bytes();
    let mut pass = Pass { bytes, rules, name: 0, part: 0 };
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

/// The byte that a percent-encoding stands for, if there is one at `at`.
fn escape(bytes: &[u8], at: usize) -> Option<u8> {
    let [b'%', high, low] = bytes.get(at..at + 3)? else { return None };
    let hex = |digit: &u8| char::from(*digit).to_digit(16).map(|value| value as u8);
    Some(hex(high)? << 4 | hex(low)?)
}

fn class(byte: u8) -> Class {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(Class::Plain)
}

fn is_word(byte: u8) -> bool {
    matches!(class(byte), Class::Letter | Class::Digit | Class::Underscore)
}

/// What names of parameters are made of.
const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'[' | b']')
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
            .or_else(|| if values.aws_keys { find(aws_secret(bytes, at), Redaction::AwsKey) } else { None })
    }

    fn number(&self, at: usize) -> Option<Found> {
        let (bytes, values) = (self.bytes, &self.rules.policy.values);
        let whole = |end: &usize| bytes.get(*end).is_none_or(|byte| !is_word(*byte));
        let card = if values.cards { card(bytes, at).filter(whole) } else { None };
        if let Some(end) = card {
            return Some(Found { start: at, end, rule: Redaction::CardNumber });
        }
        let secret = if values.aws_keys { aws_secret(bytes, at) } else { None };
        secret.map(|end| Found { start: at, end, rule: Redaction::AwsKey })
    }

    /// Whether a value is hidden already.
    fn hidden(&self, start: usize, end: usize) -> bool {
        self.bytes.get(start..end).is_some_and(|value| value == REDACTED.as_bytes())
    }

    /// `name=value`, where the equals sign is at `at` and takes `width` bytes.
    fn assignment(&self, at: usize, width: usize) -> Option<Found> {
        self.value_of(self.bytes.get(self.name..at)?, at + width)
    }

    /// `"name":value`, where the colon is at `at`.
    fn quoted(&self, at: usize) -> Option<Found> {
        let quote = *self.bytes.get(at.checked_sub(1)?).filter(|byte| matches!(byte, b'"' | b'\''))?;
        let from = at.saturating_sub(LONGEST_NAME);
        let inside = self.bytes.get(from..at - 1)?;
        let start = inside.iter().rposition(|byte| *byte == quote).map(|at| at + 1)?;
        let spaces = self.bytes.get(at + 1..)?.iter().take_while(|byte| **byte == b' ').count();
        self.value_of(inside.get(start..)?, at + 1 + spaces)
    }

    /// The value that begins at `from`, if its name is a secret's.
    fn value_of(&self, name: &[u8], from: usize) -> Option<Found> {
        if !self.rules.names.has(name) {
            return None;
        }
        let (from, end) = if let Some(quote @ (b'"' | b'\'')) = self.bytes.get(from) {
            let inside = self.bytes.get(from + 1..)?;
            let len = inside.iter().position(|byte| byte == quote).unwrap_or(inside.len());
            (from + 1, from + 1 + len)
        } else {
            let stops = |byte: &u8| byte.is_ascii_whitespace() || b"&;,\"'<>#)}|".contains(byte);
            let rest = self.bytes.get(from..)?;
            (from, from + rest.iter().position(stops).unwrap_or(rest.len()))
        };
        let found = Found { start: from, end, rule: Redaction::SecretName };
        (from < end && !self.hidden(from, end)).then_some(found)
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
