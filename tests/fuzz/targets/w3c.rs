//! Any bytes as the trace headers of a message: what tests/properties says of them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| spandrel_properties::w3c(bytes));
