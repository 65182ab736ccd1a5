//! Exchanges that do not end as they should.

use crate::stage::both;

#[test]
fn a_reset() {
    both("reset");
}

#[test]
fn a_broken_pipe() {
    both("broken-pipe");
}

#[test]
fn a_server_that_closes() {
    both("closed");
}

#[test]
fn a_server_that_is_killed() {
    both("killed");
}

#[test]
fn a_client_that_is_killed() {
    both("killed-client");
}
