//! The userspace half on one core: ring records in, OTLP bytes out.
//!
//! `pipeline SPANS ROUNDS` prints a JSON object a line: one for each kind of exchange and one for all of them
//! in turn, with the nanoseconds a span of every round. Short rounds, so that an undisturbed one is among them.
#![expect(clippy::print_stdout, reason = "its result goes to standard output")]

use std::{env, hint::black_box, sync::Arc, time::Instant};

use anyhow::{Context as _, Result, bail};
use spandrel::{
    decode::{Sequence, decode},
    discover::resource::Resource,
    export::{batch::Batch, otlp},
    span::{Builder, ClockAnchor, Span, SpanPolicy},
    stats::Stats,
    stream::Table,
};
use spandrel_bench::{Recording, SAMPLES, Sample, resources};
use spandrel_common::sample::Policy;

/// `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`, unless someone sets it.
const BATCH: usize = 512;
/// The agent's bound on followed connections; the recordings stay far below.
const CONNECTIONS_LIMIT: usize = 32_768;

fn main() -> Result<()> {
    let mut args = env::args().skip(1).map(|arg| arg.parse::<usize>());
    let spans = args.next().context("usage: pipeline SPANS ROUNDS")??;
    let rounds = args.next().context("usage: pipeline SPANS ROUNDS")??;
    measure("all in turn", &SAMPLES, spans, rounds)?;
    // Callgrind takes its time: for it, one kind will do.
    if args.next().is_none() {
        for sample in SAMPLES {
            measure(sample.name, &[sample], spans, rounds)?;
        }
    }
    Ok(())
}

fn measure(name: &str, samples: &[Sample], spans: usize, rounds: usize) -> Result<()> {
    let recording = Recording::new(samples, spans);
    let resources = resources();
    let mut times = Vec::new();
    let mut bytes = 0;
    for _ in 0..rounds {
        let mut pipeline = Pipeline::new(&recording, &resources)?;
        let start = Instant::now();
        pipeline.run(&recording)?;
        times.push(format!("{:.1}", start.elapsed().as_nanos() as f64 / spans.max(1) as f64));
        if pipeline.encoded != spans {
            bail!("{} of {spans} exchanges became spans: {:?}", pipeline.encoded, pipeline.stats);
        }
        bytes = pipeline.bytes;
    }
    println!(
        "{{\"name\":\"{name}\",\"spans\":{spans},\"ring_bytes\":{},\"otlp_bytes\":{bytes},\"ns_per_span\":[{}]}}",
        recording.len(),
        times.join(",")
    );
    Ok(())
}

/// What the capture thread and the batcher do, one after the other.
struct Pipeline<'a> {
    stats: Arc<Stats>,
    table: Table,
    sequence: Sequence,
    builder: Builder,
    resources: &'a [(u32, Arc<Resource>)],
    exchanges: Vec<spandrel::exchange::Exchange>,
    batch: Batch<Span>,
    encoded: usize,
    bytes: usize,
}

impl<'a> Pipeline<'a> {
    /// Knows the recording's connections already: they are announced once in their lives.
    fn new(recording: &Recording, resources: &'a [(u32, Arc<Resource>)]) -> Result<Self> {
        let stats = Arc::<Stats>::default();
        let clock = ClockAnchor { mono_ns: 0, unix_ns: 1_704_189_600_000_000_000 };
        let builder =
            Builder::new(SpanPolicy::default(), Policy::ALWAYS_ON.parent_based(), clock, Arc::clone(&stats));
        let mut pipeline = Self {
            table: Table::new(Arc::clone(&stats), CONNECTIONS_LIMIT),
            sequence: Sequence::default(),
            builder,
            stats,
            resources,
            exchanges: Vec::new(),
            batch: Batch::default(),
            encoded: 0,
            bytes: 0,
        };
        for record in &recording.announcements {
            pipeline.event(record)?;
        }
        Ok(pipeline)
    }

    /// What is measured. Not inlined: Callgrind counts from its call to its return.
    #[inline(never)]
    fn run(&mut self, recording: &Recording) -> Result<()> {
        for record in recording.records() {
            self.event(record)?;
        }
        self.flush();
        Ok(())
    }

    fn event(&mut self, record: &[u8]) -> Result<()> {
        let event = decode(black_box(record)).context("a record cannot be decoded")?;
        self.sequence.observe(event.header());
        self.table.handle(&event, &mut self.exchanges);
        self.build();
        Ok(())
    }

    fn build(&mut self) {
        let mut exchanges = std::mem::take(&mut self.exchanges);
        for exchange in exchanges.drain(..) {
            let of = self.resources.iter().find(|(pid, _)| *pid == exchange.tgid);
            let resource = of.map(|(_, resource)| Arc::clone(resource)).unwrap_or_default();
            if let Some(span) = self.builder.build(&exchange, resource) {
                self.batch.push(span);
                if self.batch.len() >= BATCH {
                    self.flush();
                }
            }
        }
        self.exchanges = exchanges;
    }

    fn flush(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let mut message = Vec::new();
        otlp::encode_batch(&batch, &mut message);
        self.encoded += batch.len();
        self.bytes += black_box(message).len();
    }
}
