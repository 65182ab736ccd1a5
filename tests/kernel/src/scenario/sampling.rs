//! Sampled and unsampled requests mixed on one connection, by `traceparent` and by the agent's own sampler.
//!
//! The first argument is the sampler that the agent was given. The trace id is part of the path, for the test
//! to compare.

use std::io;

use crate::{
    Stage, http,
    sock::Family,
    talk::{Talk, pass},
    truth::Look,
    way::{Rx, Tx},
};

/// What a request says about its trace.
#[derive(Clone, Copy)]
enum Parent {
    None,
    Sampled,
    Unsampled,
}

/// Judges as the agent has to: by the parent, or by the low 56 bits of the trace id (threshold 2^55 for one half).
fn looks(sampler: &str, parent: Parent, id: u128) -> Look {
    let kept = match (sampler, parent) {
        ("parentbased_always_on" | "parentbased_always_off", Parent::Sampled)
        | ("parentbased_always_on", Parent::None) => true,
        ("traceidratio", Parent::Sampled | Parent::Unsampled) => id as u64 & ((1 << 56) - 1) >= 1 << 55,
        _ => false,
    };
    if kept { Look::Exact } else { Look::Unsampled }
}

/// Numbers that look random and are the same in every run.
struct Ids(u64);

impl Ids {
    fn next(&mut self) -> u128 {
        let mut word = || {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x ^ (x >> 27)
        };
        (u128::from(word()) << 64) | u128::from(word())
    }
}

/// Every order of three kinds of parents, with bodies by length and by chunks, whole and in pieces, in turn and
/// pipelined.
pub(crate) fn mixed(stage: &mut Stage) -> io::Result<()> {
    let sampler: String = stage.arg(0)?;
    let mut ids = Ids(1);
    let ratio = sampler == "traceidratio";
    for family in [Family::V4, Family::UnixPair] {
        for (shape, depth) in
            [("length", 1), ("chunks", 1), ("pieces", 1), ("pipelined", 2), ("pipelined", 5)]
        {
            let name = format!("mixed-{shape}-{depth}-{}", family.word());
            let mut talk = Talk::new(&stage.truth, &name, family)?;
            for order in 0..27 {
                let mut requests = Vec::new();
                let mut responses = Vec::new();
                let mut told = Vec::new();
                for place in 0..depth {
                    let parent = match (order / 3_usize.pow(place as u32 % 3)) % 3 {
                        0 if !ratio => Parent::None,
                        1 => Parent::Unsampled,
                        _ => Parent::Sampled,
                    };
                    let id = ids.next();
                    let (path, status) = talk.next();
                    let path = path.replace(&format!("/{status}"), &format!("-{id:032x}/{status}"));
                    let fields = match parent {
                        Parent::None => String::new(),
                        Parent::Sampled => format!("traceparent: 00-{id:032x}-0123456789abcdef-01\r\n"),
                        Parent::Unsampled => format!("traceparent: 00-{id:032x}-0123456789abcdef-00\r\n"),
                    };
                    requests.extend(message(shape, &format!("POST {path} HTTP/1.1"), &fields));
                    responses.extend(message(shape, &format!("HTTP/1.1 {status} Told"), ""));
                    told.push((path, status, looks(&sampler, parent, id)));
                }
                let (client, server) = talk.pair.ends();
                let (tx, rx) =
                    if shape == "pieces" { (Tx::Pieces(37), Rx::Pieces(41)) } else { (Tx::Write, Rx::Read) };
                pass(client, server, tx, rx, &requests)?;
                pass(server, client, tx, rx, &responses)?;
                for (path, status, look) in told {
                    talk.told(&path, status, BODY, BODY, (look, look))?;
                }
            }
        }
    }
    Ok(())
}

/// Bytes of each body.
const BODY: usize = 200;

fn message(shape: &str, line: &str, fields: &str) -> Vec<u8> {
    let host = "Host: ktest\r\n";
    let mut out = if shape == "chunks" {
        format!("{line}\r\n{host}{fields}Transfer-Encoding: chunked\r\n\r\n").into_bytes()
    } else {
        format!("{line}\r\n{host}Content-Length: {BODY}\r\n{fields}\r\n").into_bytes()
    };
    if shape == "chunks" {
        out.extend(http::chunked(&[BODY / 2, 1, BODY / 2 - 1], ""));
    } else {
        http::fill(&mut out, BODY);
    }
    out
}
