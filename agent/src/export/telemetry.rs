//! The agent's own metrics over OTLP: the SDK collects and encodes them, our client carries them, so that
//! endpoint, headers, TLS, compression and both transports are the same as for spans.
//!
//! Off unless `OTEL_METRICS_EXPORTER=otlp`: a backend for traces alone would refuse them, and `/metrics` has
//! the same numbers.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use opentelemetry::{
    KeyValue,
    metrics::{AsyncInstrument, Meter, MeterProvider as _},
};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{MetricExporter, Protocol, RetryPolicy, WithExportConfig as _, WithHttpConfig as _};
pub use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider},
};
use tokio::{runtime::Handle, task::AbortHandle};

use super::{
    SCOPE, VERSION,
    client::{self, Client},
    complain::Complaints,
    config::Otlp,
    counters::State,
    durations_otlp::{self, Durations},
    measures::{self, Measure},
    metrics::{Snapshot, Source, Usage},
};
use crate::stats::{Count, Drop as Cause, Redaction};

/// Why the agent's metrics cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The backend's configuration.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The exporter.
    #[error("the exporter of the agent's own metrics: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// Between two readings, if nothing else is said (`OTEL_METRIC_EXPORT_INTERVAL`).
const INTERVAL: Duration = Duration::from_secs(60);

/// What comes of a reading of the agent's own metrics that is not sent.
const NEXT: &str = "the next reading is sent anyway";

/// How metrics are sent.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub interval: Duration,
    pub temporality: Temporality,
}

impl Default for Options {
    fn default() -> Self {
        Self { interval: INTERVAL, temporality: Temporality::Cumulative }
    }
}

/// The running exporters: that of the SDK reads on a thread of its own, that of durations on the runtime.
#[derive(Debug)]
pub struct Telemetry {
    provider: SdkMeterProvider,
    durations: Option<(Arc<Durations>, AbortHandle)>,
    runtime: Handle,
}

/// Starts them.
pub fn start(
    config: &Otlp,
    options: Options,
    source: &Arc<Source>,
    runtime: &Handle,
) -> Result<Telemetry, Error> {
    let client = {
        let _inside = runtime.enter();
        Client::new(config, client::METRICS)?
    };
    let client = Arc::new(client);
    let complaints = Complaints::new(format!("the agent's own metrics to {}", client.describe()));
    let transport =
        Transport { client: Arc::clone(&client), complaints: Arc::new(complaints), runtime: runtime.clone() };
    let exporter = MetricExporter::builder()
        .with_http()
        .with_http_client(transport)
        // The transport knows where to go; the exporter only wants some address.
        .with_endpoint(config.endpoint.to_string())
        // Nor does it compress or add headers: what it finds in the environment is for the transport.
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(config.timeout)
        .with_temporality(options.temporality)
        // A reading that is lost is made good by the next one: sums are cumulative.
        .with_retry_policy(RetryPolicy::disabled())
        .build()?;
    // Agents of many nodes send to one backend: the host tells them apart.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let resource = Resource::builder_empty()
        .with_attribute(KeyValue::new("host.name", host.trim().to_owned()))
        .with_attribute(KeyValue::new("service.name", SCOPE))
        .with_attribute(KeyValue::new("service.version", VERSION))
        .build();
    let reader = PeriodicReader::builder(exporter).with_interval(options.interval).build();
    let provider = SdkMeterProvider::builder().with_resource(resource).with_reader(reader).build();
    instruments(&provider.meter(SCOPE), source);
    let durations = source.measures().map(|measures| {
        let own = vec![
            durations_otlp::text("host.name", host.trim()),
            durations_otlp::text("service.name", SCOPE),
            durations_otlp::text("service.version", VERSION),
        ];
        let delta = options.temporality != Temporality::Cumulative;
        let durations = Durations::new(client, Arc::clone(measures), delta, own);
        let task = runtime.spawn(Arc::clone(&durations).run(options.interval));
        (durations, task.abort_handle())
    });
    Ok(Telemetry { provider, durations, runtime: runtime.clone() })
}

impl Telemetry {
    /// Sends a last reading and ends. Blocks up to the exporter's timeout: call it where that is allowed.
    pub fn shutdown(self) {
        if let Some((durations, task)) = self.durations {
            task.abort();
            self.runtime.block_on(durations.send());
        }
        if let Err(error) = self.provider.shutdown() {
            log::warn!("the agent's own metrics: {error}");
        }
    }
}

fn instruments(meter: &Meter, source: &Arc<Source>) {
    let of = |read: fn(&Source, &dyn AsyncInstrument<u64>)| {
        let source = Arc::clone(source);
        move |observer: &dyn AsyncInstrument<u64>| read(&source, observer)
    };
    let counter = |name, unit, text, read| {
        meter
            .u64_observable_counter(name)
            .with_unit(unit)
            .with_description(text)
            .with_callback(of(read))
            .build();
    };
    counter("spandrel.requests.seen", "{request}", "Requests whose first byte was seen.", |source, to| {
        to.observe(source.stats().seen.load(Relaxed), &[]);
    });
    counter("spandrel.requests.unsampled", "{request}", "Requests that were not sampled.", |source, to| {
        to.observe(source.stats().unsampled.load(Relaxed), &[]);
    });
    counter("spandrel.spans.exported", "{span}", "Spans that a destination acknowledged.", |source, to| {
        to.observe(source.stats().exported.load(Relaxed), &[]);
    });
    counter("spandrel.spans.dropped", "{span}", "Requests seen and lost.", |source, to| {
        for cause in Cause::ALL {
            to.observe(source.stats().dropped(*cause), &[KeyValue::new("cause", cause.label())]);
        }
    });
    counter("spandrel.capture", "{event}", "What capture met besides requests.", |source, to| {
        for what in Count::ALL {
            to.observe(source.stats().counted(*what), &[KeyValue::new("what", what.label())]);
        }
    });
    counter("spandrel.kernel", "{event}", "What the kernel side counted.", |source, to| {
        for (what, n) in source.snapshot().kernel {
            to.observe(n, &[KeyValue::new("what", what)]);
        }
    });
    counter("spandrel.redactions", "{value}", "Values that were not shown in a span.", |source, to| {
        for rule in Redaction::ALL {
            to.observe(source.stats().redactions(*rule), &[KeyValue::new("rule", rule.label())]);
        }
    });
    counter(
        "spandrel.sampling.rule",
        "{request}",
        "Roots that a sampling rule decided about.",
        |source, to| {
            let rules = source.rules();
            for (rule, counts) in rules.counts() {
                let decisions =
                    [("kept", &counts.kept), ("dropped", &counts.dropped), ("limited", &counts.limited)];
                for (decision, count) in decisions {
                    let labels = [
                        KeyValue::new("rule", rule.name.to_string()),
                        KeyValue::new("decision", decision),
                        KeyValue::new("dry_run", rules.dry_run),
                    ];
                    to.observe(count.load(Relaxed), &labels);
                }
            }
        },
    );
    for measure in measures::ALL {
        let source = Arc::clone(source);
        let read = move |to: &dyn AsyncInstrument<u64>| {
            for one in source.destinations().iter() {
                if let Some(value) = (measure.read)(one) {
                    to.observe(value, &[KeyValue::new("destination", Arc::clone(&one.name))]);
                }
            }
        };
        let Measure { otlp, unit, help, .. } = *measure;
        if measure.counter {
            let builder = meter.u64_observable_counter(otlp).with_unit(unit).with_description(help);
            builder.with_callback(read).build();
        } else {
            let builder = meter.u64_observable_gauge(otlp).with_unit(unit).with_description(help);
            builder.with_callback(read).build();
        }
    }
    counter(
        "spandrel.destination.spans.dropped",
        "{span}",
        "Spans that a destination did not get.",
        |source, to| {
            for one in source.destinations().iter() {
                for cause in Cause::ALL {
                    let labels = [
                        KeyValue::new("destination", Arc::clone(&one.name)),
                        KeyValue::new("cause", cause.label()),
                    ];
                    to.observe(one.room.account().dropped(*cause), &labels);
                }
            }
        },
    );
    let source_of_time = Arc::clone(source);
    meter
        .f64_observable_counter("spandrel.export.request.time")
        .with_unit("s")
        .with_description("Time that requests to a backend took; with their number, the mean latency.")
        .with_callback(move |to| {
            for destination in source_of_time.destinations().iter() {
                if let Some(counters) = &destination.counters {
                    to.observe(
                        counters.latency().1,
                        &[KeyValue::new("destination", Arc::clone(&destination.name))],
                    );
                }
            }
        })
        .build();
    meter
        .f64_observable_counter("process.cpu.time")
        .with_unit("s")
        .with_description("Processor time of the agent.")
        .with_callback(|to| {
            if let Some(usage) = Usage::read() {
                to.observe(usage.cpu_seconds, &[]);
            }
        })
        .build();
    meter
        .u64_observable_gauge("process.memory.usage")
        .with_unit("By")
        .with_description("Resident memory of the agent.")
        .with_callback(|to| {
            if let Some(usage) = Usage::read() {
                to.observe(usage.resident_bytes, &[]);
            }
        })
        .build();
    counter("spandrel.export.requests", "{request}", "Requests to a backend.", |source, to| {
        for destination in source.destinations().iter() {
            for (code, n) in destination.counters.iter().flat_map(|counters| counters.requests()) {
                let labels = [
                    KeyValue::new("destination", Arc::clone(&destination.name)),
                    KeyValue::new("code", code.to_string()),
                ];
                to.observe(n, &labels);
            }
        }
    });
    counter("spandrel.log.lines.lost", "{line}", "Lines of the log that nobody read in time.", |_, to| {
        to.observe(crate::log::lines_lost(), &[]);
    });
    let gauge = |name, unit, text, read| {
        meter
            .u64_observable_gauge(name)
            .with_unit(unit)
            .with_description(text)
            .with_callback(of(read))
            .build();
    };
    gauge("spandrel.build.info", "1", "What is running; the value is always 1.", |source, to| {
        let Snapshot { kernel_release, profile, .. } = source.snapshot();
        let labels = [
            KeyValue::new("version", VERSION),
            KeyValue::new("kernel_release", kernel_release),
            KeyValue::new("profile", profile),
        ];
        to.observe(1, &labels);
    });
    gauge("spandrel.ready", "1", "Whether the agent is attached.", |source, to| {
        to.observe(u64::from(source.snapshot().ready), &[]);
    });
    gauge("spandrel.hook.attached", "1", "The kernel hooks in use.", |source, to| {
        for hook in source.snapshot().hooks {
            to.observe(1, &[KeyValue::new("hook", hook)]);
        }
    });
    let descriptors = "Open file descriptors of the agent.";
    gauge("process.unix.file_descriptor.count", "{file_descriptor}", descriptors, |_, to| {
        if let Some(usage) = Usage::read() {
            to.observe(usage.descriptors as u64, &[]);
        }
    });
    let together = "How much memory all queues may take together.";
    gauge("spandrel.queues.bytes.limit", "By", together, |source, to| {
        if let Some(one) = source.destinations().first() {
            to.observe(one.room.budget().cap() as u64, &[]);
        }
    });
    gauge("spandrel.requests.open", "{request}", "Requests and spans under way.", |source, to| {
        to.observe(u64::try_from(source.stats().open.load(Relaxed)).unwrap_or(0), &[]);
    });
    let state = "What the last request says of a destination: 1 for the state that it is in.";
    gauge("spandrel.destination.state", "1", state, |source, to| {
        for one in source.destinations().iter() {
            let Some(counters) = &one.counters else { continue };
            for state in State::ALL {
                let labels = [
                    KeyValue::new("destination", Arc::clone(&one.name)),
                    KeyValue::new("state", state.label()),
                ];
                to.observe(u64::from(counters.state() == *state), &labels);
            }
        }
    });
}

/// The SDK's thread has no runtime: the request runs on ours, and the thread waits for its end.
#[derive(Clone, Debug)]
struct Transport {
    client: Arc<Client>,
    complaints: Arc<Complaints>,
    runtime: Handle,
}

impl HttpClient for Transport {
    // What `async_trait` makes of `async fn send_bytes`.
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let (client, complaints) = (Arc::clone(&self.client), Arc::clone(&self.complaints));
        let sent = self.runtime.spawn(async move {
            let payload = client.prepare(request.into_body().to_vec())?;
            let verdict = client.send(&payload).await;
            complaints.metrics(&verdict, NEXT);
            let mut response = Response::new(Bytes::new());
            if verdict.failure().is_some() {
                *response.status_mut() = StatusCode::BAD_REQUEST;
            }
            Ok(response)
        });
        Box::pin(async move { sent.await? })
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use prost::Message as _;

    use super::*;
    use crate::{
        export::{
            counters::Counters,
            metrics::prometheus,
            pipeline::Watched,
            room::Room,
            testing::{Answer, Backend, Wire},
            text::Format,
        },
        stats::Stats,
    };

    /// The name over OTLP of a family of the page.
    fn over_otlp(family: &str) -> String {
        if let Some(measure) = measures::ALL.iter().find(|measure| measure.prometheus == family) {
            return measure.otlp.to_owned();
        }
        match family {
            "process_cpu_seconds_total" => "process.cpu.time".to_owned(),
            "process_resident_memory_bytes" => "process.memory.usage".to_owned(),
            "process_open_fds" => "process.unix.file_descriptor.count".to_owned(),
            // The mean: buckets are of the page alone.
            "spandrel_export_request_duration_seconds" => "spandrel.export.request.time".to_owned(),
            _ => family.trim_end_matches("_total").replace('_', "."),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_ledger_as_otlp_metrics_over_both_transports() {
        for wire in [Wire::Http, Wire::Grpc] {
            let backend = Backend::start(wire, move |_| Answer::ok(wire)).await;
            let stats = Arc::<Stats>::default();
            (0..3).for_each(|_| stats.saw());
            Stats::drop(&stats, Cause::QueueFull, 2);
            let room = Room::new(10, 1000, Arc::clone(&stats));
            let claim = room.admit(false, [7, 8].into_iter());
            let counters = Arc::<Counters>::default();
            counters.set_state(State::Failing);
            let (counters, queue) = (Some(counters), Some(Arc::default()));
            let (spill, dead_letters) = (None, None);
            let one = Watched { name: "otlp".into(), room, counters, queue, spill, dead_letters };
            let snapshot = || Snapshot {
                ready: true,
                kernel: vec![("events", 7)],
                kernel_release: "6.1".to_owned(),
                profile: "socket",
                hooks: vec!["sys_enter".to_owned()],
            };
            let source = Source::new(stats, vec![one], snapshot);
            let page = prometheus(&source, Format::Prometheus);
            let telemetry = start(&backend.otlp(), Options::default(), &source, &Handle::current()).unwrap();
            tokio::task::spawn_blocking(|| telemetry.shutdown()).await.unwrap();

            let request = backend.last();
            let path = if wire == Wire::Grpc { client::METRICS } else { "/v1/traces" };
            assert_eq!(request.path, path);
            let request = ExportMetricsServiceRequest::decode(&*request.message).unwrap();
            let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
            let text = |name| {
                format!("{:?}", metrics.iter().find(|m| m.name == name).unwrap_or_else(|| panic!("{name}")))
            };
            assert!(text("spandrel.requests.seen").contains("AsInt(3)"));
            assert!(text("spandrel.spans.dropped").contains("AsInt(2)"));
            assert!(text("spandrel.requests.open").contains("AsInt(1)"));
            assert!(text("spandrel.queue.bytes").contains("AsInt(15)"));
            assert!(text("spandrel.destination.state").contains("failing"));
            assert!(text("spandrel.hook.attached").contains("sys_enter"));
            assert!(text("spandrel.ready").contains("AsInt(1)"));
            assert!(text("spandrel.build.info").contains("socket"));
            let has = |name| metrics.iter().any(|metric| metric.name == name);
            for measure in measures::ALL {
                let stored = measure.otlp.starts_with("spandrel.dead_letters")
                    || measure.otlp.starts_with("spandrel.spill.bytes")
                    || ["spandrel.spill.spans", "spandrel.spill.restored"].contains(&measure.otlp);
                // What has no destination is not sent.
                assert_eq!(has(measure.otlp), !stored, "{}", measure.otlp);
            }
            let sent: Vec<_> = metrics.iter().map(|metric| metric.name.as_str()).collect();
            for family in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
                let empty = !page.lines().any(|line| line.starts_with(family));
                assert!(empty || sent.contains(&over_otlp(family).as_str()), "{family} is not in {sent:?}");
            }
            drop(claim);
        }
    }
}
