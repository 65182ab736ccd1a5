//! Batches on disk: any bytes can be read, and what is read is what was written.

use spandrel::export::{
    client::Encoding,
    store::record::{DONE, HEADER, STATE, scan, size, write},
};

/// Any bytes as a segment of a queue on disk or of dead letters, and as the messages in one.
pub fn record(data: &[u8]) {
    read(data);
    // What comes from the corpus has a byte before it.
    read(data.get(1..).unwrap_or_default());
    written(data);
}

/// What is read is written to the same bytes.
fn read(segment: &[u8]) {
    let mut end = 0;
    for record in scan(segment).records {
        let Some(message) = record.message(segment) else {
            panic!("a record without its message: {record:?}")
        };
        let start = record.offset as usize;
        assert!(start >= end, "records overlap");
        end = start + size(message.len(), record.spans as usize) as usize;
        assert_eq!(end as u64, record.end());
        let Some(found) = segment.get(start..end) else { panic!("a record beyond the end: {record:?}") };
        let Some(again) = write(record.encoding, record.spans, record.time_ms, message) else {
            panic!("what was read cannot be written: {record:?}")
        };
        // The state and the spans' bits are not under the checksum, and bytes without a meaning are.
        let message_end = HEADER + message.len();
        let own =
            |at: &usize| *at != STATE as usize && *at != 7 && !(24..HEADER).contains(at) && *at < message_end;
        assert!(record.spans == 0 || record.waiting() > 0);
        assert_eq!(record.done, found.get(STATE as usize) == Some(&DONE));
        assert_eq!(found.len(), again.len());
        for at in (0..found.len()).filter(own) {
            assert_eq!(found.get(at), again.get(at), "byte {at} of {record:?}");
        }
    }
}

/// What is written is read; of what is cut off, everything before the cut is.
fn written(data: &[u8]) {
    let messages: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let encodings = [Encoding::Protobuf, Encoding::Gzip, Encoding::Zstd, Encoding::Json];
    let mut segment = Vec::new();
    let mut ends = Vec::new();
    for ((at, message), encoding) in messages.iter().enumerate().zip(encodings.iter().cycle()) {
        let Some(bytes) = write(*encoding, at as u32, u64::MAX - at as u64, message) else {
            panic!("{} bytes cannot be written", message.len())
        };
        segment.extend_from_slice(&bytes);
        ends.push(segment.len());
    }
    let all = scan(&segment);
    assert_eq!((all.damaged, all.records.len()), (0, messages.len()));
    for (record, message) in all.records.iter().zip(&messages) {
        assert_eq!(record.message(&segment), Some(*message));
        assert!(!record.done);
    }
    let number = data.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let cut = number % (segment.len() + 1);
    let part = scan(segment.get(..cut).unwrap_or_default());
    let whole = ends.iter().filter(|end| **end <= cut).count();
    let on_edge = cut == 0 || ends.contains(&cut);
    assert_eq!((part.records.len(), part.damaged), (whole, u64::from(!on_edge)), "cut at {cut}");
    assert_eq!(all.records.get(..whole), Some(&*part.records));
}
