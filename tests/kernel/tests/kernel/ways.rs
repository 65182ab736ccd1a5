//! Every call that moves bytes, both directions, every family of addresses.

use crate::stage::both;

#[test]
fn every_way_to_send() {
    both("tx");
}

#[test]
fn every_way_to_receive() {
    both("rx");
}

#[test]
fn every_family_of_addresses() {
    both("families");
}
