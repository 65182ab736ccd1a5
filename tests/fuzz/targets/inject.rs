//! Any bytes as a message that a program sends: a line goes into whole request heads only, at the right place.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| spandrel_properties::inject(bytes));
