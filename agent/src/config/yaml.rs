//! A YAML document with line numbers, its variables filled in (specification, configuration/data-model.md,
//! "Environment variable substitution"): only in scalar values, never in keys, and what a variable holds
//! can change a scalar's type but never the document's structure.

use saphyr::{MarkedYamlOwned, ScalarStyle, YamlDataOwned, YamlLoader};
use saphyr_parser::{BufferedInput, Event, Parser, ScanError};

use super::env::Env;

/// A value and the line on which it stands, from 1.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

/// What a value is. Scalars keep their text: what they mean depends on where they stand.
#[derive(Debug)]
pub(super) enum Kind {
    Null,
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// What is wrong with a document.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) line: usize,
    pub(super) what: String,
}

/// Levels of nesting. The deepest example of the schema has 12.
const MAX_DEPTH: usize = 64;

/// What was filled in: variables, and what they hold.
pub(super) type Filled = Vec<(String, String)>;

/// Reads a text with one document at most: a second one would be ignored.
pub(super) fn parse(text: &str, env: &dyn Env) -> Result<(Node, Filled), Vec<Problem>> {
    check_depth(text)?;
    let mut loader = YamlLoader::<MarkedYamlOwned>::default();
    // Scalars stay as they are written: their types are decided behind the substitution.
    loader.early_parse(false);
    let mut parser = Parser::new(BufferedInput::new(text.chars()));
    let failed = parser.load(&mut loader, true).err().or_else(|| loader.error().cloned());
    if let Some(error) = failed {
        return Err(problem(&error));
    }
    let mut documents = loader.into_documents().into_iter();
    let Some(document) = documents.next() else {
        return Ok((Node { line: 1, kind: Kind::Null }, Filled::new()));
    };
    if let Some(second) = documents.next() {
        let what = "a second document begins here, behind ---; one file has one".to_owned();
        return Err(vec![Problem { line: second.span.start.line(), what }]);
    }
    let (mut problems, mut filled) = (Vec::new(), Filled::new());
    let node = convert(&document, env, &mut filled, &mut problems);
    if problems.is_empty() { Ok((node, filled)) } else { Err(problems) }
}

/// Looks at the nesting alone, before a tree is built that would have to be walked and freed by recursion.
fn check_depth(text: &str) -> Result<(), Vec<Problem>> {
    let mut depth = 0usize;
    for event in Parser::new(BufferedInput::new(text.chars())) {
        let (event, span) = event.map_err(|error| problem(&error))?;
        match event {
            Event::SequenceStart(..) | Event::MappingStart(..) => depth += 1,
            Event::SequenceEnd | Event::MappingEnd => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            let what = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(vec![Problem { line: span.start.line(), what }]);
        }
    }
    Ok(())
}

fn problem(error: &ScanError) -> Vec<Problem> {
    vec![Problem { line: error.marker().line(), what: error.info().to_owned() }]
}

fn convert(node: &MarkedYamlOwned, env: &dyn Env, filled: &mut Filled, problems: &mut Vec<Problem>) -> Node {
    let line = node.span.start.line();
    let kind = match &node.data {
        YamlDataOwned::Representation(text, style, _) => {
            let plain = *style == ScalarStyle::Plain;
            let text = substitute(text, env, filled).unwrap_or_else(|what| {
                problems.push(Problem { line, what });
                String::new()
            });
            if plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL") {
                Kind::Null
            } else {
                Kind::Scalar(text)
            }
        }
        YamlDataOwned::Sequence(items) => {
            Kind::List(items.iter().map(|item| convert(item, env, filled, problems)).collect())
        }
        YamlDataOwned::Mapping(entries) => {
            let entry = |(key, value): (&MarkedYamlOwned, &MarkedYamlOwned)| {
                let YamlDataOwned::Representation(key, ..) = &key.data else {
                    let line = key.span.start.line();
                    problems.push(Problem { line, what: "a key that is not a plain word".to_owned() });
                    return None;
                };
                Some((key.clone(), convert(value, env, filled, problems)))
            };
            Kind::Map(entries.iter().filter_map(entry).collect())
        }
        YamlDataOwned::Tagged(_, inner) => return convert(inner, env, filled, problems),
        _ => {
            problems.push(Problem { line, what: "a value that cannot be read".to_owned() });
            Kind::Null
        }
    };
    Node { line, kind }
}

/// Fills in `${NAME}`, `${env:NAME}` and `${NAME:-default}`; `$$` is a dollar sign. What is filled in is
/// not looked at again.
fn substitute(text: &str, env: &dyn Env, filled: &mut Filled) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let (reference, after) =
                after.split_once('}').ok_or_else(|| format!("{text:?} has a ${{ without its }}"))?;
            let (name, default) = reference.split_once(":-").unwrap_or((reference, ""));
            let name = name.strip_prefix("env:").unwrap_or(name);
            let mut letters = name.chars();
            let first = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
            if !first || !letters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(format!("${{{reference}}} does not name a variable"));
            }
            let value = env.get(name).filter(|value| !value.is_empty());
            out.push_str(value.as_deref().unwrap_or(default));
            filled.extend(value.map(|value| (name.to_owned(), value)));
            rest = after;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn env() -> HashMap<String, String> {
        let pairs =
            [("STRING", "value"), ("BOOL", "true"), ("INJECT", "value\nkey: value"), ("LOOP", "${BOOL}")];
        pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    /// The table of the specification's page on the data model.
    #[test]
    fn variables_are_filled_in_by_the_specification() {
        let cases = [
            ("${STRING}", "value"),
            ("${env:STRING}", "value"),
            ("${BOOL}-${STRING}", "true-value"),
            ("${UNSET}", ""),
            ("${UNSET:-fallback}", "fallback"),
            ("${UNSET:-a:-b}", "a:-b"),
            ("${INJECT}", "value\nkey: value"),
            ("${LOOP}", "${BOOL}"),
            ("$STRING", "$STRING"),
            ("$${STRING}", "${STRING}"),
            ("$$${STRING}", "$value"),
            ("$$$$ $", "$$ $"),
        ];
        for (text, expected) in cases {
            assert_eq!(substitute(text, &env(), &mut Filled::new()).as_deref(), Ok(expected), "{text}");
        }
        for text in ["${1X}", "${API_$KEY}", "${}", "${X", "${X?Y}"] {
            assert!(substitute(text, &env(), &mut Filled::new()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_variable_never_changes_the_structure() {
        let node = parse("a: ${INJECT}\nb: ${UNSET}\nc: \"${UNSET}\"\n", &env()).unwrap().0;
        let Kind::Map(entries) = node.kind else { panic!("{node:?}") };
        assert_eq!(entries.len(), 3);
        assert!(matches!(&entries[0].1.kind, Kind::Scalar(text) if text.contains("key: value")));
        assert!(matches!(entries[1].1.kind, Kind::Null));
        assert!(matches!(&entries[2].1.kind, Kind::Scalar(text) if text.is_empty()));
        assert_eq!(entries[2].1.line, 3);
    }

    #[test]
    fn deep_documents_are_refused() {
        for deep in ["- ".repeat(100_000), "[".repeat(100_000), "{a: ".repeat(100_000)] {
            assert!(parse(&deep, &env()).is_err());
        }
        assert!(parse(&"- ".repeat(30), &env()).is_ok());
    }

    #[test]
    fn broken_documents_say_where() {
        assert_eq!(parse("a: [1\nb: 2\n", &env()).unwrap_err().len(), 1);
        assert_eq!(parse("ok: 1\na: ${1}\nb: ${}\n", &env()).unwrap_err()[0].line, 2);
        assert!(parse("a: 1\na: 2\n", &env()).is_err());
        let second = parse("---\na: 1\n---\nb: 2\n", &env()).unwrap_err();
        assert!(second[0].line == 4 && second[0].what.contains("second document"), "{second:?}");
        assert!(parse("---\na: 1\n...\n", &env()).is_ok());
        assert!(matches!(parse("", &env()).unwrap().0.kind, Kind::Null));
    }
}
