//! Attribute names, and values that the conventions fix. No attribute name is written anywhere else in
//! this room.
//!
//! The first part is the HTTP conventions' ([`super::SCHEMA_URL`]); the last one is ours.

pub const CLIENT_ADDRESS: &str = "client.address";
pub const ERROR_TYPE: &str = "error.type";
pub const HTTP_REQUEST_BODY_SIZE: &str = "http.request.body.size";
/// With a lower-case field name behind it.
pub const HTTP_REQUEST_HEADER: &str = "http.request.header.";
pub const HTTP_REQUEST_METHOD: &str = "http.request.method";
pub const HTTP_REQUEST_METHOD_ORIGINAL: &str = "http.request.method_original";
pub const HTTP_RESPONSE_BODY_SIZE: &str = "http.response.body.size";
/// With a lower-case field name behind it.
pub const HTTP_RESPONSE_HEADER: &str = "http.response.header.";
pub const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
pub const KAFKA_CLUSTER_ID: &str = "kafka.cluster.id";
pub const KAFKA_MESSAGE_TOMBSTONE: &str = "kafka.message.tombstone";
pub const KAFKA_OFFSET: &str = "kafka.offset";
pub const MESSAGING_BATCH_MESSAGE_COUNT: &str = "messaging.batch.message_count";
pub const MESSAGING_CLIENT_ID: &str = "messaging.client.id";
pub const MESSAGING_CONSUMER_GROUP_NAME: &str = "messaging.consumer.group.name";
pub const MESSAGING_DESTINATION_NAME: &str = "messaging.destination.name";
pub const MESSAGING_DESTINATION_PARTITION_ID: &str = "messaging.destination.partition.id";
pub const MESSAGING_OPERATION_NAME: &str = "messaging.operation.name";
pub const MESSAGING_OPERATION_TYPE: &str = "messaging.operation.type";
pub const MESSAGING_SYSTEM_NAME: &str = "messaging.system.name";
pub const NETWORK_PEER_ADDRESS: &str = "network.peer.address";
pub const NETWORK_PEER_PORT: &str = "network.peer.port";
pub const NETWORK_PROTOCOL_VERSION: &str = "network.protocol.version";
/// Older: the status code's number.
pub const RPC_GRPC_STATUS_CODE: &str = "rpc.grpc.status_code";
pub const RPC_METHOD: &str = "rpc.method";
pub const RPC_METHOD_ORIGINAL: &str = "rpc.method_original";
/// Older: what stands before the last slash of [`RPC_METHOD`].
pub const RPC_SERVICE: &str = "rpc.service";
pub const RPC_STATUS_CODE: &str = "rpc.status_code";
/// Older name of the next one.
pub const RPC_SYSTEM: &str = "rpc.system";
pub const RPC_SYSTEM_NAME: &str = "rpc.system.name";
pub const SERVER_ADDRESS: &str = "server.address";
pub const SERVER_PORT: &str = "server.port";
pub const URL_FULL: &str = "url.full";
pub const URL_PATH: &str = "url.path";
pub const URL_QUERY: &str = "url.query";
pub const URL_SCHEME: &str = "url.scheme";
pub const URL_TEMPLATE: &str = "url.template";
pub const USER_AGENT_ORIGINAL: &str = "user_agent.original";

/// `http.request.method` of a method that is not known, and `error.type` of an error without a name.
pub const OTHER: &str = "_OTHER";
/// The name of a span whose method is not known.
pub const NAME_OTHER: &str = "HTTP";
/// `rpc.system.name` of Connect, and the name of a span whose method is not known.
pub const RPC_CONNECT: &str = "connectrpc";
/// The same for [`RPC_SYSTEM`].
pub const RPC_CONNECT_OLDER: &str = "connect_rpc";
/// `rpc.system.name` of gRPC, and the name of a span whose method is not known.
pub const RPC_GRPC: &str = "grpc";
/// What stands where something secret was.
pub const REDACTED: &str = "REDACTED";

/// The methods that are known unless `OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS` says otherwise: RFC 9110's,
/// PATCH (RFC 5789) and QUERY. The most frequent ones come first.
pub const METHODS: [&str; 10] =
    ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE", "QUERY"];

/// How an exchange ended, if not with a complete response: one of [`super::outcome`]'s names.
pub const SPANDREL_OUTCOME: &str = "spandrel.outcome";
/// The `errno` of a failed connection, where `error.type` has no name for it.
pub const SPANDREL_ERRNO: &str = "spandrel.errno";
/// Nanoseconds that the request lay in the server's socket before the program read it.
pub const SPANDREL_WAIT: &str = "spandrel.request.wait_ns";
/// The request's head went on beyond what was captured, so attributes may be missing.
pub const SPANDREL_REQUEST_TRUNCATED: &str = "spandrel.request.truncated";
/// The same of the response's head.
pub const SPANDREL_RESPONSE_TRUNCATED: &str = "spandrel.response.truncated";
/// Bytes of the exchange were not seen, so something may be untold.
pub const SPANDREL_GAP: &str = "spandrel.gap";
/// A Kafka request's API key and version, where what it holds could not be read.
pub const SPANDREL_KAFKA_API_KEY: &str = "spandrel.kafka.api_key";
pub const SPANDREL_KAFKA_API_VERSION: &str = "spandrel.kafka.api_version";
/// Bytes of record batches on the wire, in one partition or of all that a consumer got.
pub const SPANDREL_KAFKA_BYTES: &str = "spandrel.kafka.bytes";
/// Offset of the first of several messages.
pub const SPANDREL_KAFKA_FIRST_OFFSET: &str = "spandrel.kafka.first_offset";
/// A topic's id, in hexadecimal digits, where its name was not seen.
pub const SPANDREL_KAFKA_TOPIC_ID: &str = "spandrel.kafka.topic_id";
/// The messages belong to a transaction.
pub const SPANDREL_KAFKA_TRANSACTIONAL: &str = "spandrel.kafka.transactional";
/// Headers of some messages were not read, so links may be missing.
pub const SPANDREL_KAFKA_UNREAD: &str = "spandrel.kafka.unread";
/// How the parent of a client span is known: a [`spandrel_common::context::Rule`].
pub const SPANDREL_PARENT_RULE: &str = "spandrel.parent.rule";
