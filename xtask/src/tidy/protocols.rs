//! A protocol is a parser, a corpus folder and a fuzz target.

use std::path::Path;

use super::source::Source;

const PROTOCOLS: &str = "agent/src/protocol/";

/// What is missing of each protocol, one message a thing.
pub(super) fn complete(root: &Path, files: &[Source]) -> Vec<String> {
    let mut names: Vec<_> = files.iter().filter_map(protocol).collect();
    names.sort_unstable();
    names.dedup();
    let mut missing = Vec::new();
    for name in names {
        let corpus = root.join("tests/corpus").join(name);
        if !corpus.read_dir().is_ok_and(|mut files| files.next().is_some()) {
            missing
                .push(format!("{PROTOCOLS}{name}: no samples: put captured bytes into tests/corpus/{name}/"));
        }
        let target = format!("tests/fuzz/targets/{name}.rs");
        if !root.join(&target).is_file() {
            missing.push(format!("{PROTOCOLS}{name}: no fuzz target: write {target}"));
        }
    }
    missing
}

/// The protocol whose parser a file holds.
fn protocol(source: &Source) -> Option<&str> {
    let module = source.path.strip_prefix(PROTOCOLS)?;
    let module = module.split('/').next()?.trim_end_matches(".rs");
    let shipped = source.shipped();
    let parses =
        shipped.lines().any(|line| line.trim_start().starts_with("impl") && line.contains("Parser for "));
    (parses && module != "mod").then_some(module)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsers_are_found() {
        let source = |path, text: &str| Source::new(path, text.to_owned());
        let parser = "impl Parser for Http1 {}";
        assert_eq!(protocol(&source("agent/src/protocol/http1.rs", parser)), Some("http1"));
        assert_eq!(protocol(&source("agent/src/protocol/kafka/mod.rs", parser)), Some("kafka"));
        assert_eq!(
            protocol(&source("agent/src/protocol/http2.rs", "impl StreamParser for Http2 {}")),
            Some("http2")
        );
        assert_eq!(protocol(&source("agent/src/protocol/message.rs", "struct Message;")), None);
    }

    #[test]
    fn missing_parts_are_named() {
        let files = [Source::new("agent/src/protocol/none.rs", "impl Parser for None {}".to_owned())];
        let missing = complete(Path::new("/nonexistent"), &files);
        assert!(
            missing[0].contains("tests/corpus/none/") && missing[1].contains("tests/fuzz/targets/none.rs")
        );
    }
}
