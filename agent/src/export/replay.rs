//! `spandrel replay DIR`: batches that are on disk, printed as OTLP/JSON or sent to a backend.
//!
//! It reads what the queue on disk and the dead letters have, in a folder or the folders in it. What is being
//! written by an agent that runs is left to it when it comes to sending; what is sent is marked at once, so that
//! nothing is sent twice whenever this is interrupted.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{ResourceSpans, TracesData},
};
use prost::Message as _;

use super::{
    client::{self, Client, Encoding, Failure, Verdict},
    config::Otlp,
    retry::Backoff,
    store::{
        record::{self, Record},
        segment::{Segment, Stored, list},
        settled::Settled,
    },
};

/// How often one batch is tried: half a minute of waiting with the usual backoff.
const ATTEMPTS: u32 = 7;

/// What came of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Files that were read.
    pub files: usize,
    /// Spans that were printed or sent.
    pub spans: usize,
    /// Spans that are still on disk because the backend does not take them, and the last reason.
    pub left: usize,
    pub reason: String,
    /// Spans that the backend took and threw away, and what it last said of that.
    pub rejected: usize,
    pub objection: String,
    /// Batches that cannot be read.
    pub damaged: u64,
    /// Files that an agent is using.
    pub in_use: usize,
}

/// Why nothing could be replayed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder.
    #[error("{0}: {1}; name the folder of dead_letters or spill, or one of those in it")]
    Folder(String, io::Error),
    /// The backend.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// Standard output.
    #[error("standard output: {0}")]
    Output(io::Error),
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    list(folder, true).map_err(|error| Error::Folder(folder.display().to_string(), error))
}

/// Prints every batch that waits, one line of OTLP/JSON each. Changes nothing.
pub fn print(folder: &Path, out: &mut impl Write) -> Result<Outcome, Error> {
    let mut outcome = Outcome::default();
    for path in files(folder)? {
        let bytes = std::fs::read(&path).map_err(|error| Error::Folder(path.display().to_string(), error))?;
        outcome.files += 1;
        let scan = record::scan(&bytes);
        outcome.damaged += scan.damaged;
        for record in scan.records.iter().filter(|record| !record.done) {
            let Some(line) = record.message(&bytes).and_then(|body| line(record, body)) else {
                outcome.damaged += 1;
                continue;
            };
            out.write_all(&line).map_err(Error::Output)?;
            outcome.spans += record.waiting();
        }
    }
    out.flush().map_err(Error::Output)?;
    Ok(outcome)
}

/// A batch as a line of OTLP/JSON.
fn line(record: &Record, body: &[u8]) -> Option<Vec<u8>> {
    if record.encoding == Encoding::Json && record.settled.is_none() {
        return Some(body.to_vec());
    }
    let resource_spans = resource_spans(record.encoding, body, &record.settled).ok()?;
    let mut line = serde_json::to_vec(&TracesData { resource_spans }).ok()?;
    line.push(b'\n');
    Some(line)
}

/// Sends every batch that waits, and removes the files that are through.
pub async fn send(folder: &Path, to: &Otlp) -> Result<Outcome, Error> {
    let client = Arc::new(Client::new(to, client::TRACES)?);
    let mut outcome = Outcome::default();
    for path in files(folder)? {
        let taken = Segment::take_over(&path);
        let taken = taken.map_err(|error| Error::Folder(path.display().to_string(), error))?;
        let Some((mut segment, scan)) = taken else {
            outcome.in_use += 1;
            continue;
        };
        outcome.files += 1;
        outcome.damaged += scan.damaged;
        for record in scan.records.iter().filter(|record| !record.done) {
            let mut delivery = Delivery::default();
            if let Err(reason) = deliver(&client, &mut segment, record, &mut delivery).await {
                delivery.reason = reason;
            }
            outcome.spans += delivery.sent;
            outcome.rejected += delivery.taken - delivery.sent;
            if !delivery.objection.is_empty() {
                outcome.objection = delivery.objection;
            }
            outcome.left += record.waiting() - delivery.taken.min(record.waiting());
            if !delivery.reason.is_empty() {
                outcome.reason.clone_from(&delivery.reason);
            }
            if let Some(error) = delivery.unmarked {
                // It would be sent again by the next replay: the user has to know.
                outcome.reason = format!("{}: sent, but not marked: {error}", path.display());
            }
        }
        if segment.waiting() == 0 {
            segment.remove().map_err(|error| Error::Folder(path.display().to_string(), error))?;
        }
    }
    Ok(outcome)
}

/// What came of one batch.
#[derive(Debug, Default)]
struct Delivery {
    /// Spans that the backend has.
    sent: usize,
    /// Spans that it has answered for: those, and the ones that it did not want.
    taken: usize,
    /// What it said of those that it did not want.
    objection: String,
    /// The last reason why it did not take something.
    reason: String,
    /// What was taken, but could not be marked.
    unmarked: Option<io::Error>,
}

/// Sends one batch, in parts if it is too large, and marks each part when it is taken. What is wrong with one part does
/// not hold up the others.
async fn deliver(
    client: &Client,
    segment: &mut Segment,
    record: &Record,
    delivery: &mut Delivery,
) -> Result<(), String> {
    let stored = segment.read(record.offset, record.end()).map_err(|error| error.to_string())?;
    let Stored { encoding, message, mut settled } = stored;
    let resource_spans = resource_spans(encoding, &message, &settled).map_err(|error| error.to_string())?;
    let message = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
    let waiting: Vec<_> = settled.waiting().collect();
    // Each with the numbers of its spans in the batch.
    let mut parts = vec![(message, &*waiting)];
    while let Some((part, numbers)) = parts.pop() {
        let spans = numbers.len();
        match attempts(client, &part).await {
            Ok(Verdict::Accepted { rejected, message, .. }) => {
                delivery.sent += spans - usize::try_from(rejected).unwrap_or(spans).min(spans);
                delivery.taken += spans;
                if rejected > 0 {
                    delivery.objection = message;
                }
                if let Err(error) = mark(segment, record, &mut settled, numbers) {
                    delivery.unmarked = Some(error);
                }
            }
            Ok(verdict @ Verdict::TooLarge(_)) => {
                let halves = client::halves(&part);
                match halves
                    .and_then(|[(first, n), (second, _)]| Some((first, second, numbers.split_at_checked(n)?)))
                {
                    Some((first, second, (left, right))) => parts.extend([(second, right), (first, left)]),
                    None => delivery.reason = said(verdict),
                }
            }
            Ok(verdict @ Verdict::Refused(_)) => delivery.reason = said(verdict),
            // It would be the same with all others.
            Ok(verdict) => {
                delivery.reason = said(verdict);
                break;
            }
            Err(reason) => delivery.reason = reason,
        }
    }
    Ok(())
}

/// The spans of a batch that wait.
fn resource_spans(encoding: Encoding, body: &[u8], settled: &Settled) -> io::Result<Vec<ResourceSpans>> {
    let mut all = match encoding {
        Encoding::Json => serde_json::from_slice::<TracesData>(body)?.resource_spans,
        other => {
            let request = ExportTraceServiceRequest::decode(&*other.unpack(body)?);
            request.map_err(io::Error::other)?.resource_spans
        }
    };
    if !settled.is_none() && !client::keep(&mut all, settled) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it has other spans than its header says"));
    }
    Ok(all)
}

/// Notes that these spans of a batch need nothing any more.
fn mark(segment: &mut Segment, record: &Record, settled: &mut Settled, spans: &[usize]) -> io::Result<()> {
    let changed = settled.settle(spans.iter().copied());
    if settled.waiting().next().is_none() {
        segment.done(record.offset)?;
    } else {
        segment.settle(record.offset, record.len, settled, changed)?;
    }
    segment.sync()
}

async fn attempts(client: &Client, message: &[u8]) -> Result<Verdict, String> {
    let payload = client.prepare(message.to_vec()).map_err(|error| error.to_string())?;
    let mut backoff = Backoff::default();
    for attempt in 1.. {
        match client.send(&payload).await {
            Verdict::Retry { after, .. } if attempt < ATTEMPTS => {
                tokio::time::sleep(backoff.next(after, fastrand::f64())).await;
            }
            verdict => return Ok(verdict),
        }
    }
    Err("it was not tried".to_owned())
}

fn said(verdict: Verdict) -> String {
    match verdict {
        Verdict::Accepted { message, .. } => message,
        Verdict::Retry { failure, .. }
        | Verdict::TooLarge(failure)
        | Verdict::Unauthorized(failure)
        | Verdict::Refused(failure) => {
            let Failure { code, message } = failure;
            format!("{code}: {message}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{
        otlp,
        store::dead::DeadLetters,
        testing::{self, Answer, Backend, Folder, Wire},
    };

    fn letters(folder: &Folder) {
        let dead = DeadLetters::open(&folder.path("dead/to-otlp"), 1 << 20).unwrap();
        for n in [3, 5] {
            let message = otlp::encode(&testing::spans(n));
            let packed = client::Payload::new(message, Encoding::Zstd, None).unwrap();
            dead.save(Encoding::Zstd, n as usize, &packed.body()).unwrap();
        }
        let json = crate::export::json::line(&testing::spans(2));
        dead.save(Encoding::Json, 2, &json).unwrap();
    }

    #[test]
    fn printed_as_the_console_prints_it() {
        let folder = Folder::new("replay-print");
        letters(&folder);
        for _ in 0..2 {
            let mut out = Vec::new();
            let outcome = print(&folder.path("dead"), &mut out).unwrap();
            assert_eq!((outcome.files, outcome.spans, outcome.damaged), (1, 10, 0));
            let lines: Vec<serde_json::Value> = out
                .split_inclusive(|b| *b == b'\n')
                .map(|line| serde_json::from_slice(line).unwrap())
                .collect();
            let id = |line: &serde_json::Value| {
                line["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["spanId"].as_str().unwrap().to_owned()
            };
            assert_eq!(lines.iter().map(id).collect::<Vec<_>>(), ["0000000000000001"; 3]);
        }
        assert!(print(&folder.path("missing"), &mut Vec::new()).is_err());
    }

    #[tokio::test]
    async fn sent_once_and_what_is_refused_stays() {
        let folder = Folder::new("replay-send");
        letters(&folder);
        let backend = Backend::start(Wire::Http, |request| {
            if request.spans() == 5 { Answer::http(400) } else { Answer::http(200) }
        })
        .await;
        let outcome = send(&folder.path("dead"), &backend.otlp()).await.unwrap();
        assert_eq!((outcome.spans, outcome.left), (5, 5), "{outcome:?}");
        assert_eq!(backend.accepted().len(), 5);
        let backend = Backend::start(Wire::Grpc, |_| Answer::grpc(0)).await;
        let outcome = send(&folder.path("dead"), &backend.otlp()).await.unwrap();
        assert_eq!((outcome.spans, outcome.left), (5, 0), "{outcome:?}");
        assert_eq!(folder.names(), Vec::<String>::new());
        assert_eq!(send(&folder.path("dead"), &backend.otlp()).await.unwrap(), Outcome::default());
    }

    #[tokio::test]
    async fn what_is_rejected_is_told() {
        let folder = Folder::new("replay-rejected");
        letters(&folder);
        let backend = Backend::start(Wire::Http, |_| Answer::http(200).with_rejected(1, "too old")).await;
        let outcome = send(&folder.path("dead"), &backend.otlp()).await.unwrap();
        assert_eq!((outcome.spans, outcome.rejected, outcome.left), (7, 3, 0), "{outcome:?}");
        assert_eq!(outcome.objection, "too old");
    }

    #[tokio::test]
    async fn parts_that_were_taken_are_not_sent_again() {
        let folder = Folder::new("replay-parts");
        letters(&folder);
        // The second span of each batch is too large by itself, and of the rest no two fit.
        let large = |ids: &[Vec<u8>]| ids.len() > 1 || ids.iter().any(|id| id.last() == Some(&2));
        let backend = Backend::start(Wire::Http, move |request| {
            if large(&request.ids()) { Answer::http(413) } else { Answer::http(200) }
        })
        .await;
        let outcome = send(&folder.path("dead"), &backend.otlp()).await.unwrap();
        assert_eq!((outcome.spans, outcome.left), (7, 3), "{outcome:?}");
        assert_eq!(backend.accepted().len(), 7);
        let outcome = send(&folder.path("dead"), &backend.otlp()).await.unwrap();
        assert_eq!((outcome.spans, outcome.left), (0, 3), "{outcome:?}");
        assert_eq!(backend.accepted().len(), 7);
        let backend = Backend::start(Wire::Http, |_| Answer::http(200)).await;
        let outcome = send(&folder.path("dead"), &backend.otlp()).await.unwrap();
        assert_eq!((outcome.spans, outcome.left), (3, 0), "{outcome:?}");
        assert_eq!(folder.names(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn what_an_agent_writes_is_left_to_it() {
        let folder = Folder::new("replay-used");
        let dead = DeadLetters::open(&folder.path("dead"), 1 << 20).unwrap();
        dead.save(Encoding::Protobuf, 1, &otlp::encode(&testing::spans(1))).unwrap();
        let backend = Backend::start(Wire::Http, |_| Answer::http(200)).await;
        let outcome = send(&folder.path("dead"), &backend.otlp()).await.unwrap();
        assert_eq!((outcome.in_use, outcome.spans), (1, 0));
        drop(dead);
        assert_eq!(send(&folder.path("dead"), &backend.otlp()).await.unwrap().spans, 1);
    }
}
