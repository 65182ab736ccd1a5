//! `cargo xtask tidy`: the architecture's rules (ARCHITECTURE.md, "Invariants"), checked on the source text.
//!
//! It reads text, not types: quick, and blind to whoever hides a name behind a macro or a rename. It is
//! there to catch a slip, not an adversary.

mod imports;
mod protocols;
mod source;
mod style;
mod unsafety;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use self::source::Source;
use crate::run::root;

/// Where the project's own Rust is.
const FOLDERS: [&str; 4] = ["agent", "ebpf", "xtask", "tests"];

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    line: usize,
    /// What is wrong and what to do about it.
    what: String,
}

type Rule = fn(&Source) -> Vec<Finding>;

const RULES: &[Rule] = &[
    imports::rooms,
    imports::purity,
    imports::direction,
    unsafety::rooms,
    unsafety::explained,
    style::opening,
    style::length,
    style::unfinished,
    style::allowed,
    style::bounds,
];

pub(crate) fn run() -> Result<()> {
    let files = sources(&root())?;
    let mut report = Vec::new();
    for file in &files {
        for rule in RULES {
            let mut found = rule(file);
            // One message a line is enough to act on.
            found.dedup_by_key(|finding| finding.line);
            report.extend(found.iter().map(|Finding { line, what }| format!("{}:{line}: {what}", file.path)));
        }
    }
    report.extend(protocols::complete(&root(), &files));
    if report.is_empty() {
        println!("tidy: {} files keep the rules", files.len());
        return Ok(());
    }
    bail!("{} broken rules\n{}", report.len(), report.join("\n"))
}

fn sources(root: &Path) -> Result<Vec<Source>> {
    let mut paths = Vec::new();
    for folder in FOLDERS.map(|name| root.join(name)).iter().filter(|folder| folder.is_dir()) {
        collect(folder, &mut paths).with_context(|| format!("cannot list {}", folder.display()))?;
    }
    paths.sort();
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.strip_prefix(root).unwrap_or(path);
        Ok(Source::new(&name.to_string_lossy(), text))
    };
    paths.iter().map(read).collect()
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if entry.file_type()?.is_dir() {
            if name != "target" && name != "corpus" && name != "node_modules" && !name.starts_with('.') {
                collect(&entry.path(), into)?;
            }
        } else if name.ends_with(".rs") {
            into.push(entry.path());
        }
    }
    Ok(())
}
