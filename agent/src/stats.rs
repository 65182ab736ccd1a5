//! The ledger and the agent's own counters. Every request that was seen ends in exactly one of its columns.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

macro_rules! causes {
    ($(#[$outer:meta])* $vis:vis enum $kind:ident { $($(#[$doc:meta])* $name:ident = $label:literal,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis enum $kind { $($(#[$doc])* $name,)* }

        impl $kind {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
            /// The name in metrics and reports.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

causes! {
    /// Why a request that was seen did not become an exported span.
    pub enum Drop {
        /// The ring had no room for its first event.
        RingFull = "ring_full",
        /// The export queue was full.
        QueueFull = "queue_full",
        /// The queues of all destinations held as much memory as they may together.
        MemoryFull = "memory_full",
        /// The backend answered that it does not want it (partial success).
        Rejected = "rejected",
        /// The backend refused the batch for good.
        ExportRefused = "export_refused",
        /// The backend did not accept the credentials.
        Unauthorized = "unauthorized",
        /// One span alone is larger than what the backend takes.
        TooLarge = "too_large",
        /// Retries were used up.
        ExportFailed = "export_failed",
        /// Not sent before the shutdown deadline, but on disk: the next start sends it.
        Spilled = "spilled",
        /// It was on disk and could not be read back, or not be kept there until the end.
        SpillDamaged = "spill_damaged",
        /// Not sent before the shutdown deadline.
        Shutdown = "shutdown",
        /// No destination's filter lets it through.
        Filtered = "filtered",
        /// Its process turned out not to be selected.
        NotSelected = "not_selected",
        /// No destination is configured: nobody wanted it.
        NoDestination = "no_destination",
        /// The table of connections was full and this one was the oldest.
        Evicted = "evicted",
    }
}

causes! {
    /// What the pure middle counts besides requests.
    pub enum Count {
        /// Events that could not be decoded.
        Undecodable = "undecodable_events",
        /// Events of connections that were never announced.
        UnknownConn = "unknown_connections",
        /// Connections given up because their bytes are not HTTP.
        NotHttp = "not_http",
        /// Connections given up because of conflicting message lengths (RFC 9112, section 6.3).
        ConflictingLength = "conflicting_length",
        /// Connections given up for another malformed head.
        Malformed = "malformed_heads",
        /// Connections given up because too many requests waited for their responses.
        TooDeep = "pipelines_too_deep",
        /// Events that told nothing new: duplicates, or later than what came behind them.
        LateEvents = "late_events",
        /// Heads longer than the capture limit.
        TruncatedHeads = "truncated_heads",
        /// Gaps in a direction's bytes.
        Gaps = "stream_gaps",
        /// Messages found again after a gap.
        Resyncs = "resyncs",
        /// Responses without a request (joined in the middle, or the request was withheld).
        OrphanResponses = "orphan_responses",
        /// Header fields of HTTP/2 that name something from before the agent saw the connection, and were left out.
        UnknownFields = "unknown_fields",
        /// Header fields of HTTP/2 that were read.
        Fields = "http2_fields",
        /// Connections that turned opaque (CONNECT, Upgrade).
        Tunnels = "tunnels",
        /// Connections forgotten because the table was full.
        EvictedConns = "evicted_connections",
        /// Values that were replaced, by any rule of [`Redaction`].
        Redacted = "redacted_values",
        /// Spans whose times had to be put in order.
        TimesAdjusted = "times_adjusted",
        /// Requests without a known end, which are in no metric of durations.
        Unmeasured = "unmeasured_requests",
        /// Spans that may lack something: bytes had a gap, a head was too long, the end was not seen.
        PartialSpans = "partial_spans",
        /// Server spans whose request named its parent.
        ServerWithParent = "server_spans_with_parent",
        /// Server spans whose request named none: roots, or context was lost on the way.
        ServerRoots = "server_spans_without_parent",
        /// Attributes left out because a span has too many (`OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT`).
        AttributesDropped = "attributes_dropped",
        /// Values cut because they are too long (`OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT`).
        ValuesCut = "values_cut",
        /// Inbound `traceparent` headers that were not valid.
        BadTraceparent = "bad_traceparent",
        /// Connections given up because their bytes are not Kafka's, though the first ones looked like it.
        NotKafka = "not_kafka",
        /// Kafka polls that brought no records, and make no span.
        KafkaEmptyPolls = "kafka_empty_polls",
        /// Kafka polls whose response was not seen, and which make no span.
        KafkaUnseenPolls = "kafka_unseen_polls",
        /// Kafka requests other than Produce and Fetch, which make no span.
        KafkaOther = "kafka_other_requests",
        /// Kafka requests that a traced broker received, which make no span: their client's tells them.
        KafkaReceived = "kafka_received_requests",
        /// Kafka requests of an API or a version that is not known, told by key and version only.
        KafkaUnknown = "kafka_unknown_versions",
        /// Kafka topics told by their ids, because no response with their names was seen.
        KafkaTopicIds = "kafka_unknown_topics",
        /// Kafka records with headers that were not read.
        KafkaUnread = "kafka_unread_headers",
        /// Kafka record batches of formats without headers (before Kafka 0.11).
        KafkaOldFormat = "kafka_old_formats",
        /// Links left out because a span has too many.
        LinksDropped = "links_dropped",
        /// Processes not traced because they do what is not followed (io_uring, 32-bit calls).
        UnseenProcesses = "unseen_processes",
    }
}

causes! {
    /// Why something was not shown in a span.
    pub enum Redaction {
        /// User name and password of a URL.
        UrlCredentials = "url_credentials",
        /// The value of a parameter whose name is a secret's.
        SecretName = "secret_name",
        /// The value of a header field whose name is a secret's.
        SecretHeader = "secret_header",
        /// Credentials behind `Bearer` or `Basic`.
        AuthScheme = "auth_scheme",
        /// A JSON Web Token.
        Jwt = "jwt",
        /// A key of Amazon Web Services.
        AwsKey = "aws_key",
        /// A token that its issuer made recognisable.
        IssuedToken = "issued_token",
        /// A card number with the right check digit.
        CardNumber = "card_number",
        /// An e-mail address.
        Email = "email",
        /// What the lists of what may be shown do not name.
        NotAllowed = "not_allowed",
        /// A path shown by its template.
        PathTemplate = "path_template",
        /// A path without a template, because there were too many.
        PathOverflow = "path_overflow",
    }
}

/// Counters that any thread adds to. `seen = exported + unsampled + dropped + open` holds whenever no
/// request is being moved from one column to another.
#[derive(Debug)]
pub struct Stats {
    /// Requests whose first byte was seen.
    pub seen: AtomicU64,
    /// Spans that a destination acknowledged (or the console printed).
    pub exported: AtomicU64,
    /// Requests that were not sampled.
    pub unsampled: AtomicU64,
    /// Requests in flight, and spans waiting to be exported.
    pub open: AtomicI64,
    dropped: [AtomicU64; Drop::ALL.len()],
    counts: [AtomicU64; Count::ALL.len()],
    redactions: [AtomicU64; Redaction::ALL.len()],
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            seen: AtomicU64::default(),
            exported: AtomicU64::default(),
            unsampled: AtomicU64::default(),
            open: AtomicI64::default(),
            dropped: [const { AtomicU64::new(0) }; Drop::ALL.len()],
            counts: [const { AtomicU64::new(0) }; Count::ALL.len()],
            redactions: [const { AtomicU64::new(0) }; Redaction::ALL.len()],
        }
    }
}

impl Stats {
    /// A request was seen; it is open now.
    pub fn saw(&self) {
        self.seen.fetch_add(1, Relaxed);
        self.open.fetch_add(1, Relaxed);
    }

    /// Open requests became exported spans.
    pub fn exported(&self, n: u64) {
        self.exported.fetch_add(n, Relaxed);
        self.open.fetch_sub(n as i64, Relaxed);
    }

    /// The kernel side saw requests that did not come through: lost in the ring, and not sampled.
    pub fn kernel(&self, lost: u64, unsampled: u64) {
        self.seen.fetch_add(lost + unsampled, Relaxed);
        self.unsampled.fetch_add(unsampled, Relaxed);
        if let Some(slot) = self.dropped.get(Drop::RingFull as usize) {
            slot.fetch_add(lost, Relaxed);
        }
    }

    /// An open request is not sampled.
    pub fn unsampled(&self) {
        self.unsampled.fetch_add(1, Relaxed);
        self.open.fetch_sub(1, Relaxed);
    }

    /// Open requests were dropped.
    pub fn drop(&self, cause: Drop, n: u64) {
        if let Some(slot) = self.dropped.get(cause as usize) {
            slot.fetch_add(n, Relaxed);
        }
        self.open.fetch_sub(n as i64, Relaxed);
    }

    /// Something else worth counting happened.
    pub fn count(&self, what: Count) {
        if let Some(slot) = self.counts.get(what as usize) {
            slot.fetch_add(1, Relaxed);
        }
    }

    /// Something was not shown.
    pub fn redacted(&self, rule: Redaction) {
        self.count(Count::Redacted);
        if let Some(slot) = self.redactions.get(rule as usize) {
            slot.fetch_add(1, Relaxed);
        }
    }

    /// How often something was not shown by a rule.
    pub fn redactions(&self, rule: Redaction) -> u64 {
        self.redactions.get(rule as usize).map_or(0, |slot| slot.load(Relaxed))
    }

    /// Something else worth counting happened so many times.
    pub fn count_many(&self, what: Count, n: u64) {
        if let Some(slot) = self.counts.get(what as usize) {
            slot.fetch_add(n, Relaxed);
        }
    }

    /// How often something was counted.
    pub fn counted(&self, what: Count) -> u64 {
        self.counts.get(what as usize).map_or(0, |slot| slot.load(Relaxed))
    }

    /// How many requests were dropped for a cause.
    pub fn dropped(&self, cause: Drop) -> u64 {
        self.dropped.get(cause as usize).map_or(0, |slot| slot.load(Relaxed))
    }
}
