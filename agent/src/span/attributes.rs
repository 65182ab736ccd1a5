//! A span's attributes while they are gathered, within the limits (OpenTelemetry's common/README.md,
//! "Attribute Limits").

use std::borrow::Cow;

use super::{Attribute, Value, policy::Limits, redact::Redactor};
use crate::stats::{Count, Stats};

/// More than a span without captured fields has, so that the list is allocated once.
const USUAL: usize = 20;

/// Gathers attributes.
#[derive(Debug)]
pub(super) struct Attributes<'a> {
    list: Vec<Attribute>,
    limits: Limits,
    redactor: &'a Redactor,
    stats: &'a Stats,
    dropped: u32,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(limits: Limits, redactor: &'a Redactor, stats: &'a Stats) -> Self {
        Self { list: Vec::with_capacity(USUAL), limits, redactor, stats, dropped: 0 }
    }

    /// What takes out what may not be shown, and where that is counted.
    pub(super) const fn redactor(&self) -> (&'a Redactor, &'a Stats) {
        (self.redactor, self.stats)
    }

    /// Adds an attribute whose value may be shown, or counts it where there are too many.
    pub(super) fn push(&mut self, key: impl Into<Cow<'static, str>>, value: Value) {
        let key = key.into();
        if !self.redactor.allows(&key, self.stats) {
            return;
        }
        if self.list.len() >= self.limits.count {
            self.dropped = self.dropped.saturating_add(1);
            self.stats.count(Count::AttributesDropped);
            return;
        }
        let value = match self.limits.value_length {
            Some(limit) => self.cut(value, limit),
            None => value,
        };
        self.list.push(Attribute { key, value });
    }

    /// Adds text from the wire, without what may not be shown.
    pub(super) fn text(&mut self, key: &'static str, value: Cow<'_, str>) {
        let shown = self.redactor.text(value, self.stats);
        self.clean(key, shown);
    }

    /// Adds text that may be shown.
    pub(super) fn clean(&mut self, key: &'static str, value: impl Into<Box<str>>) {
        self.push(key, Value::Str(value.into()));
    }

    fn cut(&self, value: Value, limit: usize) -> Value {
        let long = |text: &str| text.len() > limit && text.chars().nth(limit).is_some();
        let cuts = match &value {
            Value::Static(text) => long(text),
            Value::Str(text) => long(text),
            Value::Strs(texts) => texts.iter().any(|text| long(text)),
            Value::Int(_) | Value::Double(_) | Value::Bool(_) => false,
        };
        if cuts {
            self.stats.count(Count::ValuesCut);
            cut_value(value, limit)
        } else {
            value
        }
    }

    pub(super) fn int(&mut self, key: &'static str, value: impl Into<i64>) {
        self.push(key, Value::Int(value.into()));
    }

    /// The attributes, and how many did not fit.
    pub(super) fn finish(self) -> (Vec<Attribute>, u32) {
        (self.list, self.dropped)
    }
}

fn cut_value(value: Value, limit: usize) -> Value {
    match value {
        Value::Static(text) => Value::Static(cut(text, limit)),
        Value::Str(text) => Value::Str(cut_text(text, limit)),
        Value::Strs(texts) => Value::Strs(texts.into_iter().map(|text| cut_text(text, limit)).collect()),
        other => other,
    }
}

fn cut_text(text: Box<str>, limit: usize) -> Box<str> {
    if text.len() <= limit { text } else { cut(&text, limit).into() }
}

/// The first `limit` characters.
fn cut(text: &str, limit: usize) -> &str {
    text.char_indices().nth(limit).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::redact::Policy;

    #[test]
    fn too_many_are_counted() {
        let (redactor, stats) = (Redactor::new(Policy::default()), Stats::default());
        let limits = Limits { count: 2, ..Limits::default() };
        let mut attributes = Attributes::new(limits, &redactor, &stats);
        for key in ["a", "b", "c", "d"] {
            attributes.int(key, 1);
        }
        let (list, dropped) = attributes.finish();
        assert_eq!((list.len(), dropped), (2, 2));
        assert_eq!(stats.counted(Count::AttributesDropped), 2);
    }

    #[test]
    fn long_ones_are_cut_by_characters() {
        let (redactor, stats) = (Redactor::new(Policy::default()), Stats::default());
        let limits = Limits { value_length: Some(2), ..Limits::default() };
        let mut attributes = Attributes::new(limits, &redactor, &stats);
        attributes.text("a", "日本語".into());
        attributes.text("b", "xy".into());
        attributes.push("c", Value::Static("abc"));
        attributes.push("d", Value::Strs(["abc".into(), "d".into()].into()));
        attributes.int("e", 12345);
        let values: Vec<_> = attributes.finish().0.into_iter().map(|attribute| attribute.value).collect();
        let expect = [
            Value::Str("日本".into()),
            Value::Str("xy".into()),
            Value::Static("ab"),
            Value::Strs(["ab".into(), "d".into()].into()),
            Value::Int(12345),
        ];
        assert_eq!(values, expect);
        assert_eq!(stats.counted(Count::ValuesCut), 3);
    }
}
