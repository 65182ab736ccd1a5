//! Pairing by itself; how it works on events is tested in the stream room.

use super::*;

fn head(text: &'static str) -> Head {
    Head::copy(text.as_bytes(), false)
}

fn connection() -> Arc<Connection> {
    let (local, peer) = (Addr::Unix, Addr::Unix);
    Arc::new(Connection { id: 1, seed: [1, 2], role: Role::Server, local, peer, netns: 0 })
}

fn begin(pos: u64, start_ns: u64) -> Begin {
    Begin { pos, start_ns, ..Begin::default() }
}

#[test]
fn responses_answer_in_order() {
    let (connection, mut pairing) = (connection(), Pairing::default());
    pairing.request(begin(0, 10), head("one"));
    pairing.sent(5);
    pairing.request(begin(50, 20), head("two"));
    assert!(pairing.awaits());
    assert_eq!(pairing.response(200, head("a"), 30, false), Match::Request);
    let first = pairing.answered(&connection, (Outcome::Complete, 40), 7, 0).unwrap();
    assert_eq!((first.pos, first.request_body, first.response_body, first.end_ns), (0, 5, 7, 40));
    assert_eq!(pairing.response(200, head("b"), 50, false), Match::Request);
    assert!(!pairing.awaits() && pairing.answering());
    let second = pairing.answered(&connection, (Outcome::Complete, 60), 0, 3).unwrap();
    assert_eq!((second.pos, second.request_body), (50, 3), "the request is still being sent");
    assert_eq!(pairing.open(), 0);
}

#[test]
fn a_response_is_not_older_than_its_request() {
    let (connection, mut pairing) = (connection(), Pairing::default());
    assert_eq!(pairing.response(200, head("a"), 5, false), Match::Orphan);
    assert!(pairing.answered(&connection, (Outcome::Complete, 6), 0, 0).is_none());
    pairing.request(begin(0, 10), head("one"));
    assert_eq!(pairing.response(200, head("b"), 9, false), Match::Orphan);
    assert!(pairing.answered(&connection, (Outcome::Complete, 9), 0, 0).is_none());
    assert_eq!(pairing.response(200, head("c"), 10, false), Match::Request);
}

#[test]
fn of_several_requests_without_a_proof_none_takes_a_response_that_may_not_be_the_first() {
    let (connection, mut pairing, mut out) = (connection(), Pairing::default(), Vec::new());
    pairing.request(begin(0, 10), head("one"));
    pairing.request(begin(9, 20), head("two"));
    assert_eq!(pairing.response(200, head("a"), 30, true), Match::Ambiguous);
    pairing.over(2, &connection, 30, &mut out);
    assert!(out.iter().all(|exchange| exchange.outcome == Outcome::Unseen && exchange.response.is_none()));
    assert_eq!(out.len(), 2);

    let mut pairing = Pairing::default();
    pairing.request(begin(0, 10), head("one"));
    pairing.request(begin(9, 20), head("two"));
    pairing.pipelines();
    assert_eq!(pairing.response(200, head("a"), 30, true), Match::Request);
}

#[test]
fn withheld_requests_take_their_responses() {
    let (connection, mut pairing) = (connection(), Pairing::default());
    pairing.withhold();
    pairing.request(begin(9, 10), head("one"));
    assert_eq!((pairing.withheld(), pairing.open()), (1, 1));
    assert_eq!(pairing.response(200, head("a"), 20, false), Match::Withheld);
    assert!(pairing.answered(&connection, (Outcome::Complete, 21), 0, 0).is_none());
    assert_eq!(pairing.response(404, head("b"), 30, false), Match::Request);
}

#[test]
fn the_end_ends_all() {
    let (connection, mut pairing, mut out) = (connection(), Pairing::default(), Vec::new());
    pairing.request(begin(0, 10), head("one"));
    pairing.sent(1);
    pairing.request(begin(9, 90), head("two"));
    pairing.response(200, head("a"), 20, false);
    pairing.end_all(&connection, (Outcome::PeerClosed, 50), [4, 6], &mut out);
    let told: Vec<_> = out.iter().map(|e| (e.pos, e.end_ns, e.request_body, e.response_body)).collect();
    assert_eq!(told, [(0, 50, 1, 6), (9, 90, 4, 0)], "never before the start");
    assert!(out.iter().all(|exchange| exchange.outcome == Outcome::PeerClosed && !exchange.gap));
    assert!(!pairing.awaits() && !pairing.answering());
}
