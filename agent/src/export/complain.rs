//! What is said about a destination: one line a condition, and again once in a while as long as it lasts.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A condition that lasts is said again after this time, with what it cost since.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// A failure soon after one that was said is a flicker, which is only counted, unless it lasts for this long.
const LASTS: Duration = Duration::from_secs(10);

/// What has been said.
#[derive(Debug)]
pub(super) struct Complaints {
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    /// How each line begins.
    about: String,
    failures: Failures,
    lost: Option<Instant>,
    unsaid_spans: usize,
    trouble: Option<Instant>,
}

/// What has been said of requests that failed.
#[derive(Debug, Default)]
struct Failures {
    /// Since when requests fail, and whether that was said.
    now: Option<(Instant, bool)>,
    /// When that was said last.
    spoke: Option<Instant>,
    /// How often they failed and worked again since, without a word.
    flickers: u64,
}

impl Failures {
    /// A request failed: if that is to be said, how many failures were not since the last time.
    fn fail(&mut self, now: Instant) -> Option<u64> {
        let (since, said) = self.now.get_or_insert((now, false));
        let due = self.spoke.is_none_or(|at| now.duration_since(at) >= SAY_AGAIN)
            || now.duration_since(*since) >= LASTS;
        if *said || !due {
            return None;
        }
        *said = true;
        self.spoke = Some(now);
        Some(std::mem::take(&mut self.flickers))
    }

    /// It was said that requests fail.
    fn spoken(&mut self, now: Instant) {
        self.now.get_or_insert((now, true)).1 = true;
    }

    /// A request was successful: if that is to be said, for how long they were not.
    fn work(&mut self, now: Instant) -> Option<Duration> {
        let (since, said) = self.now.take()?;
        self.flickers += u64::from(!said);
        said.then(|| now.duration_since(since))
    }
}

impl Said {
    fn trouble(&mut self, what: fmt::Arguments<'_>) -> bool {
        let due = self.trouble.is_none_or(|at| at.elapsed() >= SAY_AGAIN);
        if due {
            self.trouble = Some(Instant::now());
            log::warn!("{}: {what}", self.about);
        }
        due
    }
}

impl Complaints {
    pub(super) fn new(about: String) -> Self {
        Self { said: Mutex::new(Said { about, ..Said::default() }) }
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it is about something else, of which nothing has been said.
    pub(super) fn turn_to(&self, about: String) {
        let mut said = self.lock();
        if said.about != about {
            let unsaid_spans = said.unsaid_spans;
            *said = Said { about, unsaid_spans, ..Said::default() };
        }
    }

    /// A request was successful.
    pub(super) fn works(&self) {
        let mut said = self.lock();
        if let Some(after) = said.failures.work(Instant::now()) {
            log::info!("{} works again after {after:.1?}", said.about);
        }
    }

    /// A request failed and is sent again.
    pub(super) fn fails(&self, what: fmt::Arguments<'_>, limit: Duration) {
        let mut said = self.lock();
        if let Some(flickers) = said.failures.fail(Instant::now()) {
            let (about, limit, flickers) = (&said.about, Shown(limit), Flickers(flickers));
            log::warn!("{about} fails ({what}); a batch is sent again {limit}{flickers}");
        }
    }

    /// Spans are lost to this destination.
    pub(super) fn lost(&self, spans: usize, what: fmt::Arguments<'_>) {
        let mut said = self.lock();
        said.unsaid_spans += spans;
        if said.lost.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
            said.lost = Some(Instant::now());
            let spans = std::mem::take(&mut said.unsaid_spans);
            log::warn!("{}: {spans} spans not delivered, {what}", said.about);
        }
    }

    /// Something is wrong that does not cost a span by itself.
    pub(super) fn trouble(&self, what: fmt::Arguments<'_>) {
        self.lock().trouble(what);
    }

    /// The same, of a backend that takes nothing until somebody has mended something: its return is said, too.
    pub(super) fn refuses(&self, what: fmt::Arguments<'_>) {
        let mut said = self.lock();
        if said.trouble(what) {
            said.failures.spoken(Instant::now());
        }
    }
}

/// A limit for people.
struct Shown(Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        if self.0 > DAY {
            f.write_str("as long as there is room on disk")
        } else {
            write!(f, "for up to {:?}", self.0)
        }
    }
}

/// Failures that were not said, for people.
struct Flickers(u64);

impl fmt::Display for Flickers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            n => write!(f, "; it failed {n} times more since this was said, for less than {LASTS:?} each"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Failures and successes at so many milliseconds: the lines that come of it.
    fn lines(steps: impl IntoIterator<Item = (u64, bool)>) -> Vec<(u64, String)> {
        let (start, mut failures) = (Instant::now(), Failures::default());
        let line = |(ms, works)| {
            let now = start + Duration::from_millis(ms);
            let failed = |flickers| format!("fails{}", Flickers(flickers));
            let line = if works {
                failures.work(now).map(|after| format!("works after {after:?}"))
            } else {
                failures.fail(now).map(failed)
            };
            line.map(|line| (ms, line))
        };
        steps.into_iter().filter_map(line).collect()
    }

    #[test]
    fn a_backend_that_flickers_is_told_of_twice_a_minute() {
        let said = lines((0..1200_u64).map(|n| (n * 100, n % 2 == 1)));
        assert_eq!(said.len(), 4, "{said:?}");
        assert_eq!(said[0], (0, "fails".to_owned()));
        assert_eq!(said[1], (100, "works after 100ms".to_owned()));
        assert!(said[2].0 == 60_000 && said[2].1.contains("failed 299 times more"), "{said:?}");
    }

    #[test]
    fn one_that_refused_and_was_mended_is_told_of_once() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        failures.spoken(now);
        failures.spoken(now + Duration::from_secs(1));
        assert_eq!(failures.work(now + Duration::from_secs(5)), Some(Duration::from_secs(5)));
        assert_eq!(failures.work(now + Duration::from_secs(6)), None);
    }

    #[test]
    fn one_that_stays_away_is_told_of_soon() {
        // A flicker, and then it is gone for good.
        let said = lines([(0, false), (50, true)].into_iter().chain((1..40).map(|n| (n * 1000, false))));
        let times: Vec<_> = said.iter().map(|(ms, _)| *ms).collect();
        assert_eq!(times, [0, 50, 11_000]);
        // Nothing before it: at once, and once.
        assert_eq!(lines((0..100).map(|n| (n * 100, false))), [(0, "fails".to_owned())]);
    }
}
