//! What is said about a destination: one line a condition, and again once in a while as long as it lasts.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A condition that lasts is said again after this time, with what it cost since.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// What has been said.
#[derive(Debug)]
pub(super) struct Complaints {
    /// How each line begins.
    about: String,
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    failing_since: Option<Instant>,
    lost: Option<Instant>,
    unsaid_spans: usize,
    trouble: Option<Instant>,
}

impl Complaints {
    pub(super) fn new(about: String) -> Self {
        Self { about, said: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request was successful.
    pub(super) fn works(&self) {
        if let Some(since) = self.lock().failing_since.take() {
            log::info!("{} works again after {:.1?}", self.about, since.elapsed());
        }
    }

    /// A request failed and is sent again.
    pub(super) fn fails(&self, what: fmt::Arguments<'_>, limit: Duration) {
        let mut said = self.lock();
        if said.failing_since.is_none() {
            said.failing_since = Some(Instant::now());
            log::warn!("{} fails ({what}); a batch is sent again {}", self.about, Shown(limit));
        }
    }

    /// Spans are lost to this destination.
    pub(super) fn lost(&self, spans: usize, what: fmt::Arguments<'_>) {
        let mut said = self.lock();
        said.unsaid_spans += spans;
        if said.lost.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
            said.lost = Some(Instant::now());
            let spans = std::mem::take(&mut said.unsaid_spans);
            log::warn!("{}: {spans} spans not delivered, {what}", self.about);
        }
    }

    /// Something is wrong that does not cost a span by itself.
    pub(super) fn trouble(&self, what: fmt::Arguments<'_>) {
        let mut said = self.lock();
        if said.trouble.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
            said.trouble = Some(Instant::now());
            log::warn!("{}: {what}", self.about);
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
