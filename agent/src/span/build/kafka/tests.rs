//! Calls to brokers and the spans that they must become.

use std::{fmt::Write as _, sync::Arc};

use spandrel_common::{context::Cause, sample::Policy, w3c};

use super::*;
use crate::{
    exchange::{Addr, Connection},
    protocol::kafka::{Header, Seen, content::Stored},
    span::{ClockAnchor, SpanPolicy},
    stats::Stats,
};

const ID: [u8; 16] = [0xab; 16];

fn call(role: Role, key: i16, version: i16, asked: Asked, told: Option<Told>) -> Call {
    let [client, broker] = ["10.0.0.1:40000", "10.0.0.2:9092"].map(|text| Addr::Ip(text.parse().unwrap()));
    let (local, peer) = if role == Role::Client { (client, broker) } else { (broker, client) };
    Call {
        connection: Arc::new(Connection { id: 1, seed: [1, 2], role, local, peer, netns: 0 }),
        tgid: 7,
        tid: 8,
        pos: 100,
        start_ns: 2_000,
        end_ns: 5_000,
        header: Header { key, version, correlation: 3, client: Some("shop".into()) },
        asked,
        request: Seen::default(),
        told: told.map(|told| (told, Seen::default())),
        outcome: Outcome::Complete,
        gap: false,
        sampled: None,
        cause: Cause::NONE,
    }
}

fn origin(n: u8, offset: i64) -> Origin {
    let parent = w3c::TraceParent { trace_id: [n; 16], parent_id: [n; 8], flags: 1, version: 0 };
    Origin { parent, state: b"k=v, bad".as_slice().into(), offset, records: 1 }
}

fn records(messages: u64, first: i64, origins: Vec<Origin>) -> Records {
    let last = first + messages as i64 - 1;
    Records { bytes: 500, messages, first: Some(first), last: Some(last), origins, ..Records::default() }
}

fn produce(topic: Topic, records: Records, error: i16, offset: i64) -> (Asked, Told) {
    let stored = Stored { topic: topic.clone(), partition: 2, error, offset };
    let partitions = vec![Sent { topic, partition: 2, records }];
    (Asked::Produce { transaction: None, acks: -1, partitions }, Told::Produce(vec![stored]))
}

fn builder() -> (Builder, Arc<Stats>) {
    let stats = Arc::<Stats>::default();
    let clock = ClockAnchor { mono_ns: 1_000, unix_ns: 1_700_000_000_000_000_000 };
    (Builder::new(SpanPolicy::default(), Policy::DEFAULT, clock, Arc::clone(&stats)), stats)
}

fn show(spans: &[Span]) -> String {
    let mut out = String::new();
    for span in spans {
        writeln!(out, "{} {:?} {:?}", span.name, span.kind, span.status).unwrap();
        for Attribute { key, value } in &span.attributes {
            let value = match value {
                Value::Static(value) => (*value).to_owned(),
                Value::Str(value) => value.to_string(),
                other => format!("{other:?}"),
            };
            if !key.starts_with("network.") && !key.starts_with("server.") {
                writeln!(out, "  {key} = {value}").unwrap();
            }
        }
        for link in &span.links {
            write!(out, "  -> {:02x} {}", link.trace_id[0], link.trace_state).unwrap();
            for Attribute { key, value } in &link.attributes {
                write!(out, " {key} = {value:?}").unwrap();
            }
            out.push('\n');
        }
    }
    out
}

#[track_caller]
fn check(spans: &[Span], expect: &str) {
    let lines: Vec<_> = expect.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let found = show(spans);
    assert_eq!(found.lines().map(str::trim).collect::<Vec<_>>(), lines, "\n{found}");
}

fn build(builder: &mut Builder, call: &Call) -> Vec<Span> {
    builder.kafka(call, &Arc::default())
}

#[test]
fn a_message_is_sent() {
    let (asked, told) = produce(Topic::Name("orders".into()), records(1, 0, vec![]), 0, 41);
    let (mut builder, stats) = builder();
    let spans = build(&mut builder, &call(Role::Client, 0, 9, asked, Some(told)));
    check(
        &spans,
        "send orders Producer Unset
         messaging.system.name = kafka
         messaging.operation.name = send
         messaging.operation.type = send
         messaging.destination.name = orders
         messaging.destination.partition.id = 2
         kafka.offset = Int(41)
         spandrel.kafka.bytes = Int(500)
         messaging.client.id = shop",
    );
    assert_eq!((spans[0].start_ns, spans[0].end_ns), (1_700_000_000_000_001_000, 1_700_000_000_000_004_000));
    assert_eq!(stats.open.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[test]
fn a_batch_with_contexts_is_refused() {
    let contexts = vec![origin(1, 0), origin(2, 3)];
    let (asked, told) = produce(Topic::Name("orders".into()), records(4, 0, contexts), 10, -1);
    let spans = build(&mut builder().0, &call(Role::Client, 0, 9, asked, Some(told)));
    check(
        &spans,
        "send orders Client Error
         messaging.system.name = kafka
         messaging.operation.name = send
         messaging.operation.type = send
         messaging.destination.name = orders
         messaging.destination.partition.id = 2
         messaging.batch.message_count = Int(4)
         spandrel.kafka.bytes = Int(500)
         messaging.client.id = shop
         error.type = MESSAGE_TOO_LARGE
         -> 01
         -> 02",
    );
}

#[test]
fn several_partitions_have_spans_of_their_own() {
    let sent = |partition| Sent { topic: Topic::Id(ID), partition, records: records(1, 0, vec![]) };
    let asked = Asked::Produce { transaction: None, acks: 0, partitions: (0..3).map(sent).collect() };
    let (mut builder, stats) = builder();
    let spans = build(&mut builder, &call(Role::Client, 0, 13, asked, None));
    let mut ids: Vec<_> = spans.iter().map(|span| (span.trace_id, span.span_id)).collect();
    ids.dedup();
    assert_eq!((ids.len(), stats.counted(Count::KafkaTopicIds)), (3, 3));
    assert!(spans.iter().all(|span| &*span.name == "send 10.0.0.2:9092"));
}

#[test]
fn a_topic_s_name_a_group_and_a_cluster_come_from_other_messages() {
    let (mut builder, stats) = builder();
    let topics = vec![(ID, "orders".into())];
    let cluster = Told::Cluster { id: Some("c1".into()), topics };
    assert!(build(&mut builder, &call(Role::Client, 3, 12, Asked::Other, Some(cluster))).is_empty());
    let join = Asked::Group("readers".into());
    assert!(build(&mut builder, &call(Role::Client, 11, 9, join, Some(Told::Other))).is_empty());
    assert_eq!(stats.counted(Count::KafkaOther), 2);
    let fetched = |partition, origins| Fetched {
        topic: Topic::Id(ID),
        partition,
        error: 0,
        records: records(3, 70, origins),
    };
    let told = Told::Fetch {
        error: 0,
        partitions: vec![fetched(0, vec![origin(1, 70)]), fetched(1, vec![origin(1, 71), origin(2, 72)])],
    };
    let spans = build(&mut builder, &call(Role::Client, 1, 17, Asked::Fetch, Some(told)));
    check(
        &spans,
        "poll orders Client Unset
         messaging.system.name = kafka
         messaging.operation.name = poll
         messaging.operation.type = receive
         messaging.destination.name = orders
         messaging.batch.message_count = Int(6)
         spandrel.kafka.bytes = Int(1000)
         messaging.client.id = shop
         messaging.consumer.group.name = readers
         kafka.cluster.id = c1
         -> 01  kafka.offset = Int(70) messaging.destination.partition.id = Str(\"0\")
         -> 02  kafka.offset = Int(72) messaging.destination.partition.id = Str(\"1\")",
    );
}

#[test]
fn polls_without_records_make_no_span() {
    let (mut builder, stats) = builder();
    let empty = Told::Fetch { error: 0, partitions: vec![] };
    assert!(build(&mut builder, &call(Role::Client, 1, 12, Asked::Fetch, Some(empty))).is_empty());
    let closed = Call { outcome: Outcome::LocalClosed, ..call(Role::Client, 1, 12, Asked::Fetch, None) };
    assert!(build(&mut builder, &closed).is_empty());
    assert_eq!(stats.counted(Count::KafkaEmptyPolls), 2);
    let lost = Call { outcome: Outcome::PeerClosed, ..closed.clone() };
    let spans = build(&mut builder, &lost);
    assert_eq!((&*spans[0].name, spans[0].status), ("poll 10.0.0.2:9092", Status::Error));
    let unseen = Call { outcome: Outcome::Unseen, ..closed };
    assert!(build(&mut builder, &unseen).is_empty());
    assert_eq!(stats.counted(Count::KafkaUnseenPolls), 1);
    assert_eq!(stats.seen.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[test]
fn errors_have_their_names() {
    let (mut builder, _) = builder();
    let session = Told::Fetch { error: 71, partitions: vec![] };
    let spans = build(&mut builder, &call(Role::Client, 1, 12, Asked::Fetch, Some(session)));
    assert!(show(&spans).contains("error.type = INVALID_FETCH_SESSION_EPOCH"));
    let fetched =
        Fetched { topic: Topic::Name("t".into()), partition: 0, error: 1, records: Records::default() };
    let told = Told::Fetch { error: 0, partitions: vec![fetched] };
    let spans = build(&mut builder, &call(Role::Client, 1, 12, Asked::Fetch, Some(told)));
    assert!(show(&spans).contains("poll t Client Error") && show(&spans).contains("= OFFSET_OUT_OF_RANGE"));
}

#[test]
fn what_is_not_known_is_told_by_key_and_version() {
    let (mut builder, stats) = builder();
    for (key, version, name) in
        [(0, 99, "send"), (1, 99, "poll"), (200, 1, "request"), (18, 77, "ApiVersions")]
    {
        let spans = build(&mut builder, &call(Role::Client, key, version, Asked::Other, Some(Told::Other)));
        assert_eq!(&*spans[0].name, format!("{name} 10.0.0.2:9092"));
        let text = show(&spans);
        assert!(text.contains(&format!("spandrel.kafka.api_key = Int({key})")), "{text}");
        assert!(text.contains(&format!("spandrel.kafka.api_version = Int({version})")), "{text}");
    }
    assert_eq!(stats.counted(Count::KafkaUnknown), 4);
}

#[test]
fn a_broker_s_side_is_counted() {
    let (asked, told) = produce(Topic::Name("orders".into()), records(1, 0, vec![]), 0, 41);
    let (mut builder, stats) = builder();
    assert!(build(&mut builder, &call(Role::Server, 0, 9, asked, Some(told))).is_empty());
    assert_eq!(stats.counted(Count::KafkaReceived), 1);
}

#[test]
fn what_caused_it_is_its_parent() {
    let (asked, told) = produce(Topic::Name("orders".into()), records(1, 0, vec![]), 0, 41);
    let cause =
        Cause { trace_id: [5; 16], parent_id: [6; 8], flags: 3, rule: Rule::Worker as u8, ..Cause::NONE };
    let spans = build(
        &mut builder().0,
        &Call { cause, ..call(Role::Client, 0, 9, asked.clone(), Some(told.clone())) },
    );
    assert_eq!((spans[0].trace_id, spans[0].parent_id), ([5; 16], [6; 8]));
    assert!(show(&spans).contains("spandrel.parent.rule = worker"));
    let unsampled = Cause { flags: 0, ..cause };
    let (mut builder, stats) = builder();
    assert!(
        build(&mut builder, &Call { cause: unsampled, ..call(Role::Client, 0, 9, asked, Some(told)) })
            .is_empty()
    );
    assert_eq!(stats.unsampled.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[test]
fn links_are_bounded() {
    let origins = (0..200_u8).map(|n| origin(n + 1, i64::from(n))).collect();
    let fetched = Fetched {
        topic: Topic::Name("t".into()),
        partition: 0,
        error: 0,
        records: Records { more: 10, ..records(210, 0, origins) },
    };
    let told = Told::Fetch { error: 0, partitions: vec![fetched] };
    let spans = build(&mut builder().0, &call(Role::Client, 1, 12, Asked::Fetch, Some(told)));
    assert_eq!((spans[0].links.len(), spans[0].dropped_links), (LINKS, 200 - LINKS as u32 + 10));
}
