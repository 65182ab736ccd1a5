//! Spans: plain data, built from exchanges by the HTTP semantic conventions.

mod address;
mod attributes;
pub mod build;
mod clock;
mod context;
mod http;
pub mod known;
pub mod measure;
pub mod outcome;
pub mod policy;
pub mod redact;
pub mod semconv;
mod target;

use std::{borrow::Cow, sync::Arc};

use spandrel_common::ids::{SpanId, TraceId};

pub use self::{build::Builder, clock::ClockAnchor, policy::SpanPolicy};
use crate::discover::resource::Resource;

/// The version of the semantic conventions that names and rules follow.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.45.0";

/// A span's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Server,
    Client,
    Producer,
}

/// A span's status. The conventions never ask us for `Ok`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Unset,
    Error,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text known at compile time.
    Static(&'static str),
    Str(Box<str>),
    Int(i64),
    Double(f64),
    Bool(bool),
    Strs(Box<[Box<str>]>),
}

/// One attribute.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    pub key: Cow<'static, str>,
    pub value: Value,
}

/// A span that another one has to do with.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    /// W3C trace flags.
    pub flags: u8,
    pub trace_state: Box<str>,
    pub attributes: Vec<Attribute>,
}

/// A finished span, ready to be encoded. Times are nanoseconds since the Unix epoch.
#[derive(Clone, Debug)]
pub struct Span {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    /// All zeros for a root.
    pub parent_id: SpanId,
    /// The parent is another process's span, known from its header.
    pub parent_remote: bool,
    /// W3C trace flags.
    pub flags: u8,
    pub trace_state: Box<str>,
    pub name: Cow<'static, str>,
    pub kind: Kind,
    pub start_ns: u64,
    pub end_ns: u64,
    pub status: Status,
    pub attributes: Vec<Attribute>,
    /// Attributes left out because of the limit on their number.
    pub dropped_attributes: u32,
    pub links: Vec<Link>,
    /// Links left out because of the limit on their number.
    pub dropped_links: u32,
    /// The service that it belongs to.
    pub resource: Arc<Resource>,
}
