//! Proxies besides nginx, and tunnels through one.

use spandrel_test_support::{
    Agent,
    Kind::{Client, Server},
    Lab, Program, Span, http,
    process::{command, run},
    require,
};

use crate::common::{PYTHON, assert_counts, assert_whole, curl, echo, nginx, profiles, script, traced};

profiles!(haproxy, proxied, tunnel, upgrade);

/// haproxy in front of a server on a port, with more options for that `server`, and the port on which it listens.
fn balancer(lab: &Lab, behind: u16, options: &str) -> (Program, u16) {
    let (listener, port) = http::listener();
    let config = lab.write(
        "haproxy.cfg",
        format!(
            "defaults\n  mode http\n  timeout connect 10s\n  timeout client 10s\n  timeout server 10s\n\
             frontend in\n  bind fd@0\n  default_backend out\n\
             backend out\n  http-reuse always\n  server behind 127.0.0.1:{behind} {options}\n"
        ),
    );
    let mut haproxy = command("haproxy");
    haproxy.args(["-db", "-f"]).arg(config);
    (Program::start_with(&mut haproxy, std::os::fd::OwnedFd::from(listener)), port)
}

fn haproxy(profile: &str) {
    require!("haproxy", PYTHON, "curl");
    let lab = Lab::new();
    let mut agent = Agent::start(&traced(&lab, profile));
    let (_echo, behind) = echo(&lab);
    let (_haproxy, port) = balancer(&lab, behind, "");
    run(curl(&lab).arg(format!("http://127.0.0.1:{port}/bytes/[1-20]"))).success();
    run(curl(&lab).arg(format!("http://127.0.0.1:{port}/bytes/3000000"))).success();
    agent.wait_for("84 spans", |spans| spans.len() >= 84);
    let finished = agent.stop();
    assert_counts(&finished, 42, 42);
    assert_whole(&finished);
    let count = |service: &str| finished.spans.iter().filter(|span| span.service() == service).count();
    assert_eq!((count("curl"), count("haproxy"), count("echo")), (21, 42, 21));
    let large = finished.spans.iter().filter(|span| span.path() == "/bytes/3000000");
    assert!(large.into_iter().all(|span| span.int("http.response.body.size") == Some(3_000_000)));
}

/// What a balancer says of its client in front of the first request (the PROXY protocol) hides no request.
fn proxied(profile: &str) {
    require!("haproxy", "nginx", "curl");
    for (version, sends) in [(1, "send-proxy"), (2, "send-proxy-v2")] {
        let lab = Lab::new();
        let mut agent = Agent::start(&traced(&lab, profile));
        let (_nginx, behind) =
            nginx(&lab, "server { listen LISTEN proxy_protocol; location / { return 200 ok; } }");
        let (_haproxy, port) = balancer(&lab, behind, sends);
        run(curl(&lab).arg(format!("http://127.0.0.1:{port}/[1-5]"))).success();
        agent.wait_for("20 spans", |spans| spans.len() >= 20);
        let finished = agent.stop();
        assert_counts(&finished, 10, 10);
        assert_whole(&finished);
        let nginx = finished.spans.iter().filter(|span| span.service() == "nginx").count();
        assert_eq!(nginx, 5, "version {version}");
    }
}

fn node(lab: &Lab) -> (Program, u16) {
    let source = include_str!("../../programs/nodeshop.js");
    let node = Program::start(&mut script(lab, "node", "nodeshop.js", source));
    let port = node.port();
    (node, port)
}

/// Through CONNECT: one span at each end of the proxy's connection whatever goes through; the far connection is
/// one like any other.
fn tunnel(profile: &str) {
    require!("node", PYTHON, "curl");
    let lab = Lab::new();
    let mut agent = Agent::start(&traced(&lab, profile));
    let (_echo, far) = echo(&lab);
    let (_node, port) = node(&lab);
    let mut through = curl(&lab);
    through.args(["--noproxy", "", "--proxytunnel", "--proxy", &format!("http://127.0.0.1:{port}")]);
    run(through.arg(format!("http://127.0.0.1:{far}/bytes/[1-5]"))).success();
    agent.wait_for("12 spans", |spans| spans.len() >= 12);
    let finished = agent.stop();
    let of = |service: &str| {
        let spans = finished.spans.iter().filter(|span| span.service() == service);
        spans.map(|span| (span.kind, &*span.name, span.status())).collect::<Vec<_>>()
    };
    assert_eq!(of("curl"), [(Client, "CONNECT", Some(200))]);
    assert_eq!(of("echo"), [(Server, "GET", Some(200)); 5]);
    let mut node = of("nodeshop");
    node.sort_by_key(|(kind, ..)| *kind == Client);
    let mut expected = vec![(Server, "CONNECT", Some(200))];
    expected.extend([(Client, "GET", Some(200)); 5]);
    assert_eq!(node, expected);
    assert_counts(&finished, 6, 6);
    let connect = |span: &&Span| span.name == "CONNECT";
    for span in finished.spans.iter().filter(connect) {
        span.assert_has(&[("server.address", "127.0.0.1".into()), ("server.port", far.into())]);
    }
}

/// An upgraded connection of Node, as WebSocket has it: the span ends at 101.
fn upgrade(profile: &str) {
    require!("node");
    let lab = Lab::new();
    let mut agent = Agent::start(&traced(&lab, profile));
    let (_node, port) = node(&lab);
    let stream = http::connect(http::local(port));
    http::send(
        &stream,
        b"GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert!(http::receive(&stream).starts_with("HTTP/1.1 101"));
    // It echoes what it gets, so both directions carry what looks like messages.
    for _ in 0..5 {
        let frame = b"GET /frame HTTP/1.1\r\nHost: h\r\n\r\n";
        http::send(&stream, frame);
        let mut back = vec![0; frame.len()];
        std::io::Read::read_exact(&mut &stream, &mut back).expect("an echo");
    }
    drop(stream);
    let other = http::get(port, "/after");
    assert!(other.starts_with("HTTP/1.1 200"));
    agent.wait_for("2 spans", |spans| spans.len() >= 2);
    let finished = agent.stop();
    assert_counts(&finished, 2, 0);
    assert_whole(&finished);
    let found: Vec<_> = finished.servers().iter().map(|span| (span.path(), span.status())).collect();
    assert_eq!(found, [("/chat", Some(101)), ("/after", Some(200))]);
}
