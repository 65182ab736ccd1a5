//! Kafka's APIs by their keys: names, the newest version known, and what is read of their messages.

use super::{
    super::Side,
    schema::{
        DESCRIBE_TOPIC_PARTITIONS_RESPONSE, FETCH_REQUEST, FETCH_RESPONSE, Field, GROUP_REQUEST,
        METADATA_RESPONSE, PRODUCE_REQUEST, PRODUCE_RESPONSE, UNREAD,
    },
};

pub const PRODUCE: i16 = 0;
pub const FETCH: i16 = 1;
pub(super) const METADATA: i16 = 3;
pub(super) const SASL_HANDSHAKE: i16 = 17;
pub(super) const DESCRIBE_TOPIC_PARTITIONS: i16 = 75;

/// How many versions a sender may be ahead of what is known here, in the first request of a connection: what
/// is more is taken for another protocol.
const AHEAD: i16 = 16;

/// Names and newest versions of Kafka 4.3, by key (`ApiKeys` of Apache Kafka; 4 to 7 as of 3.9, the last that
/// has them).
const APIS: [(&str, i16); 93] = [
    ("Produce", 13),
    ("Fetch", 18),
    ("ListOffsets", 11),
    ("Metadata", 13),
    ("LeaderAndIsr", 7),
    ("StopReplica", 4),
    ("UpdateMetadata", 8),
    ("ControlledShutdown", 3),
    ("OffsetCommit", 10),
    ("OffsetFetch", 10),
    ("FindCoordinator", 6),
    ("JoinGroup", 9),
    ("Heartbeat", 4),
    ("LeaveGroup", 5),
    ("SyncGroup", 5),
    ("DescribeGroups", 6),
    ("ListGroups", 5),
    ("SaslHandshake", 1),
    ("ApiVersions", 4),
    ("CreateTopics", 7),
    ("DeleteTopics", 6),
    ("DeleteRecords", 2),
    ("InitProducerId", 6),
    ("OffsetForLeaderEpoch", 4),
    ("AddPartitionsToTxn", 5),
    ("AddOffsetsToTxn", 4),
    ("EndTxn", 5),
    ("WriteTxnMarkers", 2),
    ("TxnOffsetCommit", 5),
    ("DescribeAcls", 3),
    ("CreateAcls", 3),
    ("DeleteAcls", 3),
    ("DescribeConfigs", 4),
    ("AlterConfigs", 2),
    ("AlterReplicaLogDirs", 2),
    ("DescribeLogDirs", 5),
    ("SaslAuthenticate", 2),
    ("CreatePartitions", 3),
    ("CreateDelegationToken", 3),
    ("RenewDelegationToken", 2),
    ("ExpireDelegationToken", 2),
    ("DescribeDelegationToken", 3),
    ("DeleteGroups", 2),
    ("ElectLeaders", 2),
    ("IncrementalAlterConfigs", 1),
    ("AlterPartitionReassignments", 1),
    ("ListPartitionReassignments", 0),
    ("OffsetDelete", 0),
    ("DescribeClientQuotas", 1),
    ("AlterClientQuotas", 1),
    ("DescribeUserScramCredentials", 0),
    ("AlterUserScramCredentials", 0),
    ("Vote", 2),
    ("BeginQuorumEpoch", 1),
    ("EndQuorumEpoch", 1),
    ("DescribeQuorum", 2),
    ("AlterPartition", 3),
    ("UpdateFeatures", 2),
    ("Envelope", 0),
    ("FetchSnapshot", 1),
    ("DescribeCluster", 2),
    ("DescribeProducers", 0),
    ("BrokerRegistration", 4),
    ("BrokerHeartbeat", 2),
    ("UnregisterBroker", 0),
    ("DescribeTransactions", 0),
    ("ListTransactions", 2),
    ("AllocateProducerIds", 0),
    ("ConsumerGroupHeartbeat", 1),
    ("ConsumerGroupDescribe", 1),
    ("ControllerRegistration", 0),
    ("GetTelemetrySubscriptions", 0),
    ("PushTelemetry", 0),
    ("AssignReplicasToDirs", 0),
    ("ListConfigResources", 1),
    ("DescribeTopicPartitions", 0),
    ("ShareGroupHeartbeat", 1),
    ("ShareGroupDescribe", 1),
    ("ShareFetch", 2),
    ("ShareAcknowledge", 2),
    ("AddRaftVoter", 1),
    ("RemoveRaftVoter", 0),
    ("UpdateRaftVoter", 0),
    ("InitializeShareGroupState", 0),
    ("ReadShareGroupState", 0),
    ("WriteShareGroupState", 1),
    ("DeleteShareGroupState", 0),
    ("ReadShareGroupStateSummary", 1),
    ("StreamsGroupHeartbeat", 0),
    ("StreamsGroupDescribe", 0),
    ("DescribeShareGroupOffsets", 1),
    ("AlterShareGroupOffsets", 0),
    ("DeleteShareGroupOffsets", 0),
];

/// An API's name, if it is known.
pub fn name(key: i16) -> Option<&'static str> {
    known(key).map(|(name, _)| name)
}

/// Whether a version of an API is known.
pub fn knows(key: i16, version: i16) -> bool {
    known(key).is_some_and(|(_, last)| (0..=last).contains(&version))
}

/// Whether an API is known, and a version of it likely.
pub(super) fn likely(key: i16, version: i16) -> bool {
    known(key).is_some_and(|(_, last)| (0..=last + AHEAD).contains(&version))
}

fn known(key: i16) -> Option<(&'static str, i16)> {
    usize::try_from(key).ok().and_then(|key| APIS.get(key)).copied()
}

/// How a message of a version is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) fields: &'static [Field],
    pub(super) flexible: bool,
    /// Tagged fields end its header.
    pub(super) header: bool,
}

/// How a message is read; one that nobody looks into, or of a version that is not known, to nothing.
pub(super) fn shape(side: Side, key: i16, version: i16) -> Shape {
    // First and last version that the tables tell of, and the first flexible one.
    let (fields, first, last, flexible) = match (side, key) {
        (Side::Request, PRODUCE) => (PRODUCE_REQUEST, 0, 13, 9),
        (Side::Response, PRODUCE) => (PRODUCE_RESPONSE, 0, 13, 9),
        (Side::Request, FETCH) => (FETCH_REQUEST, 0, 18, 12),
        (Side::Response, FETCH) => (FETCH_RESPONSE, 0, 18, 12),
        (Side::Response, METADATA) => (METADATA_RESPONSE, 0, 13, 9),
        (Side::Response, DESCRIBE_TOPIC_PARTITIONS) => (DESCRIBE_TOPIC_PARTITIONS_RESPONSE, 0, 0, 0),
        // Members' requests: OffsetCommit, JoinGroup, Heartbeat, SyncGroup, and those of the newer protocols.
        (Side::Request, 8) => (GROUP_REQUEST, 0, 10, 8),
        (Side::Request, 11) => (GROUP_REQUEST, 0, 9, 6),
        (Side::Request, 12) => (GROUP_REQUEST, 0, 4, 4),
        (Side::Request, 14) => (GROUP_REQUEST, 0, 5, 4),
        (Side::Request, 68 | 76 | 88) => (GROUP_REQUEST, 0, 1, 0),
        _ => (UNREAD, 0, -1, i16::MAX),
    };
    if !(first..=last).contains(&version) {
        return Shape { fields: UNREAD, flexible: false, header: false };
    }
    let flexible = version >= flexible;
    Shape { fields, flexible, header: flexible }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_versions() {
        assert_eq!(
            (name(PRODUCE), name(FETCH), name(METADATA)),
            (Some("Produce"), Some("Fetch"), Some("Metadata"))
        );
        assert_eq!(name(SASL_HANDSHAKE), Some("SaslHandshake"));
        assert_eq!(name(18), Some("ApiVersions"));
        assert_eq!(name(DESCRIBE_TOPIC_PARTITIONS), Some("DescribeTopicPartitions"));
        assert_eq!((name(-1), name(10_000)), (None, None));
        assert!(knows(PRODUCE, 13) && !knows(PRODUCE, 14) && !knows(PRODUCE, -1));
        assert!(likely(PRODUCE, 14) && !likely(PRODUCE, 1000) && !likely(9999, 0));
    }
}
