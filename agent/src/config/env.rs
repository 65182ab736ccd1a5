//! Environment variables, read through a trait so that tests pass a map, by the OpenTelemetry rules: an
//! empty value is an unset one, keywords have no case (specification, configuration/sdk-environment-variables.md).

use std::collections::HashMap;

use super::mistake::{Findings, exit};

/// Where variables come from.
pub trait Env {
    /// The value of a variable, if it is set.
    fn get(&self, name: &str) -> Option<String>;
}

/// The variables of this process.
#[derive(Clone, Copy, Debug)]
pub struct ProcessEnv;

impl Env for ProcessEnv {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }
}

impl<S: std::hash::BuildHasher> Env for HashMap<String, String, S> {
    fn get(&self, name: &str) -> Option<String> {
        HashMap::get(self, name).cloned()
    }
}

/// Reads variables as values of a kind, and reports those that are not.
pub(super) struct Reader<'a> {
    pub(super) env: &'a dyn Env,
    pub(super) findings: &'a mut Findings,
}

impl Reader<'_> {
    /// The value without surrounding white space, if there is anything left.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let value = self.env.get(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// The first of several names that is set, with its name.
    pub(super) fn first<'n>(&self, names: &[&'n str]) -> Option<(&'n str, String)> {
        names.iter().find_map(|name| Some((*name, self.text(name)?)))
    }

    /// A number that is not negative.
    pub(super) fn number(&mut self, name: &str) -> Option<u64> {
        let value = self.text(name)?;
        let number = value.parse().ok();
        if number.is_none() {
            self.wrong(name, &value, "is not a whole number from 0 on", "write digits only, or unset it");
        }
        number
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, name: &str) -> Option<bool> {
        let value = self.text(name)?;
        let boolean = match value.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
        if boolean.is_none() {
            self.wrong(name, &value, "is neither true nor false", "write one of them, or unset it");
        }
        boolean
    }

    /// A list with commas between its items.
    pub(super) fn list(&self, name: &str) -> Option<Vec<String>> {
        let items = self.text(name)?;
        Some(items.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
    }

    /// One of the words of a table.
    pub(super) fn word<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Option<T> {
        let value = self.text(name)?;
        let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(&value));
        if found.is_none() {
            let known = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
            self.wrong(name, &value, "is not known here", &format!("use one of {known}"));
        }
        found.map(|(_, meaning)| *meaning)
    }

    /// Reports a variable's value.
    pub(super) fn wrong(&mut self, name: &str, value: &str, what: &str, advice: &str) {
        self.findings.mistake(exit::CONFIG, name, format!("{value:?} {what}"), advice);
    }
}
