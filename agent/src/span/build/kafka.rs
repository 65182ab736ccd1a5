//! A Kafka request becomes spans, by the messaging conventions (docs/messaging/messaging-spans.md, kafka.md).
//!
//! A Produce request is a `send` for each of its partitions, whose messages are a batch of their own. What a
//! Fetch response brings is a `poll` for each topic. That is an approximation: what a program's `poll`
//! returns may have been fetched before it was called. A Fetch that brings nothing makes no span, and neither
//! does what a traced broker receives, where a span would only say once more what its client's does.
//!
//! Spans link to the contexts that their messages carry, and are no children of them: each message has its
//! own. A `send` whose messages carry some did not create them, and is a client's span then
//! (messaging-spans.md, "Span kind").

use std::{collections::BTreeMap, sync::Arc};

use spandrel_common::{
    context::Rule,
    ids::{SpanId, span_id, trace_id},
    w3c::{FLAG_RANDOM, FLAG_SAMPLED, State},
};

use super::{Attributes, Builder, endpoint, peer};
use crate::{
    discover::resource::Resource,
    exchange::{Outcome, Role, kafka::Call},
    protocol::kafka::{
        api,
        content::{Asked, Fetched, Origin, Records, Sent, Told, Topic},
        error,
    },
    sample,
    span::{
        Attribute, Kind, Link, Span, Status, Value,
        context::{Place, joined},
        outcome::{Verdict, judge},
        semconv as attr,
    },
    stats::Count,
};

/// Links that a span may have (trace/sdk.md, "Span Limits": `OTEL_SPAN_LINK_COUNT_LIMIT`).
const LINKS: usize = 128;

/// What one span is about.
struct Operation<'a> {
    name: &'static str,
    /// `messaging.operation.type`; none for what the conventions have no word for.
    kind: Option<&'static str>,
    topic: Option<&'a Topic>,
    /// Its partitions, with their records.
    partitions: Vec<(i32, &'a Records)>,
    /// The broker's error, 0 if there is none.
    error: i16,
    /// Offset that the broker gave the first message.
    offset: Option<i64>,
}

impl<'a> Operation<'a> {
    const fn new(name: &'static str, kind: Option<&'static str>) -> Self {
        Self { name, kind, topic: None, partitions: Vec::new(), error: 0, offset: None }
    }

    fn messages(&self) -> u64 {
        self.partitions.iter().map(|(_, records)| records.messages).sum()
    }

    fn origins(&self) -> impl Iterator<Item = (i32, &'a Origin)> {
        self.partitions.iter().flat_map(|(partition, records)| {
            let partition = *partition;
            records.origins.iter().map(move |origin| (partition, origin))
        })
    }

    fn any(&self, is: impl Fn(&Records) -> bool) -> bool {
        self.partitions.iter().any(|(_, records)| is(records))
    }
}

impl Builder {
    /// Builds the spans of a Kafka request, and learns from what it says. Those that are not sampled are
    /// counted here.
    pub fn kafka(&mut self, call: &Call, resource: &Arc<Resource>) -> Vec<Span> {
        self.learn(call);
        if call.connection.role == Role::Server {
            self.stats.count(Count::KafkaReceived);
            return Vec::new();
        }
        let operations = self.operations(call);
        let spans = operations.iter().enumerate().filter_map(|(at, operation)| {
            // Nothing else begins at the bytes behind the request's first one.
            let pos = call.pos.saturating_add(at as u64);
            self.stats.saw();
            let span = self.span_of(call, operation, pos, resource);
            if span.is_none() {
                self.stats.unsampled();
            }
            span
        });
        spans.collect()
    }

    /// Takes what the messages say about the cluster and the client.
    fn learn(&mut self, call: &Call) {
        let broker = match call.connection.role {
            Role::Client => call.connection.peer,
            Role::Server => call.connection.local,
        };
        if let Asked::Group(group) = &call.asked
            && call.connection.role == Role::Client
        {
            self.known.set_group(call.tgid, call.header.client.as_deref(), group);
        }
        if let Some((Told::Cluster { id, topics }, _)) = &call.told {
            for (id, name) in topics {
                self.known.set_topic(*id, name);
            }
            if let Some(id) = id {
                self.known.set_cluster(broker, call.connection.netns, id);
            }
        }
    }

    /// What a request is told as.
    fn operations<'a>(&self, call: &'a Call) -> Vec<Operation<'a>> {
        let (key, version) = (call.header.key, call.header.version);
        let produce = Operation::new("send", Some("send"));
        let poll = Operation::new("poll", Some("receive"));
        if !api::knows(key, version) {
            self.stats.count(Count::KafkaUnknown);
            return vec![match key {
                api::PRODUCE => produce,
                api::FETCH => poll,
                _ => Operation::new(api::name(key).unwrap_or("request"), None),
            }];
        }
        match &call.asked {
            Asked::Produce { partitions, .. } if partitions.is_empty() => vec![produce],
            Asked::Produce { partitions, .. } => partitions.iter().map(|sent| send(sent, call)).collect(),
            _ if key == api::PRODUCE => vec![produce],
            _ if key == api::FETCH => self.polls(call),
            _ => {
                self.stats.count(Count::KafkaOther);
                Vec::new()
            }
        }
    }

    /// One for each topic that brought records, and one for each error.
    fn polls<'a>(&self, call: &'a Call) -> Vec<Operation<'a>> {
        let poll = || Operation::new("poll", Some("receive"));
        let Some((Told::Fetch { error, partitions }, _)) = &call.told else {
            return match call.outcome {
                Outcome::Failed(_) | Outcome::PeerClosed => vec![poll()],
                Outcome::Unseen => {
                    self.stats.count(Count::KafkaUnseenPolls);
                    Vec::new()
                }
                // Who closes while it waits for records has lost nothing.
                _ => {
                    self.stats.count(Count::KafkaEmptyPolls);
                    Vec::new()
                }
            };
        };
        if *error != 0 {
            return vec![Operation { error: *error, ..poll() }];
        }
        let mut topics: BTreeMap<(&Topic, i16), Vec<&Fetched>> = BTreeMap::new();
        for fetched in partitions {
            topics.entry((&fetched.topic, fetched.error)).or_default().push(fetched);
        }
        if topics.is_empty() {
            self.stats.count(Count::KafkaEmptyPolls);
        }
        let of = |((topic, error), fetched): ((&'a Topic, i16), Vec<&'a Fetched>)| Operation {
            topic: Some(topic),
            partitions: fetched.iter().map(|fetched| (fetched.partition, &fetched.records)).collect(),
            error,
            offset: fetched.iter().find_map(|fetched| fetched.records.first).filter(|_| fetched.len() == 1),
            ..poll()
        };
        topics.into_iter().map(of).collect()
    }

    /// Where a span belongs; `None` if it is not sampled.
    fn place_of(&self, call: &Call, pos: u64) -> Option<Place> {
        let (seed, cause) = (call.connection.seed, call.cause);
        let rule = Rule::from_u8(cause.rule);
        // Clients collect messages and send them by threads of their own: that something else was in flight
        // then proves nothing of what is in the batch. Who sends by the thread that works on a request does
        // so for that one.
        if rule == Rule::Worker {
            return (cause.flags & FLAG_SAMPLED != 0).then(|| Place {
                trace_id: cause.trace_id,
                span_id: span_id(seed, pos),
                parent_id: cause.parent_id,
                remote: false,
                flags: cause.flags & (FLAG_SAMPLED | FLAG_RANDOM),
                state: Box::default(),
                rule: Some(rule),
            });
        }
        let trace_id = trace_id(seed, pos);
        // The kernel side's decision is about the trace that begins at the request's first byte.
        let decided = call.sampled.filter(|_| pos == call.pos);
        sample::keeps(self.sampler, decided, None, trace_id).then(|| Place {
            trace_id,
            span_id: span_id(seed, pos),
            parent_id: SpanId::default(),
            remote: false,
            flags: FLAG_SAMPLED | FLAG_RANDOM,
            state: Box::default(),
            rule: None,
        })
    }

    fn span_of(
        &self,
        call: &Call,
        operation: &Operation<'_>,
        pos: u64,
        resource: &Arc<Resource>,
    ) -> Option<Span> {
        let place = self.place_of(call, pos)?;
        let mut out = Attributes::new(self.policy.limits, &self.redactor, &self.stats);
        let name = self.describe(&mut out, call, operation);
        let error = error::name(operation.error);
        let verdict = match error {
            None => judge(Role::Client, None, 0, call.outcome),
            Some(error) => Verdict {
                status: Status::Error,
                error: Some(Value::Static(error)),
                ..judge(Role::Client, None, 0, call.outcome)
            },
        };
        if let Some(error) = verdict.error {
            out.push(attr::ERROR_TYPE, error);
        }
        if let Some(outcome) = verdict.outcome {
            out.push(attr::SPANDREL_OUTCOME, Value::Static(outcome));
        }
        if let Some(errno) = verdict.errno {
            out.int(attr::SPANDREL_ERRNO, errno);
        }
        if call.gap {
            out.push(attr::SPANDREL_GAP, Value::Bool(true));
            self.stats.count(Count::PartialSpans);
        }
        if let Some(rule) = place.rule {
            out.push(attr::SPANDREL_PARENT_RULE, Value::Static(rule.label()));
        }
        let (links, dropped_links) = self.links(operation);
        let (attributes, dropped_attributes) = out.finish();
        let creates = operation.kind == Some("send") && links.is_empty();
        Some(Span {
            trace_id: place.trace_id,
            span_id: place.span_id,
            parent_id: place.parent_id,
            parent_remote: place.remote,
            flags: place.flags,
            trace_state: place.state,
            name: name.into(),
            kind: if creates { Kind::Producer } else { Kind::Client },
            start_ns: self.clock.unix(call.start_ns),
            end_ns: self.clock.unix(call.end_ns),
            status: verdict.status,
            attributes,
            dropped_attributes,
            links,
            dropped_links,
            resource: Arc::clone(resource),
        })
    }

    /// Adds what the conventions ask for; gives the span's name.
    fn describe(&self, out: &mut Attributes<'_>, call: &Call, operation: &Operation<'_>) -> String {
        let connection = &call.connection;
        out.push(attr::MESSAGING_SYSTEM_NAME, Value::Static("kafka"));
        out.push(attr::MESSAGING_OPERATION_NAME, Value::Static(operation.name));
        if let Some(kind) = operation.kind {
            out.push(attr::MESSAGING_OPERATION_TYPE, Value::Static(kind));
        }
        let topic = match operation.topic {
            Some(Topic::Name(name)) => Some(name),
            Some(Topic::Id(id)) => {
                let known = self.known.topic(id);
                if known.is_none() {
                    self.stats.count(Count::KafkaTopicIds);
                    let id = u128::from_be_bytes(*id);
                    out.clean(attr::SPANDREL_KAFKA_TOPIC_ID, format!("{id:032x}"));
                }
                known
            }
            None => None,
        };
        if let Some(topic) = topic {
            out.text(attr::MESSAGING_DESTINATION_NAME, (&**topic).into());
        }
        if let [(partition, _)] = operation.partitions[..] {
            out.clean(attr::MESSAGING_DESTINATION_PARTITION_ID, partition.to_string());
        }
        self.counts(out, operation);
        if let Some(client) = call.header.client.as_deref().filter(|client| !client.is_empty()) {
            out.text(attr::MESSAGING_CLIENT_ID, client.into());
        }
        if operation.kind == Some("receive")
            && let Some(group) = self.known.group(call.tgid, call.header.client.as_deref())
        {
            out.text(attr::MESSAGING_CONSUMER_GROUP_NAME, group.into());
        }
        if let Some(cluster) = self.known.cluster(connection.peer, connection.netns) {
            out.text(attr::KAFKA_CLUSTER_ID, cluster.into());
        }
        if operation.topic.is_none() {
            out.int(attr::SPANDREL_KAFKA_API_KEY, call.header.key);
            out.int(attr::SPANDREL_KAFKA_API_VERSION, call.header.version);
        }
        endpoint(out, None, "", connection.peer);
        peer(out, connection.peer);
        match topic {
            Some(topic) => {
                format!("{} {}", operation.name, self.redactor.text(&**topic, &self.stats))
            }
            None => match connection.peer {
                crate::exchange::Addr::Ip(addr) => format!("{} {addr}", operation.name),
                crate::exchange::Addr::Unix => operation.name.to_owned(),
            },
        }
    }

    /// How many messages, how large, and where they are in the log.
    fn counts(&self, out: &mut Attributes<'_>, operation: &Operation<'_>) {
        let messages = operation.messages();
        if operation.partitions.is_empty() {
            return;
        }
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        if messages == 1 {
            if let Some(offset) = operation.offset {
                out.int(attr::KAFKA_OFFSET, offset);
            }
            if operation.any(|records| records.tombstone && records.messages == 1) {
                out.push(attr::KAFKA_MESSAGE_TOMBSTONE, Value::Bool(true));
            }
        } else if messages > 1 {
            out.int(attr::MESSAGING_BATCH_MESSAGE_COUNT, number(messages));
            if let Some(offset) = operation.offset {
                out.int(attr::SPANDREL_KAFKA_FIRST_OFFSET, offset);
            }
        }
        let bytes = operation.partitions.iter().map(|(_, records)| u64::from(records.bytes)).sum();
        if bytes > 0 {
            out.int(attr::SPANDREL_KAFKA_BYTES, number(bytes));
        }
        if operation.any(|records| records.transactional) {
            out.push(attr::SPANDREL_KAFKA_TRANSACTIONAL, Value::Bool(true));
        }
        if operation.any(|records| records.unread) {
            out.push(attr::SPANDREL_KAFKA_UNREAD, Value::Bool(true));
            self.stats.count(Count::KafkaUnread);
        }
        if operation.any(|records| records.old) {
            self.stats.count(Count::KafkaOldFormat);
        }
    }

    /// One link for each distinct context, and how many were left out.
    fn links(&self, operation: &Operation<'_>) -> (Vec<Link>, u32) {
        let several = operation.partitions.len() > 1;
        let mut links: Vec<Link> = Vec::new();
        let mut dropped = operation.partitions.iter().map(|(_, records)| records.more).sum::<u64>();
        for (partition, origin) in operation.origins() {
            let parent = origin.parent;
            let same = |link: &Link| link.trace_id == parent.trace_id && link.span_id == parent.parent_id;
            if links.iter().any(same) {
                continue;
            }
            if links.len() >= LINKS {
                dropped = dropped.saturating_add(1);
                continue;
            }
            let mut state = State::EMPTY;
            state.push(&origin.state);
            let mut attributes = Vec::new();
            let attribute = |key: &'static str, value| Attribute { key: key.into(), value };
            if operation.kind == Some("receive") {
                attributes.push(attribute(attr::KAFKA_OFFSET, Value::Int(origin.offset)));
            }
            if several {
                let id = partition.to_string().into();
                attributes.push(attribute(attr::MESSAGING_DESTINATION_PARTITION_ID, Value::Str(id)));
            }
            links.push(Link {
                trace_id: parent.trace_id,
                span_id: parent.parent_id,
                flags: parent.flags,
                trace_state: self.redactor.text(String::from(joined(state.members())), &self.stats).into(),
                attributes,
            });
        }
        if dropped > 0 {
            self.stats.count(Count::LinksDropped);
        }
        (links, u32::try_from(dropped).unwrap_or(u32::MAX))
    }
}

/// What was sent to one partition, and what the broker said of it.
fn send<'a>(sent: &'a Sent, call: &'a Call) -> Operation<'a> {
    let stored = match &call.told {
        Some((Told::Produce(stored), _)) => {
            stored.iter().find(|stored| stored.topic == sent.topic && stored.partition == sent.partition)
        }
        _ => None,
    };
    Operation {
        topic: Some(&sent.topic),
        partitions: vec![(sent.partition, &sent.records)],
        error: stored.map_or(0, |stored| stored.error),
        offset: stored.map(|stored| stored.offset).filter(|offset| *offset >= 0),
        ..Operation::new("send", Some("send"))
    }
}

#[cfg(test)]
mod tests;
