//! Builds the kernel object (crate `ebpf`) and tells the agent where it is: `SPANDREL_EBPF`.
//!
//! Rust's BPF target is tier 3: no release of Rust carries a `core` for it. Two toolchains can make the
//! object, and either will do:
//!
//! - a nightly that compiles `core` from the `rust-src` component;
//! - a distribution's compiler with a prebuilt `core` for BPF (Debian: `rustc-web` and
//!   `libstd-rust-web-dev-bpf`), told by `RUSTC_BOOTSTRAP` to accept what only a nightly would.
//!
//! Environment: `SPANDREL_EBPF_OBJECT` names an object to embed instead of building one;
//! `SPANDREL_EBPF_TOOLCHAIN` insists on `nightly` or `distribution`.

use std::{
    env,
    error::Error,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The kernel runs the object on the host's byte order; every host that is supported is little-endian.
const TARGET: &str = "bpfel-unknown-none";
/// The nightly that `cargo xtask setup` installs: its LLVM is one that a released bpf-linker reads.
const PINNED_NIGHTLY: &str = include_str!("../ebpf/nightly");
/// Where distributions put rustc.
const DISTRIBUTION_RUSTC: &str = "/usr/bin/rustc";
/// `v3` is the instruction set of kernel 5.12: 32-bit operations, and additions that return the old value.
/// BTF for maps and functions comes from debug information, turned into BTF by the linker.
const RUSTFLAGS: [&str; 8] =
    ["-C", "debuginfo=2", "-C", "link-arg=--btf", "-C", "linker=bpf-linker", "-C", "target-cpu=v3"];

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    for variable in ["SPANDREL_EBPF_OBJECT", "SPANDREL_EBPF_TOOLCHAIN", "PATH"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let object = match env::var_os("SPANDREL_EBPF_OBJECT") {
        Some(path) => given(Path::new(&path))?,
        None => build()?,
    };
    println!("cargo:rustc-env=SPANDREL_EBPF={}", object.display());
    Ok(())
}

/// An object that someone built before.
fn given(path: &Path) -> Outcome<PathBuf> {
    println!("cargo:rerun-if-changed={}", path.display());
    path.canonicalize().map_err(|error| {
        format!("SPANDREL_EBPF_OBJECT names {}, which cannot be read: {error}", path.display()).into()
    })
}

fn build() -> Outcome<PathBuf> {
    let ebpf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ebpf").canonicalize()?;
    for part in ["Cargo.toml", "Cargo.lock", "nightly", "src", "common/Cargo.toml", "common/src"] {
        println!("cargo:rerun-if-changed={}", ebpf.join(part).display());
    }
    let toolchain = Toolchain::find()?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo gave no OUT_DIR")?);
    // A target folder of its own: cargo holds a lock on the one that it is building in now.
    let target_dir = out.join("ebpf");

    let mut cargo = toolchain.cargo();
    cargo
        .current_dir(&ebpf)
        .args(["build", "--release", "--locked", "--target", TARGET, "--target-dir"])
        .arg(&target_dir)
        .env("RUSTFLAGS", RUSTFLAGS.join(" "))
        .env("AYA_BPF_TARGET_ARCH", env::var("CARGO_CFG_TARGET_ARCH")?);
    let finished =
        cargo.output().map_err(|error| format!("cannot start {}: {error}", cargo.get_program().display()))?;
    if !finished.status.success() {
        return Err(format!(
            "the kernel object (crate `ebpf`) was not built, by {toolchain}:\n{}\n\
             If tools are missing, `cargo xtask setup` installs them.",
            String::from_utf8_lossy(&finished.stderr)
        )
        .into());
    }
    warnings(&String::from_utf8_lossy(&finished.stderr));
    let object = out.join("spandrel-ebpf.o");
    fs::copy(target_dir.join(TARGET).join("release/spandrel-ebpf"), &object)?;
    Ok(object)
}

/// Shows the kernel side's own warnings, which cargo would swallow with the rest of a build script's output.
fn warnings(stderr: &str) {
    let mut inside = false;
    for line in stderr.lines() {
        inside = if line.starts_with("warning") { true } else { inside && !line.trim().is_empty() };
        if inside {
            println!("cargo:warning={line}");
        }
    }
}

/// What can compile for BPF on this machine.
enum Toolchain {
    /// A rustup toolchain with `core`'s source.
    Nightly(String),
    /// The distribution's rustc, with `core` prebuilt.
    Distribution,
}

impl Toolchain {
    fn find() -> Outcome<Self> {
        let linker = Command::new("bpf-linker").arg("--version").output();
        if !linker.is_ok_and(|out| out.status.success()) {
            return Err(
                "bpf-linker, which links the kernel object, is not installed: run `cargo xtask setup`".into(),
            );
        }
        let wanted = env::var("SPANDREL_EBPF_TOOLCHAIN").unwrap_or_default();
        let (nightly, distribution) = match wanted.as_str() {
            "" => (true, true),
            "nightly" => (true, false),
            "distribution" => (false, true),
            other => {
                return Err(format!(
                    "SPANDREL_EBPF_TOOLCHAIN is `{other}`; it may be `nightly` or `distribution`"
                )
                .into());
            }
        };
        let found = nightly.then(Self::nightly).flatten();
        found.or_else(|| distribution.then(Self::distribution).flatten()).ok_or_else(|| {
            let pinned = PINNED_NIGHTLY.trim();
            let what = match (nightly, distribution) {
                (true, true) => {
                    "neither a nightly with the component rust-src, nor a distribution's rustc with a prebuilt core \
                     for bpfel-unknown-none"
                        .to_owned()
                }
                (true, false) => format!(
                    "SPANDREL_EBPF_TOOLCHAIN insists on a nightly, and neither {pinned} nor `nightly` is here with \
                     the component rust-src"
                ),
                _ => format!(
                    "SPANDREL_EBPF_TOOLCHAIN insists on the distribution's, and {DISTRIBUTION_RUSTC} with a prebuilt \
                     core for bpfel-unknown-none is not here"
                ),
            };
            format!("no Rust compiler for BPF was found: {what}. Run `cargo xtask setup`, which installs one").into()
        })
    }

    /// The pinned nightly, else whatever `nightly` is, if it has `core`'s source.
    fn nightly() -> Option<Self> {
        [PINNED_NIGHTLY.trim(), "nightly"].into_iter().find_map(|name| {
            let mut rustup = Command::new("rustup");
            rustup.args(["run", name, "rustc", "--print", "sysroot"]);
            let out = clean(&mut rustup).output().ok().filter(|out| out.status.success())?;
            let sysroot = PathBuf::from(String::from_utf8(out.stdout).ok()?.trim());
            sysroot.join("lib/rustlib/src/rust/library/core").is_dir().then(|| Self::Nightly(name.to_owned()))
        })
    }

    fn distribution() -> Option<Self> {
        let mut rustc = Command::new(DISTRIBUTION_RUSTC);
        rustc.args(["--print", "target-libdir", "--target", TARGET]);
        let out = clean(&mut rustc).output().ok().filter(|out| out.status.success())?;
        let libraries = PathBuf::from(String::from_utf8(out.stdout).ok()?.trim());
        let mut files = libraries.read_dir().ok()?.flatten();
        files
            .any(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
            .then_some(Self::Distribution)
    }

    /// Cargo, about to use this compiler.
    fn cargo(&self) -> Command {
        match self {
            Self::Nightly(name) => {
                let mut command = Command::new("rustup");
                clean(&mut command).args(["run", name, "cargo", "-Zbuild-std=core"]);
                command
            }
            Self::Distribution => {
                let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
                let mut command = Command::new(cargo);
                clean(&mut command).env("RUSTC", DISTRIBUTION_RUSTC).env("RUSTC_BOOTSTRAP", "1");
                command
            }
        }
    }
}

impl std::fmt::Display for Toolchain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nightly(name) => write!(f, "the toolchain {name}"),
            Self::Distribution => write!(f, "the distribution's {DISTRIBUTION_RUSTC}"),
        }
    }
}

/// Takes away what the outer build set for its own compiler and flags; what says where cargo keeps things and
/// how it reaches its registry stays.
fn clean(command: &mut Command) -> &mut Command {
    const KEPT: [&str; 5] =
        ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTRIES_", "CARGO_REGISTRY_"];
    for (name, _) in env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        let ours = text.starts_with("RUST") && text != "RUSTUP_HOME" && text != "RUST_BACKTRACE"
            || text.starts_with("CARGO") && !KEPT.iter().any(|kept| text.starts_with(kept))
            || ["TARGET", "HOST", "OUT_DIR", "OPT_LEVEL", "DEBUG", "PROFILE", "LD_LIBRARY_PATH"]
                .contains(&text);
        if ours {
            command.env_remove(&name);
        }
    }
    command
}
