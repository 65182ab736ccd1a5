//! The capabilities that the agent needs (capabilities(7)), found by taking each away; tests/e2e does that again.

use procfs::process::Process;

/// A capability and what is lost without it.
#[derive(Clone, Copy, Debug)]
pub struct Capability {
    pub name: &'static str,
    /// Its number.
    bit: u32,
    /// Another one that includes it.
    or: Option<u32>,
    /// Without it the agent does not start.
    pub required: bool,
    pub purpose: &'static str,
}

const SYS_ADMIN: u32 = 21;

/// Without it there are spans, and no trace context in requests.
const NET_ADMIN: Capability = Capability {
    name: "CAP_NET_ADMIN",
    bit: 12,
    or: Some(SYS_ADMIN),
    required: false,
    purpose: "writing trace context into requests (--propagation off does without)",
};

/// All of them.
pub const CAPABILITIES: &[Capability] = &[
    Capability {
        name: "CAP_BPF",
        bit: 39,
        or: Some(SYS_ADMIN),
        required: true,
        purpose: "loading the kernel side",
    },
    Capability {
        name: "CAP_PERFMON",
        bit: 38,
        or: Some(SYS_ADMIN),
        required: true,
        purpose: "attaching to tracepoints and reading what programs send",
    },
    Capability {
        name: "CAP_SYS_PTRACE",
        bit: 19,
        or: None,
        required: false,
        purpose: "finding running programs by port or executable, and their names",
    },
    Capability {
        name: "CAP_DAC_READ_SEARCH",
        bit: 2,
        or: None,
        required: false,
        purpose: "the same for programs of other users",
    },
    NET_ADMIN,
];

impl Capability {
    fn is_in(&self, effective: u64) -> bool {
        let has = |bit: u32| effective & (1 << bit) != 0;
        has(self.bit) || self.or.is_some_and(has)
    }
}

/// Each capability, and whether this process has it. All, if that cannot be told.
pub fn capabilities() -> impl Iterator<Item = (&'static Capability, bool)> {
    let status = Process::myself().and_then(|process| process.status());
    let effective = status.map_or(u64::MAX, |status| status.capeff);
    CAPABILITIES.iter().map(move |capability| (capability, capability.is_in(effective)))
}

/// Whether this process may make maps of sockets.
pub fn may_inject() -> bool {
    capabilities().any(|(capability, held)| held && capability.name == NET_ADMIN.name)
}

/// Names of those that the agent starts without, and sees less.
pub fn missing() -> Vec<&'static str> {
    let missing = capabilities()
        .filter(|(capability, held)| !held && !capability.required && capability.name != NET_ADMIN.name);
    missing.map(|(capability, _)| capability.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn administrators_may_load() {
        let held = |effective: u64| {
            let held = CAPABILITIES.iter().filter(move |capability| capability.is_in(effective));
            held.map(|capability| capability.name).collect::<Vec<_>>()
        };
        assert_eq!(held(1 << SYS_ADMIN), ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"]);
        assert_eq!(held(1 << 39 | 1 << 19), ["CAP_BPF", "CAP_SYS_PTRACE"]);
        assert_eq!(held(u64::MAX).len(), CAPABILITIES.len());
    }
}
