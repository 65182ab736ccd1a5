//! What the Kafka parser reads is what a library wrote: every version of every message that it reads, with
//! everything in it that the version has.
#![cfg(test)]

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    indexmap::IndexMap,
    messages::{
        ApiKey, BrokerId, DescribeTopicPartitionsResponse, FetchRequest, FetchResponse, GroupId,
        MetadataResponse, ProduceRequest, ProduceResponse, ProducerId, RequestHeader, ResponseHeader,
        TopicName, TransactionalId,
        consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequest,
        describe_topic_partitions_response::{
            Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
        },
        fetch_request::{FetchPartition, FetchTopic, ForgottenTopic},
        fetch_response::{AbortedTransaction, FetchableTopicResponse, NodeEndpoint, PartitionData},
        heartbeat_request::HeartbeatRequest,
        join_group_request::JoinGroupRequest,
        metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
        offset_commit_request::OffsetCommitRequest,
        produce_request::{PartitionProduceData, TopicProduceData},
        produce_response::{
            BatchIndexAndErrorMessage, LeaderIdAndEpoch, PartitionProduceResponse, TopicProduceResponse,
        },
        sync_group_request::SyncGroupRequest,
    },
    protocol::{Encodable, StrBytes},
    records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType},
};
use spandrel::protocol::{
    Input, Side,
    kafka::{
        Kafka, Message,
        content::{Asked, Told, Topic},
    },
};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const ID: [u8; 16] = [7; 16];

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A topic's name where a version has names, and its id where it has those.
fn name(named: bool) -> TopicName {
    TopicName(text(if named { "orders" } else { "" }))
}

fn topic(named: bool) -> Topic {
    if named { Topic::Name("orders".into()) } else { Topic::Id(ID) }
}

fn uuid(named: bool) -> uuid::Uuid {
    if named { uuid::Uuid::nil() } else { uuid::Uuid::from_bytes(ID) }
}

fn records(base: i64, count: i64) -> Bytes {
    let record = |i: i64| Record {
        transactional: true,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 3,
        producer_id: 9,
        producer_epoch: 1,
        timestamp_type: TimestampType::Creation,
        offset: base + i,
        sequence: i as i32,
        timestamp: 1_790_000_000_000 + i * 1000,
        key: (i % 2 == 0).then(|| Bytes::from_static(b"key")),
        value: (i % 3 != 0).then(|| Bytes::from(vec![b'v'; 100 * i as usize])),
        headers: IndexMap::from([
            (text("other"), None),
            (text("traceparent"), Some(Bytes::from_static(TRACE.as_bytes()))),
        ]),
    };
    let all: Vec<_> = (0..count).map(record).collect();
    let mut out = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut out, &all, &options).unwrap();
    out.freeze()
}

fn sized(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u32).to_be_bytes(), message].concat()
}

fn request(key: ApiKey, version: i16, correlation: i32, body: &impl Encodable) -> Vec<u8> {
    let mut out = BytesMut::new();
    let header = RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(text("client")));
    header.encode(&mut out, key.request_header_version(version)).unwrap();
    body.encode(&mut out, version).unwrap();
    sized(&out)
}

fn response(key: ApiKey, version: i16, correlation: i32, body: &impl Encodable) -> Vec<u8> {
    let mut out = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(correlation);
    header.encode(&mut out, key.response_header_version(version)).unwrap();
    body.encode(&mut out, version).unwrap();
    sized(&out)
}

/// What the parser reads of a request and its response.
fn read(asked: &[u8], told: &[u8]) -> (Asked, Told) {
    let both = [usize::MAX, 1, 100].map(|piece| {
        let (mut parser, mut out) = (Kafka::default(), Vec::new());
        for (side, bytes) in [(Side::Request, asked), (Side::Response, told)] {
            let mut waiting = Vec::new();
            for piece in bytes.chunks(piece) {
                waiting.extend_from_slice(piece);
                let taken = parser.advance(side, Input::Bytes(&waiting), &mut out);
                waiting.drain(..taken);
            }
            assert!(waiting.is_empty());
        }
        let mut parts = (None, None);
        for message in out {
            match message {
                Message::Asked { asked, seen, .. } => {
                    assert!(!seen.partly, "{asked:?}");
                    parts.0 = Some(asked);
                }
                Message::Told { told, seen, .. } => {
                    assert!(!seen.partly, "{told:?}");
                    parts.1 = Some(told);
                }
                Message::Request { .. } | Message::Response { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        (parts.0.unwrap(), parts.1.unwrap())
    });
    assert!(both.iter().all(|one| *one == both[0]));
    let [first, ..] = both;
    first
}

#[test]
fn produce() {
    for version in 3..=13 {
        let named = version < 13;
        let part =
            |index| PartitionProduceData::default().with_index(index).with_records(Some(records(0, 5)));
        let topic_data = TopicProduceData::default()
            .with_name(name(named))
            .with_topic_id(uuid(named))
            .with_partition_data(vec![part(0), part(7)]);
        let ask = ProduceRequest::default()
            .with_transactional_id(Some(TransactionalId(text("tx"))))
            .with_acks(-1)
            .with_timeout_ms(30_000)
            .with_topic_data(vec![topic_data]);
        let mut stored =
            PartitionProduceResponse::default().with_index(7).with_error_code(10).with_base_offset(-1);
        if version >= 8 {
            let error = BatchIndexAndErrorMessage::default()
                .with_batch_index(1)
                .with_batch_index_error_message(Some(text("too large")));
            stored = stored.with_record_errors(vec![error]).with_error_message(Some(text("no")));
        }
        if version >= 10 {
            let leader = LeaderIdAndEpoch::default().with_leader_id(BrokerId(3)).with_leader_epoch(9);
            stored = stored.with_current_leader(leader);
        }
        let first = PartitionProduceResponse::default().with_index(0).with_base_offset(1234);
        let topic_told = TopicProduceResponse::default()
            .with_name(name(named))
            .with_topic_id(uuid(named))
            .with_partition_responses(vec![first, stored]);
        let tell = ProduceResponse::default().with_responses(vec![topic_told]).with_throttle_time_ms(1);
        let (asked, told) =
            read(&request(ApiKey::Produce, version, 5, &ask), &response(ApiKey::Produce, version, 5, &tell));
        let Asked::Produce { transaction, acks, partitions } = asked else { panic!("{asked:?}") };
        assert_eq!((transaction.as_deref(), acks, partitions.len()), (Some("tx"), -1, 2), "v{version}");
        for (sent, partition) in partitions.iter().zip([0, 7]) {
            assert_eq!((&sent.topic, sent.partition), (&topic(named), partition), "v{version}");
            assert_eq!((sent.records.messages, sent.records.transactional), (5, true));
            assert_eq!(sent.records.origins.len(), 1);
            assert_eq!(sent.records.origins[0].records, 5);
            assert!(!sent.records.unread);
        }
        let Told::Produce(stored) = told else { panic!("{told:?}") };
        let stored: Vec<_> =
            stored.iter().map(|stored| (stored.partition, stored.error, stored.offset)).collect();
        assert_eq!(stored, [(0, 0, 1234), (7, 10, -1)], "v{version}");
    }
}

#[test]
fn fetch() {
    for version in 4..=18 {
        let named = version < 13;
        let part = |partition, offset| {
            let part = FetchPartition::default().with_partition(partition).with_fetch_offset(offset);
            if version >= 9 { part.with_current_leader_epoch(4) } else { part }
        };
        let mut ask = FetchRequest::default().with_max_wait_ms(500).with_min_bytes(1).with_topics(vec![
            FetchTopic::default()
                .with_topic(name(named))
                .with_topic_id(uuid(named))
                .with_partitions(vec![part(0, 102), part(1, 0)]),
        ]);
        if version >= 7 {
            let forgotten = ForgottenTopic::default()
                .with_topic(name(named))
                .with_topic_id(uuid(named))
                .with_partitions(vec![1, 2]);
            ask = ask.with_session_id(77).with_session_epoch(0).with_forgotten_topics_data(vec![forgotten]);
        }
        if version >= 11 {
            ask = ask.with_rack_id(text("rack"));
        }
        if version >= 12 {
            ask = ask.with_cluster_id(Some(text("cluster")));
        }
        let aborted = AbortedTransaction::default().with_producer_id(ProducerId(3)).with_first_offset(9);
        let full = PartitionData::default()
            .with_partition_index(0)
            .with_high_watermark(200)
            .with_aborted_transactions(Some(vec![aborted]))
            .with_records(Some(
                [records(100, 5), records(105, 3), records(108, 9).slice(..50)].concat().into(),
            ));
        let failed = PartitionData::default().with_partition_index(1).with_error_code(3).with_records(None);
        let empty = PartitionData::default().with_partition_index(2).with_records(Some(Bytes::new()));
        let mut tell = FetchResponse::default().with_throttle_time_ms(2).with_responses(vec![
            FetchableTopicResponse::default()
                .with_topic(name(named))
                .with_topic_id(uuid(named))
                .with_partitions(vec![full, failed, empty]),
        ]);
        if version >= 7 {
            tell = tell.with_session_id(77);
        }
        if version >= 16 {
            let node = NodeEndpoint::default().with_node_id(BrokerId(1)).with_host(text("h")).with_port(9092);
            tell = tell.with_node_endpoints(vec![node]);
        }
        let (_, told) =
            read(&request(ApiKey::Fetch, version, 5, &ask), &response(ApiKey::Fetch, version, 5, &tell));
        let Told::Fetch { error: 0, partitions } = told else { panic!("{told:?}") };
        assert_eq!(partitions.len(), 2, "v{version}");
        let (first, second) = (&partitions[0], &partitions[1]);
        assert_eq!((&first.topic, first.partition, first.error), (&topic(named), 0, 0), "v{version}");
        let records = &first.records;
        assert_eq!((records.messages, records.first, records.last), (6, Some(102), Some(107)), "v{version}");
        assert_eq!(
            (records.origins.len(), records.origins[0].records, records.origins[0].offset),
            (1, 6, 102)
        );
        assert!(!records.unread, "v{version}");
        assert_eq!((second.partition, second.error, second.records.messages), (1, 3, 0));
    }
}

#[test]
fn topics() {
    let nodes = || vec![BrokerId(1), BrokerId(2)];
    for version in 0..=13 {
        let mut part = MetadataResponsePartition::default()
            .with_leader_id(BrokerId(1))
            .with_replica_nodes(nodes())
            .with_isr_nodes(nodes());
        if version >= 5 {
            part = part.with_offline_replicas(nodes());
        }
        let mut one = MetadataResponseTopic::default()
            .with_name(Some(name(true)))
            .with_partitions(vec![part.clone(), part]);
        if version >= 10 {
            one = one.with_topic_id(uuid(false));
        }
        let mut tell = MetadataResponse::default()
            .with_brokers(vec![
                MetadataResponseBroker::default()
                    .with_node_id(BrokerId(1))
                    .with_host(text("h"))
                    .with_port(9092),
            ])
            .with_topics(vec![one.clone(), one]);
        if version >= 2 {
            tell = tell.with_cluster_id(Some(text("cluster")));
        }
        let ask = kafka_protocol::messages::MetadataRequest::default();
        let (_, told) = read(
            &request(ApiKey::Metadata, version, 5, &ask.with_topics(None)),
            &response(ApiKey::Metadata, version, 5, &tell),
        );
        let Told::Cluster { id, topics } = told else { panic!("{told:?}") };
        assert_eq!(id.as_deref(), (version >= 2).then_some("cluster"), "v{version}");
        assert_eq!(topics.len(), if version >= 10 { 2 } else { 0 }, "v{version}");
        assert!(topics.iter().all(|(id, name)| *id == ID && **name == *"orders"));
    }
    let part = DescribeTopicPartitionsResponsePartition::default()
        .with_replica_nodes(nodes())
        .with_isr_nodes(nodes())
        .with_eligible_leader_replicas(Some(nodes()))
        .with_offline_replicas(nodes());
    let one = DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(name(true)))
        .with_topic_id(uuid(false))
        .with_partitions(vec![part.clone(), part]);
    let next = Cursor::default().with_topic_name(name(true)).with_partition_index(3);
    let tell = DescribeTopicPartitionsResponse::default().with_topics(vec![one]).with_next_cursor(Some(next));
    let ask = kafka_protocol::messages::DescribeTopicPartitionsRequest::default();
    let key = ApiKey::DescribeTopicPartitions;
    let (_, told) = read(&request(key, 0, 5, &ask), &response(key, 0, 5, &tell));
    assert!(matches!(told, Told::Cluster { id: None, topics } if topics.len() == 1 && topics[0].0 == ID));
}

#[test]
fn groups() {
    let group = || GroupId(text("readers"));
    let check = |key: ApiKey, version, body: &dyn Fn() -> Vec<u8>| {
        let told = sized(&5_i32.to_be_bytes());
        let (asked, _) = read(&body(), &told);
        assert_eq!(asked, Asked::Group("readers".into()), "{key:?} v{version}");
    };
    for version in 0..=9 {
        let ask = JoinGroupRequest::default().with_group_id(group());
        check(ApiKey::JoinGroup, version, &|| request(ApiKey::JoinGroup, version, 5, &ask));
    }
    for version in 0..=5 {
        let ask = SyncGroupRequest::default().with_group_id(group());
        check(ApiKey::SyncGroup, version, &|| request(ApiKey::SyncGroup, version, 5, &ask));
    }
    for version in 0..=4 {
        let ask = HeartbeatRequest::default().with_group_id(group());
        check(ApiKey::Heartbeat, version, &|| request(ApiKey::Heartbeat, version, 5, &ask));
    }
    for version in 2..=9 {
        let ask = OffsetCommitRequest::default().with_group_id(group());
        check(ApiKey::OffsetCommit, version, &|| request(ApiKey::OffsetCommit, version, 5, &ask));
    }
    for version in 0..=1 {
        let ask = ConsumerGroupHeartbeatRequest::default().with_group_id(group());
        check(ApiKey::ConsumerGroupHeartbeat, version, &|| {
            request(ApiKey::ConsumerGroupHeartbeat, version, 5, &ask)
        });
    }
}
