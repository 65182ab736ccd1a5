//! What `ktest` wrote down (its `truth` module has the format), and what the spans have to say about it.

use std::{collections::BTreeMap, net::SocketAddr};

use spandrel_test_support::{Finished, Kind, Span};

/// Problems of one conversation that are told; the rest mostly follows from the first.
const MAX_TOLD: usize = 2;

/// The method, and what stands for the path of such requests.
const CONNECT: &str = "CONNECT";
/// A length that is not compared.
const ANY: i64 = -1;

/// One end of an exchange.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) kind: Kind,
    pub(crate) pid: u32,
    pub(crate) path: String,
    status: Option<i64>,
    bodies: (i64, i64),
    peer: Option<SocketAddr>,
    pub(crate) look: String,
}

/// All that a scenario did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    pub(crate) lines: Vec<Line>,
    notes: Vec<(String, String)>,
}

/// Reads the file.
#[track_caller]
pub(crate) fn read(text: &str) -> Truth {
    let mut truth = Truth::default();
    for line in text.lines() {
        let words: Vec<_> = line.split(' ').collect();
        match words.as_slice() {
            ["note", word, value @ ..] => truth.notes.push(((*word).to_owned(), value.join(" "))),
            [end, pid, path, status, request, response, peer, look] => truth.lines.push(Line {
                kind: if *end == "server" { Kind::Server } else { Kind::Client },
                pid: pid.parse().expect("a process id"),
                path: (*path).to_owned(),
                status: status.parse().ok(),
                bodies: (request.parse().expect("a length"), response.parse().expect("a length")),
                peer: peer.parse().ok(),
                look: (*look).to_owned(),
            }),
            _ => panic!("not a line of truth: {line}"),
        }
    }
    truth
}

impl Truth {
    /// What the scenario noted.
    #[track_caller]
    pub(crate) fn note(&self, word: &str) -> &str {
        let found = self.notes.iter().find(|(known, _)| known == word);
        &found.unwrap_or_else(|| panic!("no note {word}: {:?}", self.notes)).1
    }

    /// The process that did it, if it was one.
    #[track_caller]
    pub(crate) fn pid(&self) -> u32 {
        self.lines.first().expect("something that happened").pid
    }

    /// Where spans and ledger tell something else, and if they do, what was counted.
    pub(crate) fn problems(&self, finished: &Finished) -> Vec<String> {
        let mut told: BTreeMap<(bool, &str), Vec<&Span>> = BTreeMap::new();
        for span in &finished.spans {
            told.entry((span.kind == Kind::Server, target(span))).or_default().push(span);
        }
        let mut problems = Problems::new();
        for line in &self.lines {
            let key = (line.kind == Kind::Server, line.path.as_str());
            let mut spans = told.remove(&key).unwrap_or_default();
            if line.path == CONNECT {
                let own = usize::from(!line.is_silent()).min(spans.len());
                told.insert(key, spans.split_off(own));
            }
            line.judge(&spans, &mut problems);
        }
        let mut of = |span: &Span, what: &str| {
            problems.entry(talk(span.path())).or_default().push(format!("{what}: {}", brief(span)));
        };
        for span in told.into_values().flatten() {
            of(span, "a span of nothing that happened");
        }
        for span in finished.spans.iter().filter(|span| span.end_ns < span.start_ns) {
            of(span, "ends before it starts");
        }
        self.ledger(finished, &mut problems);
        // Also where something is known not to be told rightly: paths end with the status.
        for span in finished.spans.iter().filter(|span| known(&talk(span.path())).is_some()) {
            let status = span.path().rsplit('/').next().and_then(|status| status.parse().ok());
            if span.status().is_some() && span.status() != status {
                problems.entry("another's response".to_owned()).or_default().push(brief(span));
            }
        }
        let mut problems = summary(problems);
        if !problems.is_empty() {
            problems.push(counters(finished));
        }
        problems
    }

    fn ledger(&self, finished: &Finished, problems: &mut Problems) {
        let problems = problems.entry("ledger".to_owned()).or_default();
        let ledger = &finished.report.ledger;
        let count = |look: &str| self.lines.iter().filter(|line| line.look == look).count() as u64;
        let (unsampled, hidden) = (count("unsampled"), count("hidden"));
        let mut seen = self.lines.len() as u64 - hidden;
        // As many spans as are known to lack.
        let lines = self.lines.iter().filter(|line| !line.is_silent() && known(&talk(&line.path)).is_some());
        let spans = finished.spans.iter().filter(|span| known(&talk(span.path())).is_some());
        seen = (seen + spans.count() as u64).saturating_sub(lines.count() as u64);
        let expected = (seen, seen - unsampled, unsampled, 0, 0);
        let found = (ledger.seen, ledger.exported, ledger.unsampled, ledger.lost(), ledger.open);
        if expected != found {
            problems.push(format!(
                "ledger: expected seen, exported, unsampled, lost, open {expected:?}, found {found:?}"
            ));
        }
        if ledger.exported != finished.spans.len() as u64 {
            problems.push(format!("{} exported, {} read", ledger.exported, finished.spans.len()));
        }
    }
}

/// What a request asked for: its path. `CONNECT` has none, and its exchanges are told apart by their order.
fn target(span: &Span) -> &str {
    if span.str("http.request.method") == Some(CONNECT) { CONNECT } else { span.path() }
}

/// By conversations.
type Problems = BTreeMap<String, Vec<String>>;

/// The conversation that a path names.
fn talk(path: &str) -> String {
    path.split('/').nth(1).unwrap_or_default().to_owned()
}

/// Conversations that are not told rightly yet, and why. Whoever mends one takes its line out. What is told of them has
/// to be true all the same, as far as a wrong status shows it.
const KNOWN: &[(&str, &str)] = &[
    ("rx-splice-pair", "splice from a Unix socket is not seen by the socket profile"),
    ("rx-splice-head-pair", "splice from a Unix socket is not seen by the socket profile"),
    ("rx-splice-whole-pair", "splice from a Unix socket is not seen by the socket profile"),
];

fn known(talk: &str) -> Option<&'static str> {
    KNOWN.iter().find(|(known, _)| *known == talk).map(|(_, why)| *why)
}

#[expect(clippy::print_stdout, reason = "the test command counts what is skipped")]
fn summary(problems: Problems) -> Vec<String> {
    let mut all = Vec::new();
    for (talk, problems) in problems.into_iter().filter(|(_, problems)| !problems.is_empty()) {
        if let Some(why) = known(&talk) {
            println!("SKIPPED: {talk}: {why} ({} differences)", problems.len());
            continue;
        }
        all.push(format!("{talk}: {} problems", problems.len()));
        all.extend(problems.into_iter().take(MAX_TOLD).map(|problem| format!("    {problem}")));
    }
    all
}

/// What a span says that is compared.
fn brief(span: &Span) -> String {
    let mut text = format!("{:?} {}", span.kind, span.path());
    for (key, value) in &span.attributes {
        if !matches!(
            &**key,
            "url.path" | "url.full" | "http.request.method" | "server.address" | "server.port"
        ) {
            text.extend([" ", key, "=", &value.to_string()]);
        }
    }
    text
}

/// The counters that are not zero.
fn counters(finished: &Finished) -> String {
    let json = &finished.report.json;
    let mut text = "counted:".to_owned();
    for part in ["kernel", "counts"] {
        let counters = json.get(part).and_then(|part| part.as_object());
        for (name, value) in counters.into_iter().flatten().filter(|(_, value)| value.as_u64() != Some(0)) {
            text.extend([" ", name, "=", &value.to_string()]);
        }
    }
    text
}

impl Line {
    /// Whether there shall be no span of it.
    fn is_silent(&self) -> bool {
        matches!(&*self.look, "hidden" | "unsampled")
    }

    /// Whether it may be that no hook saw when its last byte was read: `splice` takes content from a socket unseen by the
    /// socket profile.
    fn ends_unseen(&self) -> bool {
        self.kind == Kind::Client && talk(&self.path).starts_with("rx-splice")
    }

    fn judge(&self, spans: &[&Span], problems: &mut Problems) {
        let expected = usize::from(!self.is_silent());
        let mut complain = |what: &str| {
            let spans: Vec<_> = spans.iter().map(|span| brief(span)).collect();
            let text = format!("{:?} {} ({}): {what}: {}", self.kind, self.path, self.look, spans.join("; "));
            problems.entry(talk(&self.path)).or_default().push(text);
        };
        if spans.len() != expected {
            complain(&format!("{} spans", spans.len()));
            return;
        }
        let Some(span) = spans.first() else { return };
        if span.pid() != self.pid {
            complain(&format!("not process {}", self.pid));
        }
        let peer = span.str("network.peer.address").zip(span.int("network.peer.port"));
        let real = self.peer.map(|peer| (peer.ip().to_canonical().to_string(), i64::from(peer.port())));
        if peer.map(|(ip, port)| (ip.to_owned(), port)) != real {
            complain(&format!("the peer is {:?}", self.peer));
        }
        let gap = span.get("spandrel.gap").is_some();
        let cut = span.get("spandrel.request.truncated").is_some()
            || span.get("spandrel.response.truncated").is_some();
        let error = span.str("error.type");
        let outcome = span.str("spandrel.outcome");
        match self.look.split_once('=').unwrap_or((&self.look, "")) {
            ("exact", _) if self.ends_unseen() && gap && outcome == Some("unseen") => {
                if error.is_some() || cut || span.status() != self.status {
                    complain(&format!("an end that was not seen, no error, and status {:?}", self.status));
                }
            }
            ("exact" | "aftergap" | "refused", _) => {
                let gap = gap && self.look != "aftergap";
                let refused = self.look == "refused";
                let wrong = error.is_some() != refused || span.error != refused;
                if gap || cut || wrong || outcome.is_some() {
                    complain("something is said to be missing or wrong");
                }
                if span.status() != self.status {
                    complain(&format!("the status was {:?}", self.status));
                }
                let sizes = ("http.request.body.size", "http.response.body.size");
                let sizes = (span.int(sizes.0), span.int(sizes.1));
                let untold = self.look == "aftergap" && sizes == (None, None);
                let right = |told: Option<i64>, real: i64| real == ANY || told == Some(real);
                if !(untold || right(sizes.0, self.bodies.0) && right(sizes.1, self.bodies.1)) {
                    complain(&format!("the bodies had {:?} bytes", self.bodies));
                }
            }
            ("gap", _) => {
                if !gap && !cut {
                    complain("the gap is not told");
                }
                if span.status().is_some() && span.status() != self.status {
                    complain(&format!("the status was {:?}", self.status));
                }
            }
            ("truncated", _) => {
                if !cut || error.is_some() || span.status() != self.status {
                    complain(&format!("cut, no error, and status {:?}", self.status));
                }
            }
            ("failed", wanted) => {
                let wanted = (!wanted.is_empty()).then_some(wanted);
                if error != wanted || outcome.is_none() || span.status() != self.status {
                    complain("it failed otherwise");
                }
            }
            _ => complain("`ktest` tells what the tests do not know"),
        }
    }
}
