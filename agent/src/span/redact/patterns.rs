//! Values that show by their form what they are: tokens, keys, addresses. Each function gives where the value
//! ends that begins at a place, if it is one.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::value::blank;

/// Bytes of `Basic` credentials that are decoded to see whether they are some. Names and passwords are shorter.
const LONGEST_BASIC: usize = 512;
/// Shortest credentials behind `Bearer` that are taken for some: shorter ones are words.
const SHORTEST_BEARER: usize = 8;
/// Bytes in front of the at sign of an address (RFC 5321, section 4.5.3.1.1).
const LONGEST_LOCAL: usize = 64;
/// Shortest rest of a JWT's first part behind `eyJ`: `{"alg":"` alone makes 11 characters.
const SHORTEST_JWT: usize = 8;

/// Beginnings of AWS access key ids (IAM User Guide, "Understanding unique ID prefixes"); 16 more follow.
const AWS: [&[u8]; 12] = [
    b"AKIA", b"ASIA", b"ABIA", b"ACCA", b"AGPA", b"AIDA", b"AIPA", b"ANPA", b"ANVA", b"APKA", b"AROA",
    b"ASCA",
];

/// Beginnings by which issuers make their tokens recognisable, each with how much must follow.
const ISSUERS: [(&[u8], usize); 20] = [
    (b"ghp_", 30),
    (b"gho_", 30),
    (b"ghu_", 30),
    (b"ghs_", 30),
    (b"ghr_", 30),
    (b"github_pat_", 30),
    (b"glpat-", 16),
    (b"xoxb-", 16),
    (b"xoxp-", 16),
    (b"xoxa-", 16),
    (b"xoxs-", 16),
    (b"sk_live_", 16),
    (b"sk_test_", 16),
    (b"rk_live_", 16),
    (b"whsec_", 16),
    (b"sk-", 32),
    (b"AIza", 35),
    (b"npm_", 30),
    (b"hvs.", 20),
    (b"dop_v1_", 32),
];

/// Base64 that may lack its padding or have some.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

const fn is_token68(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=' | b'%')
}

const fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// How many of the bytes from a place on are of a kind.
fn run(bytes: &[u8], start: usize, kind: impl Fn(u8) -> bool) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    rest.iter().position(|byte| !kind(*byte)).unwrap_or(rest.len())
}

/// The end of what separates a scheme from its credentials in texts, in queries and in JSON.
fn separator(bytes: &[u8], at: usize) -> Option<usize> {
    let colon = usize::from(bytes.get(at) == Some(&b':'));
    let mut end = at + colon;
    while let Some(width) = blank(bytes, end) {
        end += width;
    }
    (end > at).then_some(end)
}

/// Credentials behind `Bearer` (RFC 6750, section 2.1) or `Basic` (RFC 7617): where they begin and end.
pub(super) fn scheme(bytes: &[u8], start: usize) -> Option<(usize, usize)> {
    let word = |name: &[u8]| {
        let given = bytes.get(start..start + name.len())?;
        given.eq_ignore_ascii_case(name).then(|| separator(bytes, start + name.len())).flatten()
    };
    if let Some(from) = word(b"bearer") {
        let len = run(bytes, from, is_token68);
        return (len >= SHORTEST_BEARER).then_some((from, from + len));
    }
    let from = word(b"basic")?;
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let near = bytes.get(..bytes.len().min(from + LONGEST_BASIC))?;
    let len = run(near, from, is_base64);
    // A name and a password have a colon between them. Whole groups of four can be decoded.
    let plain = BASE64.decode(bytes.get(from..from + len / 4 * 4).filter(|text| !text.is_empty())?).ok()?;
    plain.contains(&b':').then(|| (from, from + len + run(bytes, from + len, is_base64)))
}

/// A JSON Web Token (RFC 7519), also one of which the end is missing: its first part is an object in base64url.
pub(super) fn jwt(bytes: &[u8], start: usize) -> Option<usize> {
    if bytes.get(start..start + 3)? != b"eyJ" {
        return None;
    }
    let first = run(bytes, start + 3, is_base64url);
    if first < SHORTEST_JWT {
        return None;
    }
    let mut end = start + 3 + first;
    // An encrypted one has five parts.
    for _ in 0..4 {
        if bytes.get(end) != Some(&b'.') {
            break;
        }
        end += 1 + run(bytes, end + 1, is_base64url);
    }
    Some(end)
}

/// An access key id of AWS.
pub(super) fn aws_id(bytes: &[u8], start: usize) -> Option<usize> {
    let end = start + 20;
    let id = bytes.get(start..end)?;
    let upper = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    let whole = bytes.get(end).is_none_or(|byte| !byte.is_ascii_alphanumeric());
    (whole && AWS.iter().any(|prefix| id.starts_with(prefix)) && id.iter().all(upper)).then_some(end)
}

/// Whether a text has an access key id of AWS.
pub(super) fn holds_aws_id(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'A', bytes).any(|at| aws_id(bytes, at).is_some())
}

/// A secret access key of AWS: 40 characters of base64 that stand alone, with all kinds of them. `beside` an id less
/// is asked of them.
pub(super) fn aws_secret(bytes: &[u8], start: usize, beside: bool) -> Option<usize> {
    let end = start + 40;
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let key = bytes.get(start..end)?;
    let goes_on = bytes.get(end).is_some_and(|byte| is_base64(*byte) && *byte != b'/' || *byte == b'=');
    if goes_on || !key.iter().all(|byte| is_base64(*byte)) {
        return None;
    }
    let count = |kind: fn(&u8) -> bool| key.iter().filter(|byte| kind(byte)).count();
    let (upper, lower) = (count(u8::is_ascii_uppercase), count(u8::is_ascii_lowercase));
    if beside {
        return (upper > 0 && lower > 0).then_some(end);
    }
    // A path may have 40 such characters; it has more slashes than a key has by chance.
    let mixed = upper >= 4 && lower >= 4 && count(u8::is_ascii_digit) >= 4;
    (mixed && count(|byte| *byte == b'/') <= 2).then_some(end)
}

/// Whether a prefix of [`ISSUERS`] begins like this: few words go on from there.
const fn can_begin_issued(word: &[u8]) -> bool {
    matches!(
        word,
        [b'g', b'h' | b'i' | b'l', ..]
            | [b's' | b'r', b'k', ..]
            | [b'x' | b'd', b'o', ..]
            | [b'w', b'h', ..]
            | [b'A', b'I', ..]
            | [b'n', b'p', ..]
            | [b'h', b'v', ..]
    )
}

/// A token that its issuer made recognisable.
pub(super) fn issued(bytes: &[u8], start: usize) -> Option<usize> {
    let rest = bytes.get(start..).filter(|rest| can_begin_issued(rest))?;
    let (prefix, least) = ISSUERS.iter().find(|(prefix, _)| rest.starts_with(prefix))?;
    let from = start + prefix.len();
    let len = run(bytes, from, |byte| is_base64url(byte) || byte == b'.');
    (len >= *least).then_some(from + len)
}

/// An e-mail address around the at sign at `at`, which takes `width` bytes: where it begins and ends.
pub(super) fn email(bytes: &[u8], at: usize, width: usize) -> Option<(usize, usize)> {
    let local = |byte: &u8| byte.is_ascii_alphanumeric() || b".!#$'*+-^_`{|}~".contains(byte);
    let near = at.saturating_sub(LONGEST_LOCAL);
    let before = bytes.get(near..at)?;
    let start = near + before.iter().rposition(|byte| !local(byte)).map_or(0, |at| at + 1);
    let from = at + width;
    let mut end = from + run(bytes, from, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    while end > from && bytes.get(end - 1) == Some(&b'.') {
        end -= 1;
    }
    let domain = bytes.get(from..end)?;
    let top = domain.iter().rposition(|byte| *byte == b'.').and_then(|dot| domain.get(dot + 1..))?;
    let named = top.len() >= 2 && top.iter().all(u8::is_ascii_alphabetic) && domain.len() > top.len() + 1;
    (start < at && named).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::{super::glance::may_hold, *};

    #[test]
    fn no_token_is_too_short_for_a_glance() {
        for (prefix, least) in ISSUERS {
            assert!(can_begin_issued(prefix));
            assert!(may_hold(&[prefix, &vec![b'a'; least]].concat()));
        }
        for prefix in AWS {
            assert!(may_hold(&[prefix, &[b'2'; 16]].concat()));
        }
        assert!(may_hold(&[b'a'; 40]) && may_hold(b"4222222222222"));
    }
}
