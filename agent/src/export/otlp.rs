//! Spans as OTLP protobuf: `ExportTraceServiceRequest` written straight from [`Span`], without the tree of
//! owned messages that a generated encoder wants. Field numbers are those of opentelemetry-proto v1
//! (`trace.proto`, `common.proto`, `resource.proto`); every length is known before its message is written.

use std::borrow::Borrow;

use super::{SCOPE, VERSION, batch::Batch};
use crate::{
    discover::resource::Resource,
    span::{Attribute, Kind, Link, SCHEMA_URL, Span, Status, Value},
};

/// `Span.flags`: whether the parent is remote is known.
pub const FLAG_HAS_IS_REMOTE: u32 = 0x100;
/// `Span.flags`: the parent is remote.
pub const FLAG_IS_REMOTE: u32 = 0x200;

/// `Span.flags` of a span.
pub fn flags(span: &Span) -> u32 {
    let remote = if span.parent_remote { FLAG_IS_REMOTE } else { 0 };
    u32::from(span.flags) | FLAG_HAS_IS_REMOTE | remote
}

/// `Span.SpanKind`.
pub const fn kind(kind: Kind) -> u8 {
    match kind {
        Kind::Server => 2,
        Kind::Client => 3,
        Kind::Producer => 4,
    }
}

/// `Link.flags`: everybody's span that a message named is remote.
pub fn link_flags(link: &Link) -> u32 {
    u32::from(link.flags) | FLAG_HAS_IS_REMOTE | FLAG_IS_REMOTE
}

/// `Status.StatusCode`.
pub const fn status(status: Status) -> u8 {
    match status {
        Status::Unset => 0,
        Status::Error => 2,
    }
}

/// The request with these spans.
pub fn encode(spans: &[Span]) -> Vec<u8> {
    let batch: Batch<&Span> = spans.iter().collect();
    let mut out = Vec::with_capacity(batch.bytes());
    encode_batch(&batch, &mut out);
    out
}

/// Appends the request with the spans of a batch.
pub fn encode_batch<S: Borrow<Span>>(batch: &Batch<S>, out: &mut Vec<u8>) {
    out.reserve(batch.bytes());
    for group in &batch.groups {
        let scope_spans = framed_len(SCOPE_LEN) + group.spans_len + SCHEMA_LEN;
        let len = framed_len(group.resource_len) + framed_len(scope_spans) + SCHEMA_LEN;
        open(out, 1, len);
        open(out, 1, group.resource_len);
        attributes(out, 1, &group.resource.attributes);
        open(out, 2, scope_spans);
        open(out, 1, SCOPE_LEN);
        text(out, 1, SCOPE);
        text(out, 2, VERSION);
        for (span, len) in batch.members(group) {
            open(out, 2, len);
            put_span(out, span);
        }
        text(out, 3, SCHEMA_URL);
        text(out, 3, SCHEMA_URL);
    }
}

fn put_span(out: &mut Vec<u8>, span: &Span) {
    bytes(out, 1, &span.trace_id);
    bytes(out, 2, &span.span_id);
    if !span.trace_state.is_empty() {
        text(out, 3, &span.trace_state);
    }
    if span.parent_id != [0; 8] {
        bytes(out, 4, &span.parent_id);
    }
    text(out, 5, &span.name);
    out.extend_from_slice(&[tag(6, VARINT), kind(span.kind)]);
    fixed64(out, 7, span.start_ns);
    fixed64(out, 8, span.end_ns);
    attributes(out, 9, &span.attributes);
    if span.dropped_attributes != 0 {
        out.push(tag(10, VARINT));
        varint(out, u64::from(span.dropped_attributes));
    }
    for link in &span.links {
        open(out, 13, link_len(link));
        put_link(out, link);
    }
    if span.dropped_links != 0 {
        out.push(tag(14, VARINT));
        varint(out, u64::from(span.dropped_links));
    }
    if span.status != Status::Unset {
        out.extend_from_slice(&[tag(15, LEN), 2, tag(3, VARINT), status(span.status)]);
    }
    // Field 16 takes a tag of two bytes.
    let [a, b, c, d] = flags(span).to_le_bytes();
    out.extend_from_slice(&[0x85, 0x01, a, b, c, d]);
}

fn put_link(out: &mut Vec<u8>, link: &Link) {
    bytes(out, 1, &link.trace_id);
    bytes(out, 2, &link.span_id);
    if !link.trace_state.is_empty() {
        text(out, 3, &link.trace_state);
    }
    attributes(out, 4, &link.attributes);
    out.push(tag(6, FIXED32));
    out.extend_from_slice(&link_flags(link).to_le_bytes());
}

fn link_len(link: &Link) -> usize {
    const FIXED: usize = 18 + 10 + 5;
    let state = if link.trace_state.is_empty() { 0 } else { framed_len(link.trace_state.len()) };
    FIXED + state + attributes_len(&link.attributes)
}

/// Encoded length of a span message.
pub fn span_len(span: &Span) -> usize {
    const FIXED: usize = 18 + 10 + 2 + 9 + 9 + 6;
    let state = if span.trace_state.is_empty() { 0 } else { framed_len(span.trace_state.len()) };
    let parent = if span.parent_id == [0; 8] { 0 } else { 10 };
    let status = if span.status == Status::Unset { 0 } else { 4 };
    let dropped = match span.dropped_attributes {
        0 => 0,
        count => 1 + varint_len(u64::from(count)),
    };
    let links: usize = span.links.iter().map(|link| framed_len(link_len(link))).sum();
    let dropped_links = match span.dropped_links {
        0 => 0,
        count => 1 + varint_len(u64::from(count)),
    };
    let name = framed_len(span.name.len());
    FIXED
        + state
        + parent
        + status
        + dropped
        + name
        + attributes_len(&span.attributes)
        + links
        + dropped_links
}

/// Encoded length of a resource message.
pub fn resource_len(resource: &Resource) -> usize {
    attributes_len(&resource.attributes)
}

fn attributes(out: &mut Vec<u8>, field: u8, attributes: &[Attribute]) {
    for Attribute { key, value } in attributes {
        let value_len = value_len(value);
        let len = framed_len(key.len()) + framed_len(value_len);
        open_two(out, (field, len), (1, key.len()));
        out.extend_from_slice(key.as_bytes());
        match value {
            Value::Static(value) => put_text(out, value_len, value),
            Value::Str(value) => put_text(out, value_len, value),
            other => {
                open(out, 2, value_len);
                put_value(out, other);
            }
        }
    }
}

/// `KeyValue.value` that is text.
fn put_text(out: &mut Vec<u8>, value_len: usize, value: &str) {
    open_two(out, (2, value_len), (1, value.len()));
    out.extend_from_slice(value.as_bytes());
}

fn attributes_len(attributes: &[Attribute]) -> usize {
    let one = |a: &Attribute| framed_len(framed_len(a.key.len()) + framed_len(value_len(&a.value)));
    attributes.iter().map(one).sum()
}

/// An `AnyValue`. Its members are a `oneof`: zero and the empty string are written too.
fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Static(value) => text(out, 1, value),
        Value::Str(value) => text(out, 1, value),
        Value::Bool(value) => out.extend_from_slice(&[tag(2, VARINT), u8::from(*value)]),
        Value::Int(value) => {
            out.push(tag(3, VARINT));
            varint(out, *value as u64);
        }
        Value::Double(value) => fixed64(out, 4, value.to_bits()),
        Value::Strs(values) => {
            open(out, 5, strings_len(values));
            for value in values {
                open(out, 1, framed_len(value.len()));
                text(out, 1, value);
            }
        }
    }
}

fn value_len(value: &Value) -> usize {
    match value {
        Value::Static(value) => framed_len(value.len()),
        Value::Str(value) => framed_len(value.len()),
        Value::Bool(_) => 2,
        Value::Int(value) => 1 + varint_len(*value as u64),
        Value::Double(_) => 9,
        Value::Strs(values) => framed_len(strings_len(values)),
    }
}

fn strings_len(values: &[Box<str>]) -> usize {
    values.iter().map(|value| framed_len(framed_len(value.len()))).sum()
}

// The wire format (protobuf.dev/programming-guides/encoding). All fields used here but one are below 16, so
// that their tags are one byte.

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LEN: u8 = 2;
const FIXED32: u8 = 5;

const SCOPE_LEN: usize = framed_len(SCOPE.len()) + framed_len(VERSION.len());
const SCHEMA_LEN: usize = framed_len(SCHEMA_URL.len());
/// At most so many bytes a group besides its resource's and its spans' fields: the three nested tags with
/// lengths, the scope and two schema URLs.
pub(super) const GROUP_OVERHEAD: usize = 3 * 11 + SCOPE_LEN + 2 + 2 * SCHEMA_LEN;

const fn tag(field: u8, wire: u8) -> u8 {
    debug_assert!(field < 16);
    field << 3 | wire
}

/// Length of a length-delimited field below 16 with `len` bytes of content.
pub(super) const fn framed_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

const fn varint_len(value: u64) -> usize {
    // Nearly every length is short, and the general way divides.
    if value < 0x80 { 1 } else { (70 - value.leading_zeros() as usize) / 7 }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Tag and length of a length-delimited field. Inlined, because there are dozens in a span.
#[inline]
fn open(out: &mut Vec<u8>, field: u8, len: usize) {
    if len < 0x80 {
        out.extend_from_slice(&[tag(field, LEN), len as u8]);
    } else {
        open_long(out, field, len);
    }
}

/// A field that begins with another one.
#[expect(clippy::inline_always, reason = "two for each attribute, and shorter than a call")]
#[inline(always)]
fn open_two(out: &mut Vec<u8>, (field, len): (u8, usize), (inner, inner_len): (u8, usize)) {
    if len < 0x80 {
        out.extend_from_slice(&[tag(field, LEN), len as u8, tag(inner, LEN), inner_len as u8]);
    } else {
        open_long(out, field, len);
        open(out, inner, inner_len);
    }
}

fn open_long(out: &mut Vec<u8>, field: u8, len: usize) {
    out.push(tag(field, LEN));
    varint(out, len as u64);
}

fn bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    open(out, field, value.len());
    out.extend_from_slice(value);
}

fn text(out: &mut Vec<u8>, field: u8, value: &str) {
    bytes(out, field, value.as_bytes());
}

fn fixed64(out: &mut Vec<u8>, field: u8, value: u64) {
    out.push(tag(field, FIXED64));
    out.extend_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
#[path = "otlp_tests.rs"]
mod tests;
