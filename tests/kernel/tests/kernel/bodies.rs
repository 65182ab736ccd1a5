//! Messages cut at every place.

use crate::stage::both;

#[test]
fn framing_of_every_kind() {
    both("framing");
}

#[test]
fn tunnels_are_opaque() {
    both("tunnels");
}

#[test]
fn bodies_by_length() {
    both("lengths");
}

#[test]
fn bodies_by_chunks() {
    both("chunks");
}

#[test]
fn heads_in_two_calls_before_large_bodies() {
    both("apart");
}

#[test]
fn long_heads() {
    both("heads");
}

#[test]
fn several_requests_in_a_call() {
    both("pipelined");
}
