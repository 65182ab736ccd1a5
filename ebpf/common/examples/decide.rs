//! Ids and sampling decisions, for comparison with other samplers (tests/sampling).
//!
//! `decide ids N` writes N trace ids of 16 bytes. `decide ratios R...` reads such ids and writes, for one
//! ratio after the other, a byte for each: 1 if it is kept. `decide th R...` prints `th` values of 4 digits.

use std::io::{Read as _, Write as _};

use spandrel_common::{
    ids::trace_id,
    sample::{Policy, Th},
};

/// Any: that the ids are the same everywhere is all that matters.
const SEED: [u64; 2] = [0x5eed_0000_0000_0001, 0x5eed_0000_0000_0002];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let (verb, rest) = args.split_first().ok_or("say ids, ratios or th")?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    match verb.as_str() {
        "ids" => {
            for pos in 0..rest.first().ok_or("say how many")?.parse()? {
                out.write_all(&trace_id(SEED, pos))?;
            }
        }
        "ratios" => {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes)?;
            for ratio in rest {
                let policy = Policy::from_ratio(ratio.parse()?).ok_or("not between 0 and 1")?;
                for id in bytes.as_chunks::<16>().0 {
                    out.write_all(&[u8::from(policy.keeps_root(*id))])?;
                }
            }
        }
        "th" => {
            for ratio in rest {
                let th = Th::of(ratio.parse()?, 4);
                writeln!(out, "{}", th.as_ref().map_or("", Th::as_str))?;
            }
        }
        other => return Err(format!("unknown verb {other}").into()),
    }
    Ok(out.flush()?)
}
