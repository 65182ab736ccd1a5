//! HTTP/2 (RFC 9113), from the condensed directions that the kernel side tells ([`spandrel_common::http2`]): whole
//! frames with header blocks, the bare headers of those with content.
//!
//! Server push is read, because it changes the tables of header compression, and otherwise passed over: its requests
//! were asked by nobody.

mod head;
mod hpack;
mod huffman;
#[cfg(test)]
mod tests;

use spandrel_common::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, FRAME_HEADER, GOAWAY, HEADERS, PADDED, PRIORITISED,
    PUSH_PROMISE, RST_STREAM, Told, told,
};
use zeroize::Zeroizing;

use self::{head::Lines, hpack::Decoder};
use super::{
    Side,
    streams::{Step, StreamParser},
};

/// Bytes of a header block with all its CONTINUATION frames. Peers refuse longer ones; from one on that comes, what the
/// compression's table holds is unknown.
const BLOCK: usize = 64 * 1024;

/// The parser of one connection.
#[derive(Debug, Default)]
pub struct Http2 {
    request: Half,
    response: Half,
}

impl Http2 {
    /// The parser of a connection that was joined in the middle of a side.
    pub fn joined(&mut self, side: Side) {
        self.half(side).decoder.forget();
    }

    const fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        }
    }
}

impl StreamParser for Http2 {
    fn advance(&mut self, side: Side, bytes: &[u8], out: &mut Vec<Step>) {
        self.half(side).bytes(side, bytes, out);
    }

    fn gap(&mut self, side: Side) {
        let half = self.half(side);
        half.decoder.forget();
        half.block = None;
        half.frame = None;
        half.bytes.clear();
    }

    fn within(&self, side: Side) -> bool {
        let half = match side {
            Side::Request => &self.request,
            Side::Response => &self.response,
        };
        half.block.is_some() || half.frame.is_some_and(|frame| frame.kind == HEADERS)
    }
}

/// A frame whose payload is being read.
#[derive(Clone, Copy, Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    /// Bytes of the payload.
    len: usize,
    /// Of them, those that have not come.
    left: usize,
    /// It began in earlier bytes.
    carried: bool,
}

impl Frame {
    fn read(header: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, s0, s1, s2, s3] = *header.first_chunk::<FRAME_HEADER>()?;
        let len = u32::from_be_bytes([0, a, b, c]) as usize;
        Some(Self {
            kind,
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
            len,
            left: len,
            carried: false,
        })
    }
}

/// A header block that goes on.
#[derive(Debug)]
struct Block {
    stream: u32,
    /// It is a promise, which is nobody's message.
    promise: bool,
    end_stream: bool,
    bytes: Zeroizing<Vec<u8>>,
    /// It is longer than [`BLOCK`].
    long: bool,
    carried: bool,
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    decoder: Decoder,
    frame: Option<Frame>,
    /// Of a frame header that was cut, or of the payload.
    bytes: Zeroizing<Vec<u8>>,
    block: Option<Block>,
}

impl Half {
    fn bytes(&mut self, side: Side, mut bytes: &[u8], out: &mut Vec<Step>) {
        if let Some(frame) = &mut self.frame {
            frame.carried = true;
        }
        if let Some(block) = &mut self.block {
            block.carried = true;
        }
        while !bytes.is_empty() {
            let Some(frame) = &mut self.frame else {
                let missing = FRAME_HEADER.saturating_sub(self.bytes.len());
                let (more, rest) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
                self.bytes.extend_from_slice(more);
                bytes = rest;
                let Some(frame) = Frame::read(&self.bytes) else { return };
                self.bytes.clear();
                match told(frame.kind) {
                    Told::Nothing => {}
                    Told::Header => content(side, frame, out),
                    Told::Whole if frame.left == 0 => self.whole(side, frame, out),
                    Told::Whole => self.frame = Some(frame),
                }
                continue;
            };
            let (more, rest) = bytes.split_at_checked(frame.left).unwrap_or((bytes, &[]));
            frame.left -= more.len();
            bytes = rest;
            // What is longer is not read.
            let room = BLOCK.saturating_sub(self.bytes.len());
            if self.bytes.is_empty() {
                self.bytes.reserve(frame.len.min(BLOCK));
            }
            self.bytes.extend_from_slice(more.get(..room).unwrap_or(more));
            let frame = *frame;
            if frame.left == 0 {
                self.frame = None;
                self.whole(side, frame, out);
                self.bytes.clear();
            }
        }
    }

    /// A frame whose payload is complete.
    fn whole(&mut self, side: Side, frame: Frame, out: &mut Vec<Step>) {
        let goes_on = frame.kind == CONTINUATION
            && self.block.as_ref().is_some_and(|block| block.stream == frame.stream);
        if !goes_on && (self.block.take().is_some() || frame.kind == CONTINUATION) {
            // A block that something else came into (RFC 9113, section 6.10).
            self.decoder.forget();
            out.push(Step::Lost { side });
            if frame.kind == CONTINUATION {
                return;
            }
        }
        let payload = std::mem::take(&mut self.bytes);
        match frame.kind {
            HEADERS | PUSH_PROMISE => self.begin(side, frame, &payload, out),
            CONTINUATION => {
                if let Some(block) = &mut self.block {
                    block.add(&payload, frame.len);
                }
                if frame.flags & END_HEADERS != 0 {
                    self.end(side, out);
                }
            }
            RST_STREAM => {
                if let Some(code) = number(&payload, 0) {
                    out.push(Step::Reset { side, stream: frame.stream.into(), code });
                }
            }
            GOAWAY => {
                if let Some(last) = number(&payload, 0) {
                    out.push(Step::Refused { side, above: u64::from(last & 0x7fff_ffff) });
                }
            }
            _ => {}
        }
        self.bytes = payload;
    }

    /// The first frame of a header block.
    fn begin(&mut self, side: Side, frame: Frame, payload: &[u8], out: &mut Vec<Step>) {
        let promise = frame.kind == PUSH_PROMISE;
        let (mut from, mut padding) = (0, 0);
        if frame.flags & PADDED != 0 {
            padding = usize::from(payload.first().copied().unwrap_or(0));
            from += 1;
        }
        if promise {
            from += 4;
        } else if frame.flags & PRIORITISED != 0 {
            from += 5;
        }
        // Padding that was not read is none of the block, either.
        let until = frame.len.saturating_sub(padding).min(payload.len());
        let Some(fragment) = payload.get(from..until) else {
            self.decoder.forget();
            out.push(Step::Lost { side });
            return;
        };
        let mut block = Block {
            stream: frame.stream,
            promise,
            end_stream: !promise && frame.flags & END_STREAM != 0,
            bytes: Zeroizing::new(Vec::new()),
            long: false,
            carried: frame.carried,
        };
        block.add(fragment, frame.len.saturating_sub(padding + from));
        self.block = Some(block);
        if frame.flags & END_HEADERS != 0 {
            self.end(side, out);
        }
    }

    /// The block is complete.
    fn end(&mut self, side: Side, out: &mut Vec<Step>) {
        let Some(block) = self.block.take() else { return };
        let mut lines = Lines::default();
        if block.long {
            self.decoder.forget();
        } else if self.decoder.block(&block.bytes, |name, value| lines.field(name, value)).is_err() {
            self.decoder.forget();
            out.push(Step::Lost { side });
            return;
        }
        if !block.promise {
            let fields = lines.finish(block.long);
            let (stream, carried) = (block.stream.into(), block.carried);
            out.push(Step::Fields { side, stream, carried, fields, end: block.end_stream });
        }
    }
}

impl Block {
    /// Adds a fragment that has so many bytes on the wire.
    fn add(&mut self, fragment: &[u8], len: usize) {
        if fragment.len() < len || self.bytes.len() + fragment.len() > BLOCK {
            self.long = true;
            return;
        }
        let len = self.bytes.len() + fragment.len();
        if len > self.bytes.capacity() {
            // Growing in place may leave the old bytes behind.
            let room = if self.bytes.is_empty() { len } else { len.next_power_of_two() };
            let mut larger = Zeroizing::new(Vec::with_capacity(room));
            larger.extend_from_slice(&self.bytes);
            self.bytes = larger;
        }
        self.bytes.extend_from_slice(fragment);
    }
}

/// The header of a frame with content.
fn content(side: Side, frame: Frame, out: &mut Vec<Step>) {
    if frame.kind == DATA {
        out.push(Step::Content {
            side,
            stream: frame.stream.into(),
            len: frame.len as u64,
            end: frame.flags & END_STREAM != 0,
        });
    }
}

/// The 32-bit number at an offset.
fn number(payload: &[u8], at: usize) -> Option<u32> {
    payload.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}
