//! What is made of a message's fields: requests and responses as spans need them, bounded.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    api,
    content::{Asked, Fetched, Sent, Stored, Told, Topic},
    records::Batches,
    schema::What,
    walk::Sink,
};
use crate::protocol::Side;

/// Partitions of one message that are kept. Producers batch by broker: a request names the partitions of
/// which that one leads; some hundreds are much. The others are counted.
pub const PARTITIONS: usize = 256;

/// Aborted transactions of one partition that are kept: each has at least one record in what is told of it,
/// and responses seldom hold so many transactions.
const ABORTED: usize = 1024;

/// Topics of one message whose ids are kept: about a megabyte of them. A client that asks for all topics of a
/// larger cluster gets many that it has nothing to do with; those that it works with it asks for by name,
/// too.
pub const TOPICS: usize = 16_384;

/// Partitions whose offsets are kept for a connection: a consumer that reads more from one broker has records
/// before the offset that it asked for counted, too, where a batch holds some.
pub const POSITIONS: usize = 4096;

/// The offsets that a consumer asked for last, by partition. Incremental requests (KIP-227) name only those
/// that changed.
#[derive(Debug, Default)]
pub(super) struct Positions(BTreeMap<Topic, BTreeMap<i32, i64>>, usize);

impl Positions {
    fn set(&mut self, topic: &Topic, partition: i32, offset: i64) {
        if let Some(known) = self.0.get_mut(topic).and_then(|partitions| partitions.get_mut(&partition)) {
            *known = offset;
        } else if self.1 < POSITIONS {
            self.0.entry(topic.clone()).or_default().insert(partition, offset);
            self.1 += 1;
        }
    }

    fn forget(&mut self, topic: &Topic, partition: i32) {
        if let Some(partitions) = self.0.get_mut(topic) {
            self.1 -= usize::from(partitions.remove(&partition).is_some());
            if partitions.is_empty() {
                self.0.remove(topic);
            }
        }
    }

    fn clear(&mut self) {
        *self = Self::default();
    }

    fn get(&self, topic: &Topic, partition: i32) -> Option<i64> {
        self.0.get(topic)?.get(&partition).copied()
    }
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Produce,
    Produced,
    Fetch,
    Fetched,
    Topics,
    Group,
    Other,
}

/// Reads one message.
#[derive(Debug)]
pub(super) struct Reader {
    kind: Kind,
    transaction: Option<Box<str>>,
    acks: Option<i16>,
    group: Option<Box<str>>,
    error: i16,
    topic: Option<Topic>,
    name: Option<Arc<str>>,
    partition: i32,
    partition_error: i16,
    offset: i64,
    /// Transactions whose records the consumer throws away: producer, and offset of the first record.
    aborted: Vec<(i64, i64)>,
    aborted_producer: i64,
    batches: Option<Box<Batches>>,
    records: Option<Batches>,
    sent: Vec<Sent>,
    stored: Vec<Stored>,
    fetched: Vec<Fetched>,
    cluster: Option<Box<str>>,
    topics: Vec<([u8; 16], Arc<str>)>,
    /// Partitions or topics that were not kept.
    pub(super) more: u64,
}

/// A reader with what it needs of the connection.
pub(super) struct Reading<'a> {
    pub(super) reader: &'a mut Reader,
    pub(super) positions: &'a mut Positions,
}

impl Reader {
    pub(super) fn new(side: Side, key: i16) -> Self {
        let kind = match (side, key) {
            (Side::Request, api::PRODUCE) => Kind::Produce,
            (Side::Response, api::PRODUCE) => Kind::Produced,
            (Side::Request, api::FETCH) => Kind::Fetch,
            (Side::Response, api::FETCH) => Kind::Fetched,
            (Side::Response, api::METADATA | api::DESCRIBE_TOPIC_PARTITIONS) => Kind::Topics,
            (Side::Request, _) => Kind::Group,
            (Side::Response, _) => Kind::Other,
        };
        Self {
            kind,
            transaction: None,
            acks: None,
            group: None,
            error: 0,
            topic: None,
            name: None,
            partition: 0,
            partition_error: 0,
            offset: 0,
            aborted: Vec::new(),
            aborted_producer: 0,
            batches: None,
            records: None,
            sent: Vec::new(),
            stored: Vec::new(),
            fetched: Vec::new(),
            cluster: None,
            topics: Vec::new(),
            more: 0,
        }
    }

    /// Whether the broker will not answer.
    pub(super) fn unanswered(&self) -> bool {
        self.kind == Kind::Produce && self.acks == Some(0)
    }

    /// The partition whose records are cut off.
    fn cut(&mut self) {
        if let Some(batches) = self.batches.take() {
            self.records = Some(*batches);
            self.element_of_partitions();
        }
    }

    /// What the request says.
    pub(super) fn asked(mut self) -> Asked {
        self.cut();
        match (self.kind, self.group) {
            (Kind::Produce, _) => Asked::Produce {
                transaction: self.transaction,
                acks: self.acks.unwrap_or(-1),
                partitions: self.sent,
            },
            (Kind::Fetch, _) => Asked::Fetch,
            (Kind::Group, Some(group)) => Asked::Group(group),
            _ => Asked::Other,
        }
    }

    /// What the response says.
    pub(super) fn told(mut self) -> Told {
        self.cut();
        match self.kind {
            Kind::Produced => Told::Produce(self.stored),
            Kind::Fetched => Told::Fetch { error: self.error, partitions: self.fetched },
            Kind::Topics => Told::Cluster { id: self.cluster, topics: self.topics },
            _ => Told::Other,
        }
    }

    fn element_of_partitions(&mut self) {
        let Some(topic) = self.topic.clone() else { return };
        let (partition, error) = (self.partition, std::mem::take(&mut self.partition_error));
        let records = self.records.take().map(Batches::finish).unwrap_or_default();
        let room = self.sent.len() + self.stored.len() + self.fetched.len() < PARTITIONS;
        match self.kind {
            Kind::Produce if room => self.sent.push(Sent { topic, partition, records }),
            Kind::Produced if room => {
                self.stored.push(Stored { topic, partition, error, offset: self.offset });
            }
            Kind::Fetched if error == 0 && records.messages == 0 && !records.unread => {}
            Kind::Fetched if room => self.fetched.push(Fetched { topic, partition, error, records }),
            Kind::Produce | Kind::Produced | Kind::Fetched => self.more = self.more.saturating_add(1),
            _ => {}
        }
    }
}

fn text(text: &[u8]) -> Box<str> {
    String::from_utf8_lossy(text).into()
}

impl Sink for Reading<'_> {
    fn int(&mut self, what: What, value: i64) {
        let reader = &mut *self.reader;
        match what {
            What::Acks => reader.acks = Some(value as i16),
            What::Error => reader.error = value as i16,
            What::Partition => reader.partition = value as i32,
            What::PartitionError => reader.partition_error = value as i16,
            What::AbortedProducer => reader.aborted_producer = value,
            What::AbortedOffset if reader.aborted.len() < ABORTED => {
                reader.aborted.push((reader.aborted_producer, value));
            }
            What::BaseOffset | What::FetchOffset => reader.offset = value,
            // A new session lists everything: 0 begins one, -1 goes without (KIP-227).
            What::SessionEpoch if reader.kind == Kind::Fetch && value <= 0 => self.positions.clear(),
            _ => {}
        }
    }

    fn text(&mut self, what: What, value: Option<&[u8]>) {
        let reader = &mut *self.reader;
        let Some(value) = value else { return };
        match what {
            What::TransactionalId => reader.transaction = Some(text(value)),
            What::Group if !value.is_empty() => reader.group = Some(text(value)),
            What::ClusterId => reader.cluster = Some(text(value)),
            What::Topic => {
                let name: Arc<str> = text(value).into();
                reader.topic = Some(Topic::Name(Arc::clone(&name)));
                reader.name = Some(name);
            }
            _ => {}
        }
    }

    fn uuid(&mut self, what: What, id: [u8; 16]) {
        let reader = &mut *self.reader;
        if what != What::TopicId {
            return;
        }
        match reader.name.take() {
            // All zeros is "none" (`Uuid.ZERO_UUID`).
            Some(name) if reader.kind == Kind::Topics && id != [0; 16] && !name.is_empty() => {
                if reader.topics.len() < TOPICS {
                    reader.topics.push((id, name));
                } else {
                    reader.more = reader.more.saturating_add(1);
                }
            }
            _ => reader.topic = Some(Topic::Id(id)),
        }
    }

    fn element(&mut self, what: What) {
        let reader = &mut *self.reader;
        match what {
            What::Partitions if reader.kind == Kind::Fetch => {
                if let Some(topic) = &reader.topic {
                    self.positions.set(topic, reader.partition, reader.offset);
                }
            }
            What::Partitions => reader.element_of_partitions(),
            What::Forgotten => {
                if let Some(topic) = &reader.topic {
                    self.positions.forget(topic, reader.partition);
                }
            }
            What::Topics => {
                reader.topic = None;
                reader.name = None;
            }
            _ => {}
        }
    }

    fn begin(&mut self, len: u32) {
        let reader = &mut *self.reader;
        let from = match (&reader.topic, reader.kind) {
            (Some(topic), Kind::Fetched) => self.positions.get(topic, reader.partition),
            _ => None,
        };
        reader.batches = Some(Box::new(Batches::new(len, from, std::mem::take(&mut reader.aborted))));
    }

    fn records(&mut self, bytes: &[u8], _last: bool) -> usize {
        self.reader.batches.as_mut().map_or(bytes.len(), |batches| batches.advance(bytes))
    }

    fn pass(&mut self, len: u32) -> bool {
        self.reader.batches.as_mut().is_none_or(|batches| batches.pass(len))
    }

    fn done(&mut self) {
        self.reader.records = self.reader.batches.take().map(|batches| *batches);
    }
}
