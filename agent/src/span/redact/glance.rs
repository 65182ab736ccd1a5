//! A glance at a text: whether a [scan](super::scan) of it can find anything.
//!
//! Most texts are paths, hosts and names of programs, and hold nothing. All that is looked for needs a byte that these
//! seldom have ([`MARK`]), a scheme's name in front of a separator, or a long run of the bytes that tokens and numbers
//! are made of. A glance may take a harmless text for one that holds something, never the other way round; what people
//! have configured makes no difference to it.

/// A byte that proves nothing, and without which there is no assignment, user name, address, quoted name, JSON Web
/// Token (`eyJ`) or percent-encoding or escape of JSON.
const MARK: u8 = 1;
/// The first letter of a scheme.
const SCHEME: u8 = 1 << 1;
/// What stands between a scheme and its credentials.
const SEPARATOR: u8 = 1 << 2;
/// A part of a number whose digits may be in groups.
const NUMBER: u8 = 1 << 3;
/// A part of a token that its issuer made recognisable, or of a key id.
const TOKEN: u8 = 1 << 4;
/// A part of a key in base64.
const BASE64: u8 = 1 << 5;
/// The end of a field's name.
const COLON: u8 = 1 << 6;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'=' | b'@' | b'%' | b'"' | b'\'' | b'\\' => MARK,
            b'J' => MARK | TOKEN | BASE64,
            b'b' | b'B' => SCHEME | TOKEN | BASE64,
            b'A'..=b'Z' | b'a'..=b'z' => TOKEN | BASE64,
            b'0'..=b'9' => NUMBER | TOKEN | BASE64,
            b' ' => SEPARATOR | NUMBER,
            b'+' => SEPARATOR | NUMBER | BASE64,
            b':' => SEPARATOR | COLON,
            b'\t' => SEPARATOR,
            b'-' | b'.' => NUMBER | TOKEN,
            b'_' => TOKEN,
            b'/' => BASE64,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

/// The schemes whose credentials are looked for.
const SCHEMES: [&[u8]; 2] = [b"bearer", b"basic"];
/// Digits of the shortest card number.
const SHORTEST_NUMBER: usize = 13;
/// Bytes of the shortest recognisable token or key id, with its prefix.
const SHORTEST_TOKEN: usize = 20;
/// Bytes of a secret access key.
const SHORTEST_KEY: usize = 40;

/// Whether there may be something in a text that a scan finds.
pub(super) fn may_hold(bytes: &[u8]) -> bool {
    let seen = bytes.iter().fold(0, |seen, byte| seen | class(*byte));
    let has = |classes: u8| seen & classes == classes;
    has(MARK)
        || has(SCHEME | SEPARATOR) && names_scheme(bytes)
        || has(COLON | SEPARATOR) && has_field(bytes)
        || has_run(bytes, SHORTEST_NUMBER, NUMBER)
        || has_run(bytes, SHORTEST_TOKEN, TOKEN)
        || has_run(bytes, SHORTEST_KEY, BASE64)
}

fn class(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(MARK)
}

/// Whether there may be `name: value`. A blank that is escaped has a mark.
fn has_field(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b':', bytes).any(|at| matches!(bytes.get(at + 1), Some(b' ' | b'\t' | b'+')))
}

fn names_scheme(bytes: &[u8]) -> bool {
    memchr::memchr2_iter(b'b', b'B', bytes).any(|at| {
        SCHEMES
            .iter()
            .any(|name| bytes.get(at..at + name.len()).is_some_and(|given| given.eq_ignore_ascii_case(name)))
    })
}

/// Whether `len` bytes of a class stand side by side. They would cover the last byte of one of the text's pieces of
/// `len` bytes: around other bytes nobody has to look.
fn has_run(bytes: &[u8], len: usize, wanted: u8) -> bool {
    let is = |byte: &&u8| class(**byte) & wanted != 0;
    let mut at = len - 1;
    while let Some((before, [byte, behind @ ..])) = bytes.split_at_checked(at) {
        if is(&byte) {
            let run = before.iter().rev().take_while(is).count() + 1 + behind.iter().take_while(is).count();
            if run >= len {
                return true;
            }
        }
        at += len;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyday_texts_hold_nothing() {
        for text in [
            "",
            "/",
            "/api/items",
            "/v1/orders/4711/items",
            "203.0.113.7",
            "2001:db8::17",
            "shop.example.org",
            "python-requests/2.31.0",
            "curl/8.5.0",
            "Go-http-client/1.1",
            "Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 \
             Safari/537.36",
        ] {
            assert!(!may_hold(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn runs() {
        let has = |text: &str| has_run(text.as_bytes(), 3, NUMBER);
        for text in ["123", "a123", "ab123", "abc123", "1234", "12a123", "ab 1 c", "1a2a345"] {
            assert!(has(text), "{text}");
        }
        for text in ["", "12", "ab12", "12ab", "1a2b3c", "12a12a12a12"] {
            assert!(!has(text), "{text}");
        }
    }
}
