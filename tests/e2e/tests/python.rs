//! Python: blocking sockets, one thread a connection.

use spandrel_test_support::{Agent, Kind, Lab, Options, Program, http, process::command, require};

const PYTHON: &str = "/usr/bin/python3";

#[test]
fn http_server_started_after_the_agent() {
    require!(PYTHON);
    let lab = Lab::new();
    let mut agent = Agent::start(&Options::of(&lab));
    let args = ["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"];
    let server = Program::start(command(PYTHON).args(args).arg(lab.path("")));
    let port =
        server.wait_stdout("no port", |line| line.split_once(" port ")?.1.split(' ').next()?.parse().ok());
    for n in 0..5 {
        http::get(port, &format!("/{n}?a=b"));
    }
    agent.wait_count(Kind::Server, 5);
    let finished = agent.stop();
    finished.assert_complete();
    let found: Vec<_> = finished.servers().iter().map(|span| (span.path(), span.status())).collect();
    assert_eq!(found, ["/0", "/1", "/2", "/3", "/4"].map(|path| (path, Some(404))));
}
