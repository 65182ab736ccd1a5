//! A source file, with what is code, what is comment and what is test told apart.

/// A Rust file. `code` and `comments` have the same length and lines as the text, with everything else
/// blanked; strings are in neither.
#[derive(Debug)]
pub(super) struct Source {
    /// Relative to the workspace's root.
    pub(super) path: String,
    pub(super) text: String,
    pub(super) code: String,
    pub(super) comments: String,
}

impl Source {
    pub(super) fn new(path: &str, text: String) -> Self {
        let (code, comments) = split(&text);
        Self { path: path.to_owned(), text, code, comments }
    }

    /// The code outside `#[cfg(test)]` items, and nothing in files of tests.
    pub(super) fn shipped(&self) -> String {
        if self.is_test() { String::new() } else { without_tests(&self.code) }
    }

    fn is_test(&self) -> bool {
        let stem = self.path.trim_end_matches(".rs");
        stem.ends_with("/tests")
            || stem.ends_with("_tests")
            || stem.contains("/tests/")
            || stem.starts_with("tests/")
    }

    /// Whether the file is this module of `folder`, or below it: `agent/src`, `kernel`.
    pub(super) fn is_in(&self, folder: &str, module: &str) -> bool {
        let rest = self.path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
        rest.and_then(|rest| rest.strip_prefix(module))
            .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    }
}

/// The line, from 1, of a position in a text.
pub(super) fn line_at(text: &str, position: usize) -> usize {
    text.bytes().take(position).filter(|byte| *byte == b'\n').count() + 1
}

#[derive(Clone, Copy, PartialEq)]
enum In {
    Code,
    LineComment,
    BlockComment(usize),
    Text,
    RawText(usize),
}

/// Code and comments of a Rust text.
fn split(text: &str) -> (String, String) {
    let bytes = text.as_bytes();
    let at = |index: usize| bytes.get(index).copied().unwrap_or(0);
    let (mut code, mut comments) = (Vec::with_capacity(bytes.len()), Vec::with_capacity(bytes.len()));
    let mut state = In::Code;
    let mut index = 0;
    while index < bytes.len() {
        // How many bytes this step takes, and whose they are.
        let (mut step, mut is_code, mut is_comment) = (1, false, false);
        match state {
            In::Code => match (at(index), at(index + 1)) {
                (b'/', b'/') => (state, is_comment) = (In::LineComment, true),
                (b'/', b'*') => (state, step, is_comment) = (In::BlockComment(1), 2, true),
                (b'"', _) => (state, is_code) = (In::Text, true),
                (b'r', b'"' | b'#') if !in_word(bytes, index) => {
                    let hashes = bytes[index + 1..].iter().take_while(|byte| **byte == b'#').count();
                    is_code = true;
                    if at(index + 1 + hashes) == b'"' {
                        (state, step) = (In::RawText(hashes), hashes + 2);
                    }
                }
                // A character, not a lifetime.
                (b'\'', b'\\') => {
                    step = 3 + bytes[index..].iter().skip(3).take_while(|byte| **byte != b'\'').count() + 1;
                }
                (b'\'', _) => match char_len(at(index + 1)) {
                    length if at(index + 1 + length) == b'\'' => step = length + 2,
                    _ => is_code = true,
                },
                _ => is_code = true,
            },
            In::LineComment => {
                is_comment = true;
                if at(index) == b'\n' {
                    state = In::Code;
                }
            }
            In::BlockComment(depth) => {
                is_comment = true;
                match (at(index), at(index + 1)) {
                    (b'/', b'*') => (state, step) = (In::BlockComment(depth + 1), 2),
                    (b'*', b'/') if depth == 1 => (state, step) = (In::Code, 2),
                    (b'*', b'/') => (state, step) = (In::BlockComment(depth - 1), 2),
                    _ => {}
                }
            }
            In::Text => match at(index) {
                b'\\' => step = 2,
                b'"' => (state, is_code) = (In::Code, true),
                _ => {}
            },
            In::RawText(hashes) => {
                let end =
                    bytes[index + 1..].iter().take(hashes).filter(|byte| **byte == b'#').count() == hashes;
                if at(index) == b'"' && end {
                    (state, step) = (In::Code, hashes + 1);
                }
            }
        }
        for byte in bytes.iter().skip(index).take(step) {
            let keep = |wanted: bool| if wanted || *byte == b'\n' { *byte } else { b' ' };
            code.push(keep(is_code));
            comments.push(keep(is_comment));
        }
        index += step;
    }
    let string = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (string(code), string(comments))
}

fn in_word(bytes: &[u8], index: usize) -> bool {
    let before = index.checked_sub(1).and_then(|before| bytes.get(before)).copied().unwrap_or(b' ');
    // `br"…"` is a raw text too.
    before != b'b' && (before.is_ascii_alphanumeric() || before == b'_')
}

/// Bytes of the UTF-8 character that starts with this one.
fn char_len(first: u8) -> usize {
    match first {
        0..0xc0 => 1,
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    }
}

/// Blanks every item behind `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = code.as_bytes().to_vec();
    let mut from = 0;
    while let Some(start) = code[from..].find(MARK).map(|offset| from + offset) {
        let mut depth = 0_usize;
        let mut end = code.len();
        for (offset, byte) in code.bytes().enumerate().skip(start + MARK.len()) {
            match byte {
                b'{' => depth += 1,
                b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && (byte == b'}' || byte == b';') {
                end = offset + 1;
                break;
            }
        }
        for byte in out.iter_mut().take(end).skip(start).filter(|byte| **byte != b'\n') {
            *byte = b' ';
        }
        from = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A word of code and where it starts.
pub(super) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + code[rest..].find(inside)?;
        let end = code[start..].find(|c| !inside(c)).map_or(code.len(), |length| start + length);
        rest = end;
        Some((start, &code[start..end]))
    })
}

/// Every path that code names, `use` trees taken apart: `use std::{fs, io::Read}` gives `std::fs` and
/// `std::io::Read`.
pub(super) fn paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    // Prefixes of the open braces of use trees; a brace of other code has none.
    let mut open: Vec<Option<String>> = Vec::new();
    let mut current = String::new();
    let mut start = 0;
    let mut after = 0;
    for (position, word) in words(code) {
        let between = &code[after..position];
        for c in between.chars() {
            match c {
                '{' => {
                    let prefix = current.ends_with("::").then(|| std::mem::take(&mut current));
                    open.push(prefix);
                }
                '}' | ',' | ';' | ' ' | '\n' if !current.ends_with("::") => {
                    if !current.is_empty() {
                        found.push((start, std::mem::take(&mut current)));
                    }
                    if c == '}' {
                        open.pop();
                    }
                }
                '}' => {
                    open.pop();
                }
                ':' | ' ' | '\n' => {
                    if c == ':' {
                        current.push(':');
                    }
                }
                _ => {
                    if !current.is_empty() {
                        found.push((start, std::mem::take(&mut current)));
                    }
                }
            }
        }
        if !current.ends_with("::") {
            if !current.is_empty() {
                found.push((start, std::mem::take(&mut current)));
            }
            start = position;
            current.clear();
            if let Some(Some(prefix)) = open.last() {
                current.push_str(prefix);
            }
        }
        current.push_str(word);
        after = position + word.len();
    }
    if !current.is_empty() {
        found.push((start, current));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        let source = Source::new("agent/src/x.rs", text.to_owned());
        source.code.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn strings_and_comments_are_no_code() {
        assert_eq!(
            code("let a = \"unsafe // {\"; // unsafe\n/* a /* b */ c */ b('x', '\\'', '{')"),
            "let a = \" \"; b( , , )"
        );
        assert_eq!(code("r#\"unsafe \" \"# x br\"y\" 'a: for<'b>"), "r#\" x br\" 'a: for<'b>");
    }

    #[test]
    fn lines_stay_where_they_are() {
        let text = "a\n\"b\nc\"\n// d\ne";
        let source = Source::new("x.rs", text.to_owned());
        assert_eq!(source.code.lines().count(), 5);
        assert_eq!(source.comments.lines().nth(3), Some("// d"));
    }

    #[test]
    fn tests_are_not_shipped() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { {} } }\nfn c() {}\n#[cfg(test)]\nmod more;\nfn d() {}";
        let shipped = Source::new("agent/src/x.rs", text.to_owned()).shipped();
        assert!(shipped.contains("fn a") && shipped.contains("fn c") && shipped.contains("fn d"));
        assert!(!shipped.contains("fn b") && !shipped.contains("more"));
    }

    #[test]
    fn use_trees_are_taken_apart() {
        let names: Vec<_> = paths("use std::{\n    fs, io::{self, Read},\n};\nfn f() { std::env::var(x.y) }")
            .into_iter()
            .map(|(_, path)| path)
            .collect();
        for wanted in ["std::fs", "std::io::self", "std::io::Read", "std::env::var"] {
            assert!(names.iter().any(|name| name == wanted), "{wanted} in {names:?}");
        }
    }

    #[test]
    fn modules_are_files_or_folders() {
        let source = |path| Source::new(path, String::new());
        assert!(source("agent/src/kernel/mod.rs").is_in("agent/src", "kernel"));
        assert!(source("agent/src/decode.rs").is_in("agent/src", "decode"));
        assert!(!source("agent/src/decoder.rs").is_in("agent/src", "decode"));
    }
}
