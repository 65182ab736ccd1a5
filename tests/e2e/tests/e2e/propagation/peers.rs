//! Whose requests are written into: by default those to peers that have answered in HTTP/1 before, and nobody else's
//! sockets are touched.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use spandrel_test_support::{
    Agent, Finished, Lab, Program, http, namespace::Namespace, process::run, require, skip,
};

use super::{leaf, possible, values, writing};
use crate::common::{PYTHON, curl, require_profile, script, traced};

/// Does what it is told, each by a connection of its own but for `keep`: `get`, asks; `keep`, asks on a kept connection;
/// `say`, sends a line of another protocol and reads the answer; `hear`, waits for what a server says first.
const TALKER: &str = r#"
import http.client, socket, sys
kept = {}
def ask(connection, path):
    connection.request("GET", path)
    connection.getresponse().read()
for line in sys.stdin:
    what, port, text = line.split()
    address = ("127.0.0.1", int(port))
    if what == "get":
        connection = http.client.HTTPConnection(*address)
        ask(connection, text)
        connection.close()
    elif what == "keep":
        ask(kept.setdefault(port, http.client.HTTPConnection(*address)), text)
    else:
        with socket.create_connection(address) as connection:
            if what == "say":
                connection.sendall(text.encode() + b"\r\n")
            connection.recv(100)
    print("DONE", text, flush=True)
"#;

/// The program, which the agent knows already, and a server that it was never asked for.
struct Talker(Program);

impl Talker {
    fn known(lab: &Lab, agent: &mut Agent) -> Self {
        let (port, _heads) = leaf();
        let mut talker = Self(Program::start_told(&mut script(lab, PYTHON, "talker.py", TALKER)));
        for n in 0..200 {
            talker.does("get", port, &format!("/hello/{n}"));
            if agent.wait_in(std::time::Duration::from_millis(200), |spans| !spans.is_empty()) {
                return talker;
            }
        }
        panic!("no request of 200 was told: {}", agent.stderr());
    }

    fn does(&mut self, what: &str, port: u16, text: &str) {
        self.0.tell(&format!("{what} {port} {text}"));
        let done = format!("DONE {text}");
        self.0.wait_stdout("not done", |line| (line == done).then_some(()));
    }
}

/// A server of the test's own, for one connection after the other: what it does with each is told by a function, which
/// gets the connection.
fn server(serve: impl FnMut(TcpStream) + Send + 'static) -> u16 {
    let (listener, port) = http::listener();
    std::thread::spawn(move || listener.incoming().flatten().for_each(serve));
    port
}

fn answer(stream: &mut TcpStream, status: &str) {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    stream.write_all(head.as_bytes()).expect("an answer");
}

fn context(head: &str) -> usize {
    values(head, "traceparent").len()
}

#[test]
fn the_first_request_to_a_peer_is_left_alone() {
    require_profile!("socket");
    require!(PYTHON);
    let lab = Lab::new();
    let mut agent = Agent::start(&writing(&lab));
    if !possible(&agent) {
        skip!("{}", agent.stderr());
    }
    let mut talker = Talker::known(&lab, &mut agent);
    let (port, heads) = leaf();
    let mut lines = Vec::new();
    for n in 0..4 {
        talker.does("get", port, &format!("/{n}"));
        lines.push(context(&heads.recv().expect("a request")));
    }
    assert_eq!(lines, [0, 1, 1, 1]);
    let finished = agent.stop();
    assert!(finished.report.kernel("aside_new_peer") >= 1, "{}", finished.report.json);
}

#[test]
fn on_writes_into_the_first_request_too() {
    require_profile!("socket");
    require!(PYTHON);
    let lab = Lab::new();
    let mut agent = Agent::start(&writing(&lab).args(["--propagation", "on"]));
    if !possible(&agent) {
        skip!("{}", agent.stderr());
    }
    let mut talker = Talker::known(&lab, &mut agent);
    let (port, heads) = leaf();
    talker.does("get", port, "/1");
    assert_eq!(context(&heads.recv().expect("a request")), 1);
    assert_eq!(agent.stop().report.kernel("aside_new_peer"), 0);
}

#[test]
fn off_touches_nothing() {
    require_profile!("socket");
    require!("curl");
    let lab = Lab::new();
    let agent = Agent::start(&traced(&lab, "socket").args(["--propagation", "off"]));
    let (port, heads) = leaf();
    for _ in 0..3 {
        run(curl(&lab).arg(format!("http://127.0.0.1:{port}/"))).success();
        assert_eq!(context(&heads.recv().expect("a request")), 0);
    }
    untouched(&agent.stop());
}

/// Fails the test if any program's socket was in the socket map.
#[track_caller]
fn untouched(finished: &Finished) {
    for name in ["sockets_armed", "injected"] {
        assert_eq!(finished.report.kernel(name), 0, "{name}: {}", finished.report.json);
    }
}

/// A connection that is kept is armed once its first response was read.
#[test]
fn a_kept_connection_goes_on_with_it() {
    require_profile!("socket");
    require!(PYTHON);
    let lab = Lab::new();
    let mut agent = Agent::start(&writing(&lab));
    if !possible(&agent) {
        skip!("{}", agent.stderr());
    }
    let mut talker = Talker::known(&lab, &mut agent);
    let (sender, heads) = std::sync::mpsc::channel();
    let port = server(move |mut stream| {
        while stream.peek(&mut [0]).is_ok_and(|more| more > 0) {
            sender.send(http::receive(&mut stream)).ok();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").expect("an answer");
        }
    });
    talker.does("keep", port, "/first");
    assert_eq!(context(&heads.recv().expect("a request")), 0);
    // How soon depends on when the agent looks.
    let armed = (0..1000).any(|n| {
        talker.does("keep", port, &format!("/{n}"));
        std::thread::yield_now();
        context(&heads.recv().expect("a request")) == 1
    });
    assert!(armed, "of a thousand requests none: {}", agent.stop().report.json);
}

#[test]
fn a_peer_that_refuses_the_line_is_left_alone() {
    require_profile!("socket");
    require!(PYTHON);
    for status in ["400 Bad Request", "431 Request Header Fields Too Large"] {
        let lab = Lab::new();
        let mut agent = Agent::start(&writing(&lab));
        if !possible(&agent) {
            skip!("{}", agent.stderr());
        }
        let mut talker = Talker::known(&lab, &mut agent);
        let (sender, lines) = std::sync::mpsc::channel();
        let port = server(move |mut stream| {
            let lines = context(&http::receive(&mut stream));
            answer(&mut stream, if lines == 0 { "200 OK" } else { status });
            sender.send(lines).ok();
        });
        for n in 0..6 {
            talker.does("get", port, &format!("/{n}"));
        }
        let lines: Vec<_> = lines.iter().take(6).collect();
        assert_eq!(lines, [0, 1, 0, 0, 0, 0], "{status}");
        let finished = agent.stop();
        assert_eq!(finished.report.kernel("peers_refused"), 1, "{}", finished.report.json);
        assert_eq!(finished.stderr.matches("peers_refused").count(), 1, "{}", finished.stderr);
    }
}

/// Another protocol on a port that has spoken HTTP/1: what was known no longer counts.
#[test]
fn a_peer_that_changes_its_protocol_has_to_answer_again() {
    require_profile!("socket");
    require!(PYTHON);
    let lab = Lab::new();
    let mut agent = Agent::start(&writing(&lab));
    if !possible(&agent) {
        skip!("{}", agent.stderr());
    }
    let mut talker = Talker::known(&lab, &mut agent);
    let (sender, lines) = std::sync::mpsc::channel();
    let port = server(move |mut stream| {
        let mut first = [0];
        stream.peek(&mut first).expect("something");
        if first == *b"G" {
            sender.send(context(&http::receive(&mut stream))).ok();
            answer(&mut stream, "200 OK");
        } else {
            stream.read_exact(&mut [0; 6]).expect("a ping");
            stream.write_all(b"+PONG\r\n").expect("an answer");
        }
    });
    for (what, text) in [("get", "/0"), ("get", "/1"), ("say", "PING"), ("get", "/2"), ("get", "/3")] {
        talker.does(what, port, text);
    }
    assert_eq!(lines.iter().take(4).collect::<Vec<_>>(), [0, 1, 0, 1]);
    drop(agent.stop());
}

/// A server that speaks first on such a port is left alone from then on.
#[test]
fn a_peer_that_speaks_first_is_left_alone() {
    require_profile!("socket");
    require!(PYTHON);
    let lab = Lab::new();
    let mut agent = Agent::start(&writing(&lab));
    if !possible(&agent) {
        skip!("{}", agent.stderr());
    }
    let mut talker = Talker::known(&lab, &mut agent);
    let (sender, lines) = std::sync::mpsc::channel();
    let mut count = 0;
    let port = server(move |mut stream| {
        count += 1;
        if count == 3 {
            stream.write_all(b"220 ready\r\n").expect("a greeting");
            return;
        }
        sender.send(context(&http::receive(&mut stream))).ok();
        answer(&mut stream, "200 OK");
    });
    for (what, text) in [("get", "/0"), ("get", "/1"), ("hear", "-"), ("get", "/2"), ("get", "/3")] {
        talker.does(what, port, text);
    }
    assert_eq!(lines.iter().take(4).collect::<Vec<_>>(), [0, 1, 0, 0]);
    drop(agent.stop());
}

/// Redis and its client, as most people have them: no socket of theirs is ever touched.
#[test]
fn redis_is_never_touched() {
    require_profile!("socket");
    require!("redis-server", "redis-cli");
    let lab = Lab::new();
    let agent = Agent::start(&writing(&lab));
    if !possible(&agent) {
        skip!("{}", agent.stderr());
    }
    // A port of its own, and none that is registered for another protocol.
    let Some(namespace) = Namespace::new() else { skip!("no network namespaces") };
    let (port, path, key) = ("7000", lab.text("redis.sock"), lab.text("key"));
    let mut server = namespace.command("redis-server");
    server.args(["--bind", "127.0.0.1", "--port", port, "--unixsocket", &path, "--save", ""]);
    let redis = Program::start(&mut server);
    redis.wait_stdout("not ready", |line| line.contains("Ready to accept").then_some(()));
    let client = || {
        let mut client = namespace.command("redis-cli");
        client.args(["-p", port]);
        client
    };
    for n in 0..50 {
        let said = run(client().args(["INCR", &key])).success();
        assert_eq!(said.trim(), (n + 1).to_string());
    }
    // Many commands on one connection, with much data in both directions.
    let value = "v".repeat(100_000);
    for command in [&["SET", &key, &value][..], &["GET", &key]] {
        let said = run(client().args(["-r", "50"]).args(command)).success();
        assert_eq!(said.lines().filter(|line| *line == "OK" || *line == value).count(), 50);
    }
    drop(redis);
    let finished = agent.stop();
    assert!(finished.report.kernel("not_http") > 0, "it was looked at: {}", finished.report.json);
    untouched(&finished);
}
