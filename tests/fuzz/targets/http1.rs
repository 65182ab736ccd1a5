//! A conversation, whole and in pieces: no panic, the same messages, no more consumed than given.
//!
//! The first byte is the length of the pieces. The rest is cut at byte 0xFE into request and response
//! bytes in turn.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spandrel::protocol::{Input, Message, Parser, Side, http1::Http1};

#[derive(Default)]
struct Line {
    waiting: Vec<u8>,
    base: usize,
}

#[derive(Default)]
struct Conversation {
    parser: Http1,
    lines: [Line; 2],
    messages: Vec<Message>,
}

impl Conversation {
    fn give(&mut self, side: Side, bytes: &[u8]) {
        let line = &mut self.lines[side as usize];
        line.waiting.extend_from_slice(bytes);
        let from = self.messages.len();
        let consumed = self.parser.advance(side, Input::Bytes(&line.waiting), &mut self.messages);
        for message in &mut self.messages[from..] {
            if let Message::Request { at, .. }
            | Message::Response { at, .. }
            | Message::Informational { at, .. }
            | Message::End { at, .. } = message
            {
                assert!(*at <= line.waiting.len());
                *at += line.base;
            }
        }
        assert!(consumed <= line.waiting.len());
        line.base += consumed;
        line.waiting.drain(..consumed);
    }

    fn bytes(&mut self, side: Side, bytes: &[u8]) {
        self.give(side, bytes);
        let mut before = usize::MAX;
        loop {
            let waiting = self.lines[0].waiting.len() + self.lines[1].waiting.len();
            if side == Side::Request || waiting == 0 || waiting >= before {
                break;
            }
            before = waiting;
            self.give(Side::Request, &[]);
            self.give(Side::Response, &[]);
        }
    }

    fn run(script: &[u8], piece: usize) -> Vec<Message> {
        let mut conversation = Self::default();
        for (turn, bytes) in script.split(|byte| *byte == 0xfe).enumerate() {
            let side = if turn % 2 == 0 { Side::Request } else { Side::Response };
            bytes.chunks(piece).for_each(|piece| conversation.bytes(side, piece));
        }
        conversation.messages
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((piece, script)) = bytes.split_first() else { return };
    // Above the capture limit of a head, what is found again depends on where calls begin.
    if script.len() > 16_000 {
        return;
    }
    let whole = Conversation::run(script, usize::MAX);
    assert_eq!(whole, Conversation::run(script, 1));
    assert_eq!(whole, Conversation::run(script, usize::from(*piece).max(2)));
});
