//! Where `unsafe` may be, and that each one says why it is sound.

use super::{
    Finding,
    source::{Source, line_at, words},
};

/// Modules that may use it. Everything else goes through their safe functions.
const ROOMS: &[(&str, &[&str])] = &[
    ("agent/src", &["kernel"]),
    ("agent", &["tests", "benches", "examples"]),
    (
        "ebpf/src",
        &["read", "scratch", "emit", "maps", "conn", "globals", "kernel", "probe", "inject", "causality"],
    ),
    ("tests", &["kernel", "e2e", "vm", "bench"]),
];

/// `unsafe` is in its rooms.
pub(super) fn rooms(source: &Source) -> Vec<Finding> {
    let allowed =
        ROOMS.iter().any(|(folder, modules)| modules.iter().any(|module| source.is_in(folder, module)));
    if allowed {
        return Vec::new();
    }
    let finding = |position| Finding {
        line: line_at(&source.code, position),
        what:
            "`unsafe` outside its rooms: use a safe function of agent/src/kernel, or on the kernel side of \
               read, scratch, emit, maps, conn, globals or kernel"
                .to_owned(),
    };
    uses(source).map(finding).collect()
}

/// Each `unsafe` has a comment that says why it is sound.
pub(super) fn explained(source: &Source) -> Vec<Finding> {
    let code: Vec<_> = source.code.lines().collect();
    let comments: Vec<_> = source.comments.lines().collect();
    let safe = |line: usize| {
        let says = |index: usize| {
            comments.get(index).is_some_and(|text| text.contains("SAFETY:") || text.contains("# Safety"))
        };
        if says(line) {
            return true;
        }
        // Up through the statement that it is part of, its attributes and its comments.
        (0..line).rev().take_while(|above| continues(code.get(*above), comments.get(*above))).any(says)
    };
    let missing = uses(source).map(|position| line_at(&source.code, position)).filter(|line| !safe(line - 1));
    let mut lines: Vec<_> = missing.collect();
    lines.dedup();
    let what = "`unsafe` without a `// SAFETY:` comment above it: say why it is sound";
    lines.into_iter().map(|line| Finding { line, what: what.to_owned() }).collect()
}

/// Whether the line above still belongs to the statement below it.
fn continues(code: Option<&&str>, comment: Option<&&str>) -> bool {
    let code = code.map_or("", |code| code.trim());
    if code.is_empty() {
        return comment.is_some_and(|comment| !comment.trim().is_empty());
    }
    code.starts_with("#[") || !code.ends_with([';', '{', '}', ','])
}

/// Positions of `unsafe` blocks, functions and impls; attributes such as `#[unsafe(no_mangle)]` are none.
fn uses(source: &Source) -> impl Iterator<Item = usize> {
    let unsafes = words(&source.code).filter(|(_, word)| *word == "unsafe");
    unsafes
        .filter(|(position, word)| !source.code[position + word.len()..].starts_with('('))
        .map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(rule: fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
        rule(&Source::new(path, text.to_owned())).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn unsafe_stays_in_its_rooms() {
        let text = "#[unsafe(no_mangle)]\nfn a() {}\nfn b() { unsafe { c() } }\n// unsafe\n";
        assert_eq!(lines(rooms, "agent/src/span/mod.rs", text), [3]);
        assert_eq!(lines(rooms, "ebpf/src/head.rs", text), [3]);
        assert!(lines(rooms, "ebpf/src/read.rs", text).is_empty());
        assert!(lines(rooms, "agent/src/kernel/attach.rs", text).is_empty());
    }

    #[test]
    fn each_says_why() {
        let good = "// SAFETY: the pointer is the kernel's.\nlet a =\n    unsafe { b() };\n/// # Safety\n/// As told.\n\
                    #[inline]\nunsafe fn f() {}\nunsafe { g() } // SAFETY: same line\n";
        assert!(lines(explained, "ebpf/src/read.rs", good).is_empty());
        let bad = "// SAFETY: of another statement.\nlet a = 1;\nlet b = unsafe { c() };\n";
        assert_eq!(lines(explained, "ebpf/src/read.rs", bad), [3]);
    }
}
