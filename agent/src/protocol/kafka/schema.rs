//! What the messages that spans need are made of: Apache Kafka's message definitions
//! (clients/src/main/resources/common/message), as tables. Fields that nobody looks at are there for their
//! size.
//!
//! A library's decoder would want whole messages and allocates by the lengths that they announce; here a
//! message may be cut anywhere, may be larger than memory, and may lie.

/// What a field is to a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Nothing.
    Other,
    Acks,
    TransactionalId,
    ClusterId,
    Group,
    SessionId,
    SessionEpoch,
    /// The request failed as a whole.
    Error,
    Topics,
    Forgotten,
    Topic,
    TopicId,
    Partitions,
    Partition,
    PartitionError,
    BaseOffset,
    FetchOffset,
    AbortedProducer,
    AbortedOffset,
    Records,
}

/// How a field is encoded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Type {
    /// A whole number of 1, 2, 4 or 8 bytes, or a boolean.
    Int(u8),
    Uuid,
    /// `STRING`, `NULLABLE_STRING`, and their compact forms.
    Text,
    /// Record batches behind their length.
    Records,
    /// `INT32`s that nobody looks at.
    Ints,
    /// An array of structures.
    Array(&'static [Field]),
    /// An array of something primitive.
    Plain(&'static [Field]),
    /// What follows, to the end of the message, nobody looks at.
    Rest,
}

/// A field, and the versions that have it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) what: What,
    pub(super) kind: Type,
    pub(super) since: i16,
    pub(super) until: i16,
}

impl Field {
    const fn since(self, version: i16) -> Self {
        Self { since: version, ..self }
    }

    const fn until(self, version: i16) -> Self {
        Self { until: version, ..self }
    }
}

const fn field(what: What, kind: Type) -> Field {
    Field { what, kind, since: 0, until: i16::MAX }
}

const fn skip(kind: Type) -> Field {
    field(What::Other, kind)
}

const BOOL: Type = Type::Int(1);
const INT8: Type = Type::Int(1);
const INT16: Type = Type::Int(2);
const INT32: Type = Type::Int(4);
const INT64: Type = Type::Int(8);
const REST: Field = skip(Type::Rest);

/// A topic by name in versions before this one, by id from it on.
const fn topic(id_since: i16) -> [Field; 2] {
    [field(What::Topic, Type::Text).until(id_since - 1), field(What::TopicId, Type::Uuid).since(id_since)]
}

pub(super) const PRODUCE_REQUEST: &[Field] = &[
    field(What::TransactionalId, Type::Text).since(3),
    field(What::Acks, INT16),
    skip(INT32),
    field(
        What::Topics,
        Type::Array(&[
            topic(13)[0],
            topic(13)[1],
            field(
                What::Partitions,
                Type::Array(&[field(What::Partition, INT32), field(What::Records, Type::Records)]),
            ),
        ]),
    ),
];

pub(super) const PRODUCE_RESPONSE: &[Field] = &[
    field(
        What::Topics,
        Type::Array(&[
            topic(13)[0],
            topic(13)[1],
            field(
                What::Partitions,
                Type::Array(&[
                    field(What::Partition, INT32),
                    field(What::PartitionError, INT16),
                    field(What::BaseOffset, INT64),
                    skip(INT64).since(2),
                    skip(INT64).since(5),
                    skip(Type::Array(&[skip(INT32), skip(Type::Text)])).since(8),
                    skip(Type::Text).since(8),
                ]),
            ),
        ]),
    ),
    skip(INT32).since(1),
];

pub(super) const FETCH_REQUEST: &[Field] = &[
    skip(INT32).until(14),
    skip(INT32),
    skip(INT32),
    skip(INT32).since(3),
    skip(INT8).since(4),
    field(What::SessionId, INT32).since(7),
    field(What::SessionEpoch, INT32).since(7),
    field(
        What::Topics,
        Type::Array(&[
            topic(13)[0],
            topic(13)[1],
            field(
                What::Partitions,
                Type::Array(&[
                    field(What::Partition, INT32),
                    skip(INT32).since(9),
                    field(What::FetchOffset, INT64),
                    skip(INT32).since(12),
                    skip(INT64).since(5),
                    skip(INT32),
                ]),
            ),
        ]),
    ),
    field(
        What::Forgotten,
        Type::Array(&[
            topic(13)[0],
            topic(13)[1],
            field(What::Forgotten, Type::Plain(&[field(What::Partition, INT32)])),
        ]),
    )
    .since(7),
    skip(Type::Text).since(11),
];

pub(super) const FETCH_RESPONSE: &[Field] = &[
    skip(INT32).since(1),
    field(What::Error, INT16).since(7),
    field(What::SessionId, INT32).since(7),
    field(
        What::Topics,
        Type::Array(&[
            topic(13)[0],
            topic(13)[1],
            field(
                What::Partitions,
                Type::Array(&[
                    field(What::Partition, INT32),
                    field(What::PartitionError, INT16),
                    skip(INT64),
                    skip(INT64).since(4),
                    skip(INT64).since(5),
                    skip(Type::Array(&[
                        field(What::AbortedProducer, INT64),
                        field(What::AbortedOffset, INT64),
                    ]))
                    .since(4),
                    skip(INT32).since(11),
                    field(What::Records, Type::Records),
                ]),
            ),
        ]),
    ),
];

pub(super) const METADATA_RESPONSE: &[Field] = &[
    skip(INT32).since(3),
    skip(Type::Array(&[skip(INT32), skip(Type::Text), skip(INT32), skip(Type::Text).since(1)])),
    field(What::ClusterId, Type::Text).since(2),
    skip(INT32).since(1),
    field(
        What::Topics,
        Type::Array(&[
            skip(INT16),
            field(What::Topic, Type::Text),
            field(What::TopicId, Type::Uuid).since(10),
            skip(BOOL).since(1),
            skip(Type::Array(&[
                skip(INT16),
                skip(INT32),
                skip(INT32),
                skip(INT32).since(7),
                skip(Type::Ints),
                skip(Type::Ints),
                skip(Type::Ints).since(5),
            ])),
            skip(INT32).since(8),
        ]),
    ),
    skip(INT32).since(8).until(10),
    skip(INT16).since(13),
];

pub(super) const DESCRIBE_TOPIC_PARTITIONS_RESPONSE: &[Field] = &[
    skip(INT32),
    field(
        What::Topics,
        Type::Array(&[
            skip(INT16),
            field(What::Topic, Type::Text),
            field(What::TopicId, Type::Uuid),
            skip(BOOL),
            skip(Type::Array(&[
                skip(INT16),
                skip(INT32),
                skip(INT32),
                skip(INT32),
                skip(Type::Ints),
                skip(Type::Ints),
                skip(Type::Ints),
                skip(Type::Ints),
                skip(Type::Ints),
            ])),
            skip(INT32),
        ]),
    ),
    REST,
];

/// A request of a group's member: they all begin with the group.
pub(super) const GROUP_REQUEST: &[Field] = &[field(What::Group, Type::Text), REST];

/// A message that nobody looks into.
pub(super) const UNREAD: &[Field] = &[REST];
