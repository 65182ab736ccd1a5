//! How batches leave: over OTLP or into a file. One interface, so that queue, retries, disk and ledger are the same.

use std::{io, sync::Arc, time::Duration};

use super::{
    batch::Batch,
    client::{self, Client, Encoding, Payload, Verdict},
    config::To,
    file::Writer,
    json, otlp,
    store::settled::Settled,
};
use crate::span::Span;

/// The way to one destination.
#[derive(Debug)]
pub(super) enum Transport {
    Otlp(Box<Client>),
    File(Writer, Arc<str>),
}

impl Transport {
    /// Prepares it; nothing is sent. Must be called inside a tokio runtime.
    pub(super) fn new(to: &To, name: &Arc<str>) -> Result<Self, client::Error> {
        Ok(match to {
            To::Otlp(otlp) => Self::Otlp(Box::new(Client::new(otlp, client::TRACES)?.named(name))),
            To::File(file) => Self::File(Writer::new(file.clone()), Arc::clone(name)),
        })
    }

    /// Where it goes, for a log.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Otlp(client) => client.describe(),
            Self::File(writer, name) => format!("{name} ({})", writer.describe()),
        }
    }

    /// A batch as it leaves.
    pub(super) fn encode(&self, batch: &Batch<Span>) -> io::Result<Payload> {
        let mut message = Vec::new();
        match self {
            Self::Otlp(client) => {
                otlp::encode_batch(batch, &mut message);
                client.prepare(message)
            }
            Self::File(..) => {
                json::write_line(batch, &mut message);
                Payload::new(message, Encoding::Json, None)
            }
        }
    }

    /// What was on disk as it leaves: compressed as it is configured now.
    pub(super) fn restore(&self, encoding: Encoding, body: &[u8]) -> io::Result<Payload> {
        let json = encoding == Encoding::Json;
        match self {
            Self::Otlp(client) if !json => client.prepare(encoding.unpack(body)?),
            Self::File(..) if json => Payload::new(body.to_vec(), Encoding::Json, None),
            Self::Otlp(_) | Self::File(..) => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "it was for a destination of another kind"))
            }
        }
    }

    /// The same of an encoded message of which some spans need nothing any more. Lines of JSON are never cut.
    pub(super) fn restore_left(
        &self,
        encoding: Encoding,
        body: &[u8],
        settled: &Settled,
    ) -> io::Result<Payload> {
        if settled.is_none() || encoding == Encoding::Json {
            return self.restore(encoding, body);
        }
        let rest = client::left(&encoding.unpack(body)?, settled);
        let rest = rest.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it has other spans"))?;
        self.restore(Encoding::Protobuf, &rest)
    }

    /// Whether a payload can be sent as it is; if not, [`Self::restore`] makes it so.
    pub(super) fn fits(&self, payload: &Payload) -> bool {
        match self {
            Self::Otlp(client) => client.fits(payload),
            Self::File(..) => payload.encoding() == Encoding::Json,
        }
    }

    /// Cuts a payload in two, each with so many spans. None if that cannot be.
    pub(super) fn halves(&self, payload: &Payload) -> Option<[(Payload, usize); 2]> {
        let Self::Otlp(client) = self else { return None };
        let message = payload.encoding().unpack(&payload.body()).ok()?;
        let [(first, n), (second, m)] = client::halves(&message)?;
        Some([(client.prepare(first).ok()?, n), (client.prepare(second).ok()?, m)])
    }

    /// Sends it once and says what came of it, and by which generation of the credentials.
    pub(super) async fn send(&self, payload: &Payload) -> (Verdict, u64) {
        match self {
            Self::Otlp(client) => client.send_with(payload).await,
            Self::File(writer, _) => (writer.send(payload).await, 0),
        }
    }

    /// Whether its credentials come from files, and so can get better.
    pub(super) fn renews(&self) -> bool {
        matches!(self, Self::Otlp(client) if client.renews())
    }

    /// Waits until credentials are in use that are newer than `than`, as long as `patience` lasts.
    pub(super) async fn renewed(&self, than: u64, patience: Duration) -> bool {
        match self {
            Self::Otlp(client) => client.renewed(than, patience).await,
            Self::File(..) => false,
        }
    }
}
