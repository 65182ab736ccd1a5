//! What may not be shown: the values of query parameters that carry a signature or a key.
//!
//! A parameter is found whether its name is written plainly or percent-encoded, and behind `;` as well as
//! behind `&`, because some servers take both. Its value goes up to the next `&`.

use super::semconv::REDACTED;

/// The parameters that the conventions list (http-spans.md, `url.full`). They are matched by case.
pub(super) const SENSITIVE_QUERY: [&str; 7] = [
    "X-Amz-Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
    "AWSAccessKeyId",
    "Signature",
    "sig",
    "X-Goog-Signature",
];

/// [`SENSITIVE_QUERY`], as a policy holds it.
pub(super) fn default_sensitive() -> Vec<Box<str>> {
    SENSITIVE_QUERY.map(Into::into).into()
}

/// Appends a query with the values of the parameters in `sensitive` replaced; gives how many there were.
pub(super) fn push_query(out: &mut String, query: &str, sensitive: &[Box<str>]) -> u32 {
    let mut redacted = 0;
    for (i, part) in query.split('&').enumerate() {
        if i > 0 {
            out.push('&');
        }
        match secret(part, sensitive).and_then(|at| part.get(..at)) {
            Some(shown) => {
                out.extend([shown, REDACTED]);
                redacted += 1;
            }
            None => out.push_str(part),
        }
    }
    redacted
}

/// Where the first secret value of a part begins.
fn secret(part: &str, sensitive: &[Box<str>]) -> Option<usize> {
    let mut at = 0;
    for pair in part.split(';') {
        if let Some((key, value)) = pair.split_once('=')
            && !value.is_empty()
            && sensitive.iter().any(|name| names(key.as_bytes(), name.as_bytes()))
        {
            return Some(at + key.len() + 1);
        }
        at += pair.len() + 1;
    }
    None
}

/// Whether a key, written plainly or percent-encoded, is this name.
fn names(mut key: &[u8], name: &[u8]) -> bool {
    if key.len() <= name.len() {
        return key == name;
    }
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

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_replaced() {
        for (query, expect, count) in [
            ("q=OpenTelemetry&sig=abc", "q=OpenTelemetry&sig=REDACTED", 1),
            ("sig=abc&color=blue", "sig=REDACTED&color=blue", 1),
            ("Signature=a=b==", "Signature=REDACTED", 1),
            (
                "AWSAccessKeyId=a&Signature=b&Expires=1",
                "AWSAccessKeyId=REDACTED&Signature=REDACTED&Expires=1",
                2,
            ),
            ("X-Amz-Signature=a", "X-Amz-Signature=REDACTED", 1),
            ("X-Amz-Credential=a", "X-Amz-Credential=REDACTED", 1),
            ("X-Amz-Security-Token=a", "X-Amz-Security-Token=REDACTED", 1),
            ("X-Goog-Signature=a", "X-Goog-Signature=REDACTED", 1),
            ("X%2DGoog%2dSignature=a", "X%2DGoog%2dSignature=REDACTED", 1),
            ("%73%69%67=a&b=c", "%73%69%67=REDACTED&b=c", 1),
            ("a=1;sig=abc;b=2&c=3", "a=1;sig=REDACTED&c=3", 1),
            ("sig=a;b", "sig=REDACTED", 1),
            ("Sig=abc&SIG=abc", "Sig=abc&SIG=abc", 0),
            ("signal=1&xsig=2&si=3&sig", "signal=1&xsig=2&si=3&sig", 0),
            ("sig=&a=1", "sig=&a=1", 0),
            ("%7sig=1&%zzsig=2&%=3", "%7sig=1&%zzsig=2&%=3", 0),
            ("&&=&a", "&&=&a", 0),
            ("", "", 0),
        ] {
            let mut out = String::new();
            assert_eq!(push_query(&mut out, query, &default_sensitive()), count, "{query}");
            assert_eq!(out, expect);
        }
    }

    #[test]
    fn the_list_can_be_another() {
        let mut out = String::new();
        assert_eq!(push_query(&mut out, "token=1&sig=2", &["token".into()]), 1);
        assert_eq!(out, "token=REDACTED&sig=2");
        assert_eq!(push_query(&mut out, "&token=1", &[]), 0);
    }
}
