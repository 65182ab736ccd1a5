//! The Kafka parser: it consumes no more than there is, leaves little to wait for more, and how the bytes
//! were cut makes no difference.

use spandrel::protocol::{
    Input, Side,
    kafka::{Kafka, Message},
};

/// Bytes that may wait for more: the longest value of a header that is kept, and what stands before it.
const WAITING: usize = 2048;

/// A conversation as `tests/corpus/kafka/recorder.py` writes it, lengths cut to what is there. What stands
/// before the first mark says how its bytes are cut.
pub fn kafka(data: &[u8]) {
    let Some((control, rest)) = data.split_first() else { return };
    let script = if *control == b'>' { data } else { rest };
    let piece = usize::from(*control).max(2);
    let whole = run(script, usize::MAX);
    let pieces = [1, piece].map(|piece| run(script, piece));
    // Behind what is not understood, messages are looked for where calls begin.
    let lost = |message: &Message| matches!(message, Message::GiveUp(_) | Message::Resync { .. });
    if !pieces.iter().chain([&whole]).flatten().any(lost) {
        for messages in pieces {
            assert_eq!(whole, messages, "cut into pieces of 1 or {piece}");
        }
    }
    both(rest, piece);
}

#[derive(Default)]
struct Line {
    waiting: Vec<u8>,
    base: usize,
}

fn run(mut script: &[u8], piece: usize) -> Vec<Message> {
    let (mut parser, mut lines) = (Kafka::default(), [Line::default(), Line::default()]);
    let mut messages = Vec::new();
    while let [mark, a, b, c, d, more @ ..] = script {
        let side = if mark & 2 != 0 { Side::Request } else { Side::Response };
        let len = (u32::from_be_bytes([*a, *b, *c, *d]) as usize).min(more.len());
        let (bytes, more) = more.split_at(len);
        for piece in bytes.chunks(piece) {
            give(&mut parser, &mut lines[side as usize], side, piece, &mut messages);
        }
        script = more;
    }
    messages
}

fn give(parser: &mut Kafka, line: &mut Line, side: Side, bytes: &[u8], messages: &mut Vec<Message>) {
    line.waiting.extend_from_slice(bytes);
    let from = messages.len();
    let taken = parser.advance(side, Input::Bytes(&line.waiting), messages);
    for message in &mut messages[from..] {
        if let Message::Request { at, .. }
        | Message::Asked { at, .. }
        | Message::Response { at, .. }
        | Message::Told { at, .. } = message
        {
            assert!(*at <= line.waiting.len(), "a message at {at} of {}", line.waiting.len());
            *at += line.base;
        }
    }
    assert!(taken <= line.waiting.len(), "took {taken} of {}", line.waiting.len());
    assert!(line.waiting.len() - taken <= WAITING, "{} bytes wait", line.waiting.len() - taken);
    line.base += taken;
    line.waiting.drain(..taken);
}

/// Both sides with what is not bytes between: nothing to compare, but nothing may break.
fn both(data: &[u8], step: usize) {
    let mut parser = Kafka::default();
    let mut out = Vec::new();
    for piece in data.chunks(step) {
        let side = if piece[0] & 1 == 0 { Side::Request } else { Side::Response };
        let len = u64::from(piece[0]);
        match piece[0] % 11 {
            0 => parser.advance(side, Input::Gap { len }, &mut out),
            1 => parser.advance(side, Input::Body { len, end: len & 2 == 0 }, &mut out),
            2 => parser.advance(side, Input::Start, &mut out),
            3 => parser.advance(side, Input::Last(&piece[1..]), &mut out),
            _ => parser.advance(side, Input::Bytes(&piece[1..]), &mut out),
        };
        assert!(u32::try_from(parser.certain(side)).is_ok());
    }
}
