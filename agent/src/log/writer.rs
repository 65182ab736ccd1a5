//! Lines on their way to standard error, on a thread of their own: who does not read them stalls neither capture nor the
//! end of the agent.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

/// Lines that wait at most, of some 200 bytes each: a start at the level `debug` says as many at once.
const MAX_WAITING: usize = 4096;

/// How often [`Writer::flush`] looks for room.
const ROOM_EVERY: Duration = Duration::from_millis(1);

/// What is to be written.
struct Item {
    /// Lines before it that were lost.
    lost: u64,
    what: What,
}

enum What {
    Line(String),
    /// Told when everything before it is written.
    Flush(SyncSender<()>),
}

/// The way to the thread.
#[derive(Clone)]
pub(super) struct Writer {
    to: SyncSender<Item>,
    /// Lines that were lost since a line was handed over that says so.
    lost: Arc<AtomicU64>,
    all_lost: Arc<AtomicU64>,
}

impl Writer {
    /// Starts the thread. `gap` says in a line that so many before it were lost.
    pub(super) fn start(
        out: impl Write + Send + 'static,
        gap: impl Fn(u64) -> String + Send + 'static,
    ) -> std::io::Result<Self> {
        let (to, from) = mpsc::sync_channel(MAX_WAITING);
        thread::Builder::new().name("spandrel-log".to_owned()).spawn(move || write(out, &from, gap))?;
        Ok(Self { to, lost: Arc::default(), all_lost: Arc::default() })
    }

    /// Hands a line over. It is lost, and counted, if there is no room for it.
    pub(super) fn line(&self, line: String) {
        if !self.hand_over(What::Line(line)) {
            self.lost.fetch_add(1, Relaxed);
            self.all_lost.fetch_add(1, Relaxed);
        }
    }

    /// How many lines were lost so far.
    pub(super) fn lost(&self) -> u64 {
        self.all_lost.load(Relaxed)
    }

    /// Waits until everything is written, as long as `patience` lasts.
    pub(super) fn flush(&self, patience: Duration) {
        let (done, written) = mpsc::sync_channel(1);
        let until = Instant::now() + patience;
        // Where there is no room, there will be as soon as somebody reads.
        while !self.hand_over(What::Flush(done.clone())) {
            if Instant::now() >= until {
                return;
            }
            thread::sleep(ROOM_EVERY);
        }
        // Nobody can be told of what is not written.
        written.recv_timeout(until.saturating_duration_since(Instant::now())).ok();
    }

    fn hand_over(&self, what: What) -> bool {
        let lost = self.lost.swap(0, Relaxed);
        let handed = self.to.try_send(Item { lost, what }).is_ok();
        if !handed {
            self.lost.fetch_add(lost, Relaxed);
        }
        handed
    }
}

fn write(mut out: impl Write, from: &Receiver<Item>, gap: impl Fn(u64) -> String) {
    for Item { lost, what } in from {
        // There is nobody to tell that it cannot be written.
        if lost > 0 {
            writeln!(out, "{}", gap(lost)).ok();
        }
        match what {
            What::Line(line) => writeln!(out, "{line}").unwrap_or_default(),
            What::Flush(done) => done.send(()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Read as _},
        sync::{Condvar, Mutex},
    };

    use super::*;

    /// Writes nothing until it may.
    #[derive(Clone, Default)]
    struct Stuck(Arc<(Mutex<(bool, Vec<u8>)>, Condvar)>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (state, changed) = &*self.0;
            let mut state = changed.wait_while(state.lock().unwrap(), |state| !state.0).unwrap();
            state.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_does_not_read_stalls_nobody_and_hears_what_was_lost() {
        let stuck = Stuck::default();
        let writer = Writer::start(stuck.clone(), |lost| format!("{lost} lost")).unwrap();
        let begun = Instant::now();
        for n in 0..MAX_WAITING + 100 {
            writer.line(n.to_string());
        }
        writer.flush(Duration::from_millis(10));
        assert!(begun.elapsed() < Duration::from_secs(5));
        let lost = writer.lost.load(Relaxed);
        assert!((99..=100).contains(&lost), "{lost}");
        let (state, changed) = &*stuck.0;
        state.lock().unwrap().0 = true;
        changed.notify_all();
        writer.flush(Duration::from_secs(20));
        writer.line("after".to_owned());
        writer.flush(Duration::from_secs(20));
        let mut text = String::new();
        state.lock().unwrap().1.as_slice().read_to_string(&mut text).unwrap();
        assert!(text.starts_with("0\n1\n2\n"), "{text}");
        assert!(text.ends_with(&format!("\n{lost} lost\nafter\n")), "{text}");
        assert_eq!(writer.lost(), lost);
    }
}
