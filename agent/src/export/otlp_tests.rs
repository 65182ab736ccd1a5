//! The encoder against the generated decoder.

use std::{hint::black_box, time::Instant};

use opentelemetry_proto::tonic::trace::v1::TracesData;
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::export::testing;

// `ExportTraceServiceRequest` and `TracesData` are the same on the wire.
fn decode(bytes: &[u8]) -> TracesData {
    TracesData::decode(bytes).unwrap()
}

#[test]
fn every_field_arrives() {
    let mut spans = testing::spans(3);
    let other = testing::resource(2, "cart");
    spans[1].resource = other;
    spans[1].parent_id = [9; 8];
    spans[1].parent_remote = true;
    spans[1].status = Status::Error;
    spans[1].trace_state = "vendor=value".into();
    spans[2].kind = Kind::Client;
    let request = decode(&encode(&spans));
    assert_eq!(request, testing::expected(&spans));
    assert_eq!(request.resource_spans.len(), 2);
    assert_eq!(request.resource_spans[1].scope_spans[0].spans[0].flags, 0x303);
    assert_eq!(request.resource_spans[0].scope_spans[0].spans[0].flags, 0x103);
}

#[test]
fn no_spans_are_no_bytes() {
    assert!(encode(&[]).is_empty());
}

#[test]
fn lengths_around_the_borders_of_a_varint() {
    for len in [0, 1, 126, 127, 128, 129, 16_383, 16_384, 70_000] {
        let mut spans = testing::spans(1);
        spans[0].attributes = vec![testing::text("k", &"x".repeat(len))];
        assert_eq!(decode(&encode(&spans)), testing::expected(&spans), "{len}");
    }
    for (value, len) in
        [(0, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3), (u64::MAX >> 1, 9), (u64::MAX, 10)]
    {
        let mut out = Vec::new();
        varint(&mut out, value);
        assert_eq!((out.len(), varint_len(value)), (len, len), "{value}");
    }
}

/// NaN is not equal to itself: compares the canonical bytes of both sides.
fn same(spans: &[Span]) {
    assert_eq!(decode(&encode(spans)).encode_to_vec(), testing::expected(spans).encode_to_vec());
}

proptest! {
    #[test]
    fn any_spans_arrive(spans in testing::any_spans()) {
        same(&spans);
    }

    #[test]
    fn the_size_is_known_before(spans in testing::any_spans()) {
        let mut batch: Batch<&Span> = Batch::default();
        for span in &spans {
            let before = batch.bytes();
            let cost = batch.cost(span, span_len(span));
            batch.push(span);
            prop_assert_eq!(batch.bytes(), before + cost);
        }
        let mut out = Vec::new();
        encode_batch(&batch, &mut out);
        prop_assert!(out.len() <= batch.bytes());
        prop_assert!(batch.bytes() <= out.len() + batch.groups.len() * 33);
    }
}

/// Spans per second of one core; run it in release mode with `--ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn speed() {
    let spans = testing::spans(512);
    let (mut best, mut bytes) = (f64::INFINITY, 0);
    for _ in 0..50 {
        let start = Instant::now();
        for _ in 0..20 {
            bytes = black_box(encode(black_box(&spans))).len();
        }
        best = best.min(start.elapsed().as_secs_f64() / (20.0 * 512.0));
    }
    println!("{:.2} M spans/s, {} bytes a span", 1e-6 / best, bytes / 512);
}
