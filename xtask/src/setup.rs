//! `cargo xtask setup`: a compiler and a linker for the kernel object (see agent/build.rs for the two ways).

mod linker;

use std::path::Path;

use anyhow::{Result, bail};

use crate::{
    run::{answer, command, exists, succeeds},
    tools,
};

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
    linker::ready(compiler)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llvm_version_of_a_compiler() {
        assert_eq!(llvm_major("rustc 1.96.0\nhost: x\nLLVM version: 22.1.8\n"), Some(22));
        assert_eq!(llvm_major("rustc 1.96.0"), None);
    }
}
