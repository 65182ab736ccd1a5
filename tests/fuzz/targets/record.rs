//! Any bytes as a segment of the queue on disk: no panic, and what is read is written to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spandrel::export::store::record::{DONE, HEADER, STATE, scan, write};

fuzz_target!(|bytes: &[u8]| {
    for record in scan(bytes).records {
        let Some(message) = record.message(bytes) else { panic!("a record without its message: {record:?}") };
        let Some(again) = write(record.encoding, record.spans, record.time_ms, message) else {
            panic!("what was read cannot be written: {record:?}")
        };
        let start = record.offset as usize;
        let Some(read) = bytes.get(start..start + HEADER + message.len()) else { panic!("beyond the end") };
        let mut read = read.to_vec();
        assert!(record.done == (read[STATE as usize] == DONE));
        read[STATE as usize] = 0;
        // The bytes without a meaning are under the checksum all the same.
        read[7] = 0;
        read[24..32].fill(0);
        let mut again = again;
        again[24..32].fill(0);
        assert_eq!(read, again);
    }
});
