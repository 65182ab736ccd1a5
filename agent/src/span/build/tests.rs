//! Exchanges and the spans that they must become.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::{exchange::Connection, span::Status};

mod before;
mod streams;
mod trace;

const PARENT: &str = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const SEED: [u64; 2] = [0x1234_5678_9abc_def0, 0x0fed_cba9_8765_4321];

fn head(text: impl AsRef<[u8]>) -> Head {
    Head::copy(text.as_ref(), false)
}

/// A request's head of a start line and fields.
fn request(lines: &[&str]) -> Head {
    head(lines.iter().fold(String::new(), |text, line| text + line + "\r\n") + "\r\n")
}

fn connection(role: Role, local: Addr, peer: Addr) -> Arc<Connection> {
    Arc::new(Connection { id: 1, seed: SEED, role, local, peer, netns: 0 })
}

fn ip(text: &str) -> Addr {
    Addr::Ip(text.parse().unwrap())
}

/// A complete exchange with a 200, seen by the server at 10.0.0.2:8080 or by the client at 10.0.0.1:40000.
fn exchange(role: Role, request: Head) -> Exchange {
    let (client, server) = (ip("10.0.0.1:40000"), ip("10.0.0.2:8080"));
    let (local, peer) = if role == Role::Server { (server, client) } else { (client, server) };
    Exchange {
        connection: connection(role, local, peer),
        protocol: Protocol::Http1,
        tgid: 7,
        tid: 8,
        pos: 0,
        start_ns: 2_000,
        end_ns: 5_000,
        wait_ns: 0,
        request,
        request_body: 11,
        response: Some((200, head("HTTP/1.1 200 OK\r\nServer: x\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n"))),
        response_body: 22,
        trailers: None,
        outcome: Outcome::Complete,
        gap: false,
        sampled: None,
        cause: spandrel_common::context::Cause::NONE,
    }
}

fn server(lines: &[&str]) -> Exchange {
    exchange(Role::Server, request(lines))
}

fn client(lines: &[&str]) -> Exchange {
    exchange(Role::Client, request(lines))
}

fn builder(policy: SpanPolicy, sampler: Policy) -> Builder {
    let clock = ClockAnchor { mono_ns: 1_000, unix_ns: 1_700_000_000_000_000_000 };
    Builder::new(policy, sampler, clock, Arc::default())
}

fn build(exchange: &Exchange) -> Span {
    let builder = builder(SpanPolicy::default(), Policy::DEFAULT);
    builder.build(exchange, Arc::default()).expect("is sampled")
}

/// A span as text: name, kind, status, then its attributes in the order of their names.
fn show(span: &Span) -> String {
    let mut attributes: Vec<_> = span.attributes.iter().collect();
    attributes.sort_by(|a, b| a.key.cmp(&b.key));
    assert!(attributes.windows(2).all(|pair| pair[0].key != pair[1].key), "a key comes twice: {span:?}");
    let mut text = format!("{} {:?} {:?}\n", span.name, span.kind, span.status);
    for attribute in attributes {
        let value = match &attribute.value {
            Value::Static(value) => format!("{value:?}"),
            Value::Str(value) => format!("{value:?}"),
            Value::Strs(values) => format!("{values:?}"),
            Value::Int(value) => value.to_string(),
            Value::Double(value) => value.to_string(),
            Value::Bool(value) => value.to_string(),
        };
        writeln!(text, "{} = {value}", attribute.key).unwrap();
    }
    text
}

/// The whole span of an exchange.
#[track_caller]
fn check(exchange: &Exchange, expect: &str) {
    let lines: Vec<_> = expect.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let found = show(&build(exchange));
    assert_eq!(found.lines().collect::<Vec<_>>(), lines, "\n{found}");
}

/// One attribute of a span, as text; empty if it is not there.
fn attribute(span: &Span, key: &str) -> String {
    let text = show(span);
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
    line.unwrap_or_default().trim_matches('"').to_owned()
}

#[track_caller]
fn check_attributes(exchange: &Exchange, expect: &[(&str, &str)]) {
    let span = build(exchange);
    for (key, value) in expect {
        assert_eq!(attribute(&span, key), *value, "{key} in\n{}", show(&span));
    }
}

#[test]
fn a_server_span() {
    check(
        &server(&[
            "GET /webshop/articles/4?s=1&t=2 HTTP/1.1",
            "Host: example.com:8080",
            "User-Agent: a/1 (b)",
        ]),
        r#"
        GET Server Unset
        client.address = "10.0.0.1"
        http.request.method = "GET"
        http.response.status_code = 200
        network.peer.address = "10.0.0.1"
        network.peer.port = 40000
        network.protocol.version = "1.1"
        server.address = "example.com"
        server.port = 8080
        url.path = "/webshop/articles/4"
        url.query = "s=1&t=2"
        url.scheme = "http"
        user_agent.original = "a/1 (b)"
        "#,
    );
}

#[test]
fn a_client_span() {
    check(
        &client(&["POST /webshop/articles/4?s=1&t=2 HTTP/1.1", "host: example.com:8080", "User-Agent: a/1"]),
        r#"
        POST Client Unset
        http.request.method = "POST"
        http.response.status_code = 200
        network.peer.address = "10.0.0.2"
        network.peer.port = 8080
        network.protocol.version = "1.1"
        server.address = "example.com"
        server.port = 8080
        url.full = "http://example.com:8080/webshop/articles/4?s=1&t=2"
        "#,
    );
}

#[test]
fn heads_that_say_nothing() {
    let server_span = r#"
        HTTP Server Unset
        client.address = "10.0.0.1"
        http.request.method = "_OTHER"
        http.response.status_code = 200
        network.peer.address = "10.0.0.1"
        network.peer.port = 40000
        server.address = "10.0.0.2"
        server.port = 8080
        url.path = ""
        url.scheme = "http"
        "#;
    check(&exchange(Role::Server, head("")), server_span);
    check(&exchange(Role::Server, head("\r\n\r\n")), server_span);
    let client_span = r#"
        GET Client Unset
        http.request.method = "GET"
        http.response.status_code = 200
        network.peer.address = "10.0.0.2"
        network.peer.port = 8080
        network.protocol.version = "1.0"
        server.address = "10.0.0.2"
        server.port = 8080
        url.full = "http://10.0.0.2:8080/"
        "#;
    check(&client(&["GET / HTTP/1.0"]), client_span);
    check(&client(&["GET / HTTP/1.0", "Host: "]), client_span);
}

#[test]
fn methods() {
    for method in attr::METHODS {
        let span = build(&server(&[&format!("{method} / HTTP/1.1")]));
        assert_eq!((&*span.name, &*attribute(&span, "http.request.method")), (method, method));
        assert_eq!(attribute(&span, "http.request.method_original"), "");
    }
    for method in ["get", "PROPFIND", "GeT", "FOO"] {
        let span = build(&client(&[&format!("{method} / HTTP/1.1")]));
        assert_eq!((&*span.name, &*attribute(&span, "http.request.method")), ("HTTP", "_OTHER"));
        assert_eq!(attribute(&span, "http.request.method_original"), method);
    }
}

#[test]
fn other_known_methods() {
    let policy =
        SpanPolicy { known_methods: Some(vec!["PURGE".into(), "GET".into()]), ..SpanPolicy::default() };
    let builder = builder(policy, Policy::DEFAULT);
    for (method, name, shown) in [
        ("PURGE", "PURGE", "PURGE"),
        ("GET", "GET", "GET"),
        ("POST", "HTTP", "_OTHER"),
        ("get", "HTTP", "_OTHER"),
    ] {
        let span = builder.build(&server(&[&format!("{method} / HTTP/1.1")]), Arc::default()).unwrap();
        assert_eq!((&*span.name, &*attribute(&span, "http.request.method")), (name, shown));
    }
}

#[test]
fn server_addresses() {
    for (fields, address, port, scheme) in [
        (&["Host: a.example"][..], "a.example", "80", "http"),
        (&["Host: a.example:8080"], "a.example", "8080", "http"),
        (&["Host: [::1]:8080"], "::1", "8080", "http"),
        (&["Host: [::1]"], "::1", "80", "http"),
        (&["Host: 192.0.2.1:81"], "192.0.2.1", "81", "http"),
        (&["Host: one", "Host: two"], "one", "80", "http"),
        (&["Host: a:1", "X-Forwarded-Host: b:2, c:3"], "b", "2", "http"),
        (&["Host: a:1", "X-Forwarded-Host: b"], "b", "80", "http"),
        (&["Host: a:1", "X-Forwarded-Proto: https"], "a", "1", "https"),
        (&["Host: a", "X-Forwarded-Proto: HTTPS, http"], "a", "443", "https"),
        (&["Host: a", "X-Forwarded-Proto: wss"], "a", "443", "wss"),
        (&["Host: a", "X-Forwarded-Proto: custom"], "a", "", "custom"),
        (&["Host: a", "X-Forwarded-Proto: <no scheme>"], "a", "80", "http"),
        (&["Host: a:1", "X-Forwarded-Host: b:2", "Forwarded: host=c:3;proto=https"], "c", "3", "https"),
        (&["Host: a:1", "X-Forwarded-Host: b:2", "Forwarded: for=x"], "b", "2", "http"),
        (&["Forwarded: host=\"[2001:db8::1]:4711\", host=x"], "2001:db8::1", "4711", "http"),
        (&["Host:"], "10.0.0.2", "8080", "http"),
        (&[], "10.0.0.2", "8080", "http"),
    ] {
        let lines: Vec<_> = std::iter::once("GET / HTTP/1.1").chain(fields.iter().copied()).collect();
        check_attributes(
            &server(&lines),
            &[("server.address", address), ("server.port", port), ("url.scheme", scheme)],
        );
    }
}

#[test]
fn client_addresses_behind_proxies() {
    for (fields, address) in [
        (&["X-Forwarded-For: 203.0.113.9"][..], "203.0.113.9"),
        (&["X-Forwarded-For: 203.0.113.9:1234, 10.1.1.1"], "203.0.113.9"),
        (&["X-Forwarded-For: 203.0.113.9", "X-Forwarded-For: 10.1.1.1"], "203.0.113.9"),
        (&["X-Forwarded-For: 2001:db8::9"], "2001:db8::9"),
        (&["x-forwarded-for: [2001:db8::9]:80"], "2001:db8::9"),
        (&["Forwarded: for=\"[2001:db8::9]:80\";proto=http", "X-Forwarded-For: 10.1.1.1"], "2001:db8::9"),
        (&["Forwarded: for=unknown", "X-Forwarded-For: 203.0.113.9"], "203.0.113.9"),
        (&["Forwarded: for=_hidden"], "10.0.0.1"),
        (&["X-Forwarded-For: unknown"], "10.0.0.1"),
        (&["X-Forwarded-For: "], "10.0.0.1"),
        (&[], "10.0.0.1"),
    ] {
        let lines: Vec<_> = std::iter::once("GET / HTTP/1.1").chain(fields.iter().copied()).collect();
        let peer = ("network.peer.address", "10.0.0.1");
        check_attributes(&server(&lines), &[("client.address", address), peer]);
        check_attributes(&client(&lines), &[("client.address", "")]);
    }
}

#[test]
fn mapped_addresses_are_ipv4() {
    let mut exchange = server(&["GET / HTTP/1.1"]);
    exchange.connection = connection(Role::Server, ip("[::ffff:10.0.0.2]:80"), ip("[::ffff:10.0.0.1]:9"));
    check_attributes(
        &exchange,
        &[
            ("client.address", "10.0.0.1"),
            ("network.peer.address", "10.0.0.1"),
            ("network.peer.port", "9"),
            ("server.address", "10.0.0.2"),
        ],
    );
}

#[test]
fn unix_sockets() {
    let mut exchange = server(&["GET /v1 HTTP/1.1", "Host: localhost"]);
    exchange.connection = connection(Role::Server, Addr::Unix, Addr::Unix);
    check(
        &exchange,
        r#"
        GET Server Unset
        http.request.method = "GET"
        http.response.status_code = 200
        network.protocol.version = "1.1"
        server.address = "localhost"
        server.port = 80
        url.path = "/v1"
        url.scheme = "http"
        "#,
    );
    exchange.connection = connection(Role::Client, Addr::Unix, Addr::Unix);
    check_attributes(&exchange, &[("url.full", "http://localhost/v1"), ("network.peer.address", "")]);
    exchange.request = request(&["GET /v1 HTTP/1.0"]);
    check_attributes(&exchange, &[("url.full", "/v1"), ("server.address", "")]);
}

#[test]
fn absolute_targets() {
    let lines = &["GET http://user:pass@a.example:81/p?q=1 HTTP/1.1", "Host: proxy.example:3128"];
    check_attributes(
        &client(lines),
        &[
            ("url.full", "http://REDACTED:REDACTED@a.example:81/p?q=1"),
            ("server.address", "a.example"),
            ("server.port", "81"),
        ],
    );
    check_attributes(
        &server(lines),
        &[
            ("url.path", "/p"),
            ("url.query", "q=1"),
            ("url.scheme", "http"),
            ("server.address", "a.example"),
            ("server.port", "81"),
        ],
    );
    let secure = &["GET https://a.example HTTP/1.1", "Host: b"];
    check_attributes(&server(secure), &[("url.path", "/"), ("url.scheme", "https"), ("server.port", "443")]);
    check_attributes(&client(secure), &[("url.full", "https://a.example/"), ("server.port", "443")]);
}

#[test]
fn other_forms_of_targets() {
    let connect = &["CONNECT a.example:443 HTTP/1.1", "Host: a.example:443"];
    check_attributes(
        &client(connect),
        &[("url.full", "//a.example:443"), ("server.address", "a.example"), ("server.port", "443")],
    );
    check_attributes(&server(connect), &[("url.path", ""), ("server.port", "443")]);
    let options = &["OPTIONS * HTTP/1.1", "Host: a.example"];
    check_attributes(&client(options), &[("url.full", "http://a.example")]);
    check_attributes(&server(options), &[("url.path", "*")]);
    let empty_query = &["GET /? HTTP/1.1", "Host: a"];
    check_attributes(&client(empty_query), &[("url.full", "http://a/?")]);
    assert!(show(&build(&server(empty_query))).contains("url.query = \"\"\n"));
    assert!(!show(&build(&server(&["GET / HTTP/1.1"]))).contains("url.query"));
}

#[test]
fn secrets_are_replaced_and_counted() {
    let builder = builder(SpanPolicy::default(), Policy::DEFAULT);
    let line = "GET /blob?sv=1&sig=secret&X-Amz-Signature=secret HTTP/1.1";
    for (exchange, key, value) in [
        (server(&[line, "Host: a"]), "url.query", "sv=1&sig=REDACTED&X-Amz-Signature=REDACTED"),
        (client(&[line, "Host: a"]), "url.full", "http://a/blob?sv=1&sig=REDACTED&X-Amz-Signature=REDACTED"),
    ] {
        let span = builder.build(&exchange, Arc::default()).unwrap();
        assert_eq!(attribute(&span, key), value);
        assert!(!show(&span).contains("secret"));
    }
    assert_eq!(builder.stats.counted(Count::Redacted), 4);
    let span = build(&client(&["GET / HTTP/1.1", "Host: user:secret@a"]));
    assert_eq!(attribute(&span, "url.full"), "http://REDACTED:REDACTED@a/");
    assert!(!show(&span).contains("secret"));
    let span = build(&server(&["GET http://user:secret@a/ HTTP/1.1"]));
    assert!(!show(&span).contains("secret"));
}

#[test]
fn protocol_versions() {
    for (version, shown) in
        [("HTTP/1.1", "1.1"), ("HTTP/1.0", "1.0"), ("HTTP/1.2", "1.2"), ("HTTP/one", ""), ("", "")]
    {
        check_attributes(&server(&[&format!("GET / {version}")]), &[("network.protocol.version", shown)]);
    }
}

#[test]
fn status_by_kind() {
    for (role, code, status, error) in [
        (Role::Server, 404, Status::Unset, ""),
        (Role::Client, 404, Status::Error, "404"),
        (Role::Server, 503, Status::Error, "503"),
        (Role::Client, 503, Status::Error, "503"),
        (Role::Client, 302, Status::Unset, ""),
    ] {
        let mut exchange = exchange(role, request(&["GET / HTTP/1.1"]));
        exchange.response = Some((code, head("")));
        let span = build(&exchange);
        assert_eq!((span.status, &*attribute(&span, "error.type")), (status, error), "{role:?} {code}");
        assert_eq!(attribute(&span, "http.response.status_code"), code.to_string());
    }
}

#[test]
fn ends_without_a_response() {
    let mut exchange = client(&["GET / HTTP/1.1", "Host: a"]);
    exchange.response = None;
    exchange.outcome = Outcome::Failed(libc::ECONNRESET as u32);
    let span = build(&exchange);
    assert_eq!(span.status, Status::Error);
    assert_eq!(attribute(&span, "error.type"), "connection_reset");
    assert_eq!(attribute(&span, "spandrel.outcome"), "failed");
    assert_eq!(attribute(&span, "http.response.status_code"), "");
    exchange.outcome = Outcome::Failed(9999);
    assert_eq!(attribute(&build(&exchange), "error.type"), "_OTHER");
    assert_eq!(attribute(&build(&exchange), "spandrel.errno"), "9999");
    exchange.outcome = Outcome::LocalClosed;
    let span = build(&exchange);
    assert_eq!((span.status, &*attribute(&span, "error.type")), (Status::Error, "cancelled"));
    assert_eq!(attribute(&span, "spandrel.outcome"), "cancelled");
    exchange.response = Some((200, head("")));
    exchange.outcome = Outcome::PeerClosed;
    let span = build(&exchange);
    assert_eq!((span.status, &*attribute(&span, "error.type")), (Status::Error, "connection_closed"));
    assert_eq!(attribute(&span, "http.response.status_code"), "200");
}

#[test]
fn what_was_not_seen_is_said() {
    let mut exchange = server(&["GET / HTTP/1.1", "Host: a"]);
    let plain = show(&build(&exchange));
    assert!(!plain.contains("spandrel."), "{plain}");
    exchange.wait_ns = 1234;
    exchange.gap = true;
    exchange.request.truncated = true;
    exchange.response = Some((200, Head::copy(b"HTTP/1.1 200 OK", true)));
    exchange.outcome = Outcome::Unseen;
    check_attributes(
        &exchange,
        &[
            ("spandrel.request.wait_ns", "1234"),
            ("spandrel.gap", "true"),
            ("spandrel.request.truncated", "true"),
            ("spandrel.response.truncated", "true"),
            ("spandrel.outcome", "unseen"),
        ],
    );
}

#[test]
fn fields_and_sizes_on_request() {
    let variables = [
        ("OTEL_INSTRUMENTATION_HTTP_SERVER_CAPTURE_REQUEST_HEADERS", "accept,authorization,x-none"),
        ("OTEL_INSTRUMENTATION_HTTP_SERVER_CAPTURE_RESPONSE_HEADERS", "Set-Cookie"),
        ("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS", "Authorization"),
        ("OTEL_INSTRUMENTATION_HTTP_SERVER_EMIT_EXPERIMENTAL_TELEMETRY", "true"),
    ];
    let policy = SpanPolicy::read(|name| {
        variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    });
    let builder = builder(policy.unwrap(), Policy::DEFAULT);
    let lines = ["GET / HTTP/1.1", "Accept: a", "AUTHORIZATION: secret", "accept: b, c", "Other: x"];
    let mut exchange = server(&lines);
    let span = builder.build(&exchange, Arc::default()).unwrap();
    for (key, value) in [
        ("http.request.header.accept", r#"["a", "b, c"]"#),
        ("http.request.header.authorization", r#"["[REDACTED]"]"#),
        ("http.request.header.x-none", ""),
        ("http.response.header.set-cookie", r#"["[REDACTED]", "[REDACTED]"]"#),
        ("http.request.body.size", "11"),
        ("http.response.body.size", "22"),
    ] {
        assert_eq!(attribute(&span, key), value, "{key}");
    }
    exchange.gap = true;
    let span = builder.build(&exchange, Arc::default()).unwrap();
    assert_eq!(attribute(&span, "http.request.body.size"), "");
    let span = builder.build(&client(&lines), Arc::default()).unwrap();
    assert!(!show(&span).contains("header"));
}

#[test]
fn attributes_have_limits() {
    let mut policy = SpanPolicy::default();
    policy.limits.count = 3;
    policy.limits.value_length = Some(2);
    let span =
        builder(policy, Policy::DEFAULT).build(&server(&["GET /abc HTTP/1.1"]), Arc::default()).unwrap();
    assert_eq!(span.attributes.len(), 3);
    assert_eq!(span.dropped_attributes, 7);
    assert_eq!(attribute(&span, "url.path"), "/a");
}

#[test]
fn every_prefix_of_a_head() {
    let whole = request(&[
        "POST http://u:p@[::1]:80/a?sig=1&b HTTP/1.1",
        "Host: [::1]:80",
        "Forwarded: for=\"[2001:db8::1]:1\";host=\"a\\\"b\";proto=https, for=x",
        "X-Forwarded-For: 1.2.3.4, 5.6.7.8",
        PARENT,
        "tracestate: a=1, b=2",
        " ,c=3",
        "User-Agent: caf\u{e9}",
    ]);
    let whole_id = build(&exchange(Role::Server, whole.clone())).trace_id;
    for len in 0..=whole.bytes().len() {
        for truncated in [false, true] {
            for role in [Role::Server, Role::Client] {
                let cut = Head::copy(&whole.bytes()[..len], truncated);
                let span = build(&exchange(role, cut));
                assert!(!show(&span).contains("u:p"), "{len}");
                assert!(span.trace_id == whole_id || span.parent_id == [0; 8], "{len}");
            }
        }
    }
}

proptest! {
    #[test]
    fn no_head_makes_it_panic(bytes: Vec<u8>, truncated: bool, server: bool) {
        let role = if server { Role::Server } else { Role::Client };
        build(&exchange(role, Head::copy(&bytes, truncated)));
    }

    #[test]
    fn no_head_like_text_makes_it_panic(
        text in "(GET|POST|CONNECT|X)? ?(http://|/|\\*|[^ ]{0,9})?[ -~é\\[\\]@:?&;=%#]{0,40}( HTTP/1.[01])?\r?\n\
                 ((Host|Forwarded|X-Forwarded-(For|Host|Proto)|traceparent|tracestate|User-Agent):[ -~\t\r\n\"]{0,60}\r?\n){0,8}\r?\n?",
        truncated: bool,
        server: bool,
    ) {
        let role = if server { Role::Server } else { Role::Client };
        let span = build(&exchange(role, Head::copy(text.as_bytes(), truncated)));
        prop_assert!(span.start_ns <= span.end_ns);
        show(&span);
    }
}
