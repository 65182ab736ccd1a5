//! Walking a document: every value with its path and line, every key that nobody asked for noticed.

use super::{
    mistake::{Findings, exit},
    schema::Key,
    yaml::{Kind, Node},
};

/// A file's name and what was found in it.
pub(super) struct Walk<'a> {
    pub(super) file: &'a str,
    pub(super) findings: &'a mut Findings,
}

/// A mapping that is being read.
pub(super) struct Table<'a> {
    /// The keys that lead to it, with dots between them.
    pub(super) path: String,
    pub(super) line: usize,
    entries: Vec<(&'a str, &'a Node, bool)>,
}

impl<'a> Table<'a> {
    /// The value of a key, also if it is null. The key counts as known from then on.
    pub(super) fn take(&mut self, key: &str) -> Option<&'a Node> {
        let entry = self.entries.iter_mut().find(|(name, ..)| *name == key)?;
        entry.2 = true;
        Some(entry.1)
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, ..)| *name == key)
    }

    /// Whether a key is there without a value.
    pub(super) fn is_null(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, node, _)| *name == key && matches!(node.kind, Kind::Null))
    }

    /// Whether it has only keys without a value or with an empty list, or none.
    pub(super) fn says_nothing(&self) -> bool {
        self.entries.iter().all(|(_, node, _)| match &node.kind {
            Kind::Null => true,
            Kind::List(items) => items.is_empty(),
            Kind::Scalar(_) | Kind::Map(_) => false,
        })
    }

    /// The line of a key's value.
    pub(super) fn line_of(&self, key: &str) -> Option<usize> {
        self.entries.iter().find(|(name, ..)| *name == key).map(|(_, node, _)| node.line)
    }

    /// The path of a key.
    pub(super) fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The keys that were not taken.
    pub(super) fn rest(&self) -> impl Iterator<Item = (&'a str, &'a Node)> {
        self.entries.iter().filter(|(_, _, taken)| !taken).map(|(key, node, _)| (*key, *node))
    }
}

impl Walk<'_> {
    /// `file:line (path)`.
    pub(super) fn place(&self, path: &str, line: usize) -> String {
        if path.is_empty() {
            format!("{}:{line}", self.file)
        } else {
            format!("{}:{line} ({path})", self.file)
        }
    }

    /// Reports a mistake at a value.
    pub(super) fn wrong(&mut self, path: &str, line: usize, what: impl Into<String>, advice: &str) {
        let place = self.place(path, line);
        self.findings.mistake(exit::CONFIG, place, what, advice);
    }

    /// A mapping; null is an empty one.
    pub(super) fn table<'n>(&mut self, node: &'n Node, path: String) -> Option<Table<'n>> {
        let entries = match &node.kind {
            Kind::Null => Vec::new(),
            Kind::Map(entries) => entries.iter().map(|(key, node)| (key.as_str(), node, false)).collect(),
            _ => {
                self.wrong(&path, node.line, "is not a mapping", "write key: value lines below it");
                return None;
            }
        };
        Some(Table { path, line: node.line, entries })
    }

    /// The mapping behind a key.
    pub(super) fn sub<'n>(&mut self, table: &mut Table<'n>, key: &str) -> Option<Table<'n>> {
        let node = table.take(key)?;
        self.given(table, key, node);
        self.table(node, table.at(key))
    }

    /// Whether a key is there that says all by its name: there is nothing to be said below it.
    pub(super) fn marker(&mut self, table: &mut Table<'_>, key: &str) -> bool {
        let Some(node) = table.take(key) else { return false };
        self.given(table, key, node);
        if let Some(below) = self.table(node, table.at(key)) {
            self.unused(&below);
        }
        true
    }

    /// Text behind a key.
    pub(super) fn text(&mut self, table: &mut Table<'_>, key: &str) -> Option<String> {
        let node = table.take(key)?;
        self.given(table, key, node);
        match &node.kind {
            Kind::Null => None,
            Kind::Scalar(text) => Some(text.clone()),
            _ => {
                self.wrong(&table.at(key), node.line, "is not text", "write one value");
                None
            }
        }
    }

    /// A value behind a key that `read` understands.
    pub(super) fn value<T>(
        &mut self,
        table: &mut Table<'_>,
        key: &str,
        kind: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let line = table.take(key)?.line;
        let text = self.text(table, key)?;
        let value = read(&text);
        if value.is_none() {
            self.wrong(&table.at(key), line, format!("{text:?} is not {kind}"), &format!("write {kind}"));
        }
        value
    }

    /// A number that is not negative.
    pub(super) fn number(&mut self, table: &mut Table<'_>, key: &str) -> Option<u64> {
        self.value(table, key, "a whole number from 0 on", |text| text.parse().ok())
    }

    /// A number within bounds.
    pub(super) fn number_to(&mut self, table: &mut Table<'_>, key: &str, from: u64, to: u64) -> Option<u64> {
        let kind = format!("a whole number from {from} to {to}");
        self.value(table, key, &kind, |text| text.parse().ok().filter(|number| (from..=to).contains(number)))
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, table: &mut Table<'_>, key: &str) -> Option<bool> {
        self.value(table, key, "true or false", |text| text.to_ascii_lowercase().parse().ok())
    }

    /// The items of a list of scalars.
    pub(super) fn texts(&mut self, table: &mut Table<'_>, key: &str) -> Option<Vec<String>> {
        let items = self.list(table, key)?;
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match &item.kind {
                Kind::Scalar(text) => texts.push(text.clone()),
                _ => self.wrong(
                    &table.at(key),
                    item.line,
                    "has an item that is not text",
                    "write one value a line",
                ),
            }
        }
        Some(texts)
    }

    /// The items of a list.
    pub(super) fn list<'n>(&mut self, table: &mut Table<'n>, key: &str) -> Option<&'n [Node]> {
        let node = table.take(key)?;
        self.given(table, key, node);
        match &node.kind {
            Kind::Null => None,
            Kind::List(items) => Some(items),
            _ => {
                self.wrong(&table.at(key), node.line, "is not a list", "write items with - before them");
                None
            }
        }
    }

    /// The schema wants one of these keys: says so if there is none, or if there are several, of which the others
    /// would be ignored. What else is there is left.
    pub(super) fn one_of(&mut self, table: &Table<'_>, keys: &[&str]) {
        let given: Vec<_> = keys.iter().filter(|key| table.has(key)).collect();
        let (words, path, line) = (keys.join(", "), &table.path, table.line);
        match given[..] {
            [_] => {}
            // Each of the others is a mistake by itself.
            [] if table.rest().next().is_some() => {}
            [] => {
                self.wrong(path, line, "is empty: nothing is done for it", &format!("write one of {words}"));
            }
            [_, second, ..] => {
                let line = table.line_of(second).unwrap_or(line);
                let what = format!("{second} is a second one");
                self.wrong(
                    path,
                    line,
                    what,
                    &format!("write one of {words}, and another item for each other"),
                );
            }
        }
    }

    /// Remembers where a value stands.
    pub(super) fn given(&mut self, table: &Table<'_>, key: &str, node: &Node) {
        self.findings.given.entry(table.at(key)).or_insert(node.line);
    }

    /// Reports the keys of a mapping of the specification that have no effect here: what is given and not
    /// done would be something false.
    pub(super) fn unused(&mut self, table: &Table<'_>) {
        for (key, node) in table.rest() {
            let advice = "take it out, or give it to the programs that it is for";
            self.wrong(&table.at(key), node.line, "is not supported by this agent", advice);
        }
    }

    /// Reports the keys of a mapping of ours that do not exist.
    pub(super) fn unknown(&mut self, table: &Table<'_>, known: &[Key]) {
        let names = known.iter().map(|key| key.name).collect::<Vec<_>>().join(", ");
        for (key, node) in table.rest() {
            self.wrong(&table.at(key), node.line, "there is no such key", &format!("use one of {names}"));
        }
    }
}
