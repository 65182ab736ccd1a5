//! Feeds a conversation as the stream room would, and tells what came of it.

use std::fmt::Write;

use crate::protocol::{Input, Message, Parser, Side, http1::Http1};

/// One step of a conversation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    Bytes(Side, &'a [u8]),
    Body(Side, u64, bool),
    Gap(Side, u64),
    Start(Side),
    Eof(Side),
    Withheld(usize),
    Awaited(usize),
}

#[derive(Default)]
struct Line {
    waiting: Vec<u8>,
    base: u64,
}

/// A parser with the buffers that the stream room keeps.
#[derive(Default)]
pub(super) struct Conversation {
    parser: Http1,
    request: Line,
    response: Line,
    told: String,
}

impl Conversation {
    fn line(&mut self, side: Side) -> &mut Line {
        match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        }
    }

    fn bytes(&mut self, side: Side, bytes: &[u8]) {
        let line = self.line(side);
        line.waiting.extend_from_slice(bytes);
        let (base, waiting) = (line.base, std::mem::take(&mut line.waiting));
        let mut out = Vec::new();
        let consumed = self.parser.advance(side, Input::Bytes(&waiting), &mut out);
        assert!(consumed <= waiting.len());
        self.tell(side, base, &out);
        let line = self.line(side);
        line.base += consumed as u64;
        line.waiting = waiting[consumed..].to_vec();
    }

    fn other(&mut self, side: Side, input: Input<'_>, len: u64) {
        let line = self.line(side);
        let (base, waiting) = (line.base, std::mem::take(&mut line.waiting));
        line.base += waiting.len() as u64;
        let mut out = Vec::new();
        if !waiting.is_empty() {
            self.parser.advance(side, Input::Last(&waiting), &mut out);
            self.tell(side, base, &out);
            out.clear();
        }
        self.parser.advance(side, input, &mut out);
        self.tell(side, base + waiting.len() as u64, &out);
        self.line(side).base += len;
    }

    pub(super) fn step(&mut self, step: Step<'_>) {
        match step {
            Step::Bytes(side, bytes) => {
                self.bytes(side, bytes);
                let waiting = |all: &Self| all.request.waiting.len() + all.response.waiting.len();
                let mut before = usize::MAX;
                while side == Side::Response && waiting(self) > 0 && waiting(self) < before {
                    before = waiting(self);
                    self.bytes(Side::Request, &[]);
                    self.bytes(Side::Response, &[]);
                }
            }
            Step::Body(side, len, end) => self.other(side, Input::Body { len, end }, len),
            Step::Gap(side, len) => self.other(side, Input::Gap { len }, len),
            Step::Start(side) => self.other(side, Input::Start, 0),
            Step::Eof(side) => self.other(side, Input::Eof, 0),
            Step::Withheld(requests) => {
                self.parser.advance(Side::Request, Input::Withheld { requests }, &mut Vec::new());
            }
            Step::Awaited(requests) => {
                self.parser.advance(Side::Response, Input::Awaited { requests }, &mut Vec::new());
            }
        }
    }

    fn tell(&mut self, side: Side, base: u64, messages: &[Message]) {
        let name = |side: Side| if side == Side::Request { "request" } else { "response" };
        for message in messages {
            let told = &mut self.told;
            match message {
                Message::Request { at, head } | Message::Response { at, head, .. } => {
                    let bytes = head.bytes();
                    let line = bytes.split(|b| *b == b'\n').next().unwrap_or(bytes);
                    let line = String::from_utf8_lossy(line);
                    let line: String = line.trim_end().chars().take(60).collect();
                    let truncated = if head.truncated { " truncated" } else { "" };
                    let at = base + *at as u64;
                    writeln!(told, "{} {at}: {line} [{}{truncated}]", name(side), bytes.len()).unwrap();
                }
                Message::Informational { at, status } => {
                    writeln!(told, "interim {}: {status}", base + *at as u64).unwrap();
                }
                Message::End { side, at, body } => {
                    writeln!(told, "{} ends {}, body {body}", name(*side), base + *at as u64).unwrap();
                }
                Message::Tunnel => writeln!(told, "tunnel").unwrap(),
                Message::Lost { side } => writeln!(told, "{} lost", name(*side)).unwrap(),
                Message::Resync { side } => writeln!(told, "{} found again", name(*side)).unwrap(),
                Message::GiveUp(why) => writeln!(told, "given up: {why:?}").unwrap(),
            }
        }
    }

    pub(super) fn told(self) -> String {
        self.told
    }
}

/// What comes of the steps as they are.
pub(super) fn run(steps: &[Step<'_>]) -> String {
    let mut conversation = Conversation::default();
    for step in steps {
        conversation.step(*step);
    }
    conversation.told()
}

/// What comes of the steps with each run of bytes cut into pieces of the given lengths, over and over.
pub(super) fn run_pieces(steps: &[Step<'_>], lengths: &[usize]) -> String {
    let mut conversation = Conversation::default();
    let mut lengths = lengths.iter().cycle();
    for step in steps {
        let Step::Bytes(side, mut bytes) = *step else {
            conversation.step(*step);
            continue;
        };
        while !bytes.is_empty() {
            let len = lengths.next().map_or(1, |len| (*len).clamp(1, bytes.len()));
            conversation.step(Step::Bytes(side, &bytes[..len]));
            bytes = &bytes[len..];
        }
    }
    conversation.told()
}

/// The first `len` bytes of a conversation.
fn prefix<'a>(steps: &[Step<'a>], mut len: usize) -> Vec<Step<'a>> {
    let mut out = Vec::new();
    for step in steps {
        match *step {
            Step::Bytes(side, bytes) if bytes.len() >= len => {
                out.push(Step::Bytes(side, &bytes[..len]));
                return out;
            }
            Step::Bytes(_, bytes) => len -= bytes.len(),
            _ => {}
        }
        out.push(*step);
    }
    out
}

/// Runs a conversation in all the ways that must make no difference and returns what came of it.
pub(super) fn run_all_ways(steps: &[Step<'_>]) -> String {
    let whole = run(steps);
    assert_eq!(run_pieces(steps, &[1]), whole, "in single bytes");
    let len: usize =
        steps.iter().map(|step| if let Step::Bytes(_, bytes) = step { bytes.len() } else { 0 }).sum();
    // Beyond some hundred bytes every prefix would take too long; the interesting ones are at the ends.
    for len in (0..=len).filter(|at| len < 2048 || *at < 512 || at + 512 > len) {
        let steps = prefix(steps, len);
        let once = run(&steps);
        assert_eq!(run_pieces(&steps, &[1]), once, "the first {len} bytes in single bytes");
        assert_eq!(run_pieces(&steps, &[7, 2, 31]), once, "the first {len} bytes in pieces");
        assert!(whole.starts_with(&once), "the first {len} bytes tell something else:\n{once}\n{whole}");
    }
    whole
}

/// Checks a conversation in all ways.
#[track_caller]
pub(super) fn check(steps: &[Step<'_>], expected: &str) {
    let told = run_all_ways(steps);
    let expected: Vec<_> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(told.trim_end(), expected.join("\n"), "\n--- told:\n{told}");
}

/// Bytes of the request side.
pub(super) const fn req(bytes: &[u8]) -> Step<'_> {
    Step::Bytes(Side::Request, bytes)
}

/// Bytes of the response side.
pub(super) const fn resp(bytes: &[u8]) -> Step<'_> {
    Step::Bytes(Side::Response, bytes)
}
