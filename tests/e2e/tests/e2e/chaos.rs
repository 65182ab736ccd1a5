//! Whatever happens between the agent and its backend: the traced program answers, the ledger closes, every span
//! that was acknowledged was so once, and every other one is counted by its cause.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use rustix::process::Signal;
use spandrel_test_support::{
    Agent, Finished, Lab, Options,
    agent::binary,
    http,
    otlp::{Backend, Reply, Request},
    process::{command, run},
    require,
};

use crate::common::{PYTHON, curl, echo, traced};

/// Requests of curl to Python: twice as many spans.
pub(crate) const COUNT: usize = 100;

/// `COUNT` requests, all of them answered whatever the agent is busy with.
#[track_caller]
pub(crate) fn requests(lab: &Lab, port: u16) {
    let answers = run(curl(lab).arg(format!("http://127.0.0.1:{port}/bytes/[1-{COUNT}]"))).success();
    assert_eq!(answers.matches("200 ").count(), COUNT, "{answers}");
}

/// The agent for a test's programs, with a configuration file.
pub(crate) fn configured(lab: &Lab, config: &str) -> Options {
    let file = format!("file_format: \"1.1\"\n{config}");
    traced(lab, "auto")
        .console("off")
        .arg("--config")
        .arg(lab.write("spandrel.yaml", file).to_str().expect("a path"))
}

/// A destination for the file: small batches, quickly.
pub(crate) fn destination(name: &str, url: &str, more: &str) -> String {
    format!(
        "      - name: {name}
        exporter: {{otlp_http: {{endpoint: \"{url}/v1/traces\", timeout: 300}}}}
        schedule_delay: 20
        max_export_batch_size: 16
{more}"
    )
}

/// Fails the test unless the ledger closes with nothing open, and what it calls exported was acknowledged once.
#[track_caller]
pub(crate) fn assert_ledger(finished: &Finished, backend: &Backend) -> u64 {
    let ledger = &finished.report.ledger;
    ledger.assert_closed();
    assert_eq!(ledger.open, 0, "{ledger:?}\n{}", finished.stderr);
    let accepted = backend.accepted();
    assert_eq!(ledger.exported, accepted.len() as u64, "{ledger:?}\n{}", finished.stderr);
    assert_once(&accepted);
    ledger.exported
}

#[track_caller]
pub(crate) fn assert_once(ids: &[String]) {
    let unique: HashSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len(), "spans were acknowledged twice");
}

pub(crate) fn dropped(finished: &Finished, cause: &str) -> u64 {
    finished.report.ledger.dropped.get(cause).copied().unwrap_or(0)
}

/// Each fault once, one after another: none of them costs a span but those that the backend rejects.
#[test]
fn every_fault_that_may_be_retried() {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let date = || "Thu, 01 Jan 1970 00:00:00 GMT".to_owned();
    let backend = Backend::start(move |request: &Request| match request.number {
        0 => Reply::Status(503, vec![]),
        1 => Reply::Status(429, vec![("Retry-After", "1".to_owned())]),
        2 => Reply::Status(429, vec![("Retry-After", date())]),
        3 => Reply::Hang,
        4 => Reply::Reset,
        5 => Reply::Status(502, vec![]),
        6 => Reply::Status(504, vec![]),
        _ => Reply::Ok,
    });
    let options = traced(&lab, "auto")
        .console("off")
        .args(["--otlp-endpoint", &backend.url()])
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "300");
    let agent = Agent::start(&options);
    let (_server, port) = echo(&lab);
    requests(&lab, port);
    backend.wait_accepted(2 * COUNT);
    let finished = agent.stop();
    assert_eq!(assert_ledger(&finished, &backend), 2 * COUNT as u64);
}

/// Nobody listens while requests come; the backend comes back and gets everything.
#[test]
fn a_backend_that_was_down() {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let (listener, at) = http::listener();
    drop(listener);
    let options =
        traced(&lab, "auto").console("off").args(["--otlp-endpoint", &format!("http://127.0.0.1:{at}")]);
    let agent = Agent::start(&options);
    let (_server, port) = echo(&lab);
    requests(&lab, port);
    agent.wait_stderr("no word of the failure", |line| line.contains(" fails (connect").then_some(()));
    let listener = std::net::TcpListener::bind(("127.0.0.1", at)).expect("the port is still free");
    let backend = Backend::serve(listener, |_| Reply::Ok);
    backend.wait_accepted(2 * COUNT);
    let finished = agent.stop();
    assert_eq!(assert_ledger(&finished, &backend), 2 * COUNT as u64);
    assert!(finished.stderr.contains("works again"), "{}", finished.stderr);
}

/// What the backend rejects, refuses or is not allowed to take is counted by its cause, and said with what to do.
#[test]
fn every_fault_that_must_not_be_retried() {
    require!(PYTHON, "curl");
    let refuse = |status| move |_: &Request| Reply::Status(status, vec![]);
    let all = 2 * COUNT as u64;
    for (status, cause, said) in [
        (400, "export_refused", "refused with 400"),
        (401, "unauthorized", "check the credentials"),
        (403, "unauthorized", "check the credentials"),
        (404, "export_refused", "check endpoint"),
        (413, "too_large", "is too large"),
        (500, "export_refused", "refused with 500"),
    ] {
        let lab = Lab::new();
        let backend = Backend::start(refuse(status));
        let secret = "x-api-key=canary-4711";
        let options = traced(&lab, "auto")
            .console("off")
            .args(["--otlp-endpoint", &backend.url()])
            .env("OTEL_EXPORTER_OTLP_HEADERS", secret);
        let agent = Agent::start(&options);
        let (_server, port) = echo(&lab);
        requests(&lab, port);
        let finished = agent.stop();
        assert_eq!(assert_ledger(&finished, &backend), 0);
        assert_eq!(dropped(&finished, cause), all, "{status}: {:?}", finished.report.ledger);
        assert!(finished.stderr.contains(said), "{status}: {}", finished.stderr);
        let everything = format!("{}{}", finished.stderr, finished.report.json);
        assert!(!everything.contains("canary"), "{everything}");
    }
}

#[test]
fn partial_success() {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let backend = Backend::start(|_| Reply::Partial(1));
    let agent = Agent::start(&traced(&lab, "auto").console("off").args(["--otlp-endpoint", &backend.url()]));
    let (_server, port) = echo(&lab);
    requests(&lab, port);
    let finished = agent.stop();
    let ledger = &finished.report.ledger;
    ledger.assert_closed();
    let requests = backend.bodies().len() as u64;
    assert_eq!((ledger.exported, dropped(&finished, "rejected")), (2 * COUNT as u64 - requests, requests));
}

/// Two destinations, one of which hangs: the other has everything, and so has the file.
#[test]
fn one_of_three_destinations_hangs() {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let (bad, good) = (Backend::start(|_| Reply::Hang), Backend::start(|_| Reply::Ok));
    let file = lab.text("traces.json");
    let agent = Agent::start(&configured(
        &lab,
        &format!(
            "distribution:\n  spandrel:\n    shutdown_timeout: 500\n    destinations:\n{}{}      - name: file
        exporter: {{file: {{path: {file}}}}}\n        schedule_delay: 20\n",
            destination("bad", &bad.url(), ""),
            destination("good", &good.url(), ""),
        ),
    ));
    let (_server, port) = echo(&lab);
    requests(&lab, port);
    good.wait_accepted(2 * COUNT);
    let finished = agent.stop();
    let ledger = &finished.report.ledger;
    ledger.assert_closed();
    // The first destination settles the ledger; each has its own account besides.
    assert_eq!((ledger.exported, dropped(&finished, "shutdown")), (0, 2 * COUNT as u64));
    let exported = |name: &str| finished.report.json["destinations"][name]["exported"].clone();
    assert_eq!((exported("good"), exported("file")), ((2 * COUNT).into(), (2 * COUNT).into()));
    assert_once(&good.accepted());
    assert_eq!(lab.read("traces.json").matches("\"spanId\"").count(), 2 * COUNT);
    assert!(finished.stderr.contains("bad: at the end 0 spans were sent"), "{}", finished.stderr);
}

/// Files that end like this hold batches.
pub(crate) fn segments(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let names = entries.flatten().map(|entry| entry.path());
    names.filter(|path| path.extension().is_some_and(|end| end == "spandrel")).count()
}

/// The agent is killed while the backend hangs, and started again: what was in a batch arrives, once.
#[test]
fn kill_and_restart_with_a_queue_on_disk() {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    // Some are acknowledged before the backend hangs: those must not come again.
    let backend =
        Backend::start(|request: &Request| if request.number < 3 { Reply::Ok } else { Reply::Hang });
    let spill = lab.text("spill");
    let config = format!(
        "distribution:\n  spandrel:\n    spill: {{path: {spill}}}\n    destinations:\n{}",
        destination("main", &backend.url(), "")
    );
    let mut options = configured(&lab, &config);
    let agent = Agent::start(&options);
    let (_server, port) = echo(&lab);
    requests(&lab, port);
    backend.wait_requests(3 + 4);
    let first = backend.accepted();
    assert!(!first.is_empty());
    drop(agent.kill());
    let folder = lab.path("spill/to-main");
    assert!(segments(&folder) > 0);
    backend.script(|_| Reply::Ok);
    options = options.arg("--shutdown-timeout").arg("20");
    let agent = Agent::start(&options);
    agent.wait_stderr("nothing is recovered", |line| line.contains("of an earlier run").then_some(()));
    let finished = agent.stop();
    finished.report.ledger.assert_closed();
    let account = &finished.report.json["destinations"]["main"];
    let recovered = account["recovered"].as_u64().expect("a number");
    assert_eq!(account["exported"], recovered);
    let accepted = backend.accepted();
    assert_once(&accepted);
    assert_eq!(accepted.len() as u64, first.len() as u64 + recovered);
    assert_eq!(segments(&folder), 0);
}

/// SIGTERM while the backend hangs: what can be saved is saved, said, and `spandrel replay` brings it.
#[test]
fn dead_letters_are_replayed() {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let backend = Backend::start(|_| Reply::Hang);
    let dead = lab.text("dead");
    let config = format!(
        "distribution:\n  spandrel:\n    dead_letters: {{path: {dead}}}\n    destinations:\n{}",
        destination("main", &backend.url(), "")
    );
    let agent = Agent::start(&configured(&lab, &config).args(["--shutdown-timeout", "0.5"]));
    let (_server, port) = echo(&lab);
    requests(&lab, port);
    let finished = agent.stop();
    let ledger = &finished.report.ledger;
    ledger.assert_closed();
    let all = 2 * COUNT as u64;
    assert_eq!((ledger.exported, dropped(&finished, "shutdown")), (0, all), "{ledger:?}");
    assert!(finished.stderr.contains(&format!("{all} saved as dead letters")), "{}", finished.stderr);
    assert_eq!(finished.report.json["destinations"]["main"]["saved"], all);

    let replay = |more: &[&str]| run(command(binary()).arg("replay").arg(&dead).args(more));
    let printed = replay(&[]).success();
    assert_eq!(printed.matches("\"spanId\"").count() as u64, all);
    let good = Backend::start(|request: &Request| {
        // The first batch is refused: it has to stay.
        if request.number == 0 { Reply::Status(400, vec![]) } else { Reply::Ok }
    });
    let first = replay(&["--otlp-endpoint", &good.url()]);
    assert_eq!(first.code(), 75, "{first:?}");
    let second = replay(&["--otlp-endpoint", &good.url()]);
    assert_eq!(second.code(), 0, "{second:?}");
    assert_eq!(good.accepted().len() as u64, all);
    assert_once(&good.accepted());
    assert!(!Path::new(&dead).join("to-main").read_dir().expect("a folder").any(|_| true));
}

/// A second signal does not wait for a backend that hangs.
#[test]
fn who_signals_twice_wants_the_end() {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let backend = Backend::start(|_| Reply::Hang);
    let config =
        format!("distribution:\n  spandrel:\n    destinations:\n{}", destination("main", &backend.url(), ""));
    // Far beyond what the test waits.
    let agent = Agent::start(&configured(&lab, &config).args(["--shutdown-timeout", "3600"]));
    let (_server, port) = echo(&lab);
    requests(&lab, port);
    agent.signal(Signal::TERM);
    // Side by side they are one order; what is tested is that time passes.
    agent.signal(Signal::INT);
    std::thread::sleep(std::time::Duration::from_secs(2));
    agent.signal(Signal::INT);
    let finished = agent.finish();
    finished.report.ledger.assert_closed();
    assert!(finished.stderr.contains("signalled again"), "{}", finished.stderr);
}

/// A token file that is renewed while the backend refuses the old one: no batch is lost, none is sent twice with the
/// old one.
#[test]
fn a_token_is_renewed() {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let token = lab.write("token", "canary-old\n");
    let backend = Backend::start(|request: &Request| {
        if request.header("authorization") == "Bearer canary-new" {
            Reply::Ok
        } else {
            Reply::Status(401, vec![])
        }
    });
    let config = format!(
        "distribution:\n  spandrel:\n    destinations:\n      - name: main\n        schedule_delay: 20
        exporter: {{otlp_http: {{endpoint: \"{}/v1/traces\", token_file: {}}}}}\n",
        backend.url(),
        token.display()
    );
    let agent = Agent::start(&configured(&lab, &config));
    let (_server, port) = echo(&lab);
    requests(&lab, port);
    agent.wait_stderr("no word of the credentials", |line| line.contains(" fails (401").then_some(()));
    fs::rename(lab.write("token.new", "canary-new\n"), token).expect("renamed");
    backend.wait_accepted(2 * COUNT);
    let finished = agent.stop();
    assert_eq!(assert_ledger(&finished, &backend), 2 * COUNT as u64);
    assert!(!finished.stderr.contains("canary"), "{}", finished.stderr);
    assert_eq!(finished.stderr.matches("works again").count(), 1, "{}", finished.stderr);
}

/// A mounted file system of so many bytes; it goes with its owner.
pub(crate) struct Small(PathBuf);

impl Small {
    pub(crate) fn mount(at: PathBuf, bytes: usize) -> Self {
        fs::create_dir(&at).expect("a folder");
        let size = format!("size={bytes}");
        run(command("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at)).success();
        Self(at)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(run(command("umount").arg("--lazy").arg(&self.0)));
    }
}

/// The disk of the queue is full: batches wait in memory, that is said, and nothing is lost.
#[test]
fn a_disk_that_is_full() {
    require!(PYTHON, "curl", "mount");
    let lab = Lab::new();
    let backend = Backend::start(|_| Reply::Hang);
    let disk = Small::mount(lab.path("disk"), 16 << 10);
    let config = format!(
        "distribution:\n  spandrel:\n    spill: {{path: {}}}\n    destinations:\n{}",
        disk.0.display(),
        destination("main", &backend.url(), "")
    );
    let agent = Agent::start(&configured(&lab, &config));
    let (_server, port) = echo(&lab);
    requests(&lab, port);
    agent.wait_stderr("no word of the disk", |line| line.contains("batches wait in memory").then_some(()));
    backend.script(|_| Reply::Ok);
    backend.wait_accepted(2 * COUNT);
    let finished = agent.stop();
    assert_eq!(assert_ledger(&finished, &backend), 2 * COUNT as u64);
    assert_eq!(segments(&disk.0.join("to-main")), 0);
}
