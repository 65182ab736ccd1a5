//! What every file looks like, and that every bound has its reason.

use super::{
    Finding,
    source::{Source, line_at, words},
};

/// Longer files hold more than one idea. Known models keep nine of ten below 400.
const LONGEST: usize = 600;

/// A reason takes a sentence.
const SHORTEST_REASON: usize = 5;

/// Words in the name of a constant that bounds something.
const BOUND_WORDS: [&str; 12] = [
    "MAX", "LIMIT", "LIMITS", "CAPACITY", "DEPTH", "QUEUE", "BUDGET", "TIMEOUT", "DEADLINE", "PATIENCE",
    "ENTRIES", "LONGEST",
];

/// The file whose every constant is a bound.
const LIMITS: &str = "ebpf/common/src/limits.rs";

/// A file opens by saying what it is.
pub(super) fn opening(source: &Source) -> Vec<Finding> {
    if source.text.starts_with("//!") {
        return Vec::new();
    }
    vec![Finding {
        line: 1,
        what: "no `//!` on the first line: say in a sentence what this file is".to_owned(),
    }]
}

/// A file has one idea.
pub(super) fn length(source: &Source) -> Vec<Finding> {
    let lines = source.text.lines().count();
    if lines <= LONGEST {
        return Vec::new();
    }
    vec![Finding {
        line: LONGEST + 1,
        what: format!("{lines} lines: split the file by its ideas, at {LONGEST} at the latest"),
    }]
}

/// What is here is finished.
pub(super) fn unfinished(source: &Source) -> Vec<Finding> {
    let marks = words(&source.comments).filter(|(_, word)| ["TODO", "FIXME", "XXX"].contains(word));
    let finding = |(position, word)| Finding {
        line: line_at(&source.comments, position),
        what: format!("`{word}`: do it now, or write an issue and take the mark away"),
    };
    marks.map(finding).collect()
}

/// A lint is suppressed by an expectation, which complains when it is no longer needed.
pub(super) fn allowed(source: &Source) -> Vec<Finding> {
    let attribute = |position: usize, word: &str| {
        let before = source.code[..position].trim_end();
        let after = &source.code[position + word.len()..];
        (before.ends_with("#[") || before.ends_with("#![")) && after.starts_with('(')
    };
    let allows =
        words(&source.code).filter(|(position, word)| *word == "allow" && attribute(*position, word));
    let finding = |(position, _)| Finding {
        line: line_at(&source.code, position),
        what: "`allow`: cure what the lint found, or write `#[expect(.., reason = \"..\")]`".to_owned(),
    };
    allows.map(finding).collect()
}

/// A bound says why it is what it is.
pub(super) fn bounds(source: &Source) -> Vec<Finding> {
    let code: Vec<_> = source.code.lines().collect();
    let comments: Vec<_> = source.comments.lines().collect();
    let mut found = Vec::new();
    for (index, line) in source.shipped().lines().enumerate() {
        let Some(name) = bound(line, source.path == LIMITS) else { continue };
        let docs = (0..index).rev().take_while(|above| {
            let code = code.get(*above).map_or("", |code| code.trim());
            code.starts_with("#[")
                || code.is_empty() && comments.get(*above).is_some_and(|text| text.contains("//"))
        });
        let reason: usize =
            docs.filter_map(|above| comments.get(above)).map(|text| text.split_whitespace().count()).sum();
        if reason <= SHORTEST_REASON {
            found.push(Finding {
                line: index + 1,
                what: format!("`{name}` bounds something: say in a comment above it why so much"),
            });
        }
    }
    found
}

/// The name of the number or duration that a line declares as a bound.
fn bound(line: &str, every: bool) -> Option<&str> {
    let line = line.trim_start();
    let line =
        line.strip_prefix("pub").map_or(line, |rest| rest.split_once(' ').map_or(rest, |(_, rest)| rest));
    let (name, rest) = line.trim_start().strip_prefix("const ")?.split_once(':')?;
    let kind = rest.split('=').next()?.trim();
    let number = ["usize", "u8", "u16", "u32", "u64", "i32", "i64", "f64", "Duration"].contains(&kind);
    let named = name.split('_').any(|word| BOUND_WORDS.contains(&word));
    (number && (every || named)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(rule: fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
        rule(&Source::new(path, text.to_owned())).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn files_open_with_their_purpose() {
        assert!(lines(opening, "a.rs", "//! A.\n").is_empty());
        assert_eq!(lines(opening, "a.rs", "// A.\n"), [1]);
    }

    #[test]
    fn long_files_are_split() {
        assert!(lines(length, "a.rs", &"x\n".repeat(LONGEST)).is_empty());
        assert_eq!(lines(length, "a.rs", &"x\n".repeat(LONGEST + 1)).len(), 1);
    }

    #[test]
    fn marks_of_the_unfinished() {
        let text = format!("// {}: later\nlet s = \"{}\";\n", "TODO", "TODO");
        assert_eq!(lines(unfinished, "a.rs", &text), [1]);
    }

    #[test]
    fn lints_are_expected_not_allowed() {
        let text =
            "#[allow(dead_code)]\n#![allow(x)]\nfn allow() { allow(1) }\n#[expect(y, reason = \"z\")]\n";
        assert_eq!(lines(allowed, "a.rs", text), [1, 2]);
    }

    #[test]
    fn bounds_have_reasons() {
        let text = "/// As many as one event can carry, by the ring's size.\npub const MAX_A: usize = 1;\n\
                    /// Short.\nconst MAX_B: usize = 2;\npub(crate) const MAX_C: u32 = 3;\nconst OTHER: usize = 4;\n\
                    const NAME_LIMIT: &str = \"x\";\n";
        assert_eq!(lines(bounds, "agent/src/a.rs", text), [4, 5]);
        assert_eq!(lines(bounds, LIMITS, text), [4, 5, 6]);
    }
}
