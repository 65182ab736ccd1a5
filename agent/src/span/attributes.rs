//! A span's attributes while they are gathered, within the limits (OpenTelemetry's common/README.md,
//! "Attribute Limits").

use std::borrow::Cow;

use super::{Attribute, Value, policy::Limits};

/// More than a span without captured fields has, so that the list is allocated once.
const USUAL: usize = 20;

/// Gathers attributes.
#[derive(Debug)]
pub(super) struct Attributes {
    list: Vec<Attribute>,
    limits: Limits,
    dropped: u32,
}

impl Attributes {
    pub(super) fn new(limits: Limits) -> Self {
        Self { list: Vec::with_capacity(USUAL), limits, dropped: 0 }
    }

    /// Adds an attribute, or counts it where there are too many.
    pub(super) fn push(&mut self, key: impl Into<Cow<'static, str>>, value: Value) {
        if self.list.len() >= self.limits.count {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        let value = match self.limits.value_length {
            Some(limit) => cut_value(value, limit),
            None => value,
        };
        self.list.push(Attribute { key: key.into(), value });
    }

    pub(super) fn text(&mut self, key: &'static str, value: impl Into<Box<str>>) {
        self.push(key, Value::Str(value.into()));
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

    #[test]
    fn too_many_are_counted() {
        let mut attributes = Attributes::new(Limits { count: 2, value_length: None });
        for key in ["a", "b", "c", "d"] {
            attributes.int(key, 1);
        }
        let (list, dropped) = attributes.finish();
        assert_eq!((list.len(), dropped), (2, 2));
    }

    #[test]
    fn long_ones_are_cut_by_characters() {
        let mut attributes = Attributes::new(Limits { count: 128, value_length: Some(2) });
        attributes.text("a", "日本語");
        attributes.text("b", "xy");
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
    }
}
