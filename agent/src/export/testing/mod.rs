//! What the tests of export share: spans to send and a backend to send them to.

mod authority;
mod backend;
mod folder;

use std::{borrow::Cow, sync::Arc};

use proptest::{collection::vec, option, prelude::*};

pub(crate) use self::{
    authority::Authority,
    backend::{Answer, Backend, Received, Wire},
    folder::Folder,
};
use crate::{
    discover::resource::Resource,
    span::{Attribute, Kind, Link, Span, Status, Value},
};

/// A resource with a service name and a few more attributes.
pub(crate) fn resource(id: u64, service: &str) -> Arc<Resource> {
    let attributes = vec![
        text("service.name", service),
        text("service.instance.id", "0d6f5c4e-1111-4a4a-8888-6a1f2b3c4d5e"),
        text("host.name", "node-1"),
        attribute("process.pid", Value::Int(4242)),
        attribute("telemetry.sdk.language", Value::Static("rust")),
    ];
    Arc::new(Resource { id, service: service.into(), attributes })
}

pub(crate) fn attribute(key: &'static str, value: Value) -> Attribute {
    Attribute { key: Cow::Borrowed(key), value }
}

pub(crate) fn text(key: &'static str, value: &str) -> Attribute {
    attribute(key, Value::Str(value.into()))
}

/// A server span with the attributes that HTTP server spans usually have.
pub(crate) fn server_span(n: u64, resource: &Arc<Resource>) -> Span {
    Span {
        trace_id: (u128::from(n) << 64 | 0x1234_5678_9abc_def0).to_be_bytes(),
        span_id: (n + 1).to_be_bytes(),
        parent_id: [0; 8],
        parent_remote: false,
        flags: 3,
        trace_state: "".into(),
        name: "GET".into(),
        kind: Kind::Server,
        start_ns: 1_790_000_000_000_000_000 + n * 1_000_000,
        end_ns: 1_790_000_000_012_000_000 + n * 1_000_000,
        status: Status::Unset,
        dropped_attributes: 0,
        attributes: vec![
            attribute("http.request.method", Value::Static("GET")),
            text("url.path", "/api/v1/products/4711"),
            attribute("url.scheme", Value::Static("http")),
            text("url.query", "currency=EUR&page=2"),
            attribute("http.response.status_code", Value::Int(200)),
            text("server.address", "shop.example.com"),
            attribute("server.port", Value::Int(8080)),
            text("client.address", "10.1.2.3"),
            text("network.peer.address", "10.1.2.3"),
            attribute("network.peer.port", Value::Int(51234)),
            attribute("network.protocol.version", Value::Static("1.1")),
            text("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
            attribute("http.request.body.size", Value::Int(0)),
            attribute("http.response.body.size", Value::Int(18_231)),
        ],
        links: Vec::new(),
        dropped_links: 0,
        resource: Arc::clone(resource),
    }
}

/// `n` spans of one service.
pub(crate) fn spans(n: u64) -> Vec<Span> {
    let resource = resource(1, "shop");
    (0..n).map(|n| server_span(n, &resource)).collect()
}

fn any_value() -> impl Strategy<Value = Value> {
    let text = || any::<String>().prop_map(String::into_boxed_str);
    prop_oneof![
        Just(Value::Static("")),
        Just(Value::Static("GET")),
        text().prop_map(Value::Str),
        any::<i64>().prop_map(Value::Int),
        // Eighths: serde_json's default reader is off by one bit for some others.
        any::<i32>().prop_map(|eighths| Value::Double(f64::from(eighths) / 8.0)),
        Just(Value::Double(f64::INFINITY)),
        any::<bool>().prop_map(Value::Bool),
        vec(text(), 0..4).prop_map(|values| Value::Strs(values.into())),
    ]
}

fn any_attributes() -> impl Strategy<Value = Vec<Attribute>> {
    vec((any::<String>(), any_value()), 0..6)
        .prop_map(|all| all.into_iter().map(|(key, value)| Attribute { key: key.into(), value }).collect())
}

/// Any spans of up to three resources.
pub(crate) fn any_spans() -> impl Strategy<Value = Vec<Span>> {
    let resources = vec(any_attributes(), 3).prop_map(|all| {
        let resource = |(id, attributes)| Resource { id: id as u64, service: "s".into(), attributes };
        all.into_iter().enumerate().map(resource).map(Arc::new).collect::<Vec<_>>()
    });
    let ids = (any::<[u8; 16]>(), any::<[u8; 8]>(), option::of(any::<[u8; 8]>()), any::<(bool, u8)>());
    let words = (any::<String>(), any::<String>(), any::<bool>(), any::<bool>());
    let link = (any::<[u8; 16]>(), any::<[u8; 8]>(), any::<u8>(), any::<String>(), any_attributes())
        .prop_map(|(trace_id, span_id, flags, trace_state, attributes)| Link {
            trace_id,
            span_id,
            flags,
            trace_state: trace_state.into(),
            attributes,
        });
    let links = (vec(link, 0..3), 0..3_u32);
    let span = (ids, words, any::<(u64, u64)>(), any_attributes(), 0..3_usize, links);
    (resources, vec(span, 0..12)).prop_map(|(resources, spans)| {
        let build = |(ids, words, times, attributes, of, (links, dropped_links))| {
            let (trace_id, span_id, parent_id, (parent_remote, flags)): (_, _, Option<_>, _) = ids;
            let (name, trace_state, client, error): (String, String, _, _) = words;
            let (start_ns, end_ns) = times;
            Span {
                trace_id,
                span_id,
                parent_id: parent_id.unwrap_or_default(),
                parent_remote,
                flags,
                trace_state: trace_state.into(),
                name: name.into(),
                kind: match (client, flags) {
                    (true, _) => Kind::Client,
                    (false, 0..=100) => Kind::Producer,
                    (false, _) => Kind::Server,
                },
                start_ns,
                end_ns,
                status: if error { Status::Error } else { Status::Unset },
                dropped_attributes: u32::from(flags) * 3,
                attributes,
                links,
                dropped_links,
                resource: Arc::clone(&resources[of]),
            }
        };
        spans.into_iter().map(build).collect()
    })
}

/// The OTLP message that these spans mean, built with the generated types.
pub(crate) fn expected(spans: &[Span]) -> opentelemetry_proto::tonic::trace::v1::TracesData {
    use opentelemetry_proto::tonic::{
        common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value::Value as Any},
        resource::v1::Resource as ProtoResource,
        trace::v1::{
            ResourceSpans, ScopeSpans, Span as ProtoSpan, Status as ProtoStatus, TracesData,
            span::Link as ProtoLink,
        },
    };

    let text = |value: &str| Any::StringValue(value.to_owned());
    let of = |value: Any| AnyValue { value: Some(value) };
    let attributes = |all: &[Attribute]| -> Vec<KeyValue> {
        let one = |a: &Attribute| {
            let value = match &a.value {
                Value::Static(value) => text(value),
                Value::Str(value) => text(value),
                Value::Int(value) => Any::IntValue(*value),
                Value::Double(value) => Any::DoubleValue(*value),
                Value::Bool(value) => Any::BoolValue(*value),
                Value::Strs(values) => {
                    Any::ArrayValue(ArrayValue { values: values.iter().map(|v| of(text(v))).collect() })
                }
            };
            KeyValue { key: a.key.to_string(), value: Some(of(value)), ..KeyValue::default() }
        };
        all.iter().map(one).collect()
    };
    let mut order = Vec::new();
    for span in spans {
        if !order.iter().any(|resource: &Arc<Resource>| resource.id == span.resource.id) {
            order.push(Arc::clone(&span.resource));
        }
    }
    let link = |l: &Link| ProtoLink {
        trace_id: l.trace_id.to_vec(),
        span_id: l.span_id.to_vec(),
        trace_state: l.trace_state.to_string(),
        attributes: attributes(&l.attributes),
        flags: u32::from(l.flags) | 0x300,
        ..ProtoLink::default()
    };
    let span = |s: &Span| ProtoSpan {
        trace_id: s.trace_id.to_vec(),
        span_id: s.span_id.to_vec(),
        trace_state: s.trace_state.to_string(),
        parent_span_id: if s.parent_id == [0; 8] { Vec::new() } else { s.parent_id.to_vec() },
        name: s.name.to_string(),
        kind: match s.kind {
            Kind::Server => 2,
            Kind::Client => 3,
            Kind::Producer => 4,
        },
        start_time_unix_nano: s.start_ns,
        end_time_unix_nano: s.end_ns,
        attributes: attributes(&s.attributes),
        dropped_attributes_count: s.dropped_attributes,
        links: s.links.iter().map(link).collect(),
        dropped_links_count: s.dropped_links,
        flags: u32::from(s.flags) | 0x100 | if s.parent_remote { 0x200 } else { 0 },
        status: (s.status == Status::Error).then(|| ProtoStatus { code: 2, ..ProtoStatus::default() }),
        ..ProtoSpan::default()
    };
    let group = |resource: &Arc<Resource>| ResourceSpans {
        resource: Some(ProtoResource {
            attributes: attributes(&resource.attributes),
            ..ProtoResource::default()
        }),
        scope_spans: vec![ScopeSpans {
            scope: Some(InstrumentationScope {
                name: "spandrel".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..InstrumentationScope::default()
            }),
            spans: spans.iter().filter(|s| s.resource.id == resource.id).map(span).collect(),
            schema_url: "https://opentelemetry.io/schemas/1.45.0".to_owned(),
        }],
        schema_url: "https://opentelemetry.io/schemas/1.45.0".to_owned(),
    };
    TracesData { resource_spans: order.iter().map(group).collect() }
}
