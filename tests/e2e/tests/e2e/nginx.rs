//! nginx: an event loop with readiness by epoll, `writev` for heads, `sendfile` for files.

use spandrel_test_support::{Agent, Lab, Span, process::run, require};

use crate::common::{
    PYTHON, assert_counts, assert_enclosed, curl, echo, nginx, profiles, script, text, traced,
};

profiles!(files, proxy, encoded, permitted, large_cookies);

fn files(profile: &str) {
    require!("nginx", "curl");
    let lab = Lab::new();
    for (name, size) in [("www/empty", 0), ("www/small", 1000), ("www/large", 10_000_000)] {
        lab.write(name, vec![b'f'; size]);
    }
    let mut agent = Agent::start(&traced(&lab, profile));
    let root = lab.path("www");
    let (_server, port) =
        nginx(&lab, &format!("sendfile on; server {{ listen LISTEN; root {}; }}", text(&root)));
    let url = |name: &str| format!("http://127.0.0.1:{port}/{name}");
    run(curl(&lab).args(["empty", "small", "large", "none"].map(url))).success();
    run(curl(&lab).args(["--range", "10-19"]).arg(url("large"))).success();
    run(curl(&lab).arg("--head").arg(url("large"))).success();
    run(curl(&lab).args(["--header", "If-None-Match: *"]).arg(url("small"))).success();
    agent.wait_for("14 spans", |spans| spans.len() >= 14);
    let finished = agent.stop();
    assert_counts(&finished, 7, 7);
    assert_enclosed(&finished);
    let found = |spans: Vec<&Span>| {
        let each =
            |span: &&Span| (span.path().to_owned(), span.status(), span.int("http.response.body.size"));
        spans.iter().map(each).collect::<Vec<_>>()
    };
    let servers = found(finished.servers());
    assert_eq!(servers, found(finished.clients()));
    let body = servers[3].2;
    assert!(body.is_some_and(|size| size > 100), "the body of a 404");
    let expected = [
        ("/empty", 200, Some(0)),
        ("/small", 200, Some(1000)),
        ("/large", 200, Some(10_000_000)),
        ("/none", 404, body),
        ("/large", 206, Some(10)),
        ("/large", 200, Some(0)),
        ("/small", 304, Some(0)),
    ];
    assert_eq!(servers, expected.map(|(path, status, size)| (path.to_owned(), Some(status), size)));
    for span in finished.servers() {
        assert_eq!(span.service(), "nginx");
        assert!(!span.error);
        span.assert_has(&[("server.port", port.into()), ("client.address", "127.0.0.1".into())]);
    }
    finished.clients()[3].assert_has(&[("error.type", "404".into())]);
    assert!(finished.clients()[3].error);
}

/// A proxy is a server and a client. Its upstream connections are kept: three requests, one connection.
fn proxy(profile: &str) {
    require!("nginx", "curl", PYTHON);
    let lab = Lab::new();
    let mut agent = Agent::start(&traced(&lab, profile));
    let (_echo, behind) = echo(&lab);
    let (_server, port) = nginx(
        &lab,
        &format!(
            "upstream kept {{ server 127.0.0.1:{behind}; keepalive 4; }}
             server {{ listen LISTEN;
               location / {{ proxy_pass http://kept; proxy_http_version 1.1; proxy_set_header Connection '';
                             client_max_body_size 20m; }}
               location /old/ {{ proxy_pass http://127.0.0.1:{behind}/; }}
               location /gone {{ proxy_pass http://127.0.0.1:1; }} }}"
        ),
    );
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let body = lab.write("body", vec![b'b'; 3_000_000]);
    run(curl(&lab).args(["/bytes/7?a=b", "/status/404", "/status/503"].map(url))).success();
    run(curl(&lab).arg("--data-binary").arg(format!("@{}", text(&body))).arg(url("/up"))).success();
    run(curl(&lab).args(["/old/bytes/5000000", "/gone"].map(url))).success();
    agent.wait_for("17 spans", |spans| spans.len() >= 17);
    let finished = agent.stop();
    // Six requests of curl, six answers of nginx, five questions of nginx, five answers of Python.
    assert_counts(&finished, 11, 11);
    let of = |spans: Vec<&Span>, service: &str| {
        let chosen = spans.into_iter().filter(|span| span.service() == service);
        chosen.map(|span| (span.path().to_owned(), span.status())).collect::<Vec<_>>()
    };
    let expected = |all: &[(&str, i64)]| {
        all.iter().map(|(path, status)| ((*path).to_owned(), Some(*status))).collect::<Vec<_>>()
    };
    let mut asked = vec![("/bytes/7", 200), ("/status/404", 404), ("/status/503", 503), ("/up", 200)];
    let mut passed = asked.clone();
    asked.extend([("/old/bytes/5000000", 200), ("/gone", 502)]);
    passed.push(("/bytes/5000000", 200));
    assert_eq!(of(finished.clients(), "curl"), expected(&asked));
    assert_eq!(of(finished.servers(), "nginx"), expected(&asked));
    assert_eq!(of(finished.clients(), "nginx"), expected(&passed));
    assert_eq!(of(finished.servers(), "echo"), expected(&passed));
    let upstream: Vec<_> = finished.clients().into_iter().filter(|span| span.service() == "nginx").collect();
    for span in &upstream {
        span.assert_has(&[
            ("network.peer.port", behind.into()),
            ("network.peer.address", "127.0.0.1".into()),
        ]);
    }
    upstream[0].assert_has(&[
        ("url.full", "http://kept/bytes/7?a=b".into()),
        ("server.address", "kept".into()),
        ("server.port", 80_u16.into()),
        ("network.protocol.version", "1.1".into()),
    ]);
    upstream[3].assert_has(&[("http.request.body.size", 3_000_000.into())]);
    upstream[4].assert_has(&[
        ("network.protocol.version", "1.0".into()),
        ("http.response.body.size", 5_000_000.into()),
    ]);
    let echo: Vec<_> = finished.servers().into_iter().filter(|span| span.service() == "echo").collect();
    let ports: Vec<_> = echo.iter().map(|span| span.int("network.peer.port")).collect();
    assert!(ports[..4].iter().all(|port| *port == ports[0]), "one connection: {ports:?}");
    let last = finished.servers().into_iter().rfind(|span| span.service() == "nginx").expect("a span");
    assert!(last.error);
    last.assert_has(&[("error.type", "502".into())]);
}

/// Bodies whose length is not known when the head is sent: compressed and chunked.
fn encoded(profile: &str) {
    require!("nginx", "curl");
    let lab = Lab::new();
    // Random digits: what compresses to nothing would fit into one chunk.
    let mut seed = 1_u64;
    let text_of: String = (0..300_000)
        .map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'0' + (seed >> 60) as u8 % 10)
        })
        .collect();
    lab.write("www/text.txt", text_of);
    let mut agent = Agent::start(&traced(&lab, profile));
    let root = lab.path("www");
    let (_server, port) = nginx(
        &lab,
        &format!(
            "types {{ text/plain txt; }} gzip on; gzip_types text/plain; gzip_min_length 1;
             server {{ listen LISTEN; root {};
               location /said {{ return 200 said; }} location /away {{ return 302 /said; }}
               location /shut {{ return 444; }} }}",
            text(&root)
        ),
    );
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    run(curl(&lab).arg("--compressed").args(["/text.txt", "/text.txt"].map(url))).success();
    run(curl(&lab).args(["/said", "/away"].map(url))).success();
    let shut = run(curl(&lab).arg(url("/shut")));
    assert_eq!(shut.code(), 52, "an empty reply: {shut:?}");
    agent.wait_for("10 spans", |spans| spans.len() >= 10);
    let finished = agent.stop();
    assert_counts(&finished, 5, 5);
    assert_enclosed(&finished);
    for (server, client) in finished.servers().iter().zip(finished.clients()).take(4) {
        let size = server.int("http.response.body.size");
        assert_eq!(size, client.int("http.response.body.size"));
        assert_eq!(server.status(), client.status());
        if server.path() == "/text.txt" {
            assert!(size.is_some_and(|size| (100_000..200_000).contains(&size)), "{server:?}");
        }
    }
    // `return 444` closes the connection without an answer.
    let (server, client) = (finished.servers()[4], finished.clients()[4]);
    assert_eq!((server.status(), client.status()), (None, None));
    server.assert_has(&[
        ("error.type", "connection_closed".into()),
        ("spandrel.outcome", "local_closed".into()),
    ]);
    client.assert_has(&[
        ("error.type", "connection_closed".into()),
        ("spandrel.outcome", "peer_closed".into()),
    ]);
}

/// nginx asks a second server for leave and gives up on what it says behind the status: that is no failure of anybody.
fn permitted(profile: &str) {
    require!("nginx", "curl", PYTHON);
    let lab = Lab::new();
    let mut agent = Agent::start(&traced(&lab, profile));
    let (_echo, behind) = echo(&lab);
    let (_nginx, port) = nginx(
        &lab,
        &format!(
            "server {{ listen LISTEN; location / {{ auth_request /leave; proxy_pass http://127.0.0.1:{behind}; }}\n\
             location = /leave {{ internal; proxy_pass http://127.0.0.1:{behind}/bytes/20; }} }}"
        ),
    );
    run(curl(&lab).arg(format!("http://127.0.0.1:{port}/bytes/[1-10]"))).success();
    agent.wait_for("60 spans", |spans| spans.len() >= 60);
    let finished = agent.stop();
    assert_counts(&finished, 30, 30);
    for span in &finished.spans {
        assert!(!span.error && span.get("error.type").is_none(), "{span:#?}");
    }
}

/// Fields that nginx reads in two calls, and fields above the limit of what is captured: with a body that is not read before
/// the answer, and one request after the other on one connection.
fn large_cookies(profile: &str) {
    require!("nginx", PYTHON);
    let lab = Lab::new();
    let mut agent = Agent::start(&traced(&lab, profile));
    let (_server, port) = nginx(
        &lab,
        "server { listen LISTEN; large_client_header_buffers 4 64k; location /no { return 403; } location / { return 204; } }",
    );
    let source = "import http.client, sys\n\
        connection = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]))\n\
        for cookie in 3000, 20000, 20000, 40000, 3000:\n    \
            for method, path, size, status in ('POST', '/no', 100000, 403), ('GET', '/yes', 0, 204):\n        \
                connection.request(method, path, b'b' * size, {'Cookie': 'a=' + 'c' * cookie})\n        \
                response = connection.getresponse()\n        \
                response.read()\n        \
                assert response.status == status, response.status\n";
    run(script(&lab, PYTHON, "cookies.py", source).arg(port.to_string())).success();
    agent.wait_for("20 spans", |spans| spans.len() >= 20);
    let finished = agent.stop();
    assert_counts(&finished, 10, 10);
    for spans in [finished.servers(), finished.clients()] {
        let found: Vec<_> = spans.iter().map(|span| (span.name.as_str(), span.status())).collect();
        assert_eq!(found, [("POST", Some(403)), ("GET", Some(204))].repeat(5), "{spans:#?}");
        let cut = |span: &&&Span| span.get("spandrel.request.truncated").is_some();
        assert_eq!(spans.iter().filter(cut).count(), 6, "{spans:#?}");
    }
}
