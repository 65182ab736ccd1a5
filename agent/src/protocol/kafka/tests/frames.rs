//! Where messages begin and end, what is taken for Kafka, and which response answers which request.

use super::{
    super::frame,
    conversation::{Step, run, run_all_ways},
};
use crate::protocol::{Detect, Side};

/// A request with a client id and a body.
pub(super) fn request(key: i16, version: i16, correlation: i32, client: Option<&str>, body: &[u8]) -> Step {
    let mut message = [key.to_be_bytes(), version.to_be_bytes()].concat();
    message.extend(correlation.to_be_bytes());
    message.extend(client.map_or(-1, |client| client.len() as i16).to_be_bytes());
    message.extend(client.unwrap_or_default().as_bytes());
    message.extend(body);
    Step::Bytes(Side::Request, sized(&message))
}

/// A response.
pub(super) fn response(correlation: i32, body: &[u8]) -> Step {
    Step::Bytes(Side::Response, sized(&[&correlation.to_be_bytes(), body].concat()))
}

pub(super) fn sized(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u32).to_be_bytes(), message].concat()
}

#[track_caller]
fn check(steps: &[Step], expect: &str) {
    assert_eq!(run_all_ways(steps), expect);
}

fn bytes(step: &Step) -> &[u8] {
    match step {
        Step::Bytes(_, bytes) => bytes,
        _ => &[],
    }
}

#[test]
fn what_is_told_of_requests_that_are_not_read() {
    let steps = [request(18, 0, 0, Some("me"), &[]), response(0, &[0, 0, 0, 0, 0, 0])];
    check(&steps, "0 > ApiVersions v0 #0 me\n16 > end #0 16 bytes\n0 < #0\n14 < end #0 14 bytes\n");
}

#[test]
fn an_unknown_version_and_an_unknown_api_have_their_times() {
    let steps = [
        request(18, 0, 1, None, &[]),
        response(1, &[]),
        request(0, 99, 2, None, b"whatever it holds"),
        request(999, 3, 3, None, b"abc"),
        response(2, b"anything"),
        response(3, &[]),
    ];
    check(
        &steps,
        "0 > ApiVersions v0 #1 -\n14 > end #1 14 bytes\n0 < #1\n8 < end #1 8 bytes\n\
         14 > Produce v99 #2 -\n45 > end #2 31 bytes acks -1\n\
         45 > 999 v3 #3 -\n62 > end #3 17 bytes\n\
         8 < #2\n24 < end #2 16 bytes\n24 < #3\n32 < end #3 8 bytes\n",
    );
}

#[test]
fn several_requests_wait_and_are_answered_by_their_numbers() {
    let ask = |number| request(3, 1, number, Some("c"), &[0xff; 4]);
    let mut steps: Vec<_> = (0..5).map(ask).collect();
    steps.extend((0..5).map(|number| response(number, &[])));
    let told = run_all_ways(&steps);
    assert_eq!(told.matches("> end #").count(), 5);
    assert_eq!(told.matches("< end #").count(), 5);
}

#[test]
fn responses_that_were_not_seen_are_missed() {
    let ask = |number| request(18, 0, number, None, &[]);
    let steps = [ask(1), ask(2), ask(3), response(3, &[]), response(9, &[]), ask(4), response(4, &[])];
    let told = run_all_ways(&steps);
    let missed: Vec<_> = told.lines().filter(|line| line.starts_with("Missed")).collect();
    assert_eq!(missed, ["Missed { correlation: 1 }", "Missed { correlation: 2 }"]);
    assert!(told.contains("Orphan\n") && told.ends_with("16 < #4\n24 < end #4 8 bytes\n"), "{told}");
}

#[test]
fn what_is_not_kafka_is_given_up() {
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdefghijklmnop",
        b"*1\r\n$4\r\nPING\r\n",
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f", // PostgreSQL's SSLRequest
        b"\x00\x00\x00\x54\x00\x03\x00\x00user\x00postgres\x00database\x00postgres\x00\x00",
        &[0; 64],
        &[0xff; 64],
    ] {
        assert_eq!(frame::detect(bytes), Detect::No, "{bytes:?}");
        assert_eq!(run(&[Step::Bytes(Side::Request, bytes.to_vec())], usize::MAX), "GiveUp(NotKafka)\n");
    }
    // A request that may be Kafka's, and an answer that is not.
    let steps = [request(3, 1, 7, Some("c"), &[]), response(8, &[])];
    assert!(run_all_ways(&steps).ends_with("GiveUp(NotKafka)\n"));
}

#[test]
fn detection_needs_the_header() {
    let whole = request(18, 3, 1, Some("client"), &[0]);
    let whole = bytes(&whole);
    for end in 0..20 {
        let need = frame::detect(&whole[..end]);
        assert!(matches!(need, Detect::Need(more) if more > 0 && end + more <= 20), "{end}: {need:?}");
    }
    assert_eq!(frame::detect(&whole[..20]), Detect::Yes);
}

#[test]
fn tokens_behind_an_old_handshake() {
    let steps = [
        request(17, 0, 1, Some("c"), b"\0\x05PLAIN"),
        response(1, &[0, 0, 0, 0, 0, 0]),
        Step::Bytes(Side::Request, sized(b"\0user\0secret")),
        Step::Bytes(Side::Response, sized(b"")),
        request(3, 1, 2, Some("c"), &[0; 4]),
        response(2, &[]),
    ];
    let told = run_all_ways(&steps);
    assert!(
        !told.contains("GiveUp") && told.ends_with("18 < #2\n26 < end #2 8 bytes partly cluster -\n"),
        "{told}"
    );
    assert_eq!(told.matches('>').count(), 4, "{told}");
}

#[test]
fn too_many_are_given_up() {
    let steps: Vec<_> =
        (0..=super::super::PIPELINE as i32).map(|number| request(18, 0, number, None, &[])).collect();
    assert!(run(&steps, usize::MAX).ends_with("GiveUp(TooDeep)\n"));
}

#[test]
fn a_message_that_lies_about_its_insides() {
    // A Fetch response whose number of topics is the largest one.
    let body = [&[0; 4][..], &0x7fff_ffff_i32.to_be_bytes(), &[0; 20]].concat();
    let steps =
        [request(1, 4, 1, None, &[]), response(1, &body), request(18, 0, 2, None, &[]), response(2, &[])];
    let told = run_all_ways(&steps);
    assert!(told.contains("36 < end #1 36 bytes partly\n") && told.ends_with("end #2 8 bytes\n"), "{told}");
}
