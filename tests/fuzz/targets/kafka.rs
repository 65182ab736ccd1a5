//! A Kafka conversation, whole and in pieces: no panic, the same messages, no more consumed than given,
//! little left waiting.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| spandrel_properties::kafka(bytes));
