//! Rules for the roots of traces: the first one that matches decides, by its ratio and its rate limit.
//!
//! A rule asks for what is known when a request's head is there: service, method, path, a header. A header is set by
//! whoever sends the request, so a rule that keeps traces by one should have a limit.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use spandrel_common::{
    rules::{Bucket, matches},
    sample::Policy,
};

/// Buckets at most: one for each rule with a limit and each service. Services beyond them share one a rule.
const MAX_BUCKETS: usize = 4096;

/// A rule; what is not said matches anything. Patterns are those of [`matches`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// For metrics.
    pub name: Box<str>,
    pub service: Option<Box<str>>,
    pub method: Option<Box<str>>,
    pub path: Option<Box<str>>,
    /// Name, and a pattern for the value.
    pub header: Option<(Box<str>, Box<str>)>,
    /// Rejection threshold: see [`Policy::threshold`].
    pub threshold: u64,
    /// Traces kept a second at most, for each service.
    pub per_second: Option<u32>,
}

/// What a rule did.
#[derive(Debug, Default)]
pub struct RuleCounts {
    pub kept: AtomicU64,
    /// By the ratio.
    pub dropped: AtomicU64,
    /// By the rate limit.
    pub limited: AtomicU64,
}

/// What is known of a request.
pub struct Asked<'a> {
    pub service: &'a str,
    pub method: &'a [u8],
    /// Without the query.
    pub path: &'a [u8],
    /// The first value of a header.
    pub header: &'a dyn Fn(&str) -> Option<&'a [u8]>,
    pub trace_id: [u8; 16],
    /// When it began; `CLOCK_MONOTONIC`, nanoseconds.
    pub now_ns: u64,
}

impl fmt::Debug for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Paths may hold secrets.
        f.debug_struct("Asked").field("service", &self.service).finish_non_exhaustive()
    }
}

/// Rules, with what they count. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The rules are counted, and not applied.
    pub dry_run: bool,
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    rules: Vec<(Rule, RuleCounts)>,
    buckets: Mutex<HashMap<(usize, Box<str>), Bucket>>,
}

impl Rules {
    /// These rules, in this order.
    pub fn new(rules: Vec<Rule>, dry_run: bool) -> Self {
        let rules = rules.into_iter().map(|rule| (rule, RuleCounts::default())).collect();
        Self { dry_run, inner: Arc::new(Inner { rules, buckets: Mutex::default() }) }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.inner.rules.is_empty()
    }

    /// The rules with what they did.
    pub fn counts(&self) -> impl Iterator<Item = (&Rule, &RuleCounts)> {
        self.inner.rules.iter().map(|(rule, counts)| (rule, counts))
    }

    /// The decision of the first rule that matches; `None` if none does, or if they are only tried.
    pub fn decide(&self, asked: &Asked<'_>) -> Option<bool> {
        let (at, (rule, counts)) =
            self.inner.rules.iter().enumerate().find(|(_, (rule, _))| rule.matches(asked))?;
        let (keep, counter) = if Policy::randomness(asked.trace_id) < rule.threshold {
            (false, &counts.dropped)
        } else if rule.per_second.is_none_or(|rate| self.inner.take(at, asked, rate)) {
            (true, &counts.kept)
        } else {
            (false, &counts.limited)
        };
        counter.fetch_add(1, Relaxed);
        (!self.dry_run).then_some(keep)
    }
}

impl Inner {
    fn take(&self, rule: usize, asked: &Asked<'_>, rate: u32) -> bool {
        // Nothing panics while it is held.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (rule, Box::from(asked.service));
        if buckets.len() >= MAX_BUCKETS && !buckets.contains_key(&key) {
            key.1 = Box::default();
        }
        buckets.entry(key).or_default().take(asked.now_ns, rate)
    }
}

impl Rule {
    fn matches(&self, asked: &Asked<'_>) -> bool {
        let is = |pattern: &Option<Box<str>>, text: &[u8]| {
            pattern.as_ref().is_none_or(|pattern| matches(pattern.as_bytes(), text))
        };
        let header = self.header.as_ref().is_none_or(|(name, value)| {
            (asked.header)(name).is_some_and(|given| matches(value.as_bytes(), given))
        });
        self.method.as_ref().is_none_or(|method| method.as_bytes() == asked.method)
            && is(&self.service, asked.service.as_bytes())
            && is(&self.path, asked.path)
            && header
    }
}

#[cfg(test)]
mod tests {
    use spandrel_common::sample::NEVER;

    use super::*;

    fn asked<'a>(service: &'a str, path: &'a str, now_ns: u64) -> Asked<'a> {
        Asked {
            service,
            method: b"GET",
            path: path.as_bytes(),
            header: &|name| (name == "x-debug").then_some(b"yes"),
            trace_id: [0x7f; 16],
            now_ns,
        }
    }

    fn rule(path: &str, threshold: u64) -> Rule {
        Rule { path: Some(path.into()), threshold, ..Rule::default() }
    }

    #[test]
    fn the_first_match_wins() {
        let rules = Rules::new(vec![rule("/health*", NEVER), rule("/*", 0), rule("/never", NEVER)], false);
        assert_eq!(rules.decide(&asked("a", "/healthz", 0)), Some(false));
        assert_eq!(rules.decide(&asked("a", "/never", 0)), Some(true));
        assert_eq!(rules.decide(&asked("a", "*", 0)), None);
        let counts: Vec<_> =
            rules.counts().map(|(_, c)| (c.kept.load(Relaxed), c.dropped.load(Relaxed))).collect();
        assert_eq!(counts, [(0, 1), (1, 0), (0, 0)]);
        assert_eq!(Rules::default().decide(&asked("a", "/", 0)), None);
    }

    #[test]
    fn all_that_is_said_must_match() {
        let full = Rule {
            service: Some("shop-*".into()),
            method: Some("GET".into()),
            path: Some("/a".into()),
            header: Some(("x-debug".into(), "y*".into())),
            ..Rule::default()
        };
        assert!(full.matches(&asked("shop-1", "/a", 0)));
        assert!(!full.matches(&asked("web", "/a", 0)));
        assert!(!full.matches(&asked("shop-1", "/b", 0)));
        assert!(!Rule { method: Some("get".into()), ..full.clone() }.matches(&asked("shop-1", "/a", 0)));
        let other = Rule { header: Some(("x-other".into(), "*".into())), ..full };
        assert!(!other.matches(&asked("shop-1", "/a", 0)));
    }

    #[test]
    fn limits_are_for_each_service() {
        let rules = Rules::new(vec![Rule { per_second: Some(2), ..Rule::default() }], false);
        let kept =
            |service, now| (0..9).filter(|_| rules.decide(&asked(service, "/", now)) == Some(true)).count();
        assert_eq!((kept("a", 1), kept("b", 1), kept("a", 1)), (2, 2, 0));
        assert_eq!(kept("a", 1_000_000_001), 2);
        for n in 0..2 * MAX_BUCKETS {
            rules.decide(&asked(&n.to_string(), "/", 1));
        }
        assert!(rules.inner.buckets.lock().unwrap().len() <= MAX_BUCKETS + 1);
    }

    #[test]
    fn trying_decides_nothing() {
        let rules = Rules::new(vec![rule("*", NEVER)], true);
        assert_eq!(rules.decide(&asked("a", "/", 0)), None);
        assert_eq!(rules.counts().next().unwrap().1.dropped.load(Relaxed), 1);
    }
}
