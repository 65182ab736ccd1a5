//! bpf-linker: from the compiler's own LLVM, the distribution's, or as its authors build it.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::Compiler;
use crate::{
    run::{self as sh, answer, cargo, command},
    tools,
};

/// The linker that turns LLVM bitcode into a BPF object with BTF.
const BPF_LINKER: &str = "0.13.0";
/// The newest LLVM that this bpf-linker can be built with, and the oldest.
const LLVM_MAJORS: std::ops::RangeInclusive<u32> = 21..=23;

/// Makes sure that there is a bpf-linker. It reads the compiler's bitcode, so its LLVM has to be as new as the compiler's.
pub(super) fn ready(compiler: Compiler) -> Result<()> {
    // One that was built with a toolchain that is gone is there, and does not run.
    if answer(command("bpf-linker").arg("--version")).is_some() {
        return Ok(());
    }
    let (Compiler::Nightly { llvm: oldest, .. } | Compiler::Distribution { llvm: oldest }) = compiler;
    eprintln!("Missing here: bpf-linker, which links the kernel object (LLVM {oldest} or newer).");
    let mut tried = Vec::new();
    if let Compiler::Nightly { name, llvm } = compiler {
        match with_compilers(name, llvm) {
            Ok(()) => return Ok(()),
            Err(error) => tried.push(format!("with the LLVM of {name}: {error:#}")),
        }
    }
    for llvm in LLVM_MAJORS.filter(|llvm| *llvm >= oldest) {
        match with_distributions(llvm) {
            Ok(()) => return Ok(()),
            Err(error) => tried.push(format!("with LLVM {llvm}: {error:#}")),
        }
    }
    if let Err(error) = fetch() {
        tried.push(format!("its released binary: {error:#}"));
    } else {
        return Ok(());
    }
    bail!(
        "bpf-linker {BPF_LINKER} could not be installed.\n  {}\nIt can also be had by `cargo binstall bpf-linker`.",
        tried.join("\n  ")
    )
}

/// With the library that the toolchain's own compiler uses: nothing but rustup and crates.io is asked for it.
fn with_compilers(toolchain: &str, llvm: u32) -> Result<()> {
    let sysroot = answer(command("rustup").args(["run", toolchain, "rustc", "--print", "sysroot"]))
        .context("rustup does not say where the toolchain is")?;
    let folder = Path::new(&sysroot).join("lib");
    let library = library(fs::read_dir(&folder)?.flatten().map(|entry| entry.path()))
        .with_context(|| format!("no library of LLVM in {}", folder.display()))?;
    // The linker finds it by a plain name there, the program by its own name in the toolchain.
    let names = sh::target_dir().join("bpf-linker");
    let plain = names.join("libLLVM.so");
    fs::create_dir_all(&names).with_context(|| format!("cannot make {}", names.display()))?;
    if plain.is_symlink() {
        fs::remove_file(&plain).with_context(|| format!("cannot remove {}", plain.display()))?;
    }
    symlink(&library, &plain).with_context(|| format!("cannot make {}", plain.display()))?;
    let flags = [
        format!("-Lnative={}", names.display()),
        "-ldylib=LLVM".to_owned(),
        format!("-Clink-arg=-Wl,-rpath,{}", folder.display()),
    ];
    build(&format!("llvm-{llvm},no-llvm-linking"), |install| {
        // Between the flags stands what no path contains (Cargo's documentation, "Environment Variables").
        install.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    })
}

/// `libLLVM.so.22.1-rust-1.97.0-nightly`: what Rust's releases call it.
fn library(files: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    files.into_iter().find(|path| {
        path.file_name().is_some_and(|name| name.to_str().is_some_and(|name| name.starts_with("libLLVM.so.")))
    })
}

fn with_distributions(llvm: u32) -> Result<()> {
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{llvm}"));
    if !prefix.join("bin/llvm-config").exists() || !prefix.join("include/llvm-c").is_dir() {
        let development = format!("llvm-{llvm}-dev");
        let polly = format!("libpolly-{llvm}-dev");
        if !tools::offered(&development) {
            bail!("the distribution has no package {development}");
        }
        let names = [&*development, &*polly].into_iter().filter(|name| tools::offered(name));
        tools::apt(&names.collect::<Vec<_>>())?;
    }
    build(&format!("llvm-{llvm}"), |install| {
        install.env("LLVM_PREFIX", &prefix);
    })
}

fn build(features: &str, finds: impl FnOnce(&mut Command)) -> Result<()> {
    let mut install =
        cargo(["install", "--locked", "--force", "--version", BPF_LINKER, "--no-default-features"]);
    install.args(["--features", features, "bpf-linker"]);
    install.env("CARGO_TARGET_DIR", std::env::temp_dir().join("spandrel-tools"));
    finds(&mut install);
    sh::run(&mut install)?;
    answer(command(tools::cargo_bin().join("bpf-linker")).arg("--version"))
        .context("bpf-linker was built and does not run")?;
    Ok(())
}

/// The statically linked binary that bpf-linker's authors publish, for distributions without a fitting LLVM.
fn fetch() -> Result<()> {
    let machine = std::env::consts::ARCH;
    let url = format!(
        "https://github.com/aya-rs/bpf-linker/releases/download/v{BPF_LINKER}/bpf-linker-{machine}-unknown-linux-musl.tar.zst"
    );
    tools::ensure(&[
        tools::Tool { needs: "curl", package: "curl", why: "fetches bpf-linker" },
        tools::Tool { needs: "zstd", package: "zstd", why: "unpacks bpf-linker" },
    ])?;
    let archive = std::env::temp_dir().join("spandrel-bpf-linker.tar.zst");
    let bin = tools::cargo_bin();
    fs::create_dir_all(&bin).with_context(|| format!("cannot make {}", bin.display()))?;
    let fetch = ["--fail", "--silent", "--show-error", "--location", "--max-time", "300", "--output"];
    sh::run(command("curl").args(fetch).arg(&archive).arg(url))?;
    sh::run(command("tar").arg("--zstd").arg("-xf").arg(&archive).arg("-C").arg(&bin))?;
    fs::remove_file(&archive).context("cannot remove the archive that was unpacked")?;
    answer(command(bin.join("bpf-linker")).arg("--version"))
        .context("the unpacked bpf-linker does not run")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toolchains_library() {
        let files = [
            "libLLVM-22-rust-1.97.0-nightly.so",
            "libLLVM.so.22.1-rust-1.97.0-nightly",
            "librustc_driver.so",
        ];
        let found = library(files.iter().map(PathBuf::from));
        assert_eq!(found, Some(PathBuf::from("libLLVM.so.22.1-rust-1.97.0-nightly")));
        assert_eq!(library(std::iter::empty()), None);
    }
}
