//! Unpacks the records of a batch: gzip, snappy, lz4 and zstd, each by its library, piece by piece into a
//! caller's hands.
//!
//! No more than [`UNPACKED`] bytes come out, whatever the bytes promise. What was cut gives what it holds.

mod lz4;
mod snappy;

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::content::Codec;

/// Bytes that a batch may hold unpacked: sixteen times the largest that is kept packed. What is larger is a
/// bomb, or text that says the same again and again; its first records are read.
pub(super) const UNPACKED: usize = 16 << 20;

/// Bytes that are unpacked at once.
const PIECE: usize = 32 << 10;

/// The largest window of zstd, 8 MiB: what its own tool takes by default, too. Clients' levels need less.
const WINDOW_LOG: u32 = 23;

/// Takes pieces; says whether more are wanted.
type Take<'a> = dyn FnMut(&[u8]) -> bool + 'a;

/// Unpacks bytes. Whether all of them were.
pub(super) fn unpack(codec: Codec, bytes: &[u8], take: &mut Take<'_>) -> bool {
    let mut room = UNPACKED;
    let mut bounded = |piece: &[u8]| {
        let within = piece.len() <= room;
        let given = piece.get(..room).unwrap_or(piece);
        room -= given.len();
        take(given) && within
    };
    match codec {
        Codec::None => bounded(bytes),
        Codec::Gzip => gzip(bytes, &mut bounded),
        Codec::Snappy => snappy::unpack(bytes, &mut bounded),
        Codec::Lz4 => lz4::unpack(bytes, &mut bounded),
        Codec::Zstd => zstd(bytes, &mut bounded),
        Codec::Unknown => false,
    }
}

fn gzip(mut bytes: &[u8], take: &mut Take<'_>) -> bool {
    let mut inflate = Decompress::new_gzip(15);
    let mut piece = vec![0; PIECE];
    loop {
        let (before_in, before_out) = (inflate.total_in(), inflate.total_out());
        let Ok(status) = inflate.decompress(bytes, &mut piece, FlushDecompress::None) else { return false };
        let (taken, given) = (inflate.total_in() - before_in, inflate.total_out() - before_out);
        bytes = bytes.get(taken as usize..).unwrap_or_default();
        if given > 0 && !take(piece.get(..given as usize).unwrap_or_default()) {
            return false;
        }
        match status {
            Status::StreamEnd => return true,
            _ if taken == 0 && given == 0 => return false,
            _ => {}
        }
    }
}

fn zstd(bytes: &[u8], take: &mut Take<'_>) -> bool {
    let Ok(mut decoder) = Decoder::new() else { return false };
    if decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).is_err() {
        return false;
    }
    let mut piece = vec![0; PIECE];
    let mut input = InBuffer::around(bytes);
    loop {
        let before = input.pos;
        let mut output = OutBuffer::around(piece.as_mut_slice());
        let Ok(hint) = decoder.run(&mut input, &mut output) else { return false };
        let given = output.as_slice().len();
        if given > 0 && !take(output.as_slice()) {
            return false;
        }
        if hint == 0 && input.pos == bytes.len() {
            return true;
        }
        if given == 0 && input.pos == before {
            return false;
        }
    }
}
