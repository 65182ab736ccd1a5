//! A request's message: compressed and framed once, sent as often as needed, cut in two when it is too large.

use std::io::{self, Read as _, Write as _};

use bytes::Bytes;
use flate2::{Compression as Level, read::GzDecoder, write::GzEncoder};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;

use crate::export::{
    config::{Compression, Protocol},
    store::settled::Settled,
};

/// Speed before size: level 1 already leaves a tenth of spans' bytes, at a fifth of the default level's time.
const GZIP_LEVEL: Level = Level::new(1);
/// The same for zstd: half of gzip's time for somewhat fewer bytes.
const ZSTD_LEVEL: i32 = 1;
/// A message is never larger once it is decompressed. The specification bounds requests at 64 MiB; what is read
/// back from a disk may be anything.
const MAX_MESSAGE: u64 = 64 << 20;
/// Before a gRPC message: whether it is compressed, and its length in four bytes.
const GRPC_PREFIX: usize = 5;

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `ExportTraceServiceRequest`.
    Protobuf,
    Gzip,
    Zstd,
    /// A line of OTLP/JSON.
    Json,
}

impl Encoding {
    /// What a destination's requests have.
    pub fn of(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::Protobuf,
            Compression::Gzip => Self::Gzip,
            Compression::Zstd => Self::Zstd,
        }
    }

    /// Compresses a message.
    fn pack(self, message: &[u8], mut out: Vec<u8>) -> io::Result<Vec<u8>> {
        match self {
            Self::Protobuf | Self::Json => out.extend_from_slice(message),
            Self::Gzip => {
                let mut encoder = GzEncoder::new(out, GZIP_LEVEL);
                encoder.write_all(message)?;
                out = encoder.finish()?;
            }
            Self::Zstd => {
                let mut encoder = zstd::stream::Encoder::new(out, ZSTD_LEVEL)?;
                // Some receivers want to know the size before they decompress.
                encoder.set_pledged_src_size(Some(message.len() as u64))?;
                encoder.include_contentsize(true)?;
                encoder.write_all(message)?;
                out = encoder.finish()?;
            }
        }
        Ok(out)
    }

    /// The message as it was before [`Self::pack`].
    pub fn unpack(self, body: &[u8]) -> io::Result<Vec<u8>> {
        let mut message = Vec::new();
        match self {
            Self::Protobuf | Self::Json => return Ok(body.to_vec()),
            Self::Gzip => GzDecoder::new(body).take(MAX_MESSAGE).read_to_end(&mut message)?,
            Self::Zstd => zstd::stream::Decoder::new(body)?.take(MAX_MESSAGE).read_to_end(&mut message)?,
        };
        Ok(message)
    }
}

/// A request's body.
#[derive(Clone, Debug)]
pub struct Payload {
    bytes: Bytes,
    /// So many of them are the frame.
    prefix: usize,
    encoding: Encoding,
    /// The size of the message before compression.
    message: usize,
}

impl Payload {
    /// Compresses and frames a message. `protocol` is none for a file.
    pub(crate) fn new(message: Vec<u8>, encoding: Encoding, protocol: Option<Protocol>) -> io::Result<Self> {
        let size = message.len();
        if protocol != Some(Protocol::Grpc) && matches!(encoding, Encoding::Protobuf | Encoding::Json) {
            return Ok(Self { bytes: exact(message), prefix: 0, encoding, message: size });
        }
        let room = if encoding == Encoding::Protobuf { size } else { size / 4 };
        let mut out = Vec::with_capacity(room + GRPC_PREFIX);
        let prefix = if protocol == Some(Protocol::Grpc) { GRPC_PREFIX } else { 0 };
        out.resize(prefix, 0);
        let mut out = encoding.pack(&message, out)?;
        if prefix > 0 {
            let len = u32::try_from(out.len() - prefix).map_err(io::Error::other)?;
            let [a, b, c, d] = len.to_be_bytes();
            let frame = [u8::from(encoding != Encoding::Protobuf), a, b, c, d];
            if let Some(field) = out.get_mut(..prefix) {
                field.copy_from_slice(&frame);
            }
        }
        Ok(Self { bytes: exact(out), prefix, encoding, message: size })
    }

    /// What goes over the wire.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Its size.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The size of the message before compression.
    pub fn message_len(&self) -> usize {
        self.message
    }

    /// How its body is written.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Whether it has the frame that gRPC needs.
    pub fn is_framed(&self) -> bool {
        self.prefix > 0
    }

    /// The message as it is kept on disk: compressed, without a frame.
    pub fn body(&self) -> Bytes {
        self.bytes.slice(self.prefix.min(self.bytes.len())..)
    }
}

/// The bytes without the room behind them. A payload may wait long in a queue, which counts its length alone: room
/// that is made by a guess, before it is known how well a message compresses, would be memory that nobody counts.
fn exact(mut bytes: Vec<u8>) -> Bytes {
    bytes.shrink_to_fit();
    bytes.into()
}

/// Cuts an `ExportTraceServiceRequest` in two: the first half of its spans, and the others, each under their own
/// resource and scope. None if there are not two spans in it, or it cannot be read.
pub(crate) fn halves(message: &[u8]) -> Option<[(Vec<u8>, usize); 2]> {
    let request = ExportTraceServiceRequest::decode(message).ok()?;
    let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    let count: usize = scopes.map(|scope| scope.spans.len()).sum();
    let first_part = count / 2;
    if first_part == 0 {
        return None;
    }
    let mut at = 0;
    let (first, second): (Vec<_>, Vec<_>) = request
        .resource_spans
        .into_iter()
        .map(|resource| {
            let mut part = [ResourceSpans { scope_spans: Vec::new(), ..resource.clone() }, resource];
            let [first, second] = &mut part;
            for scope in std::mem::take(&mut second.scope_spans) {
                let here = first_part.saturating_sub(at).min(scope.spans.len());
                at += scope.spans.len();
                let mut left: Vec<Span> = scope.spans;
                let right = left.split_off(here);
                let with = |spans| ScopeSpans {
                    spans,
                    scope: scope.scope.clone(),
                    schema_url: scope.schema_url.clone(),
                };
                first.scope_spans.extend((!left.is_empty()).then(|| with(left)));
                second.scope_spans.extend((!right.is_empty()).then(|| with(right)));
            }
            let [first, second] = part;
            (first, second)
        })
        .unzip();
    let encode = |parts: Vec<ResourceSpans>| {
        let resource_spans = parts.into_iter().filter(|resource| !resource.scope_spans.is_empty()).collect();
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    };
    Some([(encode(first), first_part), (encode(second), count - first_part)])
}

/// An `ExportTraceServiceRequest` without the spans that need nothing any more. None if there are no others, or it
/// cannot be read.
pub(crate) fn left(message: &[u8], settled: &Settled) -> Option<Vec<u8>> {
    let mut request = ExportTraceServiceRequest::decode(message).ok()?;
    keep(&mut request.resource_spans, settled).then(|| request.encode_to_vec())
}

/// Takes the spans away that need nothing any more. False if there are no others.
pub(crate) fn keep(resources: &mut Vec<ResourceSpans>, settled: &Settled) -> bool {
    let mut number = 0..;
    for resource in &mut *resources {
        for scope in &mut resource.scope_spans {
            scope.spans.retain(|_| number.next().is_some_and(|number| !settled.has(number)));
        }
        resource.scope_spans.retain(|scope| !scope.spans.is_empty());
    }
    resources.retain(|resource| !resource.scope_spans.is_empty());
    !resources.is_empty()
}

/// How many spans an `ExportTraceServiceRequest` has; none if it cannot be read.
#[cfg(test)]
pub(crate) fn count(message: &[u8]) -> Option<usize> {
    let request = ExportTraceServiceRequest::decode(message).ok()?;
    let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    Some(scopes.map(|scope| scope.spans.len()).sum())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::export::{otlp, testing};

    /// The spans, each with what it is under.
    fn flat(request: ExportTraceServiceRequest) -> Vec<String> {
        let mut all = Vec::new();
        for resource in request.resource_spans {
            for scope in resource.scope_spans {
                let over = (&resource.resource, &resource.schema_url, &scope.scope, &scope.schema_url);
                all.extend(scope.spans.iter().map(|span| format!("{over:?} {span:?}")));
            }
        }
        all
    }

    const ALL: [Encoding; 3] = [Encoding::Protobuf, Encoding::Gzip, Encoding::Zstd];

    #[test]
    fn what_is_packed_comes_back() {
        let message = otlp::encode(&testing::spans(50));
        for encoding in ALL {
            for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
                let payload = Payload::new(message.clone(), encoding, Some(protocol)).unwrap();
                assert_eq!(payload.message_len(), message.len());
                assert_eq!(encoding.unpack(&payload.body()).unwrap(), message);
                if encoding != Encoding::Protobuf {
                    assert!(payload.len() < message.len() / 5, "{encoding:?}: {}", payload.len());
                }
            }
        }
        assert!(Encoding::Gzip.unpack(b"no gzip").is_err());
        assert!(Encoding::Zstd.unpack(b"no zstd").is_err());
    }

    /// What waits in a queue takes what is counted for it.
    #[test]
    fn a_payload_takes_no_more_memory_than_its_length() {
        let message = otlp::encode(&testing::spans(50));
        for (encoding, protocol) in [
            (Encoding::Protobuf, Some(Protocol::Grpc)),
            (Encoding::Protobuf, Some(Protocol::HttpProtobuf)),
            (Encoding::Gzip, Some(Protocol::Grpc)),
            (Encoding::Gzip, Some(Protocol::HttpProtobuf)),
            (Encoding::Zstd, Some(Protocol::HttpProtobuf)),
            (Encoding::Zstd, None),
            (Encoding::Json, None),
        ] {
            // As one that grew while it was written.
            let mut grown = Vec::with_capacity(2 * message.len());
            grown.extend_from_slice(&message);
            let payload = Payload::new(grown, encoding, protocol).unwrap();
            let len = payload.len();
            let held = payload.bytes.try_into_mut().unwrap().capacity();
            assert_eq!(held, len, "{encoding:?} {protocol:?}");
        }
    }

    #[test]
    fn one_span_is_not_cut() {
        assert!(halves(&otlp::encode(&testing::spans(1))).is_none());
        assert!(halves(b"").is_none());
        assert!(halves(b"\xff\xff").is_none());
        let two = otlp::encode(&testing::spans(2));
        let mut settled = Settled::none(2);
        for rest in [Some(2), Some(1), None] {
            assert_eq!(left(&two, &settled).and_then(|rest| count(&rest)), rest);
            settled.settle([2 - rest.unwrap_or(0)]);
        }
        assert!(left(b"\xff\xff", &Settled::none(2)).is_none());
        assert_eq!(count(b"\xff\xff"), None);
    }

    proptest! {
        /// Both halves together have every span once, under its resource and scope.
        #[test]
        fn halves_have_everything(spans in testing::any_spans()) {
            let message = otlp::encode(&spans);
            let request = ExportTraceServiceRequest::decode(&*message).unwrap();
            match halves(&message) {
                None => prop_assert!(spans.len() < 2),
                Some([(first, n), (second, m)]) => {
                    prop_assert_eq!((count(&first), count(&second)), (Some(n), Some(m)));
                    prop_assert_eq!(n + m, spans.len());
                    prop_assert!(n > 0 && m > 0);
                    let parts = [first, second].map(|part| ExportTraceServiceRequest::decode(&*part).unwrap());
                    prop_assert_eq!(parts.into_iter().flat_map(flat).collect::<Vec<_>>(), flat(request));
                }
            }
        }
    }
}
