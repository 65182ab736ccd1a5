//! Gaps and lost events: nothing false comes out, and the ledger closes.

use spandrel_common::event::{
    CLOSE_ERROR, CLOSE_GONE, CLOSE_LOCAL, CLOSE_PEER, DATA_BODY, DATA_END, DATA_PIPELINED, DATA_START,
    ROLE_CLIENT, TRANSPORT_UNIX,
};

use super::wire::{GET, OK, Wire};
use crate::{
    protocol::Side::{Request, Response},
    stats::Count,
};

#[test]
fn what_is_body_by_its_length_is_not_missed() {
    let mut wire = Wire::server();
    wire.data(Request, b"PUT / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n").more(1000).send();
    wire.resp(OK);
    wire.req(GET);
    wire.data(Response, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").send();
    wire.data(Response, b"rest").behind(5).send();
    wire.req(GET);
    wire.resp(OK);
    assert_eq!(wire.told(), "@0 200 1000/2, @1040 200 0/9, @1067 200 0/2");
    assert_eq!((wire.counted(Count::Gaps), wire.counted(Count::Resyncs)), (0, 0));
    wire.ledger(3);
}

#[test]
fn a_gap_that_ends_a_body_is_told() {
    let mut wire = Wire::server();
    // More than the body, and the end of it: when that moved is not known.
    wire.data(Request, b"PUT / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n").more(1001).send();
    wire.resp(OK);
    wire.data(Request, GET).flags(DATA_START).send();
    wire.data(Response, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").send();
    wire.data(Response, b"HTTP/1.1 100 Continue\r\n\r\n").behind(9).send();
    wire.resp(OK);
    assert_eq!(wire.told(), "@0 200 1000/2 gap, @1041 200 0/9 gap");
    assert_eq!(wire.counted(Count::Gaps), 2);
    wire.ledger(2);
}

#[test]
fn a_response_lost_with_its_event_is_nobody_elses() {
    let mut wire = Wire::server();
    wire.req(GET);
    wire.resp(OK);
    wire.req(GET);
    wire.data(Response, OK).flags(DATA_START).lose();
    wire.data(Request, GET).flags(DATA_START).send();
    wire.data(Response, b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n").flags(DATA_START).send();
    assert_eq!(wire.told(), "@0 200 0/2, @27 0 0/0 Unseen gap, @54 500 0/0");
    wire.ledger(3);
}

#[test]
fn a_lone_request_takes_no_response_that_may_be_anothers() {
    let mut wire = Wire::server();
    wire.req(GET);
    wire.resp(OK);
    wire.req(GET);
    wire.data(Response, OK).flags(DATA_START).lose();
    wire.data(Request, GET).flags(DATA_START).lose();
    wire.data(Response, b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n").flags(DATA_START).send();
    wire.data(Request, GET).flags(DATA_START).send();
    wire.data(Response, OK).flags(DATA_START).send();
    assert_eq!(wire.told(), "@0 200 0/2, @27 0 0/0 Unseen gap, @81 200 0/2");
    wire.ledger(3);
}

#[test]
fn a_response_of_a_lone_request_begins_where_that_did() {
    let mut wire = Wire::server();
    wire.data(Request, GET).behind(100).flags(DATA_START).send();
    wire.data(Response, OK).behind(100).flags(DATA_START).send();
    wire.data(Request, GET).behind(100).flags(DATA_START).with(|data| data.other += 100).send();
    wire.data(Response, OK).behind(100).flags(DATA_START).send();
    assert_eq!(wire.told(), "@100 0 0/0 Unseen gap, @227 200 0/2");
    assert_eq!(wire.counted(Count::OrphanResponses), 1);
}

#[test]
fn a_lost_rest_of_a_response_leaves_the_next_one_whole() {
    let mut wire = Wire::server();
    wire.req(GET);
    wire.data(Response, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").flags(DATA_START).send();
    wire.data(Response, b"the rest.").lose();
    wire.data(Request, GET).flags(DATA_START).send();
    wire.data(Response, OK).flags(DATA_START).send();
    assert_eq!(wire.told(), "@0 200 0/0 Unseen gap, @27 200 0/2");
    wire.ledger(2);
}

#[test]
fn cut_heads_one_after_the_other_shift_nothing() {
    let mut wire = Wire::client();
    for status in 230..235 {
        wire.data(Request, GET).flags(DATA_START).send();
        wire.data(Response, format!("HTTP/1.1 {status} OK\r\nSet-Co").as_bytes()).more(900).send();
    }
    wire.data(Request, GET).flags(DATA_START).send();
    wire.resp(OK);
    assert_eq!(
        wire.told(),
        "@0 230 0/0 Unseen gap, @27 231 0/0 Unseen gap, @54 232 0/0 Unseen gap, @81 233 0/0 Unseen gap, \
         @108 234 0/0 Unseen gap, @135 200 0/2"
    );
    wire.ledger(6);
}

#[test]
fn a_lost_chunked_body_shifts_nothing() {
    let mut wire = Wire::client();
    wire.req(GET);
    wire.resp(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nab");
    wire.data(Response, b"cde\r\n0").more(100_000).send();
    wire.req(GET);
    wire.resp(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    wire.req(GET);
    wire.resp(OK);
    assert_eq!(wire.told(), "@0 200 0/0 Unseen gap, @27 500 0/0, @54 200 0/2");
    wire.ledger(3);
}

#[test]
fn a_response_that_nobody_saw_move_shifts_nothing() {
    let mut wire = Wire::client();
    wire.req(GET);
    wire.data(Response, OK).lose();
    wire.req(GET);
    let head = OK.len() - 2;
    wire.data(Response, &OK[..head]).more(2).flags(DATA_BODY | DATA_END).send();
    assert_eq!(wire.told(), "@0 0 0/0 Unseen gap, @27 200 0/2");
    wire.ledger(2);
}

#[test]
fn a_response_that_no_event_tells_of_is_over_when_the_next_one_begins() {
    let mut wire = Wire::server();
    wire.req(GET);
    wire.data(Response, OK).lose();
    wire.req(GET);
    wire.data(Response, OK).send();
    assert_eq!(wire.told(), "@0 0 0/0 Unseen gap, @27 200 0/2");
    wire.ledger(2);
}

#[test]
fn a_unix_socket_may_move_bytes_that_nobody_sees() {
    let mut wire = Wire::new(ROLE_CLIENT, 9);
    wire.open_by(1, TRANSPORT_UNIX);
    wire.req(GET);
    wire.resp(b"HTTP/1.1 232 OK\r\nContent-Length: 1000\r\n\r\n");
    wire.req(GET);
    wire.resp(OK);
    assert_eq!(wire.told(), "@0 232 0/0 Unseen gap, @27 200 0/2");
    // Several open requests alone prove nothing: the response may be that of the last one.
    wire.req(GET);
    wire.req(GET);
    wire.resp(OK);
    wire.req(GET);
    wire.resp(OK);
    assert_eq!(wire.told(), "@54 0 0/0 Unseen gap, @81 0 0/0 Unseen gap, @108 200 0/2");
    // The kernel side has seen them in one call.
    wire.req(GET);
    wire.data(Request, GET).flags(DATA_PIPELINED).send();
    wire.resp(OK);
    wire.resp(OK);
    assert_eq!(wire.told(), "@135 200 0/2, @162 200 0/2");
    wire.ledger(7);
}

#[test]
fn a_request_that_starts_in_the_call_of_the_one_before_it_is_pipelined() {
    let (mut start, mut rest) = (GET.to_vec(), GET.to_vec());
    rest.drain(..10);
    start.extend_from_slice(GET.get(..10).unwrap());
    let mut wire = Wire::new(ROLE_CLIENT, 9);
    wire.open_by(1, TRANSPORT_UNIX);
    wire.req(&start);
    wire.req(&rest);
    wire.resp(OK);
    wire.resp(OK);
    assert_eq!(wire.told(), "@0 200 0/2, @27 200 0/2");
    wire.ledger(2);
}

#[test]
fn a_body_that_holds_requests_is_a_body() {
    let bait = [b"\r\n\r\n", GET, OK].concat();
    for body in [&bait[..], &bait[4..], &[GET, GET].concat(), &[GET, b"and more"].concat(), &GET[..20]] {
        let mut wire = Wire::new(ROLE_CLIENT, 9);
        wire.open_by(1, TRANSPORT_UNIX);
        let len = body.len();
        wire.req(format!("POST / HTTP/1.1\r\nContent-Length: {len}\r\n\r\n").as_bytes());
        // The response does not wait for the body.
        wire.resp(OK);
        wire.req(body);
        wire.req(GET);
        wire.resp(OK);
        assert_eq!(wire.told().matches('@').count(), 2, "{}", body.escape_ascii());
        wire.ledger(2);
    }
}

#[test]
fn who_pipelines_gets_no_response_behind_a_hole() {
    let mut wire = Wire::server();
    wire.req(&[GET, GET].concat());
    wire.resp(&[OK, OK].concat());
    wire.req(&[GET, GET, GET].concat());
    wire.resp(OK);
    wire.data(Response, OK).flags(DATA_START).lose();
    wire.data(Response, OK).flags(DATA_START).send();
    assert_eq!(
        wire.told(),
        "@0 200 0/2, @27 200 0/2, @54 200 0/2, @81 0 0/0 Unseen gap, @108 0 0/0 Unseen gap"
    );
    wire.req(GET);
    wire.resp(OK);
    wire.close(CLOSE_GONE, 0);
    assert_eq!(wire.told(), "@135 0 0/0 Unseen gap", "it may be the answer to another one");
    wire.ledger(6);
}

#[test]
fn a_response_behind_missing_bytes_is_nobodys() {
    let mut wire = Wire::server();
    wire.req(GET);
    wire.data(Response, OK).behind(30).send();
    wire.req(GET);
    assert_eq!(wire.told(), "@0 0 0/0 Unseen gap");
    assert_eq!((wire.counted(Count::Gaps), wire.counted(Count::Resyncs)), (1, 1));
    wire.data(Response, b"what is this").behind(30).send();
    wire.req(GET);
    wire.resp(OK);
    assert_eq!(wire.told(), "@27 0 0/0 Unseen gap, @54 200 0/2");
    wire.ledger(3);
}

#[test]
fn a_response_cut_by_a_gap_is_unseen() {
    let mut wire = Wire::server();
    wire.req(GET);
    wire.resp(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab");
    wire.data(Response, b"0\r\n\r\n").behind(40).send();
    assert_eq!(wire.told(), "@0 200 0/0 Unseen gap");
    wire.data(Request, GET).flags(DATA_START).send();
    wire.data(Response, OK).flags(DATA_START).send();
    assert_eq!(wire.told(), "@27 200 0/2");
    wire.ledger(2);
}

#[test]
fn a_response_with_a_cut_head_leaves_the_next_one_whole() {
    let mut wire = Wire::server();
    wire.req(GET);
    wire.data(Response, b"HTTP/1.1 200 OK\r\nSet-Cookie: ab").flags(DATA_START).more(90_000).send();
    wire.data(Request, GET).flags(DATA_START).send();
    wire.data(Response, OK).flags(DATA_START).send();
    assert_eq!(wire.told(), "@0 200 0/0 Unseen gap, @27 200 0/2");
    wire.ledger(2);
}

#[test]
fn a_request_found_behind_a_gap() {
    let mut wire = Wire::server();
    wire.data(Request, GET).behind(9).send();
    wire.resp(OK);
    assert_eq!(wire.told(), "@9 200 0/2");
    assert_eq!((wire.counted(Count::Gaps), wire.counted(Count::Resyncs)), (1, 1));
}

#[test]
fn heads_above_the_limit_still_make_exchanges() {
    let mut wire = Wire::server();
    let long = [&b"GET /long HTTP/1.1\r\nCookie: "[..], &vec![b'c'; 40_000][..], b"\r\n\r\n"].concat();
    wire.data(Request, &long[..16_384]).flags(DATA_START).more(long.len() as u64 - 16_384).send();
    wire.resp(OK);
    wire.data(Request, GET).flags(DATA_START).send();
    wire.resp(OK);
    assert_eq!(wire.out[0].request.bytes().len(), 16_384);
    assert!(wire.out[0].request.truncated);
    assert_eq!(wire.told(), format!("@0 200 0/2 gap, @{} 200 0/2", long.len()));
    assert_eq!(wire.counted(Count::TruncatedHeads), 1);
    // The kernel side knows the end of a head that was captured in part.
    wire.data(Request, &long[..100]).flags(DATA_START | DATA_BODY | DATA_END).more(long.len() as u64).send();
    wire.data(Response, b"HTTP/1.1 200 OK\r\nSet-Cookie: ab").flags(DATA_BODY | DATA_END).more(900).send();
    assert_eq!(wire.told(), format!("@{} 200 0/0", long.len() + 27));
    wire.ledger(3);
}

/// Where a response ends whose head was cut is not known: that its client goes away later is no error.
#[test]
fn a_response_whose_head_was_cut_is_no_failure() {
    let long = [&b"HTTP/1.1 200 OK\r\nSet-Cookie: "[..], &vec![b'c'; 16_384][..]].concat();
    for (reason, errno) in [(CLOSE_LOCAL, 0), (CLOSE_PEER, 0), (CLOSE_GONE, 0), (CLOSE_ERROR, 104)] {
        let mut wire = Wire::client();
        wire.req(GET);
        wire.data(Response, &long[..16_384]).flags(DATA_START).more(900).send();
        let moved = wire.now;
        wire.close(reason, errno);
        wire.close(CLOSE_GONE, 0);
        let ended = wire.out[0].end_ns;
        assert!(ended <= moved, "{ended} {moved}");
        assert!(["@0 200 0/0 gap", "@0 200 0/0 Unseen gap"].contains(&wire.told().as_str()));
    }
}

#[test]
fn what_waits_is_bounded() {
    let mut wire = Wire::client();
    wire.req(b"CONNECT a:1 HTTP/1.1\r\n\r\n");
    for _ in 0..10 {
        wire.req(&[b'x'; 16_384]);
    }
    wire.resp(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n");
    wire.data(Request, GET).flags(DATA_START).send();
    wire.resp(OK);
    assert_eq!(wire.told(), "@0 403 0/0, @163864 200 0/2");
    wire.ledger(2);
}

#[test]
fn not_http_is_counted_once_and_left_alone() {
    let mut wire = Wire::server();
    wire.req(b"\x16\x03\x01\x02\x00");
    wire.req(GET);
    wire.resp(OK);
    wire.close(CLOSE_GONE, 0);
    assert_eq!(wire.told(), "");
    assert_eq!(wire.counted(Count::NotHttp), 1);
    assert!(wire.table.is_empty());
    wire.ledger(0);
}

#[test]
fn conflicting_lengths_end_the_connection() {
    let mut wire = Wire::server();
    wire.req(b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd");
    assert_eq!(wire.told(), "@0 0 0/0 Unseen");
    wire.resp(OK);
    wire.req(GET);
    assert_eq!(wire.told(), "");
    assert_eq!(wire.counted(Count::ConflictingLength), 1);
    wire.ledger(1);
}
