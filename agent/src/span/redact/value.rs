//! Where the value behind a name begins and ends: a word, a quoted text, a list or an object.

/// What stands around quotes in JSON, also where a form has encoded it.
const fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == b'+'
}

/// Backslashes in front of an escape of JSON at most.
const SLASHES: usize = 4;

/// The width of the blank that stands at `at`: a space or a tab, also escaped in JSON, or any that is percent-encoded.
pub(super) fn blank(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at..)? {
        [b' ' | b'+' | b'\t', ..] => Some(1),
        [b'%', b'2', b'0', ..] | [b'%', b'0', b'9' | b'a'..=b'd' | b'A'..=b'D', ..] => Some(3),
        // The blank at which no line is broken, U+00A0.
        [b'%', b'c' | b'C', b'2', b'%', b'a' | b'A', b'0', ..] => Some(6),
        rest @ [b'\\', ..] => {
            let slashes = rest.iter().take(SLASHES).take_while(|byte| **byte == b'\\').count();
            match rest.get(slashes..)? {
                [b't', ..] => Some(slashes + 1),
                [b'u', b'0', b'0', b'2', b'0', ..] | [b'u', b'0', b'0', b'0', b'9', ..] => Some(slashes + 5),
                _ => None,
            }
        }
        _ => None,
    }
}

/// How many blanks stand at `from`.
pub(super) fn blanks(bytes: &[u8], from: usize) -> usize {
    bytes.get(from..).unwrap_or_default().iter().take_while(|byte| is_blank(**byte)).count()
}

/// A text without the blanks at its end.
pub(super) fn trim_end(bytes: &[u8]) -> &[u8] {
    let len = bytes.iter().rposition(|byte| !is_blank(*byte)).map_or(0, |at| at + 1);
    bytes.get(..len).unwrap_or_default()
}

/// How many backslashes stand at the end of a text.
pub(super) fn slashes(bytes: &[u8]) -> usize {
    bytes.iter().rev().take_while(|byte| **byte == b'\\').count()
}

/// The value that begins at `from`: its first byte and its end. Whatever is not closed goes on to the end of the text,
/// which may have been cut.
pub(super) fn value(bytes: &[u8], from: usize) -> Option<(usize, usize)> {
    let rest = bytes.get(from..)?;
    // In JSON that is itself a text of JSON quotes have backslashes in front.
    let escapes = slashes_at(bytes, from);
    match rest.get(escapes..)? {
        [quote @ (b'"' | b'\''), ..] => {
            let from = from + escapes + 1;
            Some((from, text_end(bytes, from, *quote, escapes)))
        }
        [b'[' | b'{', inside @ ..] if escapes == 0 => {
            let blanks = blanks(inside, 0);
            let first = inside.get(blanks + slashes_at(inside, blanks));
            let json = matches!(first, Some(b'"' | b'\'' | b'[' | b'{'));
            Some((from, if json { list_end(bytes, from) } else { from + plain_list(rest) }))
        }
        _ => Some((from, from + plain(rest))),
    }
}

/// Words that credentials stand behind, as in the field `Authorization` (RFC 9110, section 11.6.2).
const SCHEMES: [&[u8]; 8] =
    [b"bearer", b"basic", b"token", b"apikey", b"negotiate", b"digest", b"hawk", b"aws4-hmac-sha256"];
/// How many of them have one word of credentials. Behind the others there are parameters, up to the end of the line.
const ONE_WORD: usize = 5;

/// The length of a value without quotes: a word, with the credentials behind it if it names a scheme.
fn plain(rest: &[u8]) -> usize {
    let word = |text: &[u8]| {
        let ends = |(at, byte): (usize, &u8)| {
            stops(*byte) && (!matches!(byte, b',' | b';') || parts(text.get(at + 1..).unwrap_or_default()))
        };
        text.iter().enumerate().position(ends).unwrap_or(text.len())
    };
    let len = word(rest);
    let (name, behind) = rest.split_at(len);
    let Some(scheme) = SCHEMES.iter().position(|scheme| name.eq_ignore_ascii_case(scheme)) else {
        return len;
    };
    let blanks = behind.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let credentials = behind.get(blanks..).unwrap_or_default();
    match scheme {
        _ if blanks == 0 => len,
        ..ONE_WORD => len + blanks + word(credentials),
        _ => len + blanks + memchr::memchr2(b'\r', b'\n', credentials).unwrap_or(credentials.len()),
    }
}

fn slashes_at(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..).unwrap_or_default().iter().take_while(|byte| **byte == b'\\').count()
}

/// What ends a value without quotes.
pub(super) const fn stops(byte: u8) -> bool {
    byte.is_ascii_whitespace()
        || matches!(byte, b'&' | b';' | b',' | b'"' | b'\'' | b'<' | b'>' | b'#' | b')' | b'}' | b'|')
}

/// Bytes of a name in a list at most: longer ones are a part of the value before.
const LONGEST_NAME: usize = 64;

/// Whether a comma or a semicolon with this behind it parts values: a blank, the beginning of something else, or another
/// `name=value`. Otherwise it is a part of the value, as in `password=a,b`.
fn parts(behind: &[u8]) -> bool {
    match behind.first() {
        None | Some(b'[' | b'{') => return true,
        Some(byte) if stops(*byte) || blank(behind, 0).is_some() => return true,
        Some(_) => {}
    }
    let name = behind.iter().take(LONGEST_NAME).take_while(|byte| !stops(**byte) && **byte != b'=').count();
    match behind.get(name..).unwrap_or_default() {
        // What ends in equals signs is base64.
        [b'=', next, ..] => name > 0 && *next != b'=' && !stops(*next),
        _ => false,
    }
}

/// The length of a list of words without quotes, its brackets included.
fn plain_list(rest: &[u8]) -> usize {
    let close = if rest.first() == Some(&b'[') { b']' } else { b'}' };
    match rest.iter().position(|byte| *byte == close || *byte != b',' && stops(*byte)) {
        Some(at) if rest.get(at) == Some(&close) => at + 1,
        Some(at) => at,
        None => rest.len(),
    }
}

/// Where a quoted text ends whose first byte is at `from` and whose quotes have so many backslashes in front: before
/// its last quote and the backslashes of that. Each backslash of a text is two in JSON, which makes one more of a quote.
fn text_end(bytes: &[u8], from: usize, quote: u8, escapes: usize) -> usize {
    let mut at = from;
    while let Some(skipped) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == quote)) {
        let end = at + skipped;
        let before = slashes(bytes.get(at..end).unwrap_or_default());
        if before % (2 * (escapes + 1)) == escapes {
            return end - escapes;
        }
        at = end + 1;
    }
    bytes.len()
}

/// Where a list or an object ends that begins at `from`, its brackets included.
fn list_end(bytes: &[u8], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            b'"' | b'\'' => {
                let escapes = slashes(bytes.get(from..at).unwrap_or_default());
                at = text_end(bytes, at + 1, *byte, escapes) + escapes;
            }
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_where_they_are_closed() {
        for (text, expect) in [
            ("a&b", "a"),
            ("", ""),
            ("12}", "12"),
            (r#""a b","x"#, "a b"),
            (r#""a\"b","x"#, r#"a\"b"#),
            (r#""a\\","x"#, r"a\\"),
            (r#"\"a\\\"b\",\"x"#, r#"a\\\"b"#),
            (r#"\"a\\\\\",\"x"#, r"a\\\\"),
            ("'a \"b' c", "a \"b"),
            ("\"a b", "a b"),
            (r#"["a","b]"],"x""#, r#"["a","b]"]"#),
            (r#"[ ["a"], ["b"] ] x"#, r#"[ ["a"], ["b"] ]"#),
            (r#"{"a":{"b":1},"c":2} x"#, r#"{"a":{"b":1},"c":2}"#),
            (r#"[\"a\",\"b]\"],\"x"#, r#"[\"a\",\"b]\"]"#),
            (r#"["a" x"#, r#"["a" x"#),
            ("[a,b],c", "[a,b]"),
            ("[1, 2]", "[1,"),
            ("{a}", "{a}"),
            ("[a&b]", "[a"),
        ] {
            let (from, end) = value(text.as_bytes(), 0).unwrap();
            assert_eq!(&text[from..end], expect, "{text}");
        }
    }
}
