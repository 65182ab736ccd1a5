//! The HTTP/2 parser: how the bytes were cut makes no difference, and nothing is read for something else behind a gap.

use spandrel::protocol::{
    Side,
    http2::Http2,
    streams::{Step, StreamParser as _},
};

/// The first byte says which side speaks and how its bytes are cut; the rest is what it says.
pub fn http2(data: &[u8]) {
    let Some((control, data)) = data.split_first() else { return };
    let side = if control & 1 == 0 { Side::Request } else { Side::Response };
    let step = usize::from(control >> 1).max(1);
    let whole = tell(side, data, data.len().max(1));
    assert_eq!(whole, tell(side, data, step), "cut into pieces of {step}");
    behind_a_gap(side, data, step);
}

/// Everything that was understood of one side.
fn tell(side: Side, data: &[u8], step: usize) -> Vec<Step> {
    let mut parser = Http2::default();
    let mut told = Vec::new();
    for piece in data.chunks(step) {
        parser.advance(side, piece, &mut told);
    }
    for step in &mut told {
        assert!(!matches!(step, Step::Fields { fields, .. } if fields.unknown > fields.count));
        if let Step::Fields { carried, .. } = step {
            *carried = false;
        }
    }
    told
}

/// A parser that begins behind a gap tells the same steps; of their fields no more than one whose tables were empty.
fn behind_a_gap(side: Side, data: &[u8], step: usize) {
    let rest = data.get(step..).unwrap_or_default();
    let mut missed = Http2::default();
    let mut some = Vec::new();
    missed.advance(side, &data[..data.len().min(step)], &mut some);
    missed.gap(side);
    some.clear();
    missed.advance(side, rest, &mut some);
    let whole = tell(side, rest, rest.len().max(1));
    for (some, whole) in some.iter().zip(&whole) {
        if let (Step::Fields { fields: some, .. }, Step::Fields { fields: whole, .. }) = (some, whole) {
            assert_eq!(some.count, whole.count);
        }
    }
}
