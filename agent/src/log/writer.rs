//! Lines on their way to standard error, on a thread of their own: who does not read them stalls neither capture nor the
//! end of the agent.

use std::{
    collections::VecDeque,
    io::Write,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// Lines that wait at most, of some 200 bytes each: a start at the level `debug` says as many at once.
const MAX_WAITING: usize = 4096;

/// The way to the thread.
#[derive(Clone, Default)]
pub(super) struct Writer(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Each with how many were lost before it.
    waiting: VecDeque<(u64, String)>,
    /// One that was taken out is being written.
    writing: bool,
    /// Lines that were lost since the last one that waits.
    lost: u64,
    all_lost: u64,
}

impl Writer {
    /// Starts the thread. `gap` says in a line that so many before it were lost.
    pub(super) fn start(
        out: impl Write + Send + 'static,
        gap: impl Fn(u64) -> String + Send + 'static,
    ) -> std::io::Result<Self> {
        let writer = Self::default();
        let thread = writer.clone();
        thread::Builder::new().name("spandrel-log".to_owned()).spawn(move || thread.run(out, gap))?;
        Ok(writer)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a line over. It is lost, and counted, if there is no room for it.
    pub(super) fn line(&self, line: String) {
        let mut state = self.lock();
        if state.waiting.len() >= MAX_WAITING {
            state.lost += 1;
            state.all_lost += 1;
            return;
        }
        let lost = std::mem::take(&mut state.lost);
        state.waiting.push_back((lost, line));
        drop(state);
        self.0.changed.notify_all();
    }

    /// How many lines were lost so far.
    pub(super) fn lost_so_far(&self) -> u64 {
        self.lock().all_lost
    }

    /// Waits until everything is written, as long as `patience` lasts.
    pub(super) fn flush(&self, patience: Duration) {
        let busy = |state: &mut State| state.writing || !state.waiting.is_empty();
        // Nobody can be told of what is not written.
        drop(self.0.changed.wait_timeout_while(self.lock(), patience, busy));
    }

    fn run(self, mut out: impl Write, gap: impl Fn(u64) -> String) {
        loop {
            let (lost, line) = self.next();
            // There is nobody to tell that it cannot be written.
            if lost > 0 {
                writeln!(out, "{}", gap(lost)).ok();
            }
            writeln!(out, "{line}").ok();
        }
    }

    /// The line before is written: waits for one.
    fn next(&self) -> (u64, String) {
        let mut state = self.lock();
        loop {
            if let Some(next) = state.waiting.pop_front() {
                state.writing = true;
                return next;
            }
            if std::mem::take(&mut state.writing) {
                self.0.changed.notify_all();
            }
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Read as _},
        time::Instant,
    };

    use super::*;

    /// Writes nothing until it may.
    #[derive(Clone, Default)]
    struct Stuck(Arc<Gate>);

    #[derive(Default)]
    struct Gate {
        /// Whether it is open, and what went through.
        state: Mutex<(bool, Vec<u8>)>,
        changed: Condvar,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let Gate { state, changed } = &*self.0;
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
        // One more than may wait may be on its way.
        let lost = writer.lost_so_far();
        assert!((99..=100).contains(&lost), "{lost}");
        let Gate { state, changed } = &*stuck.0;
        state.lock().unwrap().0 = true;
        changed.notify_all();
        writer.flush(Duration::from_secs(20));
        writer.line("after".to_owned());
        writer.flush(Duration::from_secs(20));
        let mut text = String::new();
        state.lock().unwrap().1.as_slice().read_to_string(&mut text).unwrap();
        assert!(text.starts_with("0\n1\n2\n"), "{text}");
        assert!(text.ends_with(&format!("\n{lost} lost\nafter\n")), "{text}");
        assert_eq!(writer.lost_so_far(), lost);
    }
}
