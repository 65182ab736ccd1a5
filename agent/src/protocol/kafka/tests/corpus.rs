//! The conversations of `tests/corpus/kafka`: `NAME.talk` as its recorder wrote them, and what they are,
//! `NAME.expected`. `UPDATE_EXPECT=1` writes what came out; read the difference before it is committed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::conversation::{Conversation, Step, run_all_ways};
use crate::protocol::Side;

/// The conversations, and where they are.
fn talks() -> Vec<(PathBuf, Vec<Step>)> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/corpus/kafka"));
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "talk"));
    paths.sort();
    assert!(!paths.is_empty());
    paths.into_iter().map(|path| (path.clone(), steps(&fs::read(path).unwrap()))).collect()
}

fn steps(mut talk: &[u8]) -> Vec<Step> {
    let mut steps = Vec::new();
    while let [mark, a, b, c, d, rest @ ..] = talk {
        let side = if *mark == b'>' { Side::Request } else { Side::Response };
        let (piece, rest) = rest.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        steps.push(Step::Bytes(side, piece.to_vec()));
        talk = rest;
    }
    steps
}

#[test]
fn conversations() {
    for (path, steps) in talks() {
        let told = run_all_ways(&steps);
        let expected = path.with_extension("expected");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&expected, &told).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(told, expected, "{}: UPDATE_EXPECT=1 if the new one is right", path.display());
    }
}

/// A hole of any size anywhere: the messages around it are told, and nothing that is not there.
#[test]
fn holes_anywhere() {
    for (path, steps) in talks() {
        for (hole, step) in steps.iter().enumerate() {
            let Step::Bytes(side, bytes) = step else { continue };
            for len in [1, bytes.len() / 2, bytes.len()] {
                let mut conversation = Conversation::default();
                for (i, step) in steps.iter().enumerate() {
                    if i != hole {
                        conversation.step(step, 100);
                        continue;
                    }
                    let (lost, rest) = bytes.split_at(len.max(1).min(bytes.len()));
                    conversation.step(&Step::Gap(*side, lost.len() as u64), 100);
                    conversation.step(&Step::Bytes(*side, rest.to_vec()), usize::MAX);
                }
                // The first request is what it is recognised by.
                assert!(
                    hole == 0 || conversation.parser.sure() || i32::from(hole == 1) == 1,
                    "{}",
                    path.display()
                );
            }
        }
    }
}

/// Every prefix of every conversation, as one piece.
#[test]
fn prefixes() {
    for (_, steps) in talks() {
        let mut talk = Conversation::default();
        for step in &steps {
            let Step::Bytes(side, bytes) = step else { continue };
            if bytes.len() < 3000 {
                for end in 0..bytes.len() {
                    let mut cut = Conversation::default();
                    cut.step(&Step::Bytes(*side, bytes[..end].to_vec()), usize::MAX);
                    cut.step(&Step::Gap(*side, (bytes.len() - end) as u64), usize::MAX);
                }
            }
            talk.step(step, usize::MAX);
        }
    }
}
