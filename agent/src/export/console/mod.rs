//! The console: traces on a terminal as they complete, or OTLP/JSON lines for other programs.

mod forest;
mod gather;
mod render;
mod spent;
mod style;
#[cfg(test)]
mod tests;

use std::{
    io::{self, IsTerminal as _, Write},
    sync::mpsc::{Receiver, RecvTimeoutError},
    thread,
    time::Instant,
};

use tokio::sync::oneshot;

use self::gather::Gather;
pub use self::render::render;
use super::{
    batch::Batch,
    config::Console,
    json,
    pipeline::{Message, footprint, next},
    room::{Claim, Fate},
};
use crate::{span::Span, stats::Drop as Cause};

/// What stands for it where destinations are named.
pub(super) const NAME: &str = "console";

/// The width of what is not written to a terminal.
const WIDTH: usize = 110;

/// What a person's terminal is like now: columns, and whether colour is welcome (<https://no-color.org>).
pub fn terminal() -> (usize, bool) {
    let width = terminal_size::terminal_size().map_or(WIDTH, |(width, _)| usize::from(width.0));
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    (width, io::stdout().is_terminal() && !no_color && !dumb)
}

/// Starts the thread that writes to standard output. It may block there; nobody else does. The receiver
/// hears when everything is written.
pub(super) fn start(kind: Console, from: Receiver<Message>) -> io::Result<oneshot::Receiver<()>> {
    let (done, written) = oneshot::channel();
    thread::Builder::new().name("spandrel-console".to_owned()).spawn(move || {
        let writer = Writer { out: io::stdout(), claim: None, broken: false };
        match kind {
            Console::Json => lines(writer, &from),
            Console::Text | Console::Off => trees(writer, &from, terminal),
        }
        // Nobody waits for it if the pipeline was dropped.
        done.send(()).ok();
    })?;
    Ok(written)
}

/// Writes and settles what was written.
struct Writer<W> {
    out: W,
    /// For spans that have come and are not written.
    claim: Option<Claim>,
    /// Nobody reads any more; said once.
    broken: bool,
}

impl<W: Write> Writer<W> {
    fn hold(&mut self, claim: Claim) {
        match &mut self.claim {
            Some(held) => held.merge(claim),
            None => self.claim = Some(claim),
        }
    }

    fn write(&mut self, spans: &[Span], text: &[u8]) {
        let bytes = spans.iter().map(footprint).sum();
        let Some(claim) = self.claim.as_mut().map(|claim| claim.split(spans.len(), bytes)) else { return };
        let result = self.out.write_all(text).and_then(|()| self.out.flush());
        if let (Err(error), false) = (&result, self.broken) {
            log::warn!("standard output: {error}; what is shown there is lost from now on");
            self.broken = true;
        }
        claim.settle(if result.is_ok() { Fate::Exported } else { Fate::Dropped(Cause::ExportFailed) });
    }
}

/// OTLP/JSON, one object a line, at once.
fn lines<W: Write>(mut writer: Writer<W>, from: &Receiver<Message>) {
    while let Ok(Message::Spans(spans, claim)) = from.recv() {
        writer.hold(claim);
        let mut line = Vec::new();
        json::write_line(&spans.iter().collect::<Batch<&Span>>(), &mut line);
        writer.write(&spans, &line);
    }
}

/// Trees, each when its trace is quiet.
fn trees<W: Write>(mut writer: Writer<W>, from: &Receiver<Message>, terminal: fn() -> (usize, bool)) {
    let mut gather = Gather::default();
    let show = |writer: &mut Writer<W>, spans: &[Span]| {
        let (width, colour) = terminal();
        writer.write(spans, render(spans, width, colour).as_bytes());
    };
    loop {
        match next(from, gather.due()) {
            Ok(Message::Spans(spans, claim)) => {
                writer.hold(claim);
                let now = Instant::now();
                for span in spans {
                    gather.push(span, now);
                }
            }
            #[cfg(test)]
            Ok(Message::Flush(_)) => {}
            Ok(Message::Limits(_)) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => break,
        }
        let now = Instant::now();
        while let Some(spans) = gather.pop(now) {
            show(&mut writer, &spans);
        }
    }
    while let Some(spans) = gather.pop_any() {
        show(&mut writer, &spans);
    }
}
