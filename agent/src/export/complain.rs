//! What is said about a destination: one line a condition, and again once in a while as long as it lasts.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{DefaultHasher, Hasher as _},
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    client::{Failure, Verdict},
    counters::Code,
};
use crate::{log::CONDITION, stats::Drop as Cause};

/// A condition that lasts is said again after this time, with what it cost since.
pub(super) const SAY_AGAIN: Duration = Duration::from_secs(60);

/// A failure soon after one that was said is a flicker, which is only counted, unless it lasts for this long.
pub(super) const LASTS: Duration = Duration::from_secs(10);

/// Conditions of one destination that are said within a minute. Real backends have a handful; one that answers with
/// another code each time does not fill the log.
const MAX_CONDITIONS: usize = 32;

/// What is said apart from everything else: another one is said at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Condition {
    /// Requests end like this, and are made again. Why there is no connection is a condition of its own: see
    /// [`Self::of`].
    Fails(Code, u64),
    /// Spans are lost for a cause, by its label, and after such an answer.
    Lost(&'static str, Option<Code>),
    Trouble(Trouble),
}

impl Condition {
    /// A request failed. Without a connection there are as many conditions as reasons: a certificate is not mended where
    /// a backend is started. Numbers in them (addresses, dates) do not tell them apart.
    fn of(failure: &Failure) -> Self {
        let mut reason = DefaultHasher::new();
        if failure.code == Code::Connect {
            failure.message.bytes().filter(u8::is_ascii_alphabetic).for_each(|byte| reason.write_u8(byte));
        }
        Self::Fails(failure.code, reason.finish())
    }
}

/// What is wrong without costing a span by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// The backend took a batch, and says something about it.
    Warning,
    /// The queue on disk.
    Spill,
    /// The dead letters.
    Letters,
}

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
    once: Once,
    /// What the last request that failed came to, unless one was successful since.
    last: Option<String>,
}

/// Conditions that were said, and how many spans they cost since without a word.
#[derive(Debug, Default)]
struct Once(BTreeMap<Condition, (Option<Instant>, usize)>);

impl Once {
    /// A condition costs so many spans: if it is to be said, how many it cost since it was said last.
    fn due(&mut self, condition: Condition, spans: usize, now: Instant) -> Option<usize> {
        let recent =
            |said: Option<Instant>| said.is_some_and(|at| now.saturating_duration_since(at) < SAY_AGAIN);
        if self.0.len() >= MAX_CONDITIONS && !self.0.contains_key(&condition) {
            // What is forgotten here is in the totals of the end.
            self.0.retain(|_, (said, _)| recent(*said));
            if self.0.len() >= MAX_CONDITIONS {
                return None;
            }
        }
        let (said, unsaid) = self.0.entry(condition).or_default();
        *unsaid = unsaid.saturating_add(spans);
        if recent(*said) {
            return None;
        }
        *said = Some(now);
        Some(mem::take(unsaid))
    }
}

/// What has been said of requests that failed.
#[derive(Debug, Default)]
struct Failures {
    /// Since when requests fail, and what was said of that.
    now: Option<(Instant, Option<Condition>)>,
    /// How often they failed and worked again since, without a word.
    flickers: u64,
}

impl Failures {
    /// A request failed: if that is to be said, how many failures were not since the last time.
    fn fail(&mut self, once: &mut Once, condition: Condition, now: Instant) -> Option<u64> {
        let (since, said) = self.now.get_or_insert((now, None));
        let lasts = said.is_none() && now.duration_since(*since) >= LASTS;
        if *said == Some(condition) || once.due(condition, 0, now).is_none() && !lasts {
            return None;
        }
        *said = Some(condition);
        Some(mem::take(&mut self.flickers))
    }

    /// A request was successful: if that is to be said, for how long they were not.
    fn work(&mut self, now: Instant) -> Option<Duration> {
        let (since, said) = self.now.take()?;
        self.flickers += u64::from(said.is_none());
        said.map(|_| now.duration_since(since))
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
            let mut once = mem::take(&mut said.once);
            once.0.retain(|_, (_, unsaid)| *unsaid > 0);
            once.0.values_mut().for_each(|(said, _)| *said = None);
            *said = Said { about, once, ..Said::default() };
        }
    }

    /// A request was successful.
    pub(super) fn works(&self) {
        let mut said = self.lock();
        said.last = None;
        if let Some(after) = said.failures.work(Instant::now()) {
            log::info!(target: CONDITION, "{} works again after {after:.1?}", said.about);
        }
    }

    /// What the last request that failed came to, unless one was successful since.
    pub(super) fn last(&self) -> Option<String> {
        self.lock().last.clone()
    }

    /// A request failed. `then`: what comes of it.
    pub(super) fn fails(&self, failure: &Failure, then: impl fmt::Display) {
        let mut said = self.lock();
        let Said { about, failures, once, last } = &mut *said;
        if let Some(flickers) = failures.fail(once, Condition::of(failure), Instant::now()) {
            log::warn!(target: CONDITION, "{about} fails ({failure}); {then}{}", Flickers(flickers));
        }
        *last = Some(failure.to_string());
    }

    /// What a request with metrics came to, of which none is made again. `then`: what comes of it.
    pub(super) fn metrics(&self, verdict: &Verdict, then: &str) {
        match verdict {
            Verdict::Accepted { message, .. } => {
                self.works();
                if !message.is_empty() {
                    self.trouble(Trouble::Warning, format_args!("the backend warns: {message}"));
                }
            }
            Verdict::Retry { failure, .. }
            | Verdict::TooLarge(failure)
            | Verdict::Unauthorized(failure)
            | Verdict::Refused(failure) => self.fails(failure, then),
        }
    }

    /// Spans are lost to this destination.
    pub(super) fn lost(&self, spans: usize, cause: Cause, what: impl fmt::Display) {
        self.loses(spans, Condition::Lost(cause.label(), None), what);
    }

    /// The same after an answer of the backend.
    pub(super) fn refused(&self, spans: usize, cause: Cause, failure: &Failure, what: impl fmt::Display) {
        self.lock().last = Some(failure.to_string());
        self.loses(spans, Condition::Lost(cause.label(), Some(failure.code)), what);
    }

    fn loses(&self, spans: usize, condition: Condition, what: impl fmt::Display) {
        let mut said = self.lock();
        if let Some(spans) = said.once.due(condition, spans, Instant::now()) {
            log::warn!(target: CONDITION, "{}: {spans} spans not delivered, {what}", said.about);
        }
    }

    /// Something is wrong that does not cost a span by itself.
    pub(super) fn trouble(&self, trouble: Trouble, what: impl fmt::Display) {
        let mut said = self.lock();
        if said.once.due(Condition::Trouble(trouble), 0, Instant::now()).is_some() {
            log::warn!(target: CONDITION, "{}: {what}", said.about);
        }
    }
}

/// What comes of a request that failed and is made again for so long, for people.
pub(super) struct Again(pub(super) Duration);

impl fmt::Display for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a batch is sent again {}", Shown(self.0))
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

    const UNAVAILABLE: Condition = Condition::Fails(Code::Http(503), 0);

    /// What requests came to at so many milliseconds, nothing where they worked: the lines that come of it.
    fn told(steps: impl IntoIterator<Item = (u64, Option<Condition>)>) -> Vec<(u64, String)> {
        let (start, mut failures, mut once) = (Instant::now(), Failures::default(), Once::default());
        let line = |(ms, failed): (u64, Option<Condition>)| {
            let now = start + Duration::from_millis(ms);
            let line = match failed {
                None => failures.work(now).map(|after| format!("works after {after:?}")),
                Some(condition) => {
                    let flickers = failures.fail(&mut once, condition, now)?;
                    Some(format!("{condition:?}{}", Flickers(flickers)))
                }
            };
            line.map(|line| (ms, line))
        };
        steps.into_iter().filter_map(line).collect()
    }

    /// The same of failures that are all alike.
    fn lines(steps: impl IntoIterator<Item = (u64, bool)>) -> Vec<(u64, String)> {
        told(steps.into_iter().map(|(ms, works)| (ms, (!works).then_some(UNAVAILABLE))))
    }

    fn fails() -> String {
        format!("{UNAVAILABLE:?}")
    }

    #[test]
    fn a_backend_that_flickers_is_told_of_twice_a_minute() {
        let said = lines((0..1200_u64).map(|n| (n * 100, n % 2 == 1)));
        assert_eq!(said.len(), 4, "{said:?}");
        assert_eq!(said[0], (0, fails()));
        assert_eq!(said[1], (100, "works after 100ms".to_owned()));
        assert!(said[2].0 == 60_000 && said[2].1.contains("failed 299 times more"), "{said:?}");
    }

    /// 403, mended, 401 within the minute, mended, 401 again: each is said but the last, until that lasts.
    #[test]
    fn another_answer_is_said_at_once() {
        let (one, other) = (Condition::Fails(Code::Http(403), 0), Condition::Fails(Code::Http(401), 0));
        let said = told([
            (0, Some(one)),
            (7_000, None),
            (8_000, Some(other)),
            (9_000, Some(other)),
            (10_000, None),
            (11_000, Some(other)),
            (20_000, Some(other)),
            (21_000, Some(other)),
            (22_000, Some(one)),
            (61_000, Some(one)),
        ]);
        let said: Vec<_> = said.iter().map(|(ms, line)| (*ms, line.as_str())).collect();
        let (one, other) = (format!("{one:?}"), format!("{other:?}"));
        let expected = [
            (0, &*one),
            (7_000, "works after 7s"),
            (8_000, &other),
            (10_000, "works after 2s"),
            (21_000, &other),
            (61_000, &one),
        ];
        assert_eq!(said, expected);
    }

    /// A backend that was down comes back with a certificate of somebody else.
    #[test]
    fn another_reason_without_a_connection_is_said_at_once() {
        let why =
            |message: &str| Condition::of(&Failure { code: Code::Connect, message: message.to_owned() });
        let (down, foreign) = (why("127.0.0.1:4317: Connection refused"), why("UnknownIssuer"));
        assert_eq!(down, why("10.0.0.7:4317: Connection refused"));
        let said =
            told([(0, Some(down)), (1_000, Some(foreign)), (2_000, Some(foreign)), (3_000, Some(down))]);
        let times: Vec<_> = said.iter().map(|(ms, _)| *ms).collect();
        assert_eq!(times, [0, 1_000]);
    }

    #[test]
    fn a_backend_that_answers_anything_does_not_fill_the_log() {
        let codes =
            (0..10_000_u64).map(|n| (n * 10, Some(Condition::Fails(Code::Http((n % 500) as u16), 0))));
        // For a hundred seconds.
        let said = told(codes).len();
        assert!(said <= 2 * MAX_CONDITIONS, "{said}");
    }

    #[test]
    fn spans_that_are_lost_for_another_cause_are_said_at_once() {
        let (mut once, start) = (Once::default(), Instant::now());
        let full = Condition::Lost(Cause::QueueFull.label(), None);
        let refused = |code| Condition::Lost(Cause::ExportRefused.label(), Some(Code::Http(code)));
        let later = |s| start + Duration::from_secs(s);
        assert_eq!(once.due(full, 3, start), Some(3));
        assert_eq!(once.due(refused(400), 5, later(1)), Some(5));
        assert_eq!(once.due(refused(404), 7, later(2)), Some(7));
        assert_eq!((once.due(full, 10, later(3)), once.due(full, 20, later(59))), (None, None));
        assert_eq!(once.due(full, 1, later(60)), Some(31));
    }

    #[test]
    fn one_that_stays_away_is_told_of_soon() {
        // A flicker, and then it is gone for good.
        let said = lines([(0, false), (50, true)].into_iter().chain((1..40).map(|n| (n * 1000, false))));
        let times: Vec<_> = said.iter().map(|(ms, _)| *ms).collect();
        assert_eq!(times, [0, 50, 11_000]);
        // Nothing before it: at once, and once.
        assert_eq!(lines((0..100).map(|n| (n * 100, false))), [(0, fails())]);
    }
}
