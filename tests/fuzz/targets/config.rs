//! Any bytes as a configuration file: what tests/properties says of it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| spandrel_properties::config(bytes));
