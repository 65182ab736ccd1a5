//! HTTP/2, and gRPC calls.

use super::*;
use crate::protocol::Side;

/// Timeouts of calls in the tests, and the times of exchanges, are those of [`exchange`]: 3,000 ns.
fn stream(role: Role, lines: &[&str]) -> Exchange {
    Exchange { protocol: Protocol::Http2, ..exchange(role, head(lines.join("\r\n") + "\r\n")) }
}

/// A call with this answer: its head, and what comes behind.
fn call(role: Role, answer: Option<&str>, trailers: Option<&str>, outcome: Outcome) -> Exchange {
    let lines = ["POST /a.B/C", "host: b:50051", "content-type: application/grpc+proto", "te: trailers"];
    Exchange {
        response: answer.map(|text| (200, head(text))),
        trailers: trailers.map(head),
        outcome,
        ..stream(role, &lines)
    }
}

#[test]
fn a_request_of_http_2() {
    check(
        &stream(Role::Server, &["GET /a?b=c", "host: example.com", "user-agent: x"]),
        r#"
        GET Server Unset
        client.address = "10.0.0.1"
        http.request.method = "GET"
        http.response.status_code = 200
        network.peer.address = "10.0.0.1"
        network.peer.port = 40000
        network.protocol.version = "2"
        server.address = "example.com"
        server.port = 80
        url.path = "/a"
        url.query = "b=c"
        url.scheme = "http"
        user_agent.original = "x"
        "#,
    );
    check_attributes(
        &stream(Role::Client, &["GET https://example.com/a", "host: example.com"]),
        &[("url.full", "https://example.com/a"), ("server.port", "443")],
    );
}

#[test]
fn a_request_of_which_not_all_is_known() {
    let mut exchange = stream(Role::Server, &[" ", "x: y"]);
    exchange.gap = true;
    let span = build(&exchange);
    assert_eq!((&*span.name, &*attribute(&span, "http.request.method")), ("HTTP", "_OTHER"));
    assert_eq!(attribute(&span, "spandrel.gap"), "true");
    assert_eq!(attribute(&span, "url.path"), "");
    let mut exchange = stream(Role::Client, &["POST ", "host: example.com"]);
    exchange.gap = true;
    check_attributes(&exchange, &[("url.full", ""), ("server.address", "example.com")]);
}

#[test]
fn a_call() {
    let trailers = Some("grpc-status: 0\r\n");
    check(
        &call(Role::Client, Some("200\r\n"), trailers, Outcome::Complete),
        r#"
        a.B/C Client Unset
        network.peer.address = "10.0.0.2"
        network.peer.port = 8080
        rpc.method = "a.B/C"
        rpc.status_code = "OK"
        rpc.system.name = "grpc"
        server.address = "b"
        server.port = 50051
        "#,
    );
    check(
        &call(Role::Server, Some("200\r\n"), Some("grpc-status: 13\r\n"), Outcome::Complete),
        r#"
        a.B/C Server Error
        error.type = "INTERNAL"
        network.peer.address = "10.0.0.1"
        network.peer.port = 40000
        rpc.method = "a.B/C"
        rpc.status_code = "INTERNAL"
        rpc.system.name = "grpc"
        server.address = "b"
        server.port = 50051
        "#,
    );
}

#[test]
fn older_names_of_calls() {
    let policy = SpanPolicy { older_rpc: true, ..SpanPolicy::default() };
    let call = call(Role::Client, Some("200\r\n"), Some("grpc-status: 5\r\n"), Outcome::Complete);
    let span = builder(policy, Policy::DEFAULT).build(&call, Arc::default()).unwrap();
    for (key, value) in [
        ("rpc.system", "grpc"),
        ("rpc.service", "a.B"),
        ("rpc.grpc.status_code", "5"),
        ("rpc.method", "a.B/C"),
        ("rpc.status_code", "NOT_FOUND"),
    ] {
        assert_eq!(attribute(&span, key), value);
    }
}

/// Status code and error of a call, for a client and for a server.
#[track_caller]
fn check_status(answer: Option<&str>, trailers: Option<&str>, outcome: Outcome, expect: [[&str; 2]; 2]) {
    for (role, expect) in [Role::Client, Role::Server].into_iter().zip(expect) {
        let span = build(&call(role, answer, trailers, outcome));
        let found = ["rpc.status_code", "error.type"].map(|key| attribute(&span, key));
        assert_eq!(found, expect, "{role:?}");
        assert_eq!(span.status == Status::Error, !expect[1].is_empty());
    }
}

#[test]
fn statuses() {
    use Outcome::Complete;
    let ok = Some("200\r\n");
    let both = |status, client, server| [[status, client], [status, server]];
    check_status(ok, Some("grpc-status: 5\r\n"), Complete, both("NOT_FOUND", "NOT_FOUND", ""));
    check_status(
        ok,
        Some("grpc-status: 4\r\n"),
        Complete,
        both("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED"),
    );
    // Trailers alone.
    check_status(
        Some("200\r\ngrpc-status: 7\r\n"),
        None,
        Complete,
        both("PERMISSION_DENIED", "PERMISSION_DENIED", ""),
    );
    check_status(ok, Some("grpc-status: 99\r\n"), Complete, both("99", "99", ""));
    check_status(ok, None, Complete, both("UNKNOWN", "UNKNOWN", "UNKNOWN"));
    let cancel = Outcome::Reset { by: Side::Request, code: 8 };
    check_status(None, None, cancel, both("CANCELLED", "CANCELLED", ""));
    let refused = Outcome::Reset { by: Side::Response, code: 7 };
    check_status(None, None, refused, both("UNAVAILABLE", "UNAVAILABLE", "UNAVAILABLE"));
    check_status(ok, None, Outcome::PeerClosed, [["UNAVAILABLE", "UNAVAILABLE"], ["CANCELLED", ""]]);
    check_status(ok, None, Outcome::Unseen, both("", "", ""));
}

#[test]
fn deadlines() {
    let cancel = |by| Outcome::Reset { by, code: 8 };
    for (timeout, took_ns, expect) in [
        ("50m", 50_000_000, "DEADLINE_EXCEEDED"),
        ("50m", 46_000_000, "DEADLINE_EXCEEDED"),
        ("50m", 20_000_000, "CANCELLED"),
        ("1S", 1_000_000_000, "DEADLINE_EXCEEDED"),
        ("1H", 1_000_000_000, "CANCELLED"),
        ("", 1_000_000_000, "CANCELLED"),
        ("1x", 1_000_000_000, "CANCELLED"),
        ("99999999999999999999S", 1_000_000_000, "CANCELLED"),
    ] {
        let timeout = format!("grpc-timeout: {timeout}");
        let lines = ["POST /a.B/C", "content-type: application/grpc", &timeout];
        for by in [Side::Request, Side::Response] {
            let mut exchange =
                Exchange { response: None, outcome: cancel(by), ..stream(Role::Server, &lines) };
            exchange.end_ns = exchange.start_ns + took_ns;
            check_attributes(&exchange, &[("rpc.status_code", expect)]);
        }
    }
}

#[test]
fn methods_that_a_server_does_not_have() {
    let unimplemented = Some("grpc-status: 12\r\n");
    let server = call(Role::Server, Some("200\r\n"), unimplemented, Outcome::Complete);
    assert_eq!(build(&server).name, "grpc");
    check_attributes(&server, &[("rpc.method", "_OTHER"), ("rpc.method_original", "a.B/C")]);
    let client = call(Role::Client, Some("200\r\n"), unimplemented, Outcome::Complete);
    assert_eq!(build(&client).name, "a.B/C");
}

#[test]
fn what_is_no_call() {
    for kind in [
        "application/grpc-webx",
        "application/grpcx",
        "application/json",
        "text/application/grpc",
        "application/connect",
    ] {
        let lines = ["POST /a.B/C", &format!("content-type: {kind}")];
        assert_eq!(build(&stream(Role::Server, &lines)).name, "POST", "{kind}");
    }
    // gRPC itself needs HTTP/2.
    let text = "POST /a.B/C HTTP/1.1\r\nContent-Type: application/grpc\r\n\r\n";
    assert_eq!(build(&exchange(Role::Server, head(text))).name, "POST");
}

/// A call of HTTP/1.1 with this answer.
fn call_of_http_1(role: Role, fields: &str, code: u16, answer: &str) -> Exchange {
    let request = format!("POST /route/a.B/C HTTP/1.1\r\nHost: b:80\r\n{fields}\r\n\r\n");
    Exchange {
        response: Some((code, head(format!("HTTP/1.1 {code} X\r\n{answer}\r\n")))),
        ..exchange(role, head(request))
    }
}

#[test]
fn calls_of_grpc_web() {
    for kind in ["grpc-web", "grpc-web+proto", "grpc-web-text", "grpc-web-text+proto", "grpc-web;x=y"] {
        let fields = format!("content-type: application/{kind}");
        // The status is in the content.
        let span = build(&call_of_http_1(Role::Client, &fields, 200, ""));
        assert_eq!((&*span.name, span.status), ("a.B/C", Status::Unset), "{kind}");
        let found = ["rpc.system.name", "rpc.method", "rpc.status_code"].map(|key| attribute(&span, key));
        assert_eq!(found, ["grpc", "a.B/C", ""]);
    }
    let fields = "Content-Type: application/grpc-web+proto";
    for (code, answer, expect) in [
        (200, "Grpc-Status: 5\r\n", "NOT_FOUND"),
        (200, "grpc-status: 0\r\n", "OK"),
        (503, "", "UNAVAILABLE"),
    ] {
        let span = build(&call_of_http_1(Role::Client, fields, code, answer));
        assert_eq!(attribute(&span, "rpc.status_code"), expect);
        assert_eq!(span.status == Status::Error, expect != "OK");
    }
    let lines = ["POST /a.B/C", "content-type: application/grpc-web"];
    assert_eq!(build(&stream(Role::Server, &lines)).name, "a.B/C");
}

#[test]
fn calls_of_connect() {
    let unary = "Content-Type: application/json\r\nConnect-Protocol-Version: 1";
    check(
        &call_of_http_1(Role::Client, unary, 503, ""),
        r#"
        a.B/C Client Error
        error.type = "503"
        http.response.status_code = 503
        network.peer.address = "10.0.0.2"
        network.peer.port = 8080
        rpc.method = "a.B/C"
        rpc.system.name = "connectrpc"
        server.address = "b"
        server.port = 80
        "#,
    );
    let stream = build(&call_of_http_1(Role::Server, "content-type: application/connect+proto", 200, ""));
    assert_eq!((&*stream.name, stream.status), ("a.B/C", Status::Unset));
    let json = "Content-Type: application/json\r\n";
    assert_eq!(build(&call_of_http_1(Role::Server, unary, 404, json)).name, "a.B/C");
    assert_eq!(build(&call_of_http_1(Role::Server, unary, 501, json)).name, "connectrpc");
    let gone = build(&call_of_http_1(Role::Server, unary, 404, "Content-Type: text/plain\r\n"));
    assert_eq!((&*gone.name, gone.status), ("connectrpc", Status::Unset));
    assert_eq!(attribute(&gone, "rpc.method_original"), "a.B/C");
}
