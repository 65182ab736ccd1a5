//! What may happen to the system under the agent while it exports: a name gets another address, the clock is set, a
//! disk goes away, time runs out. The ledger closes, and the backend has exactly the spans that it acknowledged.

use std::{fs, net::TcpListener, time::Duration};

use spandrel_test_support::{
    Agent, Lab, Options,
    agent::binary,
    otlp::{Backend, Reply},
    process::{command, run},
    require, skip,
};

use crate::{
    chaos::{COUNT, Small, assert_ledger, assert_once, configured, destination, dropped, requests, segments},
    common::{PYTHON, curl, echo, text},
};

/// A name that no resolver knows (RFC 6761); the agent's own hosts file does.
const NAME: &str = "collector.spandrel.test";

/// Starts the agent where this file stands for `/etc/hosts`, and nowhere else.
fn with_hosts(options: Options, hosts: &str) -> Options {
    let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    options.started_by(["unshare", "--mount", "sh", "-c", script, hosts])
}

/// The backend moves to another address while requests come; what the old one did not acknowledge goes to the new
/// one, and so does everything after it. No restart, and no name is kept longer than a connection.
#[test]
fn a_name_whose_address_changes() {
    require!(PYTHON, "curl", "unshare", "mount");
    let lab = Lab::new();
    let first = TcpListener::bind("127.0.0.2:0").expect("a free port");
    let port = first.local_addr().expect("its address").port();
    let Ok(second) = TcpListener::bind(("127.0.0.3", port)) else { skip!("the port is taken elsewhere") };
    let (old, new) = (Backend::serve(first, |_| Reply::Ok), Backend::serve(second, |_| Reply::Ok));
    let hosts = lab.write("hosts", format!("127.0.0.2 {NAME}\n"));
    let config = format!(
        "distribution:\n  spandrel:\n    destinations:\n{}",
        destination("main", &format!("http://{NAME}:{port}"), "")
    );
    let agent = Agent::start(&with_hosts(configured(&lab, &config), text(&hosts)));
    let (_server, echo_port) = echo(&lab);
    requests(&lab, echo_port);
    old.wait_accepted(2 * COUNT);
    assert!(new.accepted().is_empty());
    // It does not answer any more, and then it is gone from the name.
    old.script(|_| Reply::Hang);
    requests(&lab, echo_port);
    // The same file, other bytes: a new file would not be the one that is mounted.
    fs::write(&hosts, format!("127.0.0.3 {NAME}\n")).expect("the agent's hosts");
    requests(&lab, echo_port);
    new.wait_accepted(4 * COUNT);
    let finished = agent.stop();
    let ledger = &finished.report.ledger;
    ledger.assert_closed();
    let accepted = [old.accepted(), new.accepted()].concat();
    assert_once(&accepted);
    assert_eq!((ledger.exported, ledger.lost(), ledger.open), (6 * COUNT as u64, 0, 0), "{ledger:?}");
    assert_eq!(accepted.len(), 6 * COUNT);
}

/// The wall clock of one process, moved by as many seconds as a file says. The system's stays as it is.
const CLOCK: &str = r#"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
    int failed = (int) syscall(SYS_clock_gettime, clock, time);
    const char *path = getenv("SPANDREL_TEST_CLOCK");
    char text[32] = "";
    int file;
    if (failed || clock != CLOCK_REALTIME || !path || (file = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        return failed;
    if (read(file, text, sizeof text - 1) > 0)
        time->tv_sec += atol(text);
    close(file);
    return 0;
}
"#;

const HOUR: i64 = 3600;

/// Seconds from now, by this test's clock, to a time in nanoseconds since the Unix epoch.
fn from_now(unix_ns: u64) -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time after 1970");
    (i128::from(unix_ns) / 1_000_000_000 - i128::from(now.as_secs())) as i64
}

/// The clock jumps an hour ahead and two back while the backend is busy. Waits and retries do not care, no span has a
/// wrong length, and the queue on disk keeps its order.
#[test]
fn a_clock_that_is_set_by_an_hour() {
    require!(PYTHON, "curl", "cc");
    let lab = Lab::new();
    let (shim, clock) = (lab.text("clock.so"), lab.write("clock", "0"));
    let source = lab.write("clock.c", CLOCK);
    run(command("cc").args(["-shared", "-fPIC", "-O1", "-o", &shim]).arg(source)).success();
    let backend = Backend::start(|_| Reply::Status(503, vec![]));
    let config = format!(
        "distribution:\n  spandrel:\n    spill: {{path: {}}}\n    destinations:\n{}",
        lab.text("spill"),
        destination("main", &backend.url(), "")
    );
    let options = configured(&lab, &config).console("json");
    let mut agent = Agent::start(&options.env("LD_PRELOAD", &shim).env("SPANDREL_TEST_CLOCK", text(&clock)));
    let maps = fs::read_to_string(format!("/proc/{}/maps", agent.pid())).unwrap_or_default();
    if !maps.contains(&shim) {
        skip!("a static agent cannot be given a clock of its own");
    }
    let (_server, port) = echo(&lab);
    requests(&lab, port);
    let mut made = COUNT;
    for hours in [1, -1] {
        fs::write(&clock, (hours * HOUR).to_string()).expect("the agent's clock");
        // The agent looks at the clock once a second.
        let there = |seconds: i64| (seconds - hours * HOUR).abs() < HOUR / 2;
        loop {
            run(curl(&lab).arg(format!("http://127.0.0.1:{port}/bytes/1"))).success();
            made += 1;
            assert!(made < 10_000, "the agent's clock stays where it was");
            if agent.wait_in(Duration::from_millis(100), |spans| {
                spans.iter().any(|span| there(from_now(span.start_ns)))
            }) {
                break;
            }
        }
        requests(&lab, port);
        made += COUNT;
    }
    backend.script(|_| Reply::Ok);
    backend.wait_accepted(2 * made);
    let finished = agent.stop();
    assert_eq!(assert_ledger(&finished, &backend), 2 * made as u64);
    assert_eq!(segments(&lab.path("spill/to-main")), 0);
    assert_eq!(finished.spans.len(), 2 * made);
    for span in &finished.spans {
        let length = span.end_ns.checked_sub(span.start_ns).expect("an end after the start");
        assert!(length < 60_000_000_000, "{span:?}");
    }
}

/// The disk of the queue is taken away while batches wait on it: nothing is lost, and the queue goes on.
#[test]
fn a_disk_that_is_removed() {
    require!(PYTHON, "curl", "mount");
    let lab = Lab::new();
    let backend = Backend::start(|_| Reply::Hang);
    let disk = Small::mount(lab.path("disk"), 16 << 20);
    let config = format!(
        "distribution:\n  spandrel:\n    spill: {{path: {}}}\n    destinations:\n{}",
        text(disk.path()),
        destination("main", &backend.url(), "")
    );
    let agent = Agent::start(&configured(&lab, &config));
    let (_server, port) = echo(&lab);
    requests(&lab, port);
    backend.wait_requests(4);
    assert!(segments(&disk.path().join("to-main")) > 0);
    run(command("umount").arg("--lazy").arg(disk.path())).success();
    requests(&lab, port);
    backend.script(|_| Reply::Ok);
    backend.wait_accepted(4 * COUNT);
    let finished = agent.stop();
    assert_eq!(assert_ledger(&finished, &backend), 4 * COUNT as u64);
}

/// The backend is away for longer than a batch may take: what was given up is counted by that cause and is among the
/// dead letters, what comes later is exported, and a replay brings the rest.
#[test]
fn a_backend_that_is_away_for_longer_than_a_batch_waits() {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let backend = Backend::start(|_| Reply::Status(503, vec![]));
    let dead = lab.text("dead");
    let config = format!(
        "distribution:\n  spandrel:\n    dead_letters: {{path: {dead}}}\n    destinations:\n{}",
        destination("main", &backend.url(), "        export_timeout: 700\n")
    );
    let agent = Agent::start(&configured(&lab, &config));
    let (_server, port) = echo(&lab);
    requests(&lab, port);
    agent.wait_stderr("nothing is given up", |line| line.contains("retries are used up").then_some(()));
    backend.script(|_| Reply::Ok);
    requests(&lab, port);
    let finished = agent.stop();
    let exported = assert_ledger(&finished, &backend);
    let failed = dropped(&finished, "export_failed");
    assert!(failed > 0 && exported >= 2 * COUNT as u64, "{:?}", finished.report.ledger);
    assert_eq!(exported + failed, 4 * COUNT as u64, "{:?}", finished.report.ledger);
    assert_eq!(finished.report.json["destinations"]["main"]["saved"], failed);
    let replay = run(command(binary()).args(["replay", &dead, "--otlp-endpoint", &backend.url()]));
    assert_eq!(replay.code(), 0, "{replay:?}");
    let accepted = backend.accepted();
    assert_once(&accepted);
    assert_eq!(accepted.len(), 4 * COUNT);
}
