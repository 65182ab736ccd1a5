//! Loads the kernel object for this kernel: offsets, sizes and scope are set, then programs are attached.

use std::fs;

use aya::{Btf as AyaBtf, EbpfLoader, maps::RingBuf, programs::BtfTracePoint};
use spandrel_common::{
    inject::OFF,
    layout::{Layout, Need},
    sample::Policy,
};

use super::{
    BTF_PATH, Kernel,
    btf::Btf,
    hooks::{HOOKS, Hook, Profile},
    inject::{self, Injection},
    layout, object,
    preempt::Functions,
    privilege,
    ring::Ring,
    uprobe::Probes,
    verifier,
};

/// Programs for functions of Go programs, in the order of [`Kernel::probe_go`].
pub(super) const GO_PROBES: [&str; 2] = ["go_round_trip", "go_serve_http"];

/// What the loader has to know.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A profile, or `None` for the best that this kernel has.
    pub profile: Option<Profile>,
    /// `SCOPE_*` of [`spandrel_common::event`].
    pub scope: u32,
    pub policy: Policy,
    /// Into which requests trace context is written, if that is possible here: see [`spandrel_common::inject::Injection`].
    pub inject: u32,
    /// Rules of causality that are on: see [`crate::config::Config::causality`].
    pub rules: u32,
}

/// Why the kernel side could not be loaded. Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(
        "cannot read {BTF_PATH}: {0}. The kernel needs type information (CONFIG_DEBUG_INFO_BTF): use a distribution kernel of 5.15 or newer"
    )]
    NoBtf(#[source] std::io::Error),
    #[error("{BTF_PATH} is not type information of this machine: please report this kernel")]
    BadBtf,
    #[error("this kernel ({0}) is too old: {OLDEST_NAME} or newer is needed. Upgrade the kernel")]
    TooOld(String),
    #[error("this kernel lacks {0}, which the {1} profile needs: `spandrel doctor` shows what it has")]
    NoHook(&'static str, &'static str),
    #[error("this kernel's structures lack {0}: please report this kernel")]
    NoMember(String),
    #[error("the kernel object was not built into this binary: build with `cargo xtask build`")]
    NoObject,
    #[error("the kernel refused the kernel side: {0}. {advice}", advice = advice(.0.as_ref()))]
    Load(#[source] Box<aya::EbpfError>),
    #[error("the kernel refused program {program}: {}. {}", verifier::reason(source), advice(source.as_ref()))]
    Program {
        program: &'static str,
        #[source]
        source: Box<aya::programs::ProgramError>,
    },
    #[error("a map of the kernel side is not as expected: {0}")]
    Map(#[from] aya::maps::MapError),
    #[error("cannot tell the number of CPUs: {0}")]
    Cpus(std::io::Error),
    #[error("cannot read the kernel's type information: {0}")]
    AyaBtf(#[from] aya::BtfError),
}

/// The oldest kernel that is worth trying: RHEL 9's, and by number just before Ubuntu 22.04's 5.15. Older ones lack
/// functions that take pointers, and socket storage in tracing programs.
pub(super) const OLDEST: (u32, u32) = (5, 14);
/// The same in words.
const OLDEST_NAME: &str = "Linux 5.15 (RHEL: 5.14)";

/// Major and minor version of a kernel release.
pub(super) fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// What to do about a refusal.
fn advice(error: &(dyn std::error::Error + 'static)) -> &'static str {
    if is_denied(error) {
        "Run as root, or with CAP_BPF and CAP_PERFMON"
    } else {
        "Please report this kernel, and what --log-level debug adds"
    }
}

/// Whether the kernel's answer was that this is not permitted.
fn is_denied(error: &(dyn std::error::Error + 'static)) -> bool {
    let denied = |error: &std::io::Error| error.raw_os_error() == Some(libc::EPERM);
    std::iter::successors(Some(error), |error| error.source())
        .any(|error| error.downcast_ref::<std::io::Error>().is_some_and(denied))
}

impl LoadError {
    /// All that the verifier said of the program that it refused: thousands of lines, the last of which tell most.
    pub fn verifier_log(&self) -> Option<String> {
        match self {
            Self::Program { source, .. } => verifier::log(source),
            _ => None,
        }
    }

    /// Whether more privilege would help.
    pub fn is_privilege(&self) -> bool {
        is_denied(self)
    }
}

/// Nanoseconds between two ticks of the kernel's clock: the coarse clock's resolution. 0 if that is no tick.
fn tick_ns() -> u64 {
    let resolution = rustix::time::clock_getres(rustix::time::ClockId::MonotonicCoarse);
    // From 1000 to 24 a second: all that kernels are built for, and more.
    u64::try_from(resolution.tv_nsec).ok().filter(|ns| (1_000_000..=42_000_000).contains(ns)).unwrap_or(0)
}

/// The best profile of a kernel, by the tracepoints it has.
pub(super) fn best_profile(btf: &Btf<'_>) -> Profile {
    let has = |name| btf.tracepoint(name).is_some();
    if has("sock_send_length") && has("sock_recv_length") { Profile::Socket } else { Profile::Syscall }
}

pub(super) fn load(options: &Options) -> Result<(Kernel, Ring), LoadError> {
    if !object::is_there() {
        return Err(LoadError::NoObject);
    }
    let release = super::features::release();
    if version(&release).is_some_and(|version| version < OLDEST) {
        return Err(LoadError::TooOld(release));
    }
    let raw = fs::read(BTF_PATH).map_err(LoadError::NoBtf)?;
    let btf = Btf::parse(&raw).ok_or(LoadError::BadBtf)?;
    let profile = options.profile.unwrap_or_else(|| best_profile(&btf));
    let hooks: Vec<&'static Hook> =
        HOOKS.iter().filter(|hook| hook.profile.is_none_or(|wanted| wanted == profile)).collect();
    for hook in &hooks {
        if hook.required && btf.tracepoint(hook.tracepoint).is_none() {
            return Err(LoadError::NoHook(hook.tracepoint, profile.label()));
        }
    }
    let (offsets, missing) = layout::find(&btf);
    for member in missing {
        match member.need {
            Need::Always => return Err(LoadError::NoMember(member.name)),
            Need::Syscalls if profile == Profile::Syscall => return Err(LoadError::NoMember(member.name)),
            _ => log::info!("this kernel has no {}: something is less exact", member.name),
        }
    }
    let functions = Functions::needed(&btf);
    drop(raw);
    let found = Found { profile, hooks, offsets };
    match start(options, &found, functions.as_ref()) {
        Err(error @ (LoadError::Program { .. } | LoadError::Load(_))) if functions.is_some() => {
            log::warn!(
                "hooks cannot keep other tasks from interrupting them, so more calls may be missed (counter \
                 hooks_skipped): {error}"
            );
            start(options, &found, None)
        }
        other => other,
    }
}

/// What was found out about this kernel.
struct Found {
    profile: Profile,
    hooks: Vec<&'static Hook>,
    offsets: Layout,
}

/// Loads and attaches. With `functions`, hooks keep other tasks from their CPU while they work.
fn start(
    options: &Options,
    found: &Found,
    functions: Option<&Functions>,
) -> Result<(Kernel, Ring), LoadError> {
    let &Found { profile, offsets, .. } = found;
    let words = offsets.words();
    let agent = std::process::id();
    // The slots are reached by CPU number, and numbers of absent CPUs are never given.
    let cpus = aya::util::nr_cpus().map_err(|(_, error)| LoadError::Cpus(error))? as u32;
    let tick = tick_ns();
    let preemptible = u32::from(functions.is_some());
    let aya_btf = AyaBtf::from_sys_fs()?;
    let mut loader = EbpfLoader::new();
    loader
        .btf(Some(&aya_btf))
        // `CALLS`: only the kernel side uses it.
        .allow_unsupported_maps()
        .override_global("LAYOUT", &words[..], true)
        .override_global("SCOPE", &options.scope, true)
        .override_global("AGENT_TGID", &agent, true)
        .map_max_entries("INJECT_SCRATCH", cpus)
        .override_global("RULES", &options.rules, true)
        .override_global("TICK_NS", &tick, true)
        .override_global("PREEMPTIBLE", &preemptible, true)
        .map_max_entries("LAST_ASKED", cpus)
        .map_max_entries("SCRATCH", cpus)
        .map_max_entries("EXEC_SCRATCH", cpus);
    if options.inject == OFF {
        loader.map_max_entries("ARMED", 1);
    }
    if profile == Profile::Socket {
        loader.map_max_entries("SOCKET_MAP", 1);
    }
    let sockets = options.inject != OFF && privilege::may_inject();
    let kernel_object = if sockets { Some(object::whole()) } else { object::without_socket_map() };
    // An object without that map is the whole one.
    let mut kernel_object = kernel_object.unwrap_or_else(object::whole);
    if let Some(functions) = functions {
        kernel_object = object::call(kernel_object, functions);
    }
    let mut ebpf = loader.load(&kernel_object).map_err(|error| LoadError::Load(Box::new(error)))?;
    let ring = RingBuf::try_from(
        ebpf.take_map("EVENTS").ok_or(aya::maps::MapError::InvalidName { name: "EVENTS".into() })?,
    )?;
    let mut kernel = Kernel {
        ebpf,
        profile,
        hooks: found.hooks.clone(),
        skipped: 0,
        go: GO_PROBES.map(Probes::new),
        injection: Injection::Off,
        again: None,
        log: None,
    };
    kernel.set_policy(options.policy)?;
    for hook in kernel.hooks.clone() {
        // The second behind the first: they run in this order.
        let second = hook.second.filter(|_| functions.is_some());
        for program in [hook.program].into_iter().chain(second) {
            attach(&mut kernel, program, hook.tracepoint, &aya_btf).map_err(|source| {
                verifier::tell(program, &source);
                LoadError::Program { program, source: Box::new(source) }
            })?;
        }
    }
    if options.inject == OFF {
        // Nothing is attached.
    } else if !sockets {
        kernel.injection =
            Injection::Refused("CAP_NET_ADMIN is missing: run as root, or grant it".to_owned());
    } else {
        kernel.injection = match inject::start(&mut kernel.ebpf, profile, &aya_btf, options.inject) {
            Ok(again) => {
                kernel.again = Some(again);
                Injection::On
            }
            Err(refusal) => Injection::Refused(refusal.to_string()),
        };
    }
    Ok((kernel, Ring::new(ring)))
}

fn attach(
    kernel: &mut Kernel,
    program: &str,
    tracepoint: &str,
    btf: &AyaBtf,
) -> Result<(), aya::programs::ProgramError> {
    let program: &mut BtfTracePoint = kernel
        .ebpf
        .program_mut(program)
        .ok_or_else(|| {
            aya::programs::ProgramError::IOError(std::io::Error::other("not in the kernel object"))
        })?
        .try_into()?;
    program.load(tracepoint, btf)?;
    program.attach()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        for (release, expected) in [
            ("6.18.44-fc-v669", Some((6, 18))),
            ("5.14.0-427.el9.x86_64", Some((5, 14))),
            ("7.2", Some((7, 2))),
            ("next", None),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
    }
}
