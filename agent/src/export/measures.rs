//! What is measured of a destination by one number: one table for `/metrics` and for OTLP, so that both say the same.

use std::sync::atomic::Ordering::Relaxed;

use super::{counters::Counters, pipeline::Watched, queue::Glance};

/// One measure of every destination.
#[derive(Clone, Copy)]
pub(super) struct Measure {
    /// By Prometheus' conventions.
    pub(super) prometheus: &'static str,
    /// By OpenTelemetry's, with the unit by UCUM.
    pub(super) otlp: &'static str,
    pub(super) unit: &'static str,
    /// What it means, in a sentence.
    pub(super) help: &'static str,
    /// It only grows; otherwise it goes up and down.
    pub(super) counter: bool,
    /// Its value; none for a destination that has no such thing.
    pub(super) read: fn(&Watched) -> Option<u64>,
}

const fn counter(
    [prometheus, otlp, unit, help]: [&'static str; 4],
    read: fn(&Watched) -> Option<u64>,
) -> Measure {
    Measure { prometheus, otlp, unit, help, counter: true, read }
}

const fn gauge(
    [prometheus, otlp, unit, help]: [&'static str; 4],
    read: fn(&Watched) -> Option<u64>,
) -> Measure {
    Measure { prometheus, otlp, unit, help, counter: false, read }
}

fn counted(one: &Watched, read: fn(&Counters) -> u64) -> Option<u64> {
    one.counters.as_deref().map(read)
}

fn waits(one: &Watched, read: fn(Glance) -> u64) -> Option<u64> {
    one.queue.as_ref().map(|queue| read(queue.glance()))
}

/// All of them. What has more labels than the destination is where it is written.
pub(super) const ALL: &[Measure] = &[
    gauge(
        ["spandrel_queue_spans", "spandrel.queue.spans", "{span}", "Spans waiting or in flight in memory."],
        |d| Some(d.room.held().spans as u64),
    ),
    gauge(["spandrel_queue_spans_limit", "spandrel.queue.spans.limit", "{span}", "How many may."], |d| {
        Some(d.room.limits().0 as u64)
    }),
    gauge(["spandrel_queue_bytes", "spandrel.queue.bytes", "By", "Memory that they take."], |d| {
        Some(d.room.held().bytes as u64)
    }),
    gauge(
        ["spandrel_queue_bytes_limit", "spandrel.queue.bytes.limit", "By", "How much they may take."],
        |d| Some(d.room.limits().1 as u64),
    ),
    gauge(
        ["spandrel_queue_batches", "spandrel.queue.batches", "{batch}", "Batches whose turn has not come."],
        |d| waits(d, |queue| queue.waiting as u64),
    ),
    gauge(
        [
            "spandrel_queue_batches_in_flight",
            "spandrel.queue.batches.in_flight",
            "{batch}",
            "Batches that are being sent, or wait to be sent again.",
        ],
        |d| waits(d, |queue| queue.in_flight as u64),
    ),
    gauge(
        [
            "spandrel_queue_oldest_seconds",
            "spandrel.queue.oldest",
            "s",
            "How long the oldest batch has waited in this process, those in flight included.",
        ],
        |d| waits(d, |queue| queue.oldest.as_secs()),
    ),
    counter(
        [
            "spandrel_destination_spans_exported_total",
            "spandrel.destination.spans.exported",
            "{span}",
            "Spans that a destination acknowledged.",
        ],
        |d| Some(d.room.account().exported()),
    ),
    counter(
        [
            "spandrel_destination_spans_saved_total",
            "spandrel.destination.spans.saved",
            "{span}",
            "Dropped spans of a destination that are among its dead letters.",
        ],
        |d| Some(d.room.account().saved()),
    ),
    counter(
        [
            "spandrel_destination_spans_recovered_total",
            "spandrel.destination.spans.recovered",
            "{span}",
            "Spans that an earlier process left on disk.",
        ],
        |d| Some(d.room.account().recovered()),
    ),
    counter(
        [
            "spandrel_export_retries_total",
            "spandrel.export.retries",
            "{request}",
            "Requests that were sent again.",
        ],
        |d| counted(d, |c| c.retries.load(Relaxed)),
    ),
    counter(
        ["spandrel_export_sent_bytes_total", "spandrel.export.sent", "By", "Bytes of request bodies."],
        |d| counted(d, |c| c.sent_bytes.load(Relaxed)),
    ),
    counter(["spandrel_export_batches_total", "spandrel.export.batches", "{batch}", "Batches."], |d| {
        counted(d, |c| c.batches.load(Relaxed))
    }),
    counter(
        ["spandrel_export_batch_spans_total", "spandrel.export.batch_spans", "{span}", "Spans in batches."],
        |d| counted(d, |c| c.batch_spans.load(Relaxed)),
    ),
    counter(
        [
            "spandrel_export_splits_total",
            "spandrel.export.splits",
            "{batch}",
            "Batches cut in two for their size.",
        ],
        |d| counted(d, |c| c.splits.load(Relaxed)),
    ),
    gauge(
        ["spandrel_spill_bytes", "spandrel.spill.bytes", "By", "Bytes of a destination's queue on disk."],
        |d| d.spill.as_ref().map(|spill| spill.bytes()),
    ),
    gauge(
        ["spandrel_spill_bytes_limit", "spandrel.spill.bytes.limit", "By", "How many there may be."],
        |d| d.spill.as_ref().map(|spill| spill.limit()),
    ),
    gauge(
        [
            "spandrel_spill_spans",
            "spandrel.spill.spans",
            "{span}",
            "Spans waiting or in flight that are on disk.",
        ],
        |d| d.spill.as_ref().map(|_| d.room.held().stored as u64),
    ),
    counter(
        ["spandrel_spill_errors_total", "spandrel.spill.errors", "{batch}", "Writes to disk that failed."],
        |d| counted(d, |c| c.spill_errors.load(Relaxed)),
    ),
    counter(
        [
            "spandrel_spill_damaged_total",
            "spandrel.spill.damaged",
            "{batch}",
            "Batches that the disk gave back damaged.",
        ],
        |d| counted(d, |c| c.spill_damaged.load(Relaxed)),
    ),
    counter(
        [
            "spandrel_spill_restored_total",
            "spandrel.spill.restored",
            "{file}",
            "Files of a destination's queue on disk that somebody removed and that were written anew.",
        ],
        |d| d.spill.as_ref().map(|spill| spill.restored()),
    ),
    gauge(
        [
            "spandrel_dead_letter_bytes",
            "spandrel.dead_letters.bytes",
            "By",
            "Bytes of a destination's dead letters.",
        ],
        |d| d.dead_letters.as_ref().map(|dead| dead.bytes()),
    ),
    gauge(
        [
            "spandrel_dead_letter_bytes_limit",
            "spandrel.dead_letters.bytes.limit",
            "By",
            "How many there may be.",
        ],
        |d| d.dead_letters.as_ref().map(|dead| dead.limit()),
    ),
    counter(
        [
            "spandrel_dead_letters_lost_total",
            "spandrel.dead_letters.lost",
            "{span}",
            "Spans for which there was no room among them.",
        ],
        |d| d.dead_letters.as_ref().map(|dead| dead.lost()),
    ),
];
