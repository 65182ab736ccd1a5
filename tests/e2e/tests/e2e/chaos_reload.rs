//! A changed configuration file while something is wrong: nothing is lost by the reload, whatever the state it comes in.

use rustix::process::Signal;
use spandrel_test_support::{
    Agent, Lab, Options, http,
    otlp::{Backend, Reply},
    require,
};

use crate::{
    chaos::{COUNT, Small, assert_ledger, destination, dropped, requests, segments},
    common::{PYTHON, echo, text, traced},
};

/// Writes the file: destinations, and what else is ours. The log names the minor version, and so tells one reload from
/// another.
fn write(lab: &Lab, version: u32, ours: &str, destinations: &str) -> String {
    let config = format!(
        "file_format: \"1.{version}\"\ndistribution:\n  spandrel:\n    shutdown_timeout: 5000\n{ours}    \
         destinations:\n{destinations}"
    );
    lab.write("spandrel.yaml", config).display().to_string()
}

fn options(lab: &Lab, file: &str) -> Options {
    traced(lab, "auto").console("off").args(["--config", file])
}

fn reload(agent: &Agent, version: u32) {
    agent.signal(Signal::HUP);
    let said = format!("file_format 1.{version} is newer");
    agent.wait_stderr("the agent did not reload", |line| line.contains(&said).then_some(()));
}

/// The backend is gone, and is again where the changed file says.
#[test]
fn the_backend_is_gone() {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let gone = format!("http://127.0.0.1:{}", http::listener().1);
    let agent = Agent::start(&options(&lab, &write(&lab, 1, "", &destination("main", &gone, ""))));
    let (_server, port) = echo(&lab);
    requests(&lab, port);
    agent.wait_stderr("no word of the failure", |line| line.contains(" fails (connect").then_some(()));
    // Another size of batches, and it is still gone.
    write(&lab, 7, "", &destination("main", &gone, "        requests_in_flight: 2\n"));
    reload(&agent, 7);
    requests(&lab, port);
    let backend = Backend::start(|_| Reply::Ok);
    write(&lab, 8, "", &destination("main", &backend.url(), ""));
    reload(&agent, 8);
    backend.wait_accepted(4 * COUNT);
    let finished = agent.stop();
    assert_eq!(assert_ledger(&finished, &backend), 4 * COUNT as u64);
}

/// The disk of the queue is full, and batches wait on it and in memory.
#[test]
fn the_disk_is_full() {
    require!(PYTHON, "curl", "mount");
    let lab = Lab::new();
    let hung = Backend::start(|_| Reply::Hang);
    let disk = Small::mount(lab.path("disk"), 16 << 10);
    let spill = format!("    spill: {{path: {}}}\n", text(disk.path()));
    let agent = Agent::start(&options(&lab, &write(&lab, 1, &spill, &destination("main", &hung.url(), ""))));
    let (_server, port) = echo(&lab);
    requests(&lab, port);
    agent.wait_stderr("no word of the disk", |line| line.contains("batches wait in memory").then_some(()));
    let well = Backend::start(|_| Reply::Ok);
    write(&lab, 7, &spill, &destination("main", &well.url(), ""));
    reload(&agent, 7);
    requests(&lab, port);
    well.wait_accepted(4 * COUNT);
    let finished = agent.stop();
    assert_eq!(assert_ledger(&finished, &well), 4 * COUNT as u64);
    assert_eq!(segments(&disk.path().join("to-main")), 0);
}

/// A destination that is in the file no more drains; its name comes back meanwhile, with another backend.
#[test]
fn a_destination_drains() {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let (hung, well, other) =
        (Backend::start(|_| Reply::Hang), Backend::start(|_| Reply::Ok), Backend::start(|_| Reply::Ok));
    let rest = destination("rest", &other.url(), "");
    let with = |backend: &Backend| format!("{}{rest}", destination("main", &backend.url(), ""));
    let agent = Agent::start(&options(&lab, &write(&lab, 1, "", &with(&hung))));
    let (_server, port) = echo(&lab);
    requests(&lab, port);
    other.wait_accepted(2 * COUNT);
    hung.wait_requests(1);
    write(&lab, 7, "", &rest);
    reload(&agent, 7);
    agent.wait_stderr("it does not drain", |line| line.contains("no destination any more").then_some(()));
    // Nobody but the other one wants these.
    requests(&lab, port);
    other.wait_accepted(4 * COUNT);
    write(&lab, 8, "", &with(&well));
    reload(&agent, 8);
    well.wait_accepted(2 * COUNT);
    requests(&lab, port);
    let finished = agent.stop();
    finished.report.ledger.assert_closed();
    let exported = |name: &str| finished.report.json["destinations"][name]["exported"].as_u64();
    assert_eq!((exported("main"), exported("rest")), (Some(4 * COUNT as u64), Some(6 * COUNT as u64)));
    assert_eq!((well.accepted().len(), other.accepted().len()), (4 * COUNT, 6 * COUNT));
}

/// The agent drains at its end: a reload changes nothing any more, and does not end it early.
#[test]
fn the_agent_drains() {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let (backend, other) = (Backend::start(|_| Reply::Hang), Backend::start(|_| Reply::Ok));
    let agent = Agent::start(&options(&lab, &write(&lab, 1, "", &destination("main", &backend.url(), ""))));
    let (_server, port) = echo(&lab);
    requests(&lab, port);
    backend.wait_requests(1);
    agent.signal(Signal::TERM);
    let seen = backend.bodies().len();
    write(&lab, 7, "", &destination("main", &other.url(), ""));
    agent.signal(Signal::HUP);
    backend.wait_requests(seen + 4);
    backend.script(|_| Reply::Ok);
    let finished = agent.finish();
    assert_eq!(assert_ledger(&finished, &backend), 2 * COUNT as u64);
    assert_eq!((dropped(&finished, "shutdown"), other.bodies().len()), (0, 0));
    assert!(!finished.stderr.contains("signalled again"), "{}", finished.stderr);
}
