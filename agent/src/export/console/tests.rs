//! The console's thread, with memory in place of a terminal.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::Ordering::Relaxed,
        mpsc::{self, Sender},
    },
    thread::JoinHandle,
};

use super::*;
use crate::{
    export::{report::Ledger, room::Room, testing},
    stats::Stats,
};

/// What was written; with a limit, writing more fails.
#[derive(Clone, Default)]
struct Screen {
    text: Arc<Mutex<Vec<u8>>>,
    limit: Option<usize>,
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut text = self.text.lock().unwrap();
        if self.limit.is_some_and(|limit| text.len() + bytes.len() > limit) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Rig {
    stats: Arc<Stats>,
    room: Arc<Room>,
    to: Sender<Message>,
    screen: Screen,
    thread: JoinHandle<()>,
}

impl Rig {
    fn start(kind: Console, limit: Option<usize>) -> Self {
        let screen = Screen { limit, ..Screen::default() };
        let writer = Writer { out: screen.clone(), claim: None, broken: false };
        let (to, from) = mpsc::channel();
        let thread = thread::spawn(move || match kind {
            Console::Json => lines(writer, &from),
            _ => trees(writer, &from, || (100, false)),
        });
        let stats = Arc::<Stats>::default();
        let room = Room::new(1000, 1 << 20, Arc::clone(&stats));
        Self { stats, room, to, screen, thread }
    }

    fn send(&self, spans: Vec<Span>) {
        for _ in &spans {
            self.stats.saw();
        }
        let claim = self.room.admit(true, spans.iter().map(footprint)).unwrap();
        self.to.send(Message::Spans(spans, claim)).unwrap();
    }

    fn end(self) -> (String, Arc<Stats>) {
        self.to.send(Message::Close).unwrap();
        self.thread.join().unwrap();
        assert!(Ledger::read(&self.stats).closes());
        assert_eq!(self.stats.open.load(Relaxed), 0);
        assert_eq!((self.room.held().spans, self.room.held().bytes), (0, 0));
        let text = self.screen.text.lock().unwrap().clone();
        (String::from_utf8(text).unwrap(), self.stats)
    }
}

#[test]
fn json_is_one_object_a_line() {
    let rig = Rig::start(Console::Json, None);
    rig.send(testing::spans(2));
    rig.send(testing::spans(1));
    let (text, stats) = rig.end();
    assert_eq!(text.lines().count(), 2);
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(value["resourceSpans"].is_array());
    }
    assert_eq!(stats.exported.load(Relaxed), 3);
}

#[test]
fn what_waits_is_shown_at_the_end() {
    let rig = Rig::start(Console::Text, None);
    let mut spans = testing::spans(3);
    spans[1].trace_id = spans[0].trace_id;
    spans[1].parent_id = spans[0].span_id;
    // The parts of one trace come apart.
    rig.send(vec![spans[1].clone(), spans[2].clone()]);
    rig.send(vec![spans[0].clone()]);
    let (text, stats) = rig.end();
    assert_eq!(text.matches("2 spans in 1 service").count(), 1, "{text}");
    assert_eq!(stats.exported.load(Relaxed), 3);
}

#[test]
fn a_reader_that_is_gone_is_counted() {
    let rig = Rig::start(Console::Json, Some(10));
    rig.send(testing::spans(2));
    let (_, stats) = rig.end();
    assert_eq!(stats.dropped(Cause::ExportFailed), 2);
}
