//! A short run of every property: the corpus, its prefixes, and bytes made from it by chance.

use std::{fs, path::Path};

use spandrel_properties::{ALL, Property};

/// Runs for each property: enough to meet every branch that mutation finds easily, in some seconds without optimisation.
/// `cargo xtask fuzz` runs them for long.
const RUNS: u32 = 25_000;

/// Lengths of made inputs; the parsers' limits are met by the corpus.
const LONGEST: usize = 700;

/// Xorshift: the same bytes in every run, so that a failure can be had again.
struct Chance(u64);

impl Chance {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below.max(1)
    }
}

fn samples(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(name);
    let mut files: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.iter().filter_map(|file| fs::read(file).ok()).collect()
}

/// A sample with a few bytes changed, cut, doubled or taken from another sample.
fn mutated(samples: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = samples.get(chance.next(samples.len())).cloned().unwrap_or_default();
    bytes.truncate(LONGEST);
    bytes.insert(0, chance.next(256) as u8);
    for _ in 0..=chance.next(4) {
        let at = chance.next(bytes.len());
        match chance.next(5) {
            0 => bytes[at] = chance.next(256) as u8,
            1 => bytes.truncate(at + 1),
            2 => drop(bytes.remove(at)),
            3 => {
                let end = at + chance.next(bytes.len() - at);
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ => {
                let other = samples.get(chance.next(samples.len())).map_or(&[][..], Vec::as_slice);
                let from = chance.next(other.len());
                bytes.extend(other.iter().skip(from).take(64));
            }
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
    bytes
}

fn shortly(name: &str, property: Property) {
    let samples = samples(name);
    for sample in &samples {
        for end in 0..sample.len().min(LONGEST) {
            for control in [0, 1, 2, 3, 14, 15] {
                let input: Vec<u8> = [control].iter().chain(&sample[..end]).copied().collect();
                property(&input);
            }
        }
    }
    let mut chance = Chance(0x5eed_5eed_5eed_5eed);
    for _ in 0..RUNS {
        property(&mutated(&samples, &mut chance));
        let random: Vec<u8> = (0..chance.next(200)).map(|_| chance.next(256) as u8).collect();
        property(&random);
    }
}

#[test]
fn every_property_holds() {
    for (name, property) in ALL {
        shortly(name, *property);
    }
}
