//! How calls end and how descriptors come to be.

use crate::stage::both;

#[test]
fn sockets_that_do_not_wait() {
    both("nonblocking");
}

#[test]
fn interrupted_calls() {
    both("signals");
}

#[test]
fn a_direction_that_is_closed() {
    both("half-close");
}

#[test]
fn other_descriptors_of_a_socket() {
    both("dup");
}

#[test]
fn connects_and_accepts() {
    both("connects");
}

#[test]
fn ends_between_exchanges() {
    both("closes");
}
