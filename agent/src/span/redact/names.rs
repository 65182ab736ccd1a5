//! Names whose values are secrets: of query parameters, of header fields, and of whatever stands before an
//! equals sign.
//!
//! A name is compared without regard to case, to `-`, `_`, `.`, brackets, `+`, spaces and control characters, and to
//! percent-encoding, so that `api_key`, `Api-Key`, `user[apiKey]`, `%61pikey` and `apikey%00` are one.

use std::cmp::Ordering;

use super::escapes::{LAYERS, Layer};

/// Parameters and assignments whose values are secrets, unless configured otherwise. A star stands for
/// anything before or behind.
pub const SECRET_NAMES: &[&str] = &[
    "*password*",
    "*passwd",
    "*passphrase",
    "*secret",
    "*secrets",
    "*token",
    "*apikey",
    "*apikeys",
    "*authkey",
    "*applicationkey",
    "*functionskey",
    "*accesskey",
    "*accesskeyid",
    "*secretkey",
    "*privatekey",
    "*sharedkey",
    "*signingkey",
    "*encryptionkey",
    "*decryptionkey",
    "*masterkey",
    "*accountkey",
    "*subscriptionkey",
    "*credential",
    "*credentials",
    "*signature",
    "*sessionid",
    "*sessionkey",
    "*assertion",
    "*codeverifier",
    "*csrf*",
    "*xsrf*",
    "*jwt",
    "*userpass",
    "*dbpass",
    "appkey",
    "auth",
    "authorization",
    "bearer",
    "connectsid",
    "cvc",
    "cvv",
    "hmac",
    "otp",
    "passcode",
    "pass",
    "phpsessid",
    "pin",
    "pwd",
    "samlresponse",
    "samlrequest",
    "session",
    "sid",
    "sig",
    "ssn",
    "totp",
];

/// Header fields whose values are secrets where they are captured at all, unless configured otherwise.
pub const SECRET_HEADERS: &[&str] = &[
    "*authorization",
    "*apikey",
    "*authkey",
    "*applicationkey",
    "*functionskey",
    "*accesskey",
    "*secretkey",
    "*privatekey",
    "*sharedkey",
    "*signingkey",
    "*encryptionkey",
    "*masterkey",
    "*accountkey",
    "*subscriptionkey",
    "*secret",
    "*password",
    "*passphrase",
    "*userpass",
    "*token",
    "*credential",
    "*credentials",
    "*signature",
    "*sessionid",
    "*sessionkey",
    "*assertion",
    "*codeverifier",
    "*csrf*",
    "*xsrf*",
    "*jwt",
    "authentication-info",
    "cookie",
    "cookie2",
    "proxy-authentication-info",
    "set-cookie",
    "set-cookie2",
    "x-forwarded-client-cert",
    "x-amzn-oidc-data",
    "x-auth-request-email",
    "x-ms-client-principal",
];

/// Bytes of a name that are looked at, from its end on. Longer than any name in the lists and its prefix.
const LONGEST: usize = 64;

/// A name is looked for so far back from what follows it. Longer names are none that people give.
pub(super) const LONGEST_NAME: usize = 128;

/// A set of names. Each list is sorted by length, so that a short name is compared with few others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    whole: Vec<Box<[u8]>>,
    ends: Vec<Box<[u8]>>,
    starts: Vec<Box<[u8]>>,
    inside: Vec<Box<[u8]>>,
}

impl Names {
    /// The set of these names, each with a star in front or behind or both, or none. Empty ones are left out.
    pub fn new<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Self {
        let mut set = Self::default();
        for name in names {
            let name = name.as_ref();
            let (front, rest) = name.strip_prefix('*').map_or((false, name), |rest| (true, rest));
            let (behind, rest) = rest.strip_suffix('*').map_or((false, rest), |rest| (true, rest));
            let mut buffer = [0; LONGEST];
            let plain: Box<[u8]> = plain(rest.as_bytes(), &mut buffer).into();
            if plain.is_empty() && !(front || behind) {
                continue;
            }
            match (front, behind) {
                (false, false) => set.whole.push(plain),
                (true, false) => set.ends.push(plain),
                (false, true) => set.starts.push(plain),
                (true, true) => set.inside.push(plain),
            }
        }
        for list in [&mut set.whole, &mut set.ends, &mut set.starts, &mut set.inside] {
            list.sort_unstable_by(|a, b| by_length(a, b));
        }
        set
    }

    /// Whether the set has no name.
    pub const fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.ends.is_empty() && self.starts.is_empty() && self.inside.is_empty()
    }

    /// Whether a name, as it stands on the wire, is in the set.
    pub fn has(&self, name: &[u8]) -> bool {
        if self.has_plain(name) {
            return true;
        }
        let mut layer = if name.contains(&b'%') { Layer::of(name) } else { None };
        for _ in 1..LAYERS {
            let Some(shown) = layer else { return false };
            if self.has_plain(&shown.bytes) {
                return true;
            }
            layer = shown.next();
        }
        false
    }

    /// Whether a name with one layer of percent-encoding at most is in the set.
    fn has_plain(&self, name: &[u8]) -> bool {
        let mut buffer = [0; LONGEST];
        let name = plain(name, &mut buffer);
        if name.is_empty() {
            return false;
        }
        self.whole.binary_search_by(|known| by_length(known, name)).is_ok()
            || fitting(&self.ends, name).any(|end| name.ends_with(end))
            || fitting(&self.starts, name).any(|start| name.starts_with(start))
            || fitting(&self.inside, name)
                .any(|part| part.is_empty() || name.windows(part.len()).any(|window| window == part))
    }
}

fn by_length(a: &[u8], b: &[u8]) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// Those of a sorted list that are not longer than a name.
fn fitting<'l>(list: &'l [Box<[u8]>], name: &[u8]) -> impl Iterator<Item = &'l [u8]> {
    let longest = name.len();
    list.iter().map(|part| &**part).take_while(move |part| part.len() <= longest)
}

/// A name without what does not count. Of a longer name than the buffer, its end.
fn plain<'b>(name: &[u8], buffer: &'b mut [u8; LONGEST]) -> &'b [u8] {
    let mut start = LONGEST;
    let mut rest = name;
    while let Some((byte, before)) = last(rest) {
        rest = before;
        if matches!(byte, b'-' | b'_' | b'.' | b'[' | b']' | b'+' | b' ') || byte.is_ascii_control() {
            continue;
        }
        let Some(at) = start.checked_sub(1) else { break };
        if let Some(slot) = buffer.get_mut(at) {
            *slot = byte.to_ascii_lowercase();
        }
        start = at;
    }
    buffer.get(start..).unwrap_or_default()
}

/// The last byte of a name with its percent-encoding taken off, and what stands before it.
fn last(name: &[u8]) -> Option<(u8, &[u8])> {
    if let [before @ .., b'%', high, low] = name
        && let (Some(high), Some(low)) = (hex(*high), hex(*low))
    {
        return Some((high << 4 | low, before));
    }
    name.split_last().map(|(byte, before)| (*byte, before))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name() {
        let names = Names::new(["api_key", "*token", "pass*", "*secret*"]);
        for name in [
            "api_key",
            "apiKey",
            "API-KEY",
            "api.key",
            "%61pi%5fkey",
            "[api][key]",
            "token",
            "X-Auth-Token",
            "passport",
            "my_secret_2",
            "SECRET",
            "token ",
            "token+",
            "token%20",
            "token%00",
            "+token\t",
            "%2574oken",
            "%252574oken",
        ] {
            assert!(names.has(name.as_bytes()), "{name}");
        }
        for name in ["", "_", "apikeys", "tokens", "bypass", "secre", "%6", "%", "%zz"] {
            assert!(!names.has(name.as_bytes()), "{name}");
        }
        assert!(
            names.has(
                "x".repeat(1000).as_bytes().iter().chain(b"token").copied().collect::<Vec<_>>().as_slice()
            )
        );
        assert!(!Names::default().has(b"token"));
        assert!(Names::new(["*"]).has(b"anything"));
    }

    #[test]
    fn names_of_protocols() {
        let (names, headers) = (Names::new(SECRET_NAMES), Names::new(SECRET_HEADERS));
        for name in [
            "client_assertion",
            "assertion",
            "csrf",
            "csrf_token",
            "csrfmiddlewaretoken",
            "csrf-value",
            "xsrf-token",
            "_xsrf",
            "code_verifier",
            "encryption_key",
            "master_key",
            "userpass",
            "id_jwt",
        ] {
            assert!(names.has(name.as_bytes()), "{name}");
        }
        for name in [
            "X-Jwt",
            "X-CSRF-Token",
            "X-XSRF-TOKEN",
            "X-Csrf",
            "X-Jwt-Assertion",
            "Ocp-Apim-Subscription-Key",
        ] {
            assert!(headers.has(name.as_bytes()), "{name}");
        }
        for name in ["accept", "x-request-id", "etag", "if-none-match", "x-csp", "link"] {
            assert!(!headers.has(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn everyday_names_are_no_secrets() {
        let names = Names::new(SECRET_NAMES);
        for name in [
            "q",
            "page",
            "id",
            "key",
            "user",
            "author",
            "authors",
            "code",
            "state",
            "assign",
            "design",
            "signal",
            "side",
            "passenger",
            "compass",
            "tokens",
            "sessions",
            "lang",
            "sort",
            "filter",
            "keyboard",
            "hotp2",
            "code",
            "verifier",
            "insertion",
            "masterkeyboard",
            "primary_key",
            "keys",
            "userpassport",
            "csr",
            "client_assertion_type",
            "code_challenge",
        ] {
            assert!(!names.has(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn the_documentation_has_them_all() {
        let text = include_str!("../../../../docs/configuration.md");
        for (title, names) in [("- of parameters: ", SECRET_NAMES), ("- of headers: ", SECRET_HEADERS)] {
            let list = text.split_once(title).expect(title).1.split([';', '.']).next().expect("a list");
            let written: Vec<_> = list.split('`').skip(1).step_by(2).collect();
            assert_eq!(written, names);
        }
    }
}
