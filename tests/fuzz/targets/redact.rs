//! Any bytes as a text that may hold secrets: what tests/properties says of the redactor.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| spandrel_properties::redact(bytes));
