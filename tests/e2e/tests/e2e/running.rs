//! Programs and connections that are older than the agent: traced from their next message on, with the right role,
//! peer and own address; and programs that are younger and do not live long.

use std::{
    collections::{BTreeSet, HashSet},
    net::SocketAddr,
    os::fd::OwnedFd,
};

use rustix::net::{AddressFamily, SocketType};
use spandrel_test_support::{
    Agent, Lab, Options, Program, Span, http,
    process::{command, run},
    require,
};

use crate::common::{
    PYTHON, assert_counts, assert_whole, curl, echo, encloses, nginx, profiles, script, traced,
};

profiles!(
    server_connections,
    client_connections,
    proxy_connections,
    between_request_and_response,
    within_a_body
);

fn ask(stream: &std::net::TcpStream, path: &str) {
    http::send(stream, format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
}

fn server_connections(profile: &str) {
    require!(PYTHON);
    let lab = Lab::new();
    let (_server, port) = echo(&lab);
    let streams: Vec<_> = (0..10).map(|_| http::connect(http::local(port))).collect();
    for stream in &streams[..5] {
        ask(stream, "/before");
        http::receive(stream);
    }
    let mut agent = Agent::start(&traced(&lab, profile));
    for round in 0..3 {
        for stream in &streams {
            ask(stream, &format!("/after/{round}"));
            http::receive(stream);
        }
    }
    agent.wait_for("30 spans", |spans| spans.len() >= 30);
    let finished = agent.stop();
    assert_counts(&finished, 30, 0);
    assert_whole(&finished);
    for (n, span) in finished.servers().iter().enumerate() {
        assert_eq!(span.path(), format!("/after/{}", n / 10));
        let peer = streams[n % 10].local_addr().expect("an address").port();
        span.assert_has(&[
            ("network.peer.address", "127.0.0.1".into()),
            ("network.peer.port", peer.into()),
            ("http.response.status_code", 200.into()),
        ]);
    }
}

/// Sends a response in two pieces, the second one when it is told to, and then whole ones, on one connection.
const PIECES: &str = r#"
import socket, sys
head, tail = (bytes.fromhex(part) for part in sys.argv[1:3])
server = socket.create_server(("127.0.0.1", 0))
print("PORT", server.getsockname()[1], flush=True)
connection = server.accept()[0]
connection.recv(65536)
connection.sendall(head)
sys.stdin.readline()
connection.sendall(tail)
while connection.recv(65536):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
"#;

/// The rest of a body looks like anything: who asks and who answers is told by the next request, not by it.
fn within_a_body(profile: &str) {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n";
    const LENGTH: &str = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nb";
    require!(PYTHON);
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    for (head, tail) in [(CHUNKED, "\r\n"), (LENGTH, "odylines"), (LENGTH, "GET / no")] {
        let lab = Lab::new();
        let mut server =
            Program::start_told(script(&lab, PYTHON, "pieces.py", PIECES).args([hex(head), hex(tail)]));
        let stream = http::connect(http::local(server.port()));
        let receive = |len: usize| {
            std::io::Read::read_exact(&mut &stream, &mut vec![0; len]).expect("a piece of a response");
        };
        ask(&stream, "/before");
        receive(head.len());
        let mut agent = Agent::start(&traced(&lab, profile));
        server.tell("on");
        receive(tail.len());
        for n in 0..3 {
            ask(&stream, &format!("/after/{n}"));
            http::receive(&stream);
        }
        agent.wait_for("3 spans", |spans| spans.len() >= 3);
        let finished = agent.stop();
        assert_counts(&finished, 3, 0);
        let paths: Vec<_> = finished.servers().iter().map(|span| span.path()).collect();
        assert_eq!(paths, ["/after/0", "/after/1", "/after/2"], "{tail:?}");
    }
}

/// A client that keeps its connection and asks when it is told to.
const ASKER: &str = r#"
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
for line in sys.stdin:
    connection.request("GET", line.strip())
    connection.getresponse().read()
    print("DONE", line.strip(), flush=True)
"#;

fn client_connections(profile: &str) {
    require!(PYTHON);
    let lab = Lab::new();
    let (_server, port) = echo(&lab);
    let mut asker = Program::start_told(script(&lab, PYTHON, "asker.py", ASKER).arg(port.to_string()));
    let mut ask = |path: &str| {
        asker.tell(path);
        asker.wait_stdout("no answer", |line| line.ends_with(path).then_some(()));
    };
    ask("/before");
    let mut agent = Agent::start(&traced(&lab, profile));
    ask("/after/1");
    ask("/after/2");
    agent.wait_for("4 spans", |spans| spans.len() >= 4);
    let finished = agent.stop();
    assert_counts(&finished, 2, 2);
    assert_whole(&finished);
    for (server, client) in finished.servers().iter().zip(finished.clients()) {
        assert_eq!((server.service(), client.service()), ("echo", "asker"));
        assert_eq!(server.path(), client.path());
        client.assert_has(&[
            ("network.peer.address", "127.0.0.1".into()),
            ("network.peer.port", port.into()),
            ("server.port", port.into()),
        ]);
        assert!(encloses(client, server));
    }
}

/// A proxy has both roles on connections of both ends.
fn proxy_connections(profile: &str) {
    require!(PYTHON, "nginx");
    let lab = Lab::new();
    let (_echo, behind) = echo(&lab);
    let (_server, port) = nginx(
        &lab,
        &format!(
            "upstream kept {{ server 127.0.0.1:{behind}; keepalive 1; }}
             server {{ listen LISTEN; location / {{ proxy_pass http://kept; proxy_http_version 1.1;
                       proxy_set_header Connection ''; }} }}"
        ),
    );
    let stream = http::connect(http::local(port));
    ask(&stream, "/before");
    http::receive(&stream);
    let mut agent = Agent::start(&traced(&lab, profile));
    for n in 0..5 {
        ask(&stream, &format!("/after/{n}"));
        http::receive(&stream);
    }
    agent.wait_for("15 spans", |spans| spans.len() >= 15);
    let finished = agent.stop();
    assert_counts(&finished, 10, 5);
    assert_whole(&finished);
    let peer = stream.local_addr().expect("an address").port();
    let of = |spans: Vec<&Span>, service: &str| {
        spans.into_iter().filter(|span| span.service() == service).cloned().collect::<Vec<_>>()
    };
    let proxy = of(finished.servers(), "nginx");
    assert_eq!(proxy.len(), 5);
    for (n, span) in proxy.iter().enumerate() {
        span.assert_has(&[("url.path", format!("/after/{n}").into()), ("network.peer.port", peer.into())]);
    }
    for span in of(finished.clients(), "nginx") {
        span.assert_has(&[("network.peer.port", behind.into())]);
    }
}

/// The agent comes while a request waits for its response: that response belongs to nothing that was seen, the
/// next request does.
fn between_request_and_response(profile: &str) {
    require!(PYTHON);
    let lab = Lab::new();
    let slow = r#"
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print("PORT", listener.getsockname()[1], flush=True)
connection = listener.accept()[0]
while data := connection.recv(4096):
    print("ASKED", flush=True)
    sys.stdin.readline()
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + data[5:6])
"#;
    let mut server = Program::start_told(&mut script(&lab, PYTHON, "waits.py", slow));
    let stream = http::connect(http::local(server.port()));
    ask(&stream, "/a");
    server.wait_stdout("not asked", |line| (line == "ASKED").then_some(()));
    let mut agent = Agent::start(&traced(&lab, profile));
    server.tell("answer");
    assert!(http::receive(&stream).ends_with('a'));
    for path in ["/b", "/c"] {
        ask(&stream, path);
        server.tell("answer");
        assert!(http::receive(&stream).ends_with(&path[1..]));
    }
    agent.wait_for("2 spans", |spans| spans.len() >= 2);
    let finished = agent.stop();
    assert_counts(&finished, 2, 0);
    let paths: Vec<_> = finished.servers().iter().map(|span| (span.path(), span.status())).collect();
    assert_eq!(paths, [("/b", Some(200)), ("/c", Some(200))]);
    assert_whole(&finished);
}

/// Programs that live for some milliseconds, chosen by what they are and by nothing at all.
#[test]
fn short_lives() {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let (_server, port) = echo(&lab);
    let copy = lab.path("short-curl");
    std::fs::copy("/usr/bin/curl", &copy).expect("a copy of curl");
    let exe = copy.to_str().expect("a path in UTF-8");
    let by_exe = Options::new().args(["--exe", exe]);
    let by_name = Options::new().args(["--exe", "short-curl"]);
    let by_cmd = Options::new().args(["--cmd", &lab.pattern()]);
    let by_other = Options::new().args(["--cmd", "nothing like that", "--exe", exe]);
    // What a link leads to, and the link itself.
    let link = lab.path("linked-curl");
    std::os::unix::fs::symlink(&copy, &link).expect("a link");
    let link = link.to_str().expect("a path in UTF-8");
    let by_link = Options::new().args(["--exe", link]);
    for options in [by_exe, by_name, by_cmd, by_other, by_link, Options::new()] {
        let mut agent = Agent::start(&options);
        let mut paths = Vec::new();
        for n in 0..10 {
            let path = format!("/{}/{n}", lab.tag());
            let mut short = command(&copy);
            short.args(["--silent", "--show-error", "--noproxy", "*", "--dump-header"]).arg(lab.path("head"));
            assert_eq!(run(short.arg(format!("http://127.0.0.1:{port}{path}"))).success(), "0\n");
            paths.push(path);
        }
        let mine = |span: &&Span| span.path().contains(lab.tag()) && span.service() == "short-curl";
        agent.wait_for("10 spans", |spans| spans.iter().filter(mine).count() >= 10);
        let finished = agent.stop();
        finished.report.ledger.assert_closed();
        let clients = finished.clients();
        let mut found: Vec<_> = clients.into_iter().filter(mine).collect();
        assert_eq!(found.iter().map(|span| span.path()).collect::<Vec<_>>(), paths, "{options:?}");
        let pids: HashSet<_> = found.iter().map(|span| span.pid()).collect();
        assert_eq!(pids.len(), 10);
        found.truncate(1);
        found[0].assert_has(&[("http.response.status_code", 200.into())]);
    }
}

/// Listens on the socket that is its standard input.
const LATER: &str = r#"
import http.server, socket
server = http.server.HTTPServer(("", 0), http.server.SimpleHTTPRequestHandler, bind_and_activate=False)
server.socket = socket.socket(fileno=0)
server.server_activate()
print("PORT", server.socket.getsockname()[1], flush=True)
server.serve_forever()
"#;

/// A socket that has a port and does not listen.
fn bound() -> (OwnedFd, u16) {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let address = rustix::net::getsockname(&socket).expect("an address");
    (socket, SocketAddr::try_from(address).expect("an address of IPv4").port())
}

/// A server is selected by the port on which it listens, before and after the agent starts; curl is not.
#[test]
fn by_port() {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let (_server, port) = echo(&lab);
    // Bound, so that nobody else gets the port, and not listening yet.
    let (bound, later) = bound();
    let mut agent =
        Agent::start(&Options::new().args(["--port", &port.to_string(), "--port", &later.to_string()]));
    let second = Program::start_with(&mut script(&lab, PYTHON, "later.py", LATER), bound);
    assert_eq!(second.port(), later);
    for port in [port, later] {
        run(curl(&lab).arg(format!("http://127.0.0.1:{port}/chosen"))).success();
    }
    agent.wait_for("2 spans", |spans| spans.len() >= 2);
    let finished = agent.stop();
    assert_counts(&finished, 2, 0);
    let services: Vec<_> = finished.servers().iter().map(|span| span.service().to_owned()).collect();
    assert_eq!(services, ["echo", "later"]);
}

/// A socket that its program hands to two workers, which both make it listen; the kernel tells of the first.
const WORKERS: &str = r#"
import http.server, socket, subprocess, sys
class Worker(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args): pass
if len(sys.argv) > 1:
    server = http.server.HTTPServer(("", 0), Worker, bind_and_activate=False)
    server.socket = socket.socket(fileno=0)
    server.server_activate()
    print("ready", flush=True)
    server.serve_forever()
workers = [subprocess.Popen([sys.executable, __file__, "worker"], stdout=subprocess.PIPE) for _ in range(2)]
for worker in workers:
    worker.stdout.readline()
print("PORT", socket.socket(fileno=0).getsockname()[1], flush=True)
for worker in workers:
    worker.wait()
"#;

/// All who serve a port are selected by it, not only who made its socket listen. The agent hears of that a little later.
#[test]
fn by_port_of_several() {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let (bound, port) = bound();
    let mut agent = Agent::start(&Options::new().args(["--port", &port.to_string()]));
    let server = Program::start_with(&mut script(&lab, PYTHON, "workers.py", WORKERS), bound);
    assert_eq!(server.port(), port);
    let pids = |spans: &[Span]| spans.iter().map(Span::pid).collect::<BTreeSet<_>>().len();
    for _ in 0..20 {
        run(curl(&lab).arg(format!("http://127.0.0.1:{port}/[1-20]"))).success();
        if pids(agent.spans()) >= 2 {
            break;
        }
    }
    agent.wait_for("spans of both workers", |spans| pids(spans) >= 2);
}

/// By its number, and its service name by its own environment.
#[test]
fn by_pid() {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let mut program = script(&lab, PYTHON, "echo.py", include_str!("../../programs/echo.py"));
    program
        .env("OTEL_SERVICE_NAME", "own name")
        .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test");
    let server = Program::start(&mut program);
    let port = server.port();
    let mut agent = Agent::start(&Options::new().args(["--pid", &server.pid().to_string()]));
    run(curl(&lab).arg(format!("http://127.0.0.1:{port}/by-pid"))).success();
    agent.wait_for("1 span", |spans| !spans.is_empty());
    let finished = agent.stop();
    assert_counts(&finished, 1, 0);
    let span = finished.servers()[0];
    assert_eq!((span.service(), span.pid()), ("own name", server.pid()));
    assert_eq!(span.resource.get("deployment.environment.name"), Some(&"test".into()));
}

/// By the end of a command line of a length that class paths have.
#[test]
fn by_the_end_of_a_long_command_line() {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let (before, after) = ("at-the-end-before", "at-the-end-after");
    let server = |last: &str| {
        let mut program = script(&lab, PYTHON, "echo.py", include_str!("../../programs/echo.py"));
        program.arg("-4").arg("long/".repeat(20_000)).arg(format!("{last}-{}", lab.tag()));
        Program::start(&mut program)
    };
    let first = server(before);
    let mut agent = Agent::start(&Options::new().args(["--cmd", &format!("*{}", lab.tag())]));
    let second = server(after);
    for port in [first.port(), second.port()] {
        run(curl(&lab).arg(format!("http://127.0.0.1:{port}/long"))).success();
    }
    agent.wait_for("2 spans", |spans| spans.len() >= 2);
    let finished = agent.stop();
    let pids: Vec<_> = finished.servers().iter().map(|span| span.pid()).collect();
    assert_eq!(pids, [first.pid(), second.pid()]);
}

/// Whoever is not selected is not traced, nor are the processes that it forks before the agent knows it.
#[test]
fn nobody() {
    require!(PYTHON, "bash");
    let lab = Lab::new();
    let (_server, port) = echo(&lab);
    let agent = Agent::start(&Options::new().args(["--cmd", "no such thing"]));
    let forks = format!(
        "(read -t 0.1; exec 3<>/dev/tcp/127.0.0.1/{port}; \
         printf 'GET /nobody HTTP/1.1\\r\\nHost: h\\r\\nConnection: close\\r\\n\\r\\n' >&3; cat <&3 >/dev/null) & wait"
    );
    for _ in 0..40 {
        run(command("bash").args(["-c", &forks])).success();
    }
    let finished = agent.stop();
    finished.report.ledger.assert_closed();
    assert!(finished.spans.is_empty(), "{:#?}", finished.spans);
}
