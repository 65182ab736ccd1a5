//! A connection is a socket.

use crate::stage::both;

#[test]
fn descriptor_numbers_used_again() {
    both("descriptors");
}

#[test]
fn ports_used_again() {
    both("ports");
}

#[test]
fn equal_addresses_in_two_namespaces() {
    both("namespaces");
}

#[test]
fn a_socket_connected_again() {
    both("reconnected");
}
