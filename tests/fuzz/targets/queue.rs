//! Any bytes as what happens to a destination's queue: what tests/properties says of its bounds and its account.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| spandrel_properties::queue(bytes));
