//! The agent as a guest: what it starts runs as if it were not there, and it can be killed at any moment.

use std::{collections::BTreeSet, fs, time::Duration};

use rustix::process::Signal;
use spandrel_test_support::{
    Agent, Lab, Options, Program,
    process::{command, run},
    require,
};

use crate::common::{PYTHON, assert_counts, curl, echo, nginx, traced};

/// `spandrel run -- COMMAND` ends as its command does.
#[test]
fn exit_codes() {
    for (line, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)] {
        let output = Agent::fail(&Options::new().command(["sh", "-c", line]));
        assert_eq!(output.code(), code, "{line}: {output:?}");
    }
    let missing = Agent::fail(&Options::new().command(["/no/such/program"]));
    // EX_NOINPUT: known before anything is attached.
    assert_eq!(missing.code(), 66, "{missing:?}");
    assert!(missing.stderr.contains("/no/such/program"), "{missing:?}");
}

/// Signals go to the command, which may take its time, and whose code is the agent's.
#[test]
fn signals() {
    let line = "trap 'echo terminated; exit 5' TERM; trap 'echo hung up' HUP; trap 'echo first' USR1; \
                trap 'echo second' USR2; trap 'echo window' WINCH; echo ready; while :; do sleep 1000 & wait $!; done";
    let mut agent = Agent::start(&Options::new().command(["sh", "-c", line]));
    let said = |agent: &mut Agent, what: &str| {
        assert!(agent.wait_output(|text| text.contains(what)), "not {what}: {}", agent.stderr());
    };
    said(&mut agent, "ready");
    agent.signal(Signal::HUP);
    said(&mut agent, "hung up");
    agent.signal(Signal::USR1);
    said(&mut agent, "first");
    agent.signal(Signal::USR2);
    said(&mut agent, "second");
    agent.signal(Signal::WINCH);
    said(&mut agent, "window");
    agent.signal(Signal::TERM);
    let finished = agent.finish();
    assert_eq!(finished.status.code(), Some(5));
    assert!(finished.output.contains("terminated"), "{}", finished.output);
}

/// The command and its descendants are traced, from the first request, and nobody else.
#[test]
fn descendants_only() {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let (_server, port) = echo(&lab);
    let url = format!("http://127.0.0.1:{port}");
    let deep = format!(
        "curl -s -o /dev/null {url}/child; (exec curl -s -o /dev/null {url}/exec); \
         sh -c '(sh -c \"curl -s -o /dev/null {url}/orphan\" &) ; wait'; \
         setsid -w curl -s -o /dev/null {url}/session; read line < {go}",
        go = lab.text("go")
    );
    // The shell waits at the end until the test says that all is over.
    run(command("mkfifo").arg(lab.path("go"))).success();
    let agent = Agent::start(&Options::new().command(["sh", "-c", &deep]));
    let mut agent = agent;
    run(curl(&lab).arg(format!("{url}/stranger"))).success();
    let arrived = agent.wait_in(Duration::from_secs(20), |spans| spans.len() >= 4);
    assert!(arrived, "{:#?}", agent.spans());
    fs::write(lab.path("go"), "go\n").expect("a word to the shell");
    let finished = agent.finish();
    assert_counts(&finished, 0, 4);
    let paths: BTreeSet<_> = finished.spans.iter().map(|span| span.path().to_owned()).collect();
    assert_eq!(paths, ["/child", "/exec", "/orphan", "/session"].map(str::to_owned).into());
}

/// Kernel objects that a process holds: programs, maps and links by their ids.
fn held(pid: u32) -> BTreeSet<(String, u32)> {
    let folder = format!("/proc/{pid}/fdinfo");
    let files = fs::read_dir(&folder).expect("the agent runs").flatten();
    let texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
    let lines = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
    let id = |line: String| {
        let (name, id) = line.split_once(':')?;
        let kind = ["prog", "map", "link"].into_iter().find(|kind| name == format!("{kind}_id"))?;
        Some((kind.to_owned(), id.trim().parse().ok()?))
    };
    lines.filter_map(id).collect()
}

/// Killed and started again under load: no request of the application fails, and nothing stays in the kernel.
#[test]
fn killed_under_load() {
    require!("nginx", "wrk", "bpftool");
    let lab = Lab::new();
    let (_server, port) =
        nginx(&lab, "keepalive_requests 1000000; server { listen LISTEN; return 200 load; }");
    let tag = format!("X-Test: {}", lab.tag());
    let url = format!("http://127.0.0.1:{port}/load");
    let mut load = command("wrk");
    load.args(["-t", "1", "-d", "10m", "-c", "32", "-H", &tag, &url]);
    let load = Program::start(&mut load);
    let mut left = BTreeSet::new();
    for round in 0..4 {
        let profiles = spandrel_test_support::profiles();
        let profile = profiles[round % profiles.len()];
        let mut agent = Agent::start(&traced(&lab, profile));
        agent.wait_for("spans under load", |spans| spans.len() >= 200);
        let mine = held(agent.pid());
        assert!(mine.iter().any(|(kind, _)| kind == "prog"), "{mine:?}");
        agent.kill();
        left.extend(mine);
    }
    // It says how it went.
    load.signal(Signal::INT);
    let said = load.finish().success();
    assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
    let there = |(kind, id): &(String, u32)| {
        run(command("bpftool").args([kind.as_str(), "show", "id", &id.to_string()])).status.success()
    };
    // The kernel frees them when its readers are done, shortly after the process: asking takes longer.
    for _ in 0..20 {
        left.retain(there);
    }
    assert!(left.is_empty(), "left in the kernel: {left:?}");
}

/// What asks the agent for help gets what it asks for.
#[test]
fn health() {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let mut agent = Agent::start(&traced(&lab, "auto"));
    let (_server, port) = echo(&lab);
    run(curl(&lab).arg(format!("http://127.0.0.1:{port}/one"))).success();
    agent.wait_for("2 spans", |spans| spans.len() >= 2);
    let own = agent.address().port();
    assert!(spandrel_test_support::http::get(own, "/readyz").starts_with("HTTP/1.1 200"));
    assert!(spandrel_test_support::http::get(own, "/healthz").starts_with("HTTP/1.1 200"));
    let metrics = spandrel_test_support::http::get(own, "/metrics");
    assert!(metrics.contains("spandrel"), "{metrics}");
    let finished = agent.stop();
    assert_counts(&finished, 1, 1);
}
