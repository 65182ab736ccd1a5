//! The HTTP/1 parser: it consumes no more than there is, and how the bytes were cut makes no difference.

use spandrel::protocol::{Input, Message, Parser, Side, http1::Http1};

/// The first byte says which side speaks and how its bytes are cut; the rest is what it says.
pub fn http1(data: &[u8]) {
    let Some((control, data)) = data.split_first() else { return };
    let side = if control & 1 == 0 { Side::Request } else { Side::Response };
    let step = usize::from(control >> 1).max(1);
    let whole = tell(side, data, data.len().max(1));
    let pieces = tell(side, data, step);
    assert_eq!(whole, pieces, "cut into pieces of {step}");
    both(data, step);
}

/// Everything that was understood of one side, with positions in the whole of it.
fn tell(side: Side, data: &[u8], step: usize) -> Vec<(usize, Message)> {
    let mut parser = Http1::default();
    let mut told = Vec::new();
    let mut start = 0;
    let mut end = 0;
    while end < data.len() {
        end = data.len().min(end + step);
        start += feed(&mut parser, side, &data[start..end], start, &mut told);
    }
    let mut last = Vec::new();
    parser.advance(side, Input::Last(&data[start..]), &mut last);
    parser.advance(side, Input::Eof, &mut last);
    told.extend(last.into_iter().map(|message| placed(message, start)));
    told
}

/// Gives bytes until the parser wants no more of them, and returns how many it took.
fn feed(
    parser: &mut Http1,
    side: Side,
    bytes: &[u8],
    base: usize,
    told: &mut Vec<(usize, Message)>,
) -> usize {
    let mut taken = 0;
    loop {
        let mut out = Vec::new();
        let rest = &bytes[taken..];
        let now = parser.advance(side, Input::Bytes(rest), &mut out);
        assert!(now <= rest.len(), "took {now} of {}", rest.len());
        let progress = now > 0 && now < rest.len();
        for message in out {
            if let Message::Request { at, .. } | Message::Response { at, .. } | Message::End { at, .. } =
                &message
            {
                assert!(*at <= rest.len(), "a message at {at} of {}", rest.len());
            }
            told.push(placed(message, base + taken));
        }
        taken += now;
        if !progress {
            return taken;
        }
    }
}

/// A message with its position in the whole side, and none in the call.
fn placed(mut message: Message, base: usize) -> (usize, Message) {
    let position = match &mut message {
        Message::Request { at, .. }
        | Message::Response { at, .. }
        | Message::Informational { at, .. }
        | Message::End { at, .. } => base + std::mem::take(at),
        Message::Tunnel | Message::Lost { .. } | Message::Resync { .. } | Message::GiveUp(_) => 0,
    };
    (position, message)
}

/// Both sides at once, with what is not bytes between: nothing to compare, but nothing may break.
fn both(data: &[u8], step: usize) {
    let mut parser = Http1::default();
    let mut out = Vec::new();
    for piece in data.chunks(step.max(2)) {
        let side = if piece[0] & 1 == 0 { Side::Request } else { Side::Response };
        let len = u64::from(piece[0]);
        match piece[0] % 11 {
            0 => parser.advance(side, Input::Gap { len }, &mut out),
            1 => parser.advance(side, Input::Body { len, end: len & 2 == 0 }, &mut out),
            2 => parser.advance(side, Input::Start, &mut out),
            3 => parser.advance(side, Input::Withheld { requests: 1 + piece.len() % 3 }, &mut out),
            4 => parser.advance(side, Input::Awaited { requests: piece.len() % 3 }, &mut out),
            5 => parser.advance(side, Input::Last(&piece[1..]), &mut out),
            _ => parser.advance(side, Input::Bytes(&piece[1..]), &mut out),
        };
    }
    for side in [Side::Request, Side::Response] {
        parser.advance(side, Input::Eof, &mut out);
    }
}
