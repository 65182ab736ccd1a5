//! IPv6, IPv4 addresses mapped into it, and Unix sockets.

use spandrel_test_support::{Agent, Lab, Program, process::run, require};

use crate::common::{
    PYTHON, assert_counts, assert_whole, curl, encloses, nginx, profiles, script, text, traced,
};

profiles!(ipv6, unix, unix_upstream);

fn ipv6(profile: &str) {
    require!(PYTHON, "curl", "/proc/sys/net/ipv6");
    let lab = Lab::new();
    let mut agent = Agent::start(&traced(&lab, profile));
    let mut server = script(&lab, PYTHON, "echo.py", include_str!("../../programs/echo.py"));
    let server = Program::start(server.arg("-6"));
    let port = server.port();
    run(curl(&lab).arg(format!("http://[::1]:{port}/six"))).success();
    run(curl(&lab).arg(format!("http://127.0.0.1:{port}/mapped"))).success();
    run(curl(&lab).arg(format!("http://[::ffff:127.0.0.1]:{port}/mapped-client"))).success();
    agent.wait_for("6 spans", |spans| spans.len() >= 6);
    let finished = agent.stop();
    assert_counts(&finished, 3, 3);
    assert_whole(&finished);
    for spans in [finished.servers(), finished.clients()] {
        let peers: Vec<_> = spans.iter().map(|span| span.str("network.peer.address")).collect();
        assert_eq!(
            peers,
            [Some("::1"), Some("127.0.0.1"), Some("127.0.0.1")],
            "a mapped address is shown as IPv4"
        );
        spans[0].assert_has(&[("server.address", "::1".into()), ("server.port", port.into())]);
    }
    finished.clients()[0].assert_has(&[("url.full", format!("http://[::1]:{port}/six").into())]);
}

fn unix(profile: &str) {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let mut agent = Agent::start(&traced(&lab, profile));
    let path = lab.path("socket");
    let mut server = script(&lab, PYTHON, "echo.py", include_str!("../../programs/echo.py"));
    let server = Program::start(server.arg("-u").arg(&path));
    server.port();
    for n in 0..10 {
        run(curl(&lab).arg("--unix-socket").arg(&path).arg(format!("http://local/unix/{n}"))).success();
    }
    run(curl(&lab).arg("--unix-socket").arg(&path).arg("http://local/bytes/[1-10]")).success();
    agent.wait_for("40 spans", |spans| spans.len() >= 40);
    let finished = agent.stop();
    assert_counts(&finished, 20, 20);
    assert_whole(&finished);
    for (server, client) in finished.servers().iter().zip(finished.clients()) {
        assert_eq!((server.path(), server.service(), client.service()), (client.path(), "echo", "curl"));
        for span in [*server, client] {
            span.assert_has(&[("server.address", "local".into()), ("http.response.status_code", 200.into())]);
            span.assert_lacks(&["network.peer.port", "client.address"]);
        }
        assert!(encloses(client, server));
    }
}

fn unix_upstream(profile: &str) {
    require!("node", "nginx", "curl");
    let lab = Lab::new();
    let mut agent = Agent::start(&traced(&lab, profile));
    let path = lab.path("socket");
    let mut node = script(&lab, "node", "nodeshop.js", include_str!("../../programs/nodeshop.js"));
    let node = Program::start(node.arg("-u").arg(&path));
    node.port();
    // nginx's worker is somebody else.
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .expect("permissions");
    let (_nginx, port) = nginx(
        &lab,
        &format!(
            "upstream kept {{ server unix:{}; keepalive 2; }}
             server {{ listen LISTEN; location / {{ proxy_pass http://kept; proxy_http_version 1.1;
                       proxy_set_header Connection ''; }} }}",
            text(&path)
        ),
    );
    run(curl(&lab).arg(format!("http://127.0.0.1:{port}/bytes/[1-10]"))).success();
    agent.wait_for("40 spans", |spans| spans.len() >= 40);
    let finished = agent.stop();
    assert_counts(&finished, 20, 20);
    assert_whole(&finished);
    let count = |service: &str| finished.spans.iter().filter(|span| span.service() == service).count();
    assert_eq!((count("curl"), count("nginx"), count("nodeshop")), (10, 20, 10));
}
