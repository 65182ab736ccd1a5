//! Spans as OTLP/JSON: one `{"resourceSpans":[...]}` object a line, as the Collector's file exporter writes.
//!
//! The proto3 JSON mapping with OTLP's exceptions: ids in lower-case hex, enums as numbers, 64-bit integers as
//! strings, doubles that are no numbers as the strings `NaN`, `Infinity` and `-Infinity`, lowerCamelCase names,
//! fields that have their default value left out.

use std::{borrow::Borrow, io::Write as _};

use super::{SCOPE, VERSION, batch::Batch, otlp};
use crate::span::{Attribute, Link, SCHEMA_URL, Span, Status, Value};

/// Appends one line with these spans, its line feed included.
pub fn write_line<S: Borrow<Span>>(batch: &Batch<S>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"resourceSpans":["#);
    list(out, &batch.groups, |out, group| {
        out.extend_from_slice(br#"{"resource":{"#);
        attributes(out, &group.resource.attributes);
        out.extend_from_slice(br#"},"scopeSpans":[{"scope":{"name":"#);
        string(out, SCOPE);
        out.extend_from_slice(br#","version":"#);
        string(out, VERSION);
        out.extend_from_slice(br#"},"spans":["#);
        list(out, batch.members(group), |out, (span, _)| put_span(out, span));
        out.extend_from_slice(br#"],"schemaUrl":"#);
        string(out, SCHEMA_URL);
        out.extend_from_slice(br#"}],"schemaUrl":"#);
        string(out, SCHEMA_URL);
        out.push(b'}');
    });
    out.extend_from_slice(b"]}\n");
}

/// One line with these spans, its line feed included.
pub fn line(spans: &[Span]) -> Vec<u8> {
    let mut out = Vec::new();
    write_line(&spans.iter().collect::<Batch<&Span>>(), &mut out);
    out
}

fn put_span(out: &mut Vec<u8>, span: &Span) {
    out.extend_from_slice(br#"{"traceId":""#);
    hex(out, &span.trace_id);
    out.extend_from_slice(br#"","spanId":""#);
    hex(out, &span.span_id);
    out.push(b'"');
    if !span.trace_state.is_empty() {
        out.extend_from_slice(br#","traceState":"#);
        string(out, &span.trace_state);
    }
    if span.parent_id != [0; 8] {
        out.extend_from_slice(br#","parentSpanId":""#);
        hex(out, &span.parent_id);
        out.push(b'"');
    }
    if span.dropped_attributes != 0 {
        out.extend_from_slice(br#","droppedAttributesCount":"#);
        number(out, span.dropped_attributes);
    }
    out.extend_from_slice(br#","flags":"#);
    number(out, otlp::flags(span));
    out.extend_from_slice(br#","name":"#);
    string(out, &span.name);
    out.extend_from_slice(br#","kind":"#);
    number(out, otlp::kind(span.kind));
    out.extend_from_slice(br#","startTimeUnixNano":""#);
    number(out, span.start_ns);
    out.extend_from_slice(br#"","endTimeUnixNano":""#);
    number(out, span.end_ns);
    out.push(b'"');
    if !span.attributes.is_empty() {
        out.push(b',');
        attributes(out, &span.attributes);
    }
    if !span.links.is_empty() {
        out.extend_from_slice(br#","links":["#);
        list(out, &span.links, put_link);
        out.push(b']');
    }
    if span.dropped_links != 0 {
        out.extend_from_slice(br#","droppedLinksCount":"#);
        number(out, span.dropped_links);
    }
    out.extend_from_slice(br#","status":{"#);
    if span.status != Status::Unset {
        out.extend_from_slice(br#""code":"#);
        number(out, otlp::status(span.status));
    }
    out.extend_from_slice(b"}}");
}

fn put_link(out: &mut Vec<u8>, link: &Link) {
    out.extend_from_slice(br#"{"traceId":""#);
    hex(out, &link.trace_id);
    out.extend_from_slice(br#"","spanId":""#);
    hex(out, &link.span_id);
    out.push(b'"');
    if !link.trace_state.is_empty() {
        out.extend_from_slice(br#","traceState":"#);
        string(out, &link.trace_state);
    }
    if !link.attributes.is_empty() {
        out.push(b',');
        attributes(out, &link.attributes);
    }
    out.extend_from_slice(br#","flags":"#);
    number(out, otlp::link_flags(link));
    out.push(b'}');
}

fn attributes(out: &mut Vec<u8>, attributes: &[Attribute]) {
    out.extend_from_slice(br#""attributes":["#);
    list(out, attributes, |out, Attribute { key, value }| {
        out.extend_from_slice(br#"{"key":"#);
        string(out, key);
        out.extend_from_slice(br#","value":{"#);
        put_value(out, value);
        out.extend_from_slice(b"}}");
    });
    out.push(b']');
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    let string_value = |out: &mut Vec<u8>, value: &str| {
        out.extend_from_slice(br#""stringValue":"#);
        string(out, value);
    };
    match value {
        Value::Static(value) => string_value(out, value),
        Value::Str(value) => string_value(out, value),
        Value::Int(value) => {
            out.extend_from_slice(br#""intValue":""#);
            number(out, value);
            out.push(b'"');
        }
        Value::Bool(value) => {
            out.extend_from_slice(br#""boolValue":"#);
            number(out, value);
        }
        Value::Double(value) => {
            out.extend_from_slice(br#""doubleValue":"#);
            double(out, *value);
        }
        Value::Strs(values) => {
            out.extend_from_slice(br#""arrayValue":{"values":["#);
            list(out, values, |out, value| {
                out.push(b'{');
                string_value(out, value);
                out.push(b'}');
            });
            out.extend_from_slice(b"]}");
        }
    }
}

fn double(out: &mut Vec<u8>, value: f64) {
    let name: &[u8] = match value {
        value if value.is_nan() => br#""NaN""#,
        f64::INFINITY => br#""Infinity""#,
        f64::NEG_INFINITY => br#""-Infinity""#,
        value => {
            // Writing to memory and finite numbers cannot fail.
            serde_json::to_writer(out, &value).ok();
            return;
        }
    };
    out.extend_from_slice(name);
}

fn list<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, mut put: impl FnMut(&mut Vec<u8>, T)) {
    for (n, item) in items.into_iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        put(out, item);
    }
}

fn string(out: &mut Vec<u8>, value: &str) {
    // Writing text to memory cannot fail.
    serde_json::to_writer(out, value).ok();
}

fn number(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    // Writing to memory cannot fail.
    write!(out, "{value}").ok();
}

fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            out.push(if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble });
        }
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
