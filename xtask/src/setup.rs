//! `cargo xtask setup`: a compiler and a linker for the kernel object (see agent/build.rs for the two ways).

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::{
    run::{self as sh, answer, cargo, command, exists, succeeds},
    tools,
};

/// The linker that turns LLVM bitcode into a BPF object with BTF.
const BPF_LINKER: &str = "0.13.0";
/// The newest LLVM that this bpf-linker can be built with, and the oldest.
const LLVM_MAJORS: std::ops::RangeInclusive<u32> = 21..=23;
/// The nightly for machines whose distribution has no BPF `core`.
pub(crate) const NIGHTLY: &str = include_str!("../../ebpf/nightly");
pub(crate) const DISTRIBUTION_RUSTC: &str = "/usr/bin/rustc";

/// Debian's packages of a compiler with a prebuilt BPF `core`: as in stable releases, and as in newer ones.
const DISTRIBUTION: [[&str; 2]; 2] =
    [["rustc-web", "libstd-rust-web-dev-bpf"], ["rustc", "libstd-rust-dev-bpf"]];

pub(crate) fn run() -> Result<()> {
    ready()?;
    println!("Ready: `cargo xtask build` can build the kernel object and the agent.");
    Ok(())
}

/// What can compile for BPF here, and the major version of its LLVM.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Compiler {
    /// A rustup toolchain with `core`'s source.
    Nightly { name: &'static str, llvm: u32 },
    /// The distribution's rustc, with `core` prebuilt.
    Distribution { llvm: u32 },
}

/// Makes sure that the kernel object can be built.
pub(crate) fn ready() -> Result<()> {
    tools::ensure(&[tools::Tool {
        needs: "cc",
        package: "build-essential",
        why: "links programs and builds C parts",
    }])?;
    let compiler = match compiler() {
        Some(found) => found,
        None => install_compiler()?,
    };
    if !exists("bpf-linker") {
        let (Compiler::Nightly { llvm, .. } | Compiler::Distribution { llvm }) = compiler;
        install_linker(llvm)?;
    }
    Ok(())
}

/// What the machine's owner insists on, by `SPANDREL_EBPF_TOOLCHAIN`: whether a nightly will do, and whether the
/// distribution's compiler will. What else it may say, agent/build.rs refuses.
fn wanted() -> (bool, bool) {
    let wanted = std::env::var("SPANDREL_EBPF_TOOLCHAIN").unwrap_or_default();
    (wanted != "distribution", wanted != "nightly")
}

/// A compiler for BPF that is already here. agent/build.rs makes the same choice.
pub(crate) fn compiler() -> Option<Compiler> {
    let (by_nightly, by_distribution) = wanted();
    by_nightly.then(nightly).flatten().or_else(|| by_distribution.then(distribution).flatten())
}

fn nightly() -> Option<Compiler> {
    [NIGHTLY.trim_end(), "nightly"].into_iter().find_map(|name| {
        let sysroot = answer(command("rustup").args(["run", name, "rustc", "--print", "sysroot"]))?;
        let core = Path::new(&sysroot).join("lib/rustlib/src/rust/library/core");
        let version = answer(command("rustup").args(["run", name, "rustc", "-vV"]))?;
        llvm_major(&version).filter(|_| core.is_dir()).map(|llvm| Compiler::Nightly { name, llvm })
    })
}

fn distribution() -> Option<Compiler> {
    let target = ["--print", "target-libdir", "--target", "bpfel-unknown-none"];
    let libraries = answer(command(DISTRIBUTION_RUSTC).args(target))?;
    let version = answer(command(DISTRIBUTION_RUSTC).arg("-vV"))?;
    llvm_major(&version)
        .filter(|_| Path::new(&libraries).is_dir())
        .map(|llvm| Compiler::Distribution { llvm })
}

/// The major version in the line `LLVM version: 22.1.8` of `rustc -vV`.
fn llvm_major(version: &str) -> Option<u32> {
    version.lines().find_map(|line| line.strip_prefix("LLVM version: ")?.split('.').next()?.parse().ok())
}

/// From the distribution if it has one (nothing but its own packages then), else a nightly by rustup.
fn install_compiler() -> Result<Compiler> {
    eprintln!("Missing here: a Rust compiler for BPF, which builds the kernel side.");
    let (by_nightly, by_distribution) = wanted();
    if by_distribution && tools::can_install() {
        if !DISTRIBUTION.iter().flatten().any(|name| tools::offered(name)) {
            tools::refresh()?;
        }
        for packages in
            DISTRIBUTION.iter().filter(|packages| packages.iter().all(|name| tools::offered(name)))
        {
            if let Err(error) = tools::apt(packages) {
                eprintln!("{error:#}");
            } else if let Some(found) = distribution() {
                return Ok(found);
            }
        }
    }
    if by_nightly && exists("rustup") {
        let name = NIGHTLY.trim_end();
        eprintln!("Installing {name} with rust-src by rustup: it compiles `core` for BPF.");
        let install = ["toolchain", "install", name, "--profile", "minimal", "--component", "rust-src"];
        if succeeds(command("rustup").args(install))?
            && let Some(found) = nightly()
        {
            return Ok(found);
        }
    }
    bail!(
        "no compiler for BPF can be installed here. Either is needed: the packages {} (Debian 12 and later), \
         or rustup with `rustup toolchain install {} --component rust-src`",
        DISTRIBUTION[0].join(" and "),
        NIGHTLY.trim_end()
    )
}

/// bpf-linker reads the compiler's bitcode, so its LLVM has to be as new as the compiler's.
fn install_linker(compiler: u32) -> Result<()> {
    eprintln!("Missing here: bpf-linker, which links the kernel object (LLVM {compiler} or newer).");
    let mut tried = Vec::new();
    for llvm in LLVM_MAJORS.filter(|llvm| *llvm >= compiler) {
        match build_linker(llvm) {
            Ok(()) => return Ok(()),
            Err(error) => tried.push(format!("with LLVM {llvm}: {error:#}")),
        }
    }
    if let Err(error) = fetch_linker() {
        tried.push(format!("its released binary: {error:#}"));
    } else {
        return Ok(());
    }
    bail!(
        "bpf-linker {BPF_LINKER} could not be installed.\n  {}\nIt can also be had by `cargo binstall bpf-linker`.",
        tried.join("\n  ")
    )
}

fn build_linker(llvm: u32) -> Result<()> {
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
    let feature = format!("llvm-{llvm}");
    let mut install = cargo(["install", "--locked", "--version", BPF_LINKER, "--no-default-features"]);
    install.args(["--features", &feature, "bpf-linker"]).env("LLVM_PREFIX", &prefix);
    install.env("CARGO_TARGET_DIR", std::env::temp_dir().join("spandrel-tools"));
    sh::run(&mut install)
}

/// The statically linked binary that bpf-linker's authors publish, for distributions without a fitting LLVM.
fn fetch_linker() -> Result<()> {
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
    std::fs::create_dir_all(&bin).with_context(|| format!("cannot make {}", bin.display()))?;
    let fetch = ["--fail", "--silent", "--show-error", "--location", "--max-time", "300", "--output"];
    sh::run(command("curl").args(fetch).arg(&archive).arg(url))?;
    sh::run(command("tar").arg("--zstd").arg("-xf").arg(&archive).arg("-C").arg(&bin))?;
    std::fs::remove_file(&archive).context("cannot remove the archive that was unpacked")?;
    answer(command(bin.join("bpf-linker")).arg("--version"))
        .context("the unpacked bpf-linker does not run")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llvm_version_of_a_compiler() {
        assert_eq!(llvm_major("rustc 1.96.0\nhost: x\nLLVM version: 22.1.8\n"), Some(22));
        assert_eq!(llvm_major("rustc 1.96.0"), None);
    }
}
