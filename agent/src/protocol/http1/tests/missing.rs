//! What becomes of messages when bytes are withheld or missing.

use super::conversation::{Step, check, req, resp, run};
use crate::protocol::Side::{Request, Response};

const GET: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

#[test]
fn withheld_bodies() {
    check(
        &[
            req(b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\nabc"),
            Step::Body(Request, 97, true),
            resp(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\nabc"),
            Step::Body(Response, 61, false),
            resp(b"\r\n5\r\nhello\r\n"),
            Step::Body(Response, 5, true),
            req(GET),
            resp(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Step::Body(Response, 1000, false),
            Step::Body(Response, 1000, true),
            req(GET),
            resp(b"HTTP/1.1 200 OK\r\n\r\n"),
            Step::Body(Response, 1000, false),
            Step::Eof(Response),
        ],
        "request 0: POST / HTTP/1.1 [40]
         request ends 43, body 100
         response 0: HTTP/1.1 200 OK [47]
         response ends 127, body 74
         request 140: GET / HTTP/1.1 [18]
         request ends 158, body 0
         response 132: HTTP/1.1 200 OK [47]
         response ends 1179, body 2000
         request 158: GET / HTTP/1.1 [18]
         request ends 176, body 0
         response 2179: HTTP/1.1 200 OK [19]
         response ends 3198, body 1000",
    );
}

#[test]
fn a_chunked_body_of_which_the_end_is_seen_again() {
    let told = run(&[
        resp(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        Step::Body(Response, 1000, false),
        resp(b"10\r\n0123"),
        resp(b"456789abcdef\r\n0\r\n\r\n"),
        resp(OK),
    ]);
    assert_eq!(
        told,
        "response 0: HTTP/1.1 200 OK [47]\nresponse ends 1074, body 1027\nresponse found again\n\
         response 1074: HTTP/1.1 200 OK [38]\nresponse ends 1114, body 2\n"
    );
}

#[test]
fn gaps_inside_bodies_lose_nothing_else() {
    check(
        &[
            req(b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n"),
            Step::Gap(Request, 50),
            Step::Body(Request, 50, true),
            req(GET),
            resp(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n"),
            Step::Gap(Response, 16),
            resp(b"\r\n0\r\n\r\n"),
            resp(OK),
        ],
        "request 0: POST / HTTP/1.1 [40]
         request ends 90, body 100
         request 140: GET / HTTP/1.1 [18]
         request ends 158, body 0
         response 0: HTTP/1.1 200 OK [47]
         response ends 74, body 16
         response 74: HTTP/1.1 200 OK [38]
         response ends 114, body 2",
    );
}

#[test]
fn a_gap_over_the_end_is_searched_for_a_certain_head() {
    check(
        &[
            req(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n"),
            Step::Gap(Request, 30),
            req(b"GET /found HTTP/1.1\r\nHost: x\r\n\r\n"),
        ],
        "request 0: POST / HTTP/1.1 [39]
         request ends 39, body 10
         request found again
         request 69: GET /found HTTP/1.1 [32]
         request ends 101, body 0",
    );
    check(
        &[
            resp(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n"),
            Step::Gap(Response, 30),
            resp(OK),
        ],
        "response 0: HTTP/1.1 200 OK [47]
         response lost
         response found again
         response 81: HTTP/1.1 200 OK [38]
         response ends 121, body 2",
    );
}

#[test]
fn what_is_not_beyond_doubt_is_not_found_again() {
    for bytes in [
        &b"some text\r\nGET / HTTP/1.1\r\n\r\n"[..],
        b"BREW / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno field\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"\x00\x01\x02",
    ] {
        assert_eq!(run(&[Step::Gap(Request, 5), req(bytes)]), "", "{}", bytes.escape_ascii());
    }
}

#[test]
fn the_kernel_side_finds_a_start() {
    check(
        &[
            Step::Gap(Request, 5),
            Step::Start(Request),
            req(b"BREW / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc"),
            Step::Start(Request),
            req(GET),
        ],
        "request found again
         request 5: BREW / HTTP/1.1 [39]
         request lost
         request 47: GET / HTTP/1.1 [18]
         request ends 65, body 0",
    );
}

#[test]
fn heads_in_front_of_a_break_are_cut() {
    let told = run(&[
        req(b"GET /x HTTP/1.1\r\nHost: exa"),
        Step::Gap(Request, 100),
        resp(b"HTTP/1.1 200 OK\r\nServ"),
        Step::Body(Response, 100, true),
        Step::Start(Request),
        req(GET),
        resp(OK),
    ]);
    assert_eq!(
        told,
        "request 0: GET /x HTTP/1.1 [26 truncated]\nresponse 0: HTTP/1.1 200 OK [21 truncated]\n\
         response ends 21, body 0\nrequest lost\nrequest 126: GET / HTTP/1.1 [18]\n\
         request ends 144, body 0\nresponse 121: HTTP/1.1 200 OK [38]\nresponse ends 161, body 2\n"
    );
}

#[test]
fn withheld_and_unanswered_requests_keep_the_order() {
    let head = b"HEAD / HTTP/1.1\r\n\r\n";
    let to_head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
    check(
        &[Step::Withheld(1), req(head), resp(OK), resp(to_head)],
        "request 0: HEAD / HTTP/1.1 [19]
         request ends 19, body 0
         response 0: HTTP/1.1 200 OK [38]
         response ends 40, body 2
         response 40: HTTP/1.1 200 OK [38]
         response ends 78, body 0",
    );
    check(
        &[req(GET), req(head), Step::Awaited(1), resp(to_head)],
        "request 0: GET / HTTP/1.1 [18]
         request ends 18, body 0
         request 18: HEAD / HTTP/1.1 [19]
         request ends 37, body 0
         response 0: HTTP/1.1 200 OK [38]
         response ends 38, body 0",
    );
}
