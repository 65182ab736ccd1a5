//! Any bytes as one direction of HTTP/2: what tests/properties says of them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| spandrel_properties::http2(bytes));
