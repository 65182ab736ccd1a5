//! Finished spans to a backend: through our pipeline, or through the OpenTelemetry SDK's batch processor and exporter.
//!
//! `export ours none|gzip|zstd URL SPANS`, or `export sdk none URL SPANS`, sends so many spans over OTLP/HTTP, with that
//! compression and at most as many at once as both queues hold, and prints a JSON object: nanoseconds by the clock and of
//! processor time, from the first span that is handed over to the last that is acknowledged.
//! `export gone none|gzip|zstd RATE SECONDS` hands so many spans a second to a pipeline whose backend is gone, and prints
//! resident bytes, one value a second.
#![expect(clippy::print_stdout, reason = "its result goes to standard output")]

use std::{
    env, fs,
    net::{Ipv4Addr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use opentelemetry::InstrumentationScope;
use opentelemetry_otlp::{Protocol as SdkProtocol, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource as SdkResource,
    error::OTelSdkResult,
    trace::{BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter, SpanProcessor as _},
};
use spandrel::{
    export::{
        self, Config, Pipeline, SCOPE, Sender, VERSION,
        config::{Compression, Destination, Otlp, Protocol, To},
    },
    span::Span,
    stats::{Drop as Cause, Stats},
};
use spandrel_bench::{resources, sdk_resource, sdk_span, spans};
use tokio::runtime::Runtime;

/// Spans handed over at once, as after a look at the ring.
const BURST: usize = 256;
/// Spans under way: 2 KiB each is less than a queue's bytes, so that nothing is dropped.
const WINDOW: u64 = 8_192;
/// The queue of both, and our default.
const QUEUE: usize = 65_536;
/// The batch of both, and the specification's default.
const BATCH: usize = 512;
/// How long whoever hands over waits when enough is under way, and between two bursts of a steady rate.
const PAUSE: Duration = Duration::from_micros(200);
/// A backend takes some hundred thousand spans a second; a busy machine gets some grace.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["ours", packed, url, count] => ours(compression(packed)?, url, count.parse()?),
        ["sdk", "none", url, count] => sdk(url, count.parse()?),
        ["gone", packed, rate, seconds] => gone(compression(packed)?, rate.parse()?, seconds.parse()?),
        _ => {
            bail!(
                "usage: export ours none|gzip|zstd URL SPANS, export sdk none URL SPANS, \
                 or export gone none|gzip|zstd RATE SECONDS"
            )
        }
    }
}

fn compression(name: &str) -> Result<Compression> {
    Ok(match name {
        "none" => Compression::None,
        "gzip" => Compression::Gzip,
        "zstd" => Compression::Zstd,
        _ => bail!("{name} is no compression: none, gzip or zstd"),
    })
}

/// Hands everything over, and waits until it is acknowledged.
fn measure<S>(all: Vec<S>, hand_over: impl Fn(Vec<S>), done: impl Fn() -> u64) -> Result<()> {
    let count = all.len() as u64;
    let mut all = all.into_iter();
    let (start, before) = (Instant::now(), processor_time()?);
    let mut sent = 0;
    loop {
        let burst: Vec<S> = all.by_ref().take(BURST).collect();
        if burst.is_empty() {
            break;
        }
        sent += burst.len() as u64;
        hand_over(burst);
        while sent - done() > WINDOW {
            ensure!(start.elapsed() < PATIENCE, "{} of {count} spans are acknowledged", done());
            thread::sleep(PAUSE);
        }
    }
    while done() < count {
        ensure!(start.elapsed() < PATIENCE, "{} of {count} spans are acknowledged", done());
        thread::sleep(PAUSE);
    }
    let (wall, cpu) = (start.elapsed().as_nanos(), processor_time()? - before);
    println!("{{\"spans\":{count},\"wall_ns\":{wall},\"cpu_ns\":{cpu}}}");
    Ok(())
}

/// Of all threads of this process so far, in nanoseconds. Threads that ended do not count: none does meanwhile.
fn processor_time() -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        sum += text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    ensure!(sum > 0, "/proc/self/task/*/schedstat tells nothing (CONFIG_SCHED_INFO)");
    Ok(sum)
}

fn pipeline(
    packed: Compression,
    url: &str,
    stats: &Arc<Stats>,
    runtime: &Runtime,
) -> Result<(Sender, Pipeline)> {
    let mut otlp = Otlp::new(Protocol::HttpProtobuf, url.parse()?);
    otlp.compression = packed;
    let to = To::Otlp(Box::new(otlp));
    let config = Config { destinations: vec![Destination::new("otlp", to)], ..Config::default() };
    Ok(export::start(&config, Arc::clone(stats), runtime.handle())?)
}

fn ours(packed: Compression, url: &str, count: usize) -> Result<()> {
    let (_, resource) = resources().into_iter().next().context("no resource")?;
    let (stats, runtime) = (Arc::<Stats>::default(), Runtime::new()?);
    let (sender, pipeline) = pipeline(packed, url, &stats, &runtime)?;
    let hand_over = |spans: Vec<Span>| {
        for _ in &spans {
            stats.saw();
        }
        sender.try_send(spans);
    };
    measure(spans(count, &resource)?, hand_over, || stats.exported.load(Relaxed))?;
    runtime.block_on(pipeline.shutdown(PATIENCE));
    Ok(())
}

/// The SDK's exporter, which tells what was acknowledged.
#[derive(Debug)]
struct Counting {
    exporter: opentelemetry_otlp::SpanExporter,
    done: Arc<AtomicU64>,
}

impl SpanExporter for Counting {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len() as u64;
        self.exporter.export(batch).await?;
        self.done.fetch_add(count, Relaxed);
        Ok(())
    }

    fn set_resource(&mut self, resource: &SdkResource) {
        self.exporter.set_resource(resource);
    }
}

fn sdk(url: &str, count: usize) -> Result<()> {
    let (_, resource) = resources().into_iter().next().context("no resource")?;
    let scope = InstrumentationScope::builder(SCOPE).with_version(VERSION).build();
    let all = spans(count, &resource)?.iter().map(|span| sdk_span(span, &scope)).collect::<Vec<_>>();
    let http = opentelemetry_otlp::SpanExporter::builder().with_http();
    let exporter = http.with_endpoint(url).with_protocol(SdkProtocol::HttpBinary).build()?;
    let done = Arc::<AtomicU64>::default();
    let config = BatchConfigBuilder::default().with_max_queue_size(QUEUE).with_max_export_batch_size(BATCH);
    let counting = Counting { exporter, done: Arc::clone(&done) };
    let mut processor = BatchSpanProcessor::builder(counting)
        .with_batch_config(config.with_scheduled_delay(Duration::from_secs(1)).build())
        .build();
    processor.set_resource(&sdk_resource(&resource));
    let hand_over = |spans: Vec<SpanData>| spans.into_iter().for_each(|span| processor.on_end(span));
    measure(all, hand_over, || done.load(Relaxed))?;
    processor.shutdown()?;
    Ok(())
}

/// Memory while a backend is gone. Of the spans only a burst is kept: their ids are new each time.
fn gone(packed: Compression, rate: u64, seconds: u64) -> Result<()> {
    let (_, resource) = resources().into_iter().next().context("no resource")?;
    let url = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
        format!("http://{}/v1/traces", listener.local_addr()?)
    };
    let (stats, runtime) = (Arc::<Stats>::default(), Runtime::new()?);
    let (sender, pipeline) = pipeline(packed, &url, &stats, &runtime)?;
    let sample = spans(BURST, &resource)?;
    let (start, end) = (Instant::now(), Duration::from_secs(seconds));
    let mut resident = vec![resident_bytes()?];
    let mut sent = 0_u64;
    while start.elapsed() < end {
        let due = (start.elapsed().as_secs_f64() * rate as f64) as u64;
        while sent < due {
            let mut burst = sample.clone();
            for span in &mut burst {
                sent += 1;
                span.span_id = sent.to_be_bytes();
                stats.saw();
            }
            sender.try_send(burst);
        }
        if start.elapsed().as_secs() >= resident.len() as u64 {
            resident.push(resident_bytes()?);
        }
        thread::sleep(PAUSE);
    }
    let (wall, held) = (start.elapsed(), pipeline.watch().first().map(|one| one.room.held()));
    let held = held.context("no destination")?;
    runtime.block_on(pipeline.shutdown(Duration::ZERO));
    let dropped: u64 = Cause::ALL.iter().map(|cause| stats.dropped(*cause)).sum();
    ensure!(dropped == sent && stats.open.load(Relaxed) == 0, "{sent} sent, {dropped} dropped");
    println!(
        "{{\"spans\":{sent},\"wall_ns\":{},\"held_spans\":{},\"held_bytes\":{},\"resident\":{resident:?}}}",
        wall.as_nanos(),
        held.spans,
        held.bytes
    );
    Ok(())
}

fn resident_bytes() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.split_whitespace().next().context("no number")?.parse()?;
    Ok(kib << 10)
}
