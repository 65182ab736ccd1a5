//! Any bytes as batches on disk: what tests/properties says of the format of the queue and of dead letters.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| spandrel_properties::record(bytes));
