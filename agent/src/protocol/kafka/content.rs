//! What is kept of a connection's messages: plain data, bounded.

use std::sync::Arc;

use spandrel_common::w3c::TraceParent;

/// A topic, by what the message called it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    Name(Arc<str>),
    /// KIP-516. Names come from [`Told::Cluster`].
    Id([u8; 16]),
}

/// The codec of a record batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
    /// One that does not exist yet.
    Unknown,
}

/// A trace context that records carry in their headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub parent: TraceParent,
    /// The value of `tracestate`, as it came; at most [`super::record::STATE`] bytes.
    pub state: Box<[u8]>,
    /// Offset of the first record with it; in a request, counted from the batch's beginning.
    pub offset: i64,
    /// How many records of the message carry it.
    pub records: u32,
}

/// What is known of the records of one partition in one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Their size on the wire.
    pub bytes: u32,
    /// How many they are. Those before the offset that was asked for, which the consumer throws away, and
    /// control records are not counted.
    pub messages: u64,
    /// Offsets of the first and the last one.
    pub first: Option<i64>,
    pub last: Option<i64>,
    /// Distinct contexts in their headers, at most [`super::records::ORIGINS`].
    pub origins: Vec<Origin>,
    /// Records with other contexts than those.
    pub more: u64,
    /// Headers of some were not read: not captured, too large when unpacked, or not understood.
    pub unread: bool,
    /// They belong to a transaction.
    pub transactional: bool,
    /// There is one record, and its value is null.
    pub tombstone: bool,
    /// Some are of the formats before Kafka 0.11, which have no headers; compressed ones of these count as
    /// one.
    pub old: bool,
    /// How they were packed, if all in one way.
    pub codec: Option<Codec>,
}

/// One partition of a Produce request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub topic: Topic,
    pub partition: i32,
    pub records: Records,
}

/// What the broker says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub topic: Topic,
    pub partition: i32,
    /// 0 if there is none.
    pub error: i16,
    /// Offset of its first record; -1 with an error.
    pub offset: i64,
}

/// One partition of a Fetch response that has records or an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub topic: Topic,
    pub partition: i32,
    pub error: i16,
    pub records: Records,
}

/// What a request says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// Nothing that spans need.
    #[default]
    Other,
    Produce {
        transaction: Option<Box<str>>,
        acks: i16,
        partitions: Vec<Sent>,
    },
    Fetch,
    /// The sender is a member of this group.
    Group(Box<str>),
}

/// What a response says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Told {
    /// Nothing that spans need.
    #[default]
    Other,
    Produce(Vec<Stored>),
    Fetch {
        /// The error of the whole request, 0 if there is none.
        error: i16,
        partitions: Vec<Fetched>,
    },
    /// Something about the cluster.
    Cluster {
        id: Option<Box<str>>,
        /// Ids of topics, and their names; at most [`super::read::TOPICS`].
        topics: Vec<([u8; 16], Arc<str>)>,
    },
}
