//! The agent with no capability but those that SECURITY.md lists, and without each of them.

use spandrel_test_support::{
    Agent, Lab, Options, Program, agent,
    process::{self, Output, command},
    require,
};

use crate::common::{PYTHON, assert_counts, assert_whole, curl};

/// All that the agent needs.
const NEEDED: [&str; 4] = ["bpf", "perfmon", "sys_ptrace", "dac_read_search"];
/// The program that is traced belongs to nobody.
const NOBODY: &str = "65534";

/// `setpriv` for a root that has only these.
fn only(capabilities: &[&str]) -> Vec<String> {
    let list = [&["-all"], capabilities].concat().join(",+");
    let sets = ["bounding-set", "inh-caps"].map(|set| format!("--{set}={list}"));
    [String::from("setpriv")].into_iter().chain(sets).collect()
}

/// Those needed but one.
fn without(capability: &str) -> Vec<String> {
    let rest: Vec<_> = NEEDED.into_iter().filter(|name| *name != capability).collect();
    assert!(rest.len() < NEEDED.len());
    only(&rest)
}

/// A server that runs as another user and says its service's name only in its environment.
fn server() -> (Program, u16) {
    let mut server = command("setpriv");
    server.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", PYTHON, "-c"]);
    server.arg(include_str!("../../programs/echo.py")).env("OTEL_SERVICE_NAME", "of-nobody");
    let server = Program::start(&mut server);
    let port = server.port();
    (server, port)
}

fn ask(lab: &Lab, port: u16) {
    process::run(curl(lab).arg(format!("http://127.0.0.1:{port}/asked"))).success();
}

#[test]
fn four_are_enough() {
    require!("setpriv", PYTHON, "curl");
    let lab = Lab::new();
    let (_server, port) = server();
    let options = Options::new().arg("--port").arg(port.to_string()).started_by(only(&NEEDED));
    let mut agent = Agent::start(&options);
    ask(&lab, port);
    agent.wait_for("a span", |spans| !spans.is_empty());
    let finished = agent.stop();
    assert_counts(&finished, 1, 0);
    assert_whole(&finished);
    assert_eq!(finished.spans[0].service(), "of-nobody");
    assert!(!finished.stderr.contains("without CAP_"), "{}", finished.stderr);
}

#[test]
fn four_are_enough_for_a_command() {
    require!("setpriv", PYTHON, "curl");
    let lab = Lab::new();
    let (_server, port) = server();
    let url = format!("http://127.0.0.1:{port}/asked");
    let options = Options::new().started_by(only(&NEEDED)).command(["curl", "--silent", &url]);
    let finished = Agent::start(&options).finish();
    drop(lab);
    assert!(finished.status.success(), "{}", finished.stderr);
    assert_counts(&finished, 0, 1);
}

/// Less than that is told, not silent.
#[test]
fn what_is_seen_without_the_right_to_look_is_told() {
    require!("setpriv", PYTHON);
    let (_server, port) = server();
    for (capability, name) in [("sys_ptrace", "CAP_SYS_PTRACE"), ("dac_read_search", "CAP_DAC_READ_SEARCH")] {
        let options = Options::new().arg("--port").arg(port.to_string()).started_by(without(capability));
        let finished = Agent::start(&options).stop();
        assert!(finished.stderr.contains(&format!("without {name}")), "{name}: {}", finished.stderr);
    }
}

/// Runs the agent where it cannot load.
fn refused(starter: &[String], args: &[&str]) -> Output {
    let mut agent = command(&starter[0]);
    process::run(agent.args(&starter[1..]).arg(agent::binary()).args(args))
}

#[test]
fn without_the_right_to_load_it_says_so() {
    require!("setpriv");
    for capability in ["bpf", "perfmon"] {
        let output = refused(&without(capability), &["run"]);
        assert_eq!(output.code(), 77, "{capability}: {}", output.stderr);
        let missing = format!("capability CAP_{}: missing", capability.to_uppercase());
        assert!(
            output.stderr.contains(&missing) && output.stderr.contains("run as root"),
            "{}",
            output.stderr
        );
        // Together with what else is wrong.
        let output = refused(&without(capability), &["run", "--port", "none"]);
        assert!(
            output.stderr.contains("2 mistakes") && output.stderr.contains(&missing),
            "{}",
            output.stderr
        );
        let output = refused(&without(capability), &["doctor"]);
        assert_ne!(output.code(), 0, "{capability}: {}", output.stdout);
        let name = format!("MISSING  capability CAP_{}", capability.to_uppercase());
        assert!(output.stdout.contains(&name), "{}", output.stdout);
    }
}
