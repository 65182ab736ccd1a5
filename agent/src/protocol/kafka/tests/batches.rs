//! Record batches: every codec, and such as lie.

use std::io::Write;

use super::super::{
    compression::{UNPACKED, unpack},
    content::{Codec, Records},
    records::{Batches, ORIGINS, PACKED},
};

/// One record of a test.
#[derive(Clone, Debug, Default)]
struct Record<'a> {
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Vec<(&'a str, Option<&'a [u8]>)>,
}

fn varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn sized(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    varint(out, bytes.map_or(-1, |bytes| bytes.len() as i64));
    out.extend(bytes.unwrap_or_default());
}

fn encode(records: &[Record<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (i, record) in records.iter().enumerate() {
        let mut body = vec![0];
        varint(&mut body, 3);
        varint(&mut body, i as i64);
        sized(&mut body, record.key);
        sized(&mut body, record.value);
        varint(&mut body, record.headers.len() as i64);
        for (key, value) in &record.headers {
            sized(&mut body, Some(key.as_bytes()));
            sized(&mut body, *value);
        }
        sized(&mut out, Some(&body));
    }
    out
}

/// A batch of already packed records.
fn batch(base: i64, attributes: i16, count: i32, records: &[u8]) -> Vec<u8> {
    let mut out = base.to_be_bytes().to_vec();
    out.extend((49 + records.len() as u32).to_be_bytes());
    out.extend([0, 0, 0, 0, 2, 1, 2, 3, 4]);
    out.extend(attributes.to_be_bytes());
    out.extend((count - 1).to_be_bytes());
    out.extend([0; 16 + 8 + 2 + 4]);
    out.extend(count.to_be_bytes());
    out.extend(records);
    out
}

fn xerial(bytes: &[u8]) -> Vec<u8> {
    let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for piece in bytes.chunks(100) {
        let packed = snap::raw::Encoder::new().compress_vec(piece).unwrap();
        out.extend((packed.len() as u32).to_be_bytes());
        out.extend(packed);
    }
    out
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn lz4(bytes: &[u8], mode: lz4_flex::frame::BlockMode) -> Vec<u8> {
    let info = lz4_flex::frame::FrameInfo::new().block_mode(mode).block_checksums(true);
    let mut out = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// Every way to pack bytes.
fn packed(bytes: &[u8]) -> Vec<(Codec, Vec<u8>)> {
    use lz4_flex::frame::BlockMode::{Independent, Linked};
    vec![
        (Codec::None, bytes.to_vec()),
        (Codec::Gzip, gzip(bytes)),
        (Codec::Snappy, xerial(bytes)),
        (Codec::Snappy, snap::raw::Encoder::new().compress_vec(bytes).unwrap()),
        (Codec::Lz4, lz4(bytes, Independent)),
        (Codec::Lz4, lz4(bytes, Linked)),
        (Codec::Zstd, zstd::bulk::compress(bytes, 3).unwrap()),
    ]
}

fn read(bytes: &[u8], from: Option<i64>, piece: usize) -> Records {
    let mut batches = Batches::new(bytes.len() as u32, from, Vec::new());
    let mut waiting = Vec::new();
    for piece in bytes.chunks(piece.max(1)) {
        waiting.extend_from_slice(piece);
        let taken = batches.advance(&waiting);
        waiting.drain(..taken);
    }
    batches.finish()
}

fn traceparent(i: usize) -> String {
    format!("00-{:032x}-{:016x}-01", i + 1, i + 1)
}

#[test]
fn every_codec_tells_the_same() {
    let parents: Vec<_> = (0..40).map(traceparent).collect();
    let value = [b'v'; 300];
    let records: Vec<_> = parents
        .iter()
        .enumerate()
        .map(|(i, parent)| Record {
            key: (i % 2 == 0).then_some(&b"key"[..]),
            value: (i % 3 != 0).then_some(&value[..]),
            headers: match i % 4 {
                0 => vec![],
                1 => {
                    vec![("a", None), ("traceparent", Some(parent.as_bytes())), ("tracestate", Some(b"k=v"))]
                }
                2 => vec![("traceparent", None), ("abcdefghijk", Some(b"x")), ("abcdefghij", None)],
                _ => vec![("traceparent", Some(parents[3].as_bytes()))],
            },
        })
        .collect();
    let plain = encode(&records);
    for (codec, packed) in packed(&plain) {
        let bytes = batch(1000, codec as i16, 40, &packed);
        let whole = read(&bytes, None, usize::MAX);
        assert_eq!((whole.messages, whole.first, whole.last), (40, Some(1000), Some(1039)), "{codec:?}");
        assert!(!whole.unread && !whole.old && whole.more == 0, "{codec:?}");
        assert_eq!(whole.codec, Some(codec));
        assert_eq!(whole.origins.len(), 11, "{codec:?}");
        let of = |offset| whole.origins.iter().find(|origin| origin.offset == offset).unwrap();
        assert_eq!((of(1001).records, &*of(1001).state), (1, &b"k=v"[..]));
        assert_eq!(of(1003).records, 10);
        for piece in [1, 2, 3, 60, 61, 62, 777] {
            assert_eq!(read(&bytes, None, piece), whole, "{codec:?} in pieces of {piece}");
        }
        let later = read(&bytes, Some(1038), usize::MAX);
        assert_eq!((later.messages, later.first, later.origins.len()), (2, Some(1038), 1), "{codec:?}");
        // Cut anywhere: nothing that is not there, and it says so.
        for end in 61..bytes.len() {
            let mut batches = Batches::new(bytes.len() as u32, None, Vec::new());
            batches.advance(&bytes[..end]);
            batches.pass((bytes.len() - end) as u32);
            let cut = batches.finish();
            assert!(cut.unread || cut == whole, "{codec:?} cut at {end}");
            assert!(cut.origins.len() <= whole.origins.len());
        }
    }
}

#[test]
fn several_batches_and_a_cut_one() {
    let parent = traceparent(7);
    let record = Record { headers: vec![("traceparent", Some(parent.as_bytes()))], ..Record::default() };
    let one = batch(10, 0, 1, &encode(std::slice::from_ref(&record)));
    let control = batch(11, 1 << 5 | 1 << 4, 1, b"\x01\x02\x03");
    let two = batch(12, 1 << 4, 2, &encode(&[record.clone(), record.clone()]));
    let bytes = [&one[..], &control, &two, &one[..one.len() - 1]].concat();
    for piece in [1, 5, 1000] {
        let records = read(&bytes, None, piece);
        assert_eq!((records.messages, records.first, records.last), (3, Some(10), Some(13)));
        assert!(records.transactional && !records.unread && !records.tombstone);
        assert_eq!(records.origins.iter().map(|origin| origin.records).collect::<Vec<_>>(), [3]);
    }
    let alone = read(&one, None, 9);
    assert!(alone.tombstone && alone.messages == 1);
}

#[test]
fn aborted_transactions_are_thrown_away() {
    let by = |producer: i64, base, attributes| {
        let mut bytes = batch(base, attributes, 1, &encode(&[Record::default()]));
        bytes[43..51].copy_from_slice(&producer.to_be_bytes());
        bytes
    };
    let (message, marker) = (1 << 4, 1 << 4 | 1 << 5);
    let bytes = [
        by(7, 10, message),
        by(8, 11, message),
        by(7, 12, marker),
        by(7, 13, message),
        by(8, 14, marker),
        by(7, 15, marker),
    ]
    .concat();
    let mut batches = Batches::new(bytes.len() as u32, None, vec![(7, 10)]);
    assert_eq!(batches.advance(&bytes), bytes.len());
    let records = batches.finish();
    assert_eq!((records.messages, records.first, records.last), (2, Some(11), Some(13)));
}

#[test]
fn old_messages_are_recognised() {
    let mut old = 5_i64.to_be_bytes().to_vec();
    old.extend(20_u32.to_be_bytes());
    old.extend([1, 2, 3, 4, 1, 0]);
    old.extend([0; 14]);
    let records = read(&[&old[..], &old].concat(), None, 3);
    assert!(records.old && records.messages == 2 && records.origins.is_empty());
}

#[test]
fn contexts_are_bounded() {
    let parents: Vec<_> = (0..ORIGINS + 30).map(traceparent).collect();
    let records: Vec<_> = parents
        .iter()
        .map(|parent| Record { headers: vec![("traceparent", Some(parent.as_bytes()))], ..Record::default() })
        .collect();
    let bytes = batch(0, 0, records.len() as i32, &encode(&records));
    let records = read(&bytes, None, 4096);
    assert_eq!((records.origins.len(), records.more), (ORIGINS, 30));
}

#[test]
fn bombs_do_not_go_off() {
    let zeros = vec![0; UNPACKED + (1 << 20)];
    for (codec, bytes) in packed(&zeros) {
        let mut given = 0;
        let whole = unpack(codec, &bytes, &mut |piece: &[u8]| {
            given += piece.len();
            true
        });
        assert!(!whole && given <= UNPACKED, "{codec:?} gave {given}");
    }
    let large = batch(0, Codec::Gzip as i16, 3, &vec![7; PACKED + 100]);
    let records = read(&large, None, 10_000);
    assert!(records.unread && records.messages == 3);
}

#[test]
fn hostile_bytes_are_read_to_their_end() {
    let good = batch(0, 0, 1, &encode(&[Record::default()]));
    for at in 0..good.len() {
        for byte in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] = byte;
            for piece in [1, 1000] {
                read(&bad, Some(0), piece);
            }
        }
    }
    for (codec, bytes) in packed(&encode(&vec![Record::default(); 20])) {
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                unpack(codec, &bad, &mut |_: &[u8]| true);
                read(&batch(0, codec as i16, 20, &bad), None, 1000);
            }
        }
    }
}
