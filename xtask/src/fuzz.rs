//! `cargo xtask fuzz`: libFuzzer on the targets of tests/fuzz, starting from the samples of tests/corpus.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{
    run::{answer, command, exists, root, succeeds},
    setup,
    tools::{self, Tool},
};

const CARGO_FUZZ: &str = "0.13.2";

const TOOLS: &[Tool] = &[Tool { needs: "c++", package: "g++", why: "builds libFuzzer" }];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A target of tests/fuzz/targets; all, one after another, if none is given
    target: Option<String>,
    /// How long to fuzz each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let all = targets()?;
    let chosen: Vec<_> =
        all.iter().filter(|name| args.target.as_ref().is_none_or(|wanted| wanted == *name)).collect();
    if chosen.is_empty() {
        bail!("there is no such fuzz target; there are: {}", all.join(", "));
    }
    tools::ensure(TOOLS)?;
    tools::cargo_tool("cargo-fuzz", CARGO_FUZZ, "builds and runs fuzz targets")?;
    let mut failed = Vec::new();
    for name in chosen {
        println!("\n== fuzz {name}, {} s", args.seconds);
        let mut fuzz = cargo_fuzz()?;
        // New finds go to the first folder; the samples of the second are only read.
        let found = folder(&format!("tests/fuzz/corpus/{name}"))?;
        fuzz.args(["run", "--fuzz-dir", "tests/fuzz", name]).arg(found);
        let samples = root().join("tests/corpus").join(name);
        fuzz.args(samples.is_dir().then_some(samples));
        fuzz.arg("--").arg(format!("-max_total_time={}", args.seconds));
        if !succeeds(&mut fuzz)? {
            failed.push(name.as_str());
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    bail!(
        "failed: {}. The inputs are in tests/fuzz/artifacts; add those worth keeping to tests/corpus",
        failed.join(", ")
    )
}

fn targets() -> Result<Vec<String>> {
    let folder = root().join("tests/fuzz/targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    names.sort();
    Ok(names.iter().filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect())
}

fn folder(name: &str) -> Result<PathBuf> {
    let path = root().join(name);
    fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
}

/// `cargo fuzz` with a compiler that accepts its unstable flags: a nightly, else the stable one told to.
fn cargo_fuzz() -> Result<Command> {
    for name in [setup::NIGHTLY.trim_end(), "nightly"] {
        if answer(command("rustup").args(["run", name, "rustc", "-V"])).is_some() {
            let mut fuzz = command("rustup");
            fuzz.args(["run", name, "cargo", "fuzz"]);
            return Ok(fuzz);
        }
    }
    if !exists("cargo") {
        bail!("cargo is not on the path");
    }
    eprintln!("There is no nightly toolchain: fuzzing with the stable one, told to accept unstable flags.");
    let mut fuzz = command("cargo");
    fuzz.arg("fuzz").env("RUSTC_BOOTSTRAP", "1");
    Ok(fuzz)
}
