//! Python: blocking sockets, one thread a connection; requests and urllib3 keep a pool of connections.

use std::collections::BTreeSet;

use spandrel_test_support::{Agent, Lab, Program, http, process::run, require};

use crate::common::{PYTHON, assert_counts, assert_whole, echo, encloses, profiles, script, traced};

profiles!(clients, calls_itself);

const COUNT: usize = 20;

fn clients(profile: &str) {
    require!(PYTHON, "/usr/lib/python3/dist-packages/requests/__init__.py");
    let lab = Lab::new();
    let mut agent = Agent::start(&traced(&lab, profile));
    let (_server, port) = echo(&lab);
    let mut ask = script(&lab, PYTHON, "ask.py", include_str!("../../programs/ask.py"));
    run(ask.args([port.to_string(), COUNT.to_string()])).success();
    let count = 3 * COUNT + 3;
    agent.wait_for("all spans", |spans| spans.len() >= 2 * count);
    let finished = agent.stop();
    assert_counts(&finished, count, count);
    let (servers, clients) = (finished.servers(), finished.clients());
    for (n, (server, client)) in servers.iter().zip(&clients).enumerate() {
        assert!(encloses(client, server), "{client:?}\n{server:?}");
        assert_eq!((server.service(), client.service()), ("echo", "ask"));
        assert_eq!((server.path(), server.status()), (client.path(), client.status()));
        let agent = server.str("user_agent.original").unwrap_or("");
        if n < COUNT {
            assert!(agent.starts_with("python-requests/"), "{agent}");
            server.assert_has(&[
                ("url.query", "by=requests".into()),
                ("url.path", format!("/bytes/{n}").into()),
            ]);
        } else if (COUNT + 3..2 * COUNT + 3).contains(&n) {
            server.assert_has(&[
                ("http.request.method", "PUT".into()),
                ("http.request.body.size", (n as i64 - COUNT as i64 - 3).into()),
            ]);
        } else if n >= 2 * COUNT + 3 {
            assert_eq!(server.name, "DELETE");
        }
    }
    servers[COUNT].assert_has(&[("http.request.body.size", 100_000.into())]);
    assert!(servers[COUNT + 2].error && clients[COUNT + 2].error);
    let ports: BTreeSet<_> = servers.iter().map(|span| span.int("network.peer.port")).collect();
    assert_eq!(ports.len(), 3, "each of the three clients keeps one connection");
    for (server, client) in servers.iter().zip(&clients) {
        for part in ["http.request.body.size", "http.response.body.size"] {
            assert_eq!(server.int(part), client.int(part), "{part}: {server:?}\n{client:?}");
        }
    }
    let streamed = servers[COUNT + 1];
    assert!(streamed.int("http.request.body.size").is_some_and(|size| size >= 50_000), "{streamed:?}");
    assert_whole(&finished);
}

/// Asks itself what it is asked for.
const ITSELF: &str = r#"
import http.server, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = b"leaf"
        if self.path.startswith("/outer"):
            body = urllib.request.urlopen(f"http://127.0.0.1:{port}/inner{self.path[6:]}").read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
port = server.server_port
print("PORT", port, flush=True)
server.serve_forever()
"#;

/// Both ends of a connection in one process: each end is told as what it is, and the call is its request's.
fn calls_itself(profile: &str) {
    require!(PYTHON);
    let lab = Lab::new();
    let mut agent = Agent::start(&traced(&lab, profile));
    let server = Program::start(&mut script(&lab, PYTHON, "itself.py", ITSELF));
    let stream = http::connect(http::local(server.port()));
    for n in 0..COUNT {
        http::send(&stream, format!("GET /outer/{n} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
        assert!(http::receive(&stream).starts_with("HTTP/1.1 200"));
    }
    agent.wait_for("all spans", |spans| spans.len() >= 3 * COUNT);
    let finished = agent.stop();
    assert_counts(&finished, 2 * COUNT, COUNT);
    assert_whole(&finished);
    for client in finished.clients() {
        let outer = client.path().replace("inner", "outer");
        let cause = finished.servers().into_iter().find(|span| span.path() == outer).expect("a cause");
        assert_eq!(client.parent_id.as_deref().unwrap_or(&cause.span_id), cause.span_id, "{client:#?}");
    }
}
