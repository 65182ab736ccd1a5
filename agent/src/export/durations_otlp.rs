//! Durations of the traced services' requests, and the service graph, as OTLP metrics: each service has a resource of
//! its own, which the SDK's one resource for all cannot give.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Exemplar as ProtoExemplar, ExponentialHistogram,
        ExponentialHistogramDataPoint, Histogram as ProtoHistogram, HistogramDataPoint, Metric,
        NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exemplar,
        exponential_histogram_data_point::Buckets, metric::Data, number_data_point,
    },
    resource::v1::Resource,
};
use prost::Message as _;

use super::{SCOPE, VERSION, client::Client, complain::Complaints};
use crate::span::{
    Attribute, SCHEMA_URL, Value,
    measure::{
        Edge, Exemplar, Histogram, Key, Measures, Snapshot,
        histogram::{BOUNDS, OFFSET, SCALE},
    },
    semconv as attr,
};

/// Points of one request. At 400 bytes each that is below a megabyte; gRPC servers refuse four.
const MAX_POINTS: usize = 2000;

/// Sends what is measured.
#[derive(Debug)]
pub(super) struct Durations {
    client: Arc<Client>,
    measures: Arc<Measures>,
    /// Each reading tells what came since the last one.
    delta: bool,
    /// The attributes of the agent's own resource, for the service graph.
    own: Vec<KeyValue>,
    last: Mutex<(u64, Snapshot)>,
    complaints: Complaints,
}

impl Durations {
    pub(super) fn new(
        client: Arc<Client>,
        measures: Arc<Measures>,
        delta: bool,
        own: Vec<KeyValue>,
    ) -> Arc<Self> {
        let last = Mutex::new((now(), Snapshot::default()));
        let complaints = Complaints::new(format!("metrics of requests to {}", client.describe()));
        Arc::new(Self { client, measures, delta, own, last, complaints })
    }

    /// Sends a reading every so often, until the future is dropped.
    pub(super) async fn run(self: Arc<Self>, interval: Duration) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            self.send().await;
        }
    }

    /// Sends one reading. A delta that is lost is lost; a sum is made good by the next one.
    pub(super) async fn send(&self) {
        for request in self.read() {
            let sent = match self.client.prepare(request.encode_to_vec()) {
                Ok(payload) => self.client.send(&payload).await,
                Err(error) => return log::warn!("metrics of requests: {error}"),
            };
            let then = if self.delta { "what it counted is lost" } else { "the next reading makes it good" };
            self.complaints.metrics(&sent, then);
            if sent.failure().is_some() {
                return;
            }
        }
    }

    fn read(&self) -> Vec<ExportMetricsServiceRequest> {
        let (measured, time) = (self.measures.snapshot(), now());
        // Nothing panics while it is held.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let start = last.0;
        if !self.delta {
            return requests(&measured, &self.own, (start, time), false);
        }
        let since = since(&measured, &last.1);
        *last = (time, measured);
        requests(&since, &self.own, (start, time), true)
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// What came since an earlier reading; series without anything new are left out.
fn since(now: &Snapshot, before: &Snapshot) -> Snapshot {
    let known: HashMap<_, _> = before.series.iter().map(|(key, histogram)| (key, histogram)).collect();
    let edges: HashMap<_, _> = before.edges.iter().map(|(from, to, edge)| ((from, to), edge)).collect();
    let series = now.series.iter().map(|(key, histogram)| {
        (key.clone(), known.get(key).map_or_else(|| histogram.clone(), |before| histogram.since(before)))
    });
    let edge = |(from, to, edge): &(u32, u32, Edge)| {
        let new = edges.get(&(from, to)).map_or_else(
            || edge.clone(),
            |before| Edge {
                requests: edge.requests.saturating_sub(before.requests),
                failed: edge.failed.saturating_sub(before.failed),
                server: edge.server.since(&before.server),
                client: edge.client.since(&before.client),
            },
        );
        (*from, *to, new)
    };
    Snapshot {
        services: now.services.clone(),
        series: series.filter(|(_, histogram)| histogram.count() > 0).collect(),
        edges: now.edges.iter().map(edge).filter(|(_, _, edge)| edge.requests > 0).collect(),
        edges_overflow: now.edges_overflow.saturating_sub(before.edges_overflow),
    }
}

/// A reading as requests of bounded size.
fn requests(
    measured: &Snapshot,
    own: &[KeyValue],
    times: (u64, u64),
    delta: bool,
) -> Vec<ExportMetricsServiceRequest> {
    let temporality =
        if delta { AggregationTemporality::Delta } else { AggregationTemporality::Cumulative } as i32;
    let mut all = Vec::new();
    let same =
        |a: &(Key, Histogram), b: &(Key, Histogram)| a.0.service == b.0.service && a.0.server == b.0.server;
    let chunks = measured.series.chunk_by(same).flat_map(|chunk| chunk.chunks(MAX_POINTS));
    for chunk in chunks {
        let Some((key, _)) = chunk.first() else { continue };
        let service = measured.services.get(key.service as usize);
        let attributes =
            service.map_or_else(|| own.to_vec(), |service| service.iter().map(key_value).collect());
        let name = if key.server { "http.server.request.duration" } else { "http.client.request.duration" };
        let metric = durations(name, chunk, times, temporality);
        push(&mut all, chunk.len(), resource(attributes, vec![metric]));
    }
    for chunk in measured.edges.chunks(MAX_POINTS / 4) {
        push(&mut all, chunk.len() * 4, resource(own.to_vec(), graph(measured, chunk, times, temporality)));
    }
    all.into_iter().map(|(_, request)| request).collect()
}

/// Adds to the last request, or begins another one.
fn push(all: &mut Vec<(usize, ExportMetricsServiceRequest)>, points: usize, metrics: ResourceMetrics) {
    match all.last_mut().filter(|(held, _)| held + points <= MAX_POINTS) {
        Some((held, request)) => {
            *held += points;
            request.resource_metrics.push(metrics);
        }
        None => all.push((points, ExportMetricsServiceRequest { resource_metrics: vec![metrics] })),
    }
}

fn resource(attributes: Vec<KeyValue>, metrics: Vec<Metric>) -> ResourceMetrics {
    let scope =
        InstrumentationScope { name: SCOPE.to_owned(), version: VERSION.to_owned(), ..Default::default() };
    ResourceMetrics {
        resource: Some(Resource { attributes, ..Default::default() }),
        scope_metrics: vec![ScopeMetrics { scope: Some(scope), metrics, schema_url: SCHEMA_URL.to_owned() }],
        schema_url: SCHEMA_URL.to_owned(),
    }
}

fn durations(name: &str, series: &[(Key, Histogram)], times: (u64, u64), temporality: i32) -> Metric {
    let points: Vec<_> = series.iter().map(|(key, histogram)| (attributes(key), histogram)).collect();
    let data = histograms(points, times, temporality);
    let description = "Duration of HTTP requests, sampled or not.".to_owned();
    Metric {
        name: name.to_owned(),
        description,
        unit: "s".to_owned(),
        data: Some(data),
        ..Default::default()
    }
}

/// Histograms of the kind that they were made.
fn histograms(points: Vec<(Vec<KeyValue>, &Histogram)>, times: (u64, u64), temporality: i32) -> Data {
    let exponential = points.iter().any(|(_, histogram)| histogram.exponential.is_some());
    let points = points.into_iter();
    if exponential {
        let data_points =
            points.map(|(attributes, histogram)| exponential_point(attributes, histogram, times));
        Data::ExponentialHistogram(ExponentialHistogram {
            data_points: data_points.collect(),
            aggregation_temporality: temporality,
        })
    } else {
        let data_points = points.map(|(attributes, histogram)| point(attributes, histogram, times));
        Data::Histogram(ProtoHistogram {
            data_points: data_points.collect(),
            aggregation_temporality: temporality,
        })
    }
}

fn graph(
    measured: &Snapshot,
    edges: &[(u32, u32, Edge)],
    times: (u64, u64),
    temporality: i32,
) -> Vec<Metric> {
    let pair = |(client, server, _): &(u32, u32, Edge)| {
        vec![text("client", measured.name(*client)), text("server", measured.name(*server))]
    };
    let counter = |name: &str, count: fn(&Edge) -> u64| Metric {
        name: name.to_owned(),
        unit: "{request}".to_owned(),
        data: Some(Data::Sum(Sum {
            data_points: edges
                .iter()
                .map(|edge| NumberDataPoint {
                    attributes: pair(edge),
                    start_time_unix_nano: times.0,
                    time_unix_nano: times.1,
                    value: Some(number_data_point::Value::AsInt(count(&edge.2) as i64)),
                    ..Default::default()
                })
                .collect(),
            aggregation_temporality: temporality,
            is_monotonic: true,
        })),
        ..Default::default()
    };
    let histogram = |name: &str, side: fn(&Edge) -> &Histogram| Metric {
        name: name.to_owned(),
        unit: "s".to_owned(),
        data: Some(histograms(
            edges.iter().map(|edge| (pair(edge), side(&edge.2))).collect(),
            times,
            temporality,
        )),
        ..Default::default()
    };
    vec![
        counter("traces_service_graph_request_total", |edge| edge.requests),
        counter("traces_service_graph_request_failed_total", |edge| edge.failed),
        histogram("traces_service_graph_request_server", |edge| &edge.server),
        histogram("traces_service_graph_request_client", |edge| &edge.client),
    ]
}

fn point(attributes: Vec<KeyValue>, histogram: &Histogram, times: (u64, u64)) -> HistogramDataPoint {
    HistogramDataPoint {
        attributes,
        start_time_unix_nano: times.0,
        time_unix_nano: times.1,
        count: histogram.count(),
        sum: Some(histogram.sum),
        bucket_counts: histogram.counts.to_vec(),
        explicit_bounds: BOUNDS.to_vec(),
        exemplars: histogram.exemplar.iter().map(exemplar_of).collect(),
        ..Default::default()
    }
}

fn exponential_point(
    attributes: Vec<KeyValue>,
    histogram: &Histogram,
    times: (u64, u64),
) -> ExponentialHistogramDataPoint {
    let buckets = histogram.exponential.as_deref().map_or(&[][..], |buckets| &buckets[..]);
    // Only the stretch that is in use is sent.
    let first = buckets.iter().position(|count| *count > 0).unwrap_or(0);
    let last = buckets.iter().rposition(|count| *count > 0).map_or(first, |last| last + 1);
    ExponentialHistogramDataPoint {
        attributes,
        start_time_unix_nano: times.0,
        time_unix_nano: times.1,
        count: histogram.count(),
        sum: Some(histogram.sum),
        scale: SCALE,
        zero_count: histogram.zero,
        zero_threshold: 2_f64.powf(f64::from(OFFSET) / f64::from(1 << SCALE)),
        positive: Some(Buckets {
            offset: OFFSET + first as i32,
            bucket_counts: buckets.get(first..last).unwrap_or_default().to_vec(),
        }),
        exemplars: histogram.exemplar.iter().map(exemplar_of).collect(),
        ..Default::default()
    }
}

fn exemplar_of(one: &Exemplar) -> ProtoExemplar {
    ProtoExemplar {
        time_unix_nano: one.unix_ns,
        trace_id: one.trace_id.to_vec(),
        span_id: one.span_id.to_vec(),
        value: Some(exemplar::Value::AsDouble(one.seconds)),
        ..Default::default()
    }
}

/// The attributes of a series (http-metrics.md).
fn attributes(key: &Key) -> Vec<KeyValue> {
    if key.is_overflow() {
        return vec![pair("otel.metric.overflow", any_value::Value::BoolValue(true))];
    }
    let texts = [
        (attr::HTTP_REQUEST_METHOD, &*key.method),
        (attr::URL_SCHEME, key.scheme),
        (attr::ERROR_TYPE, &*key.error),
        (attr::NETWORK_PROTOCOL_VERSION, key.version),
        (attr::SERVER_ADDRESS, &*key.address),
    ];
    let numbers = [(attr::HTTP_RESPONSE_STATUS_CODE, key.code), (attr::SERVER_PORT, key.port)];
    let texts =
        texts.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| text(name, value));
    let numbers = numbers.into_iter().filter(|(_, value)| *value != 0);
    texts.chain(numbers.map(|(name, value)| pair(name, any_value::Value::IntValue(value.into())))).collect()
}

pub(super) fn text(key: &str, value: &str) -> KeyValue {
    pair(key, any_value::Value::StringValue(value.to_owned()))
}

fn pair(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

fn key_value(attribute: &Attribute) -> KeyValue {
    let value = match &attribute.value {
        Value::Static(value) => any_value::Value::StringValue((*value).to_owned()),
        Value::Str(value) => any_value::Value::StringValue(value.to_string()),
        Value::Int(value) => any_value::Value::IntValue(*value),
        Value::Double(value) => any_value::Value::DoubleValue(*value),
        Value::Bool(value) => any_value::Value::BoolValue(*value),
        Value::Strs(values) => any_value::Value::StringValue(values.join(",")),
    };
    pair(&attribute.key, value)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn snapshot(exponential: bool) -> Snapshot {
        let mut histogram = Histogram::new(exponential);
        let exemplar = Exemplar { trace_id: [7; 16], span_id: [8; 8], seconds: 0.02, unix_ns: 5 };
        histogram.record(0.02, Some(exemplar));
        let key = Key {
            service: 0,
            method: Cow::Borrowed("GET"),
            scheme: "http",
            code: 503,
            error: Cow::Borrowed("503"),
            version: "1.1",
            ..Key::overflow(true)
        };
        let name = Attribute { key: "service.name".into(), value: Value::Str("shop".into()) };
        let of = || Histogram::new(exponential);
        let edge = Edge { requests: 3, failed: 1, server: of(), client: of() };
        Snapshot {
            services: vec![[name].into()],
            series: vec![(key, histogram.clone()), (Key::overflow(true), histogram)],
            edges: vec![(0, 0, edge)],
            edges_overflow: 0,
        }
    }

    #[test]
    fn each_service_has_its_resource() {
        let requests = requests(&snapshot(false), &[text("service.name", "spandrel")], (1, 2), false);
        assert_eq!(requests.len(), 1);
        let all = &requests[0].resource_metrics;
        let name = |at: usize| format!("{:?}", all[at].resource.as_ref().unwrap().attributes[0]);
        assert!(name(0).contains("shop") && name(1).contains("spandrel") && name(2).contains("spandrel"));
        let metric = &all[0].scope_metrics[0].metrics[0];
        assert_eq!((metric.name.as_str(), metric.unit.as_str()), ("http.server.request.duration", "s"));
        let Some(Data::Histogram(data)) = &metric.data else { panic!("{metric:?}") };
        let point = &data.data_points[0];
        assert_eq!((point.count, point.bucket_counts.len(), point.explicit_bounds.len()), (1, 15, 14));
        assert_eq!(point.exemplars[0].trace_id, [7; 16]);
        let keys: Vec<_> = point.attributes.iter().map(|pair| pair.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "http.request.method",
                "url.scheme",
                "error.type",
                "network.protocol.version",
                "http.response.status_code"
            ]
        );
        assert!(format!("{:?}", all[1].scope_metrics[0].metrics[0]).contains("otel.metric.overflow"));
        assert_eq!(all[2].scope_metrics[0].metrics.len(), 4);
    }

    #[test]
    fn exponential_histograms_on_request() {
        let requests = requests(&snapshot(true), &[], (1, 2), true);
        let metric = &requests[0].resource_metrics[0].scope_metrics[0].metrics[0];
        let Some(Data::ExponentialHistogram(data)) = &metric.data else { panic!("{metric:?}") };
        assert_eq!(data.aggregation_temporality, AggregationTemporality::Delta as i32);
        let positive = data.data_points[0].positive.as_ref().unwrap();
        // 0.02 lies between 2^(-23/4) and 2^(-22/4).
        assert_eq!((positive.offset, &positive.bucket_counts[..]), (-23, &[1][..]));
        // Those of the service graph, too.
        let last = requests[0].resource_metrics.last().unwrap();
        let graph = last.scope_metrics[0].metrics.last().unwrap();
        assert!(matches!(graph.data, Some(Data::ExponentialHistogram(_))), "{graph:?}");
    }

    #[test]
    fn a_delta_tells_only_what_is_new() {
        let before = snapshot(false);
        let mut now = before.clone();
        assert!(since(&now, &before).series.is_empty());
        now.series[0].1.record(1.0, None);
        now.edges[0].2.requests = 10;
        let since = since(&now, &before);
        assert_eq!((since.series.len(), since.series[0].1.count(), since.edges[0].2.requests), (1, 1, 7));
    }
}
