//! Where messages start and end when every byte is seen.

use proptest::prelude::*;

use super::conversation::{Step, check, req, resp, run, run_pieces};
use crate::protocol::{
    Detect, Parser, Side,
    http1::{Http1, PIPELINE},
};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

#[test]
fn keep_alive_with_lengths() {
    check(
        &[
            req(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"),
            resp(OK),
            req(b"GET /b HTTP/1.1\r\n\r\n"),
            resp(b"HTTP/1.1 404 Not Found\r\ncontent-length:0\r\n\r\n"),
        ],
        "request 0: POST /a HTTP/1.1 [48]
         request ends 51, body 3
         response 0: HTTP/1.1 200 OK [38]
         response ends 40, body 2
         request 51: GET /b HTTP/1.1 [19]
         request ends 70, body 0
         response 40: HTTP/1.1 404 Not Found [44]
         response ends 84, body 0",
    );
}

#[test]
fn pipelined_head_and_get() {
    check(
        &[
            req(b"HEAD / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n\r\nGET /2 HTTP/1.1\r\n\r\n"),
            resp(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
            resp(OK),
            resp(b"\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
        ],
        "request 0: HEAD / HTTP/1.1 [19]
         request ends 19, body 0
         request 19: GET / HTTP/1.1 [18]
         request ends 37, body 0
         request 39: GET /2 HTTP/1.1 [19]
         request ends 58, body 0
         response 0: HTTP/1.1 200 OK [41]
         response ends 41, body 0
         response 41: HTTP/1.1 200 OK [38]
         response ends 81, body 2
         response 83: HTTP/1.1 304 Not Modified [48]
         response ends 131, body 0",
    );
}

#[test]
fn chunked_with_extensions_and_trailers() {
    check(
        &[
            req(b"PUT / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n\
                  4;name=\"va;l\"\r\nWiki\r\n00A \r\n0123456789\r\n0\r\nX-Sum: 1\r\nX-Two: 2\r\n\r\n"),
            resp(b"HTTP/1.1 200 OK\r\ntransfer-encoding:\tChunked\r\n\r\n3\nabc\n0\n\n"),
        ],
        "request 0: PUT / HTTP/1.1 [52]
         request ends 116, body 14
         response 0: HTTP/1.1 200 OK [47]
         response ends 56, body 3",
    );
}

#[test]
fn bodies_ended_by_close_and_http_1_0() {
    check(
        &[
            req(b"GET / HTTP/1.0\r\n\r\n"),
            resp(b"HTTP/1.0 200 OK\r\nServer: SimpleHTTP/0.6\r\n\r\nall of it HTTP/1.1 200 OK\r\n\r\n"),
            Step::Eof(Side::Response),
        ],
        "request 0: GET / HTTP/1.0 [18]
         request ends 18, body 0
         response 0: HTTP/1.0 200 OK [43]
         response ends 72, body 29",
    );
    check(
        &[
            req(b"GET / HTTP/1.1\r\n\r\n"),
            resp(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc"),
            Step::Eof(Side::Response),
        ],
        "request 0: GET / HTTP/1.1 [18]
         request ends 18, body 0
         response 0: HTTP/1.1 200 OK [44]
         response ends 47, body 3",
    );
}

#[test]
fn interim_responses() {
    check(
        &[
            req(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"),
            resp(b"HTTP/1.1 100 Continue\r\n\r\n"),
            req(b"ab"),
            resp(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nContent-Length: 9\r\n\r\nHTTP/1.1 204\r\n\r\n"),
        ],
        "request 0: POST / HTTP/1.1 [60]
         interim 0: 100
         request ends 62, body 2
         interim 25: 103
         response 88: HTTP/1.1 204 [16]
         response ends 104, body 0",
    );
}

#[test]
fn an_early_response_ends_before_its_request() {
    check(
        &[
            req(b"POST /big HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc"),
            resp(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"),
            req(b"defghij"),
            req(b"GET / HTTP/1.1\r\n\r\n"),
        ],
        "request 0: POST /big HTTP/1.1 [42]
         response 0: HTTP/1.1 413 Too Large [45]
         response ends 45, body 0
         request ends 52, body 10
         request 52: GET / HTTP/1.1 [18]
         request ends 70, body 0",
    );
}

#[test]
fn connect_is_a_tunnel_only_if_it_succeeds() {
    let request = b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n";
    check(
        &[
            req(request),
            req(b"GET /inside HTTP/1.1\r\n\r\n"),
            resp(b"HTTP/1.1 200 Connection established\r\nContent-Length: 5\r\n\r\n\x16\x03\x01HTTP/1.1 200 OK\r\n\r\n"),
            req(b"\x16\x03GET / HTTP/1.1\r\n\r\n"),
        ],
        "request 0: CONNECT example.com:443 HTTP/1.1 [59]
         request ends 59, body 0
         response 0: HTTP/1.1 200 Connection established [58]
         response ends 58, body 0
         tunnel",
    );
    check(
        &[
            req(request),
            req(b"GET / HTTP/1.1\r\n\r\n"),
            resp(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"),
            resp(OK),
        ],
        "request 0: CONNECT example.com:443 HTTP/1.1 [59]
         request ends 59, body 0
         response 0: HTTP/1.1 407 Proxy Authentication Required [65]
         response ends 65, body 0
         request 59: GET / HTTP/1.1 [18]
         request ends 77, body 0
         response 65: HTTP/1.1 200 OK [38]
         response ends 105, body 2",
    );
}

#[test]
fn upgrade_is_a_tunnel_only_if_it_is_accepted() {
    let request = b"GET /chat HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    check(
        &[
            req(request),
            resp(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x05hello"),
            req(b"\x81\x80GET / HTTP/1.1\r\n\r\n"),
            req(b"GET / HTTP/1.1\r\n\r\n"),
        ],
        "request 0: GET /chat HTTP/1.1 [63]
         request ends 63, body 0
         response 0: HTTP/1.1 101 Switching Protocols [56]
         response ends 56, body 0
         tunnel",
    );
    check(
        &[req(request), resp(OK), req(b"GET / HTTP/1.1\r\n\r\n"), resp(OK)],
        "request 0: GET /chat HTTP/1.1 [63]
         request ends 63, body 0
         response 0: HTTP/1.1 200 OK [38]
         response ends 40, body 2
         request 63: GET / HTTP/1.1 [18]
         request ends 81, body 0
         response 40: HTTP/1.1 200 OK [38]
         response ends 80, body 2",
    );
}

#[test]
fn folds_line_feeds_and_odd_fields() {
    check(
        &[
            req(b"POST / HTTP/1.1\nHost: x\nContent-Length:\n\t3\n\nabc"),
            resp(b"HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n chunked\r\nX-Odd Name : \xff\r\nno colon at all\r\n\r\n0\r\n\r\n"),
        ],
        "request 0: POST / HTTP/1.1 [44]
         request ends 47, body 3
         response 0: HTTP/1.1 200 OK [82]
         response ends 87, body 0",
    );
}

#[test]
fn equal_lengths_are_one() {
    check(
        &[req(b"POST / HTTP/1.1\r\nContent-Length: 3, 3\r\nContent-Length: 3\r\n\r\nabcGET")],
        "request 0: POST / HTTP/1.1 [60]
         request ends 63, body 3",
    );
}

#[test]
fn conflicts_and_smuggling_are_given_up() {
    let conflicts: &[(&[u8], &str)] = &[
        (b"Content-Length: 3\r\nContent-Length: 4\r\n", "ConflictingLength"),
        (b"Content-Length: 3, 4\r\n", "ConflictingLength"),
        (b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "ConflictingLength"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "ConflictingLength"),
        (b"Content-Length: +3\r\n", "Malformed"),
        (b"Content-Length: -1\r\n", "Malformed"),
        (b"Content-Length: 0x10\r\n", "Malformed"),
        (b"Content-Length:\r\n", "Malformed"),
        (b"Content-Length: 99999999999999999999\r\n", "Malformed"),
        (b"Content-Length : 3\r\n", "Malformed"),
        (b"Transfer-Encoding : chunked\r\n", "Malformed"),
        (b"Transfer-Encoding: chunked, chunked\r\n", "Malformed"),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "Malformed"),
        (b"Transfer-Encoding: xchunked\r\n", "Malformed"),
        (b"Transfer-Encoding:\x0bchunked\r\n", "Malformed"),
        (b"Transfer-Encoding: chunked;q=1\r\n", "Malformed"),
        (b" Content-Length: 3\r\n", "Malformed"),
        (b"X: a\rContent-Length: 3\r\n", "Malformed"),
        (b"X: a\x00b\r\n", "Malformed"),
    ];
    for (fields, why) in conflicts {
        let bytes = [b"POST / HTTP/1.1\r\n", *fields, b"\r\nGET /smuggled HTTP/1.1\r\n\r\n"].concat();
        let len = b"POST / HTTP/1.1\r\n\r\n".len() + fields.len();
        check(&[req(&bytes)], &format!("request 0: POST / HTTP/1.1 [{len}]\ngiven up: {why}"));
    }
}

#[test]
fn chunks_that_are_none_are_given_up() {
    let head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        &b"\r\n0\r\n\r\n"[..],
        b"g\r\n",
        b"-1\r\n",
        b"11111111111111111\r\n",
        b"1\rX",
        b"1\r\nabc\r\n",
        b"0\r\n\rX",
    ] {
        let bytes = [&head[..], body].concat();
        check(&[req(&bytes)], "request 0: POST / HTTP/1.1 [47]\ngiven up: Malformed");
    }
}

#[test]
fn other_protocols_are_recognised_early() {
    let others: &[(Side, &[u8], usize)] = &[
        (Side::Request, b"\x16\x03\x01\x02\x00\x01\x00", 1),
        (Side::Request, b"\x00\x00\x00\x08\x04\xd2\x16\x2f", 1),
        (Side::Request, b"*3\r\n$3\r\nSET\r\n", 3),
        (Side::Request, b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n", 21),
        (Side::Request, b"get some_key\r\n", 14),
        (Side::Request, b"EHLO mail.example.org\r\n", 23),
        (Side::Request, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 16),
        (Side::Request, b"{\"json\":1}", 1),
        (Side::Request, b"GET \x01", 5),
        (Side::Response, b"220 smtp ESMTP\r\n", 1),
        (Side::Response, b"HTTP/2.0 200\r\n", 6),
        (Side::Response, b"ICY 200 OK\r\n", 1),
        (Side::Response, b"+OK\r\n", 1),
    ];
    for (side, bytes, enough) in others {
        check(&[Step::Bytes(*side, bytes)], "given up: NotHttp");
        let found = (1..=bytes.len()).find(|len| Http1::detect(*side, &bytes[..*len]) == Detect::No);
        assert_eq!(found, Some(*enough), "{}", bytes.escape_ascii());
        assert_eq!(run(&[Step::Bytes(*side, &bytes[..enough - 1])]), "", "{}", bytes.escape_ascii());
    }
}

#[test]
fn detection_needs_only_a_few_bytes() {
    for (side, bytes, enough) in [
        (Side::Request, &b"GET /x HTTP/1.1\r\n"[..], 5),
        (Side::Request, b"\r\nOPTIONS * HTTP/1.1\r\n", 11),
        (Side::Request, b"CONNECT [::1]:443 HTTP/1.1\r\n", 9),
        (Side::Request, b"BREW /pot HTTP/1.0\n", 19),
        (Side::Response, b"HTTP/1.1 200 OK\r\n", 8),
    ] {
        for len in 0..bytes.len() {
            let detected = Http1::detect(side, &bytes[..len]);
            if len < enough {
                assert!(matches!(detected, Detect::Need(1..)), "{len} of {}", bytes.escape_ascii());
            } else {
                assert_eq!(detected, Detect::Yes, "{len} of {}", bytes.escape_ascii());
            }
        }
    }
}

#[test]
fn targets_with_bytes_that_none_may_have() {
    for target in ["/a b", "/\x7f", "/\t", "/\x1b[31m"] {
        let bytes = format!("GET {target} HTTP/1.1\r\n\r\n");
        let len = bytes.len();
        let told = format!("request 0: GET {target} HTTP/1.1 [{len}]\nrequest ends {len}, body 0");
        check(&[req(bytes.as_bytes())], &told);
    }
}

#[test]
fn start_lines_that_are_none() {
    for line in [
        "GET  / HTTP/1.1",
        "BREW /a b HTTP/1.1",
        "GET \x7f HTTP/1.1",
        "GET / HTTP/1.x",
        "GET / HTTP/2.0",
        "GET /",
        "GET / http/1.1",
        "G\"T / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "BREW /\x7f HTTP/1.1",
        "BREW /\t HTTP/1.1",
    ] {
        let bytes = format!("{line}\r\n\r\n");
        check(&[req(bytes.as_bytes())], "given up: NotHttp");
    }
    for line in [
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1 099 No",
        "HTTP/1.1",
        "HTTP/1.1 200OK",
    ] {
        let bytes = format!("{line}\r\n\r\n");
        check(&[resp(bytes.as_bytes())], "given up: NotHttp");
    }
    check(
        &[req(b"GET / HTTP/1.1\r\n\r\n"), req(b"\x00garbage")],
        "request 0: GET / HTTP/1.1 [18]\nrequest ends 18, body 0\ngiven up: Malformed",
    );
}

#[test]
fn the_longest_pipeline() {
    let bytes = b"GET / HTTP/1.1\r\n\r\n".repeat(PIPELINE + 1);
    let told = run(&[req(&bytes)]);
    assert_eq!(told.matches("request ends").count(), PIPELINE);
    assert!(told.ends_with("given up: TooDeep\n"));
}

#[test]
fn heads_above_the_limit_are_cut() {
    let bytes = [&b"GET / HTTP/1.1\r\nCookie: "[..], &vec![b'x'; 20_000][..], b"\r\n\r\n"].concat();
    let told = "request 0: GET / HTTP/1.1 [16384 truncated]\n";
    assert_eq!(run(&[req(&bytes)]), told);
    assert_eq!(run_pieces(&[req(&bytes)], &[1]), told);
    assert_eq!(run_pieces(&[req(&bytes)], &[1000]), told);
    let bytes = [&b"GET /"[..], &vec![b'x'; 20_000][..], b" HTTP/1.1\r\n\r\n"].concat();
    assert!(run_pieces(&[req(&bytes)], &[999]).contains("[16384 truncated]"));
    let fits = [&b"GET / HTTP/1.1\r\nCookie: "[..], &[b'x'; 16_384 - 28], b"\r\n\r\n"].concat();
    assert_eq!(run(&[req(&fits)]), "request 0: GET / HTTP/1.1 [16384]\nrequest ends 16384, body 0\n");
    assert_eq!(run(&[req(&fits)]), run_pieces(&[req(&fits)], &[1]));
}

/// A message that is valid, odd or broken.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let start = prop::sample::select(vec![
        "GET / HTTP/1.1",
        "HEAD /x HTTP/1.1",
        "POST /y HTTP/1.0",
        "CONNECT a:1 HTTP/1.1",
        "FOO / HTTP/1.1",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 204 No Content",
        "HTTP/1.1 100 Continue",
        "HTTP/1.0 500",
        "",
    ]);
    let field = prop::sample::select(vec![
        "Content-Length: 3",
        "Content-Length: 0",
        "Transfer-Encoding: chunked",
        "Host: a",
        "Upgrade: h2c",
        " folded",
        "Content-Length : 3",
        "X:\0",
    ]);
    let end = prop::sample::select(vec!["\r\n", "\n", "\r\n", "\r\r\n"]);
    let body = prop::sample::select(vec!["", "abc", "3\r\nabc\r\n0\r\n\r\n", "\r\n", "0\r\nT: 1\r\n\r\n"]);
    (start, prop::collection::vec((field, end.clone()), 0..3), end, body).prop_map(
        |(start, fields, end, body)| {
            let fields: Vec<_> = fields.iter().flat_map(|(field, end)| [*field, *end]).collect();
            let fields = fields.concat();
            format!("{start}{end}{fields}{end}{body}").into_bytes()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn pieces_make_no_difference(
        messages in prop::collection::vec((any::<bool>(), message()), 1..6),
        lengths in prop::collection::vec(1_usize..40, 1..8),
    ) {
        let steps: Vec<_> = messages.iter().map(|(side, bytes)| {
            Step::Bytes(if *side { Side::Request } else { Side::Response }, bytes)
        }).collect();
        let whole = run(&steps);
        prop_assert_eq!(run_pieces(&steps, &[1]), whole.clone());
        prop_assert_eq!(run_pieces(&steps, &lengths), whole);
    }
}
