//! Messages cut at every place: bodies by length and by chunks, long heads, several in one call.

use std::{io, os::fd::BorrowedFd, thread};

use crate::{
    Stage, http,
    sock::Family,
    sys,
    talk::{Talk, Ways, pass},
    truth::Look,
    way::{Rx, Tx, all, fill},
};

/// Sends and receives a message in these pieces and the rest.
fn in_pieces(from: BorrowedFd<'_>, to: BorrowedFd<'_>, message: &[u8], pieces: &[usize]) -> io::Result<()> {
    let mut rest = message;
    let lengths = pieces.iter().copied().chain([usize::MAX]);
    for len in lengths {
        let (piece, behind) = rest.split_at(len.min(rest.len()));
        all(piece, |bytes| sys::write(from, bytes))?;
        let mut came = vec![0; piece.len()];
        fill(&mut came, |buf| sys::read(to, buf))?;
        if came != piece {
            return Err(io::Error::other("other bytes came than were sent"));
        }
        rest = behind;
    }
    Ok(())
}

/// In pieces of one length.
fn in_equal_pieces(from: BorrowedFd<'_>, to: BorrowedFd<'_>, message: &[u8], piece: usize) -> io::Result<()> {
    let piece = piece.min(message.len());
    in_pieces(from, to, message, &vec![piece; message.len() / piece])
}

fn by_length(path: &str, status: u16) -> (Vec<u8>, Vec<u8>) {
    (http::request(path, 50, ""), http::response(status, 60, ""))
}

const CODED: &str = "Transfer-Encoding: chunked\r\n\r\n";
const TRAILERS: &str = "X-Sum: 1\r\nX-More: GET /bait/299 HTTP/1.1\r\n";

fn by_chunks(path: &str, status: u16, chunks: &[usize], trailers: &str) -> (Vec<u8>, Vec<u8>) {
    let mut request = format!("POST {path} HTTP/1.1\r\nHost: ktest\r\n{CODED}").into_bytes();
    let mut response = format!("HTTP/1.1 {status} Told\r\n{CODED}").into_bytes();
    request.extend(http::chunked(chunks, trailers));
    response.extend(http::chunked(chunks, trailers));
    (request, response)
}

/// Content-Length bodies, cut in two at every place and in pieces of every small length.
pub(crate) fn lengths(stage: &mut Stage) -> io::Result<()> {
    let longest = by_length("/lengths-v4/100/240", 240);
    let longest = longest.0.len().max(longest.1.len());
    for family in [Family::V4, Family::UnixPair] {
        let mut talk = Talk::new(&stage.truth, &format!("lengths-{}", family.word()), family)?;
        for cut in 1..longest {
            talk.carry((50, 60), by_length, |from, to, message| in_pieces(from, to, message, &[cut]))?;
        }
        for size in 1..12 {
            let pieces = vec![size; longest / size];
            talk.carry((50, 60), by_length, |from, to, message| in_pieces(from, to, message, &pieces))?;
        }
    }
    Ok(())
}

/// Chunked bodies: cut in two at every place, in pieces of every small length, with and without trailers,
/// and with more chunks in one call than are walked.
pub(crate) fn chunks(stage: &mut Stage) -> io::Result<()> {
    const CHUNKS: [usize; 4] = [5, 26, 1, 180];
    let body = CHUNKS.iter().sum::<usize>();
    for (name, trailers) in [("plain", ""), ("trailers", TRAILERS)] {
        let make = |path: &str, status| by_chunks(path, status, &CHUNKS, trailers);
        let longest = make("/chunks-trailers/1000/240", 240).0.len();
        let mut talk = Talk::new(&stage.truth, &format!("chunks-{name}"), Family::V4)?;
        for cut in 1..longest {
            talk.carry((body, body), make, |from, to, message| in_pieces(from, to, message, &[cut]))?;
        }
        for size in 1..12 {
            let pieces = vec![size; longest / size];
            talk.carry((body, body), make, |from, to, message| in_pieces(from, to, message, &pieces))?;
        }
    }
    for family in [Family::V4, Family::UnixPair] {
        let mut talk = Talk::new(&stage.truth, &format!("chunks-many-{}", family.word()), family)?;
        for (count, size) in [(31, 10), (32, 10), (33, 10), (100, 3), (500, 1), (40, 1000)] {
            for trailers in ["", TRAILERS] {
                let make = |path: &str, status| by_chunks(path, status, &vec![size; count], trailers);
                talk.carry((count * size, count * size), make, |from, to, message| {
                    pass(from, to, Tx::Write, Rx::Read, message)
                })?;
                talk.carry((count * size, count * size), make, |from, to, message| {
                    pass(from, to, Tx::Pieces(700), Rx::Pieces(900), message)
                })?;
                talk.plain()?;
            }
        }
    }
    Ok(())
}

/// Bytes of bodies that are several times what is captured of a message.
const LARGE: usize = 100_000;

/// Heads that come in two calls, in front of large bodies: Go's server looks for the next request one byte ahead.
pub(crate) fn apart(stage: &mut Stage) -> io::Result<()> {
    for family in [Family::V4, Family::UnixPair] {
        for (coding, first) in [("length", 1), ("length", 20), ("length", 70), ("chunks", 1)] {
            let name = format!("apart-{coding}-{first}-{}", family.word());
            let mut talk = Talk::new(&stage.truth, &name, family)?;
            talk.plain()?;
            for _ in 0..3 {
                let make = |path: &str, status| match coding {
                    "length" => (http::request(path, LARGE, ""), http::response(status, LARGE, "")),
                    _ => by_chunks(path, status, &[LARGE / 10; 10], TRAILERS),
                };
                talk.carry((LARGE, LARGE), make, |from, to, message| {
                    // Where the chunks of a response are is not followed behind such a head.
                    let whole = coding == "chunks" && message.starts_with(b"HTTP");
                    head_first(from, to, message, if whole { message.len() / 2 } else { first })
                })?;
            }
            talk.plain()?;
        }
    }
    Ok(())
}

/// Sends and receives the first bytes of a message, and then the rest as it comes.
fn head_first(from: BorrowedFd<'_>, to: BorrowedFd<'_>, message: &[u8], first: usize) -> io::Result<()> {
    let (start, rest) = message.split_at(first);
    all(start, |bytes| sys::write(from, bytes))?;
    let mut came = vec![0; message.len()];
    let (came_first, came_rest) = came.split_at_mut(first);
    fill(came_first, |buf| sys::read(to, buf))?;
    thread::scope(|scope| {
        let sender = scope.spawn(|| all(rest, |bytes| sys::write(from, bytes)));
        fill(came_rest, |buf| {
            sys::read(to, {
                let len = buf.len().min(READ);
                &mut buf[..len]
            })
        })?;
        sender.join().map_err(|_panic| io::Error::other("the sender panicked"))?
    })?;
    if came == message { Ok(()) } else { Err(io::Error::other("other bytes came than were sent")) }
}

/// Bytes that are read at once.
const READ: usize = 4096;

/// Heads longer than the kernel side searches, and longer than it captures, whole and in pieces.
pub(crate) fn heads(stage: &mut Stage) -> io::Result<()> {
    for (index, length) in [1000, 4000, 4090, 5000, 12_000, 16_300, 17_000, 40_000].into_iter().enumerate() {
        let look = if length < 16_384 { Look::Exact } else { Look::Truncated };
        for piece in [usize::MAX, 1000, 1] {
            let name = format!("heads-{index}-{}", piece.min(9999));
            let mut talk = Talk::new(&stage.truth, &name, Family::V4)?;
            // Behind a head that is cut short nobody knows where the next message begins: the next such head says it.
            for _ in 0..if piece == 1 { 1 } else { 3 } {
                let (path, status) = talk.next();
                let fields = pad(length - http::request(&path, 30, "").len());
                let (client, server) = talk.pair.ends();
                in_equal_pieces(client, server, &http::request(&path, 30, &fields), piece)?;
                in_equal_pieces(server, client, &http::response(status, 40, &fields), piece)?;
                talk.told(&path, status, 30, 40, (look, look))?;
            }
            if look != Look::Exact {
                let (path, status) = talk.next();
                let (client, server) = talk.pair.ends();
                in_pieces(client, server, &http::request(&path, 0, ""), &[])?;
                in_pieces(server, client, &http::response(status, 0, ""), &[])?;
                talk.told(&path, status, 0, 0, (Look::AfterGap, Look::AfterGap))?;
            }
            talk.exchange(Ways::PLAIN, 10, 10)?;
        }
    }
    Ok(())
}

/// Header fields of so many bytes in all, each of a usual length.
fn pad(len: usize) -> String {
    const FIELD: &str = "X-Pad: 0123456789abcdef0123456789abcdef0123456789abcdef\r\n";
    let mut fields = FIELD.repeat(len / FIELD.len());
    let rest = len - fields.len();
    if rest > 12 {
        fields.extend(["X-End: ", &"x".repeat(rest - 9), "\r\n"]);
    }
    fields
}

/// Several requests in one call, their responses in one call, in pieces, or one by one.
pub(crate) fn pipelined(stage: &mut Stage) -> io::Result<()> {
    for (name, piece) in [("whole", usize::MAX), ("pieces", 100), ("bytes", 1)] {
        for family in [Family::V4, Family::UnixPair] {
            let mut talk = Talk::new(&stage.truth, &format!("pipelined-{name}-{}", family.word()), family)?;
            for depth in [2, 3, 4, 5, 10, 20] {
                let rounds: Vec<_> = (0..depth).map(|_| talk.next()).collect();
                let requests: Vec<u8> = rounds
                    .iter()
                    .enumerate()
                    .flat_map(|(n, (path, _))| http::request(path, n * 7, ""))
                    .collect();
                let responses: Vec<u8> = rounds
                    .iter()
                    .enumerate()
                    .flat_map(|(n, (_, status))| http::response(*status, n * 11, ""))
                    .collect();
                let (client, server) = talk.pair.ends();
                in_equal_pieces(client, server, &requests, piece)?;
                in_equal_pieces(server, client, &responses, piece)?;
                for (n, (path, status)) in rounds.iter().enumerate() {
                    // Nothing but two requests in one call proves to the client's side of a Unix socket that these are
                    // not requests whose responses were missed.
                    let proven = piece > 1 || family.is_tcp();
                    let client = if proven { Look::Exact } else { Look::Gap };
                    talk.told(path, *status, n * 7, n * 11, (client, Look::Exact))?;
                }
                talk.plain()?;
            }
        }
    }
    Ok(())
}
