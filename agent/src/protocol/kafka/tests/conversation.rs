//! Feeds a conversation as the stream room would, and tells what came of it.

use std::fmt::Write;

use super::super::{
    Kafka, Message, Seen, api,
    content::{Asked, Records, Told, Topic},
    error,
};
use crate::protocol::{Input, Side};

/// One step of a conversation.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Bytes(Side, Vec<u8>),
    Body(Side, u64, bool),
    Gap(Side, u64),
    Start(Side),
}

#[derive(Default)]
struct Line {
    waiting: Vec<u8>,
    base: u64,
}

/// A parser with the buffers that the stream room keeps.
#[derive(Default)]
pub(super) struct Conversation {
    pub(super) parser: Kafka,
    lines: [Line; 2],
    told: String,
}

impl Conversation {
    pub(super) fn step(&mut self, step: &Step, piece: usize) {
        match step {
            Step::Bytes(side, bytes) => bytes.chunks(piece).for_each(|piece| self.bytes(*side, piece)),
            Step::Body(side, len, end) => self.other(*side, Input::Body { len: *len, end: *end }, *len),
            Step::Gap(side, len) => self.other(*side, Input::Gap { len: *len }, *len),
            Step::Start(side) => self.other(*side, Input::Start, 0),
        }
    }

    fn bytes(&mut self, side: Side, bytes: &[u8]) {
        let line = &mut self.lines[side as usize];
        line.waiting.extend_from_slice(bytes);
        let (base, waiting) = (line.base, std::mem::take(&mut line.waiting));
        let mut out = Vec::new();
        let taken = self.parser.advance(side, Input::Bytes(&waiting), &mut out);
        assert!(taken <= waiting.len());
        assert!(waiting.len() - taken <= 2048, "{} bytes wait", waiting.len() - taken);
        self.tell(base, &out);
        let line = &mut self.lines[side as usize];
        line.base += taken as u64;
        line.waiting = waiting[taken..].to_vec();
    }

    fn other(&mut self, side: Side, input: Input<'_>, len: u64) {
        let line = &mut self.lines[side as usize];
        let (base, waiting) = (line.base, std::mem::take(&mut line.waiting));
        line.base += waiting.len() as u64;
        let mut out = Vec::new();
        if !waiting.is_empty() {
            self.parser.advance(side, Input::Last(&waiting), &mut out);
            self.tell(base, &out);
            out.clear();
        }
        let base = self.lines[side as usize].base;
        self.parser.advance(side, input, &mut out);
        self.tell(base, &out);
        self.lines[side as usize].base += len;
    }

    fn tell(&mut self, base: u64, out: &[Message]) {
        for message in out {
            line(&mut self.told, base, message);
        }
    }
}

fn topic(topic: &Topic) -> String {
    match topic {
        Topic::Name(name) => name.to_string(),
        Topic::Id(id) => format!("{:032x}", u128::from_be_bytes(*id)),
    }
}

fn records(out: &mut String, records: &Records) {
    let Records { bytes, messages, first, last, origins, more, .. } = records;
    write!(out, " {messages} messages {bytes} bytes").unwrap();
    if let (Some(first), Some(last)) = (first, last) {
        write!(out, " offsets {first}..={last}").unwrap();
    }
    if let Some(codec) = records.codec {
        write!(out, " {codec:?}").unwrap();
    }
    for (name, is) in [
        ("unread", records.unread),
        ("transactional", records.transactional),
        ("tombstone", records.tombstone),
        ("old", records.old),
    ] {
        if is {
            write!(out, " {name}").unwrap();
        }
    }
    if *more > 0 {
        write!(out, " and {more} more").unwrap();
    }
    for origin in origins {
        let trace = u128::from_be_bytes(origin.parent.trace_id);
        write!(out, "\n    {trace:032x} at {}", origin.offset).unwrap();
        if origin.records > 1 {
            write!(out, " {} times", origin.records).unwrap();
        }
        if !origin.state.is_empty() {
            write!(out, " {}", String::from_utf8_lossy(&origin.state)).unwrap();
        }
    }
}

fn seen(seen: &Seen) -> String {
    let partly = if seen.partly { " partly" } else { "" };
    let more = if seen.more > 0 { format!(" and {} more", seen.more) } else { String::new() };
    format!("{} bytes{partly}{more}", seen.bytes)
}

fn line(out: &mut String, base: u64, message: &Message) {
    let place = |at: &usize| base + *at as u64;
    match message {
        Message::Request { at, header } => {
            let name = api::name(header.key).map_or_else(|| header.key.to_string(), str::to_owned);
            let client = header.client.as_deref().unwrap_or("-");
            write!(out, "{} > {name} v{} #{} {client}", place(at), header.version, header.correlation)
                .unwrap();
        }
        Message::Asked { at, correlation, asked, seen: part, last } => {
            let last = if *last { " unanswered" } else { "" };
            write!(out, "{} > end #{correlation} {}{last}", place(at), seen(part)).unwrap();
            match asked {
                Asked::Other | Asked::Fetch => {}
                Asked::Group(group) => write!(out, " group {group}").unwrap(),
                Asked::Produce { transaction, acks, partitions } => {
                    write!(out, " acks {acks}").unwrap();
                    if let Some(transaction) = transaction {
                        write!(out, " transaction {transaction}").unwrap();
                    }
                    for sent in partitions {
                        write!(out, "\n  {} {}", topic(&sent.topic), sent.partition).unwrap();
                        records(out, &sent.records);
                    }
                }
            }
        }
        Message::Response { at, correlation } => write!(out, "{} < #{correlation}", place(at)).unwrap(),
        Message::Told { at, correlation, told, seen: part } => {
            write!(out, "{} < end #{correlation} {}", place(at), seen(part)).unwrap();
            match told {
                Told::Other => {}
                Told::Produce(stored) => {
                    for part in stored {
                        write!(out, "\n  {} {}", topic(&part.topic), part.partition).unwrap();
                        write!(out, " {}", error::name(part.error).unwrap_or("at")).unwrap();
                        write!(out, " {}", part.offset).unwrap();
                    }
                }
                Told::Cluster { id, topics } => {
                    write!(out, " cluster {}", id.as_deref().unwrap_or("-")).unwrap();
                    for (id, name) in topics {
                        write!(out, "\n  {:032x} is {name}", u128::from_be_bytes(*id)).unwrap();
                    }
                }
                Told::Fetch { error, partitions } => {
                    if let Some(error) = error::name(*error) {
                        write!(out, " {error}").unwrap();
                    }
                    for part in partitions {
                        write!(out, "\n  {} {}", topic(&part.topic), part.partition).unwrap();
                        if let Some(error) = error::name(part.error) {
                            write!(out, " {error}").unwrap();
                        }
                        records(out, &part.records);
                    }
                }
            }
        }
        other => write!(out, "{other:?}").unwrap(),
    }
    out.push('\n');
}

/// What comes of a conversation whose bytes come in pieces of at most this size.
pub(super) fn run(steps: &[Step], piece: usize) -> String {
    let mut conversation = Conversation::default();
    for step in steps {
        conversation.step(step, piece);
    }
    conversation.told
}

/// The same, whole, byte by byte and in pieces, which all have to tell the same.
pub(super) fn run_all_ways(steps: &[Step]) -> String {
    let told = run(steps, usize::MAX);
    for piece in [1, 2, 3, 7, 61, 1000] {
        assert_eq!(run(steps, piece), told, "in pieces of {piece}");
    }
    told
}
