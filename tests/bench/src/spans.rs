//! Finished spans as the agent makes them of recorded exchanges, and the same spans as the OpenTelemetry SDK has them.

use std::{
    str::FromStr as _,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use opentelemetry::{
    Array, InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, SpanKind, Status as SdkStatus, TraceState},
};
use opentelemetry_sdk::{
    Resource as SdkResource,
    trace::{SpanData, SpanEvents, SpanLinks},
};
use spandrel::{
    decode::decode,
    discover::resource::Resource,
    span::{Attribute, Builder, ClockAnchor, Kind, Span, SpanPolicy, Status, Value},
    stats::Stats,
    stream::Table,
};
use spandrel_common::sample::Policy;

use crate::{Recording, SAMPLES, recording::CONNECTIONS};

/// So many spans of all kinds of exchanges in turn. All are of one service: a process with the SDK has no other.
pub fn spans(count: usize, resource: &Arc<Resource>) -> Result<Vec<Span>> {
    let recording = Recording::new(&SAMPLES, count);
    let stats = Arc::<Stats>::default();
    let clock = ClockAnchor { mono_ns: 0, unix_ns: 1_704_189_600_000_000_000 };
    let policy = Policy::ALWAYS_ON.parent_based();
    let builder = Builder::new(SpanPolicy::default(), policy, clock, Arc::clone(&stats));
    let mut table = Table::new(stats, CONNECTIONS as usize);
    let (mut exchanges, mut spans) = (Vec::new(), Vec::with_capacity(count));
    let announced = recording.announcements.iter().map(Vec::as_slice);
    for record in announced.chain(recording.records()) {
        let event = decode(record).context("a record cannot be decoded")?;
        table.handle(&event, &mut exchanges);
        for exchange in exchanges.drain(..) {
            spans.extend(builder.build(&exchange, Arc::clone(resource)));
        }
    }
    if spans.len() != count {
        bail!("{} of {count} exchanges became spans", spans.len());
    }
    Ok(spans)
}

/// A resource as the SDK has it.
pub fn sdk_resource(resource: &Resource) -> SdkResource {
    SdkResource::builder_empty().with_attributes(resource.attributes.iter().map(attribute)).build()
}

/// A span as the SDK has it when it ends.
pub fn sdk_span(span: &Span, scope: &InstrumentationScope) -> SpanData {
    let trace_state = TraceState::from_str(&span.trace_state).unwrap_or_default();
    let (trace, id) = (TraceId::from_bytes(span.trace_id), SpanId::from_bytes(span.span_id));
    SpanData {
        span_context: SpanContext::new(trace, id, TraceFlags::new(span.flags), false, trace_state),
        parent_span_id: SpanId::from_bytes(span.parent_id),
        parent_span_is_remote: span.parent_remote,
        span_kind: match span.kind {
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
            Kind::Producer => SpanKind::Producer,
        },
        name: span.name.clone(),
        start_time: time(span.start_ns),
        end_time: time(span.end_ns),
        attributes: span.attributes.iter().map(attribute).collect(),
        dropped_attributes_count: span.dropped_attributes,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: match span.status {
            Status::Error => SdkStatus::error(""),
            Status::Unset => SdkStatus::Unset,
        },
        instrumentation_scope: scope.clone(),
    }
}

fn time(unix_ns: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(unix_ns)
}

fn attribute(attribute: &Attribute) -> KeyValue {
    let value: opentelemetry::Value = match &attribute.value {
        Value::Static(value) => (*value).into(),
        Value::Str(value) => value.to_string().into(),
        Value::Strs(values) => {
            opentelemetry::Value::Array(Array::String(values.iter().map(|v| v.to_string().into()).collect()))
        }
        Value::Int(value) => (*value).into(),
        Value::Double(value) => (*value).into(),
        Value::Bool(value) => (*value).into(),
    };
    KeyValue::new(attribute.key.clone(), value)
}
