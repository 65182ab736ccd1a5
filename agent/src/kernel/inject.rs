//! Injection of trace context into requests: its two programs are attached, tried on a connection of our own, and
//! switched on only if that connection behaved as one that is left alone.

mod again;
mod trial;

use std::{
    fs::{self, File},
    io,
};

use aya::{
    Btf, Ebpf,
    maps::{Array, MapError, SockHash},
    programs::{CgroupAttachMode, ProgramError, SkMsg, SockOps},
};

use spandrel_common::inject::{ALL, OFF};

pub(super) use self::again::Again;
use super::{hooks::Profile, verifier};

/// The programs, with what each is attached to and is for.
pub const PROGRAMS: [(&str, &str, &str); 3] = [
    ("inject_again", "iterator over sockets with state", "connections that are used again"),
    ("inject_socket", "sock_ops of the root control group", "client connections that are opened"),
    ("inject_message", "sk_msg of a socket map", "writing traceparent into plain HTTP/1 requests"),
];

/// Whether trace context is written into requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Injection {
    /// Not wished for.
    Off,
    On,
    /// Not done here, and why.
    Refused(String),
}

/// Why injection is not possible here. Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(
        "it needs the socket profile, and this kernel lacks its tracepoints: Linux 6.3 or newer has them"
    )]
    Profile,
    #[error(
        "no control group hierarchy of version 2 is mounted: mount one with `mount -t cgroup2 none /mnt`"
    )]
    NoCgroup,
    #[error("{0} cannot be opened: {1}")]
    Cgroup(String, #[source] io::Error),
    #[error("the kernel refused program {program}: {}", verifier::reason(source))]
    Program {
        program: &'static str,
        #[source]
        source: Box<ProgramError>,
    },
    #[error("a map is not as expected: {0}")]
    Map(#[from] MapError),
    #[error("a connection of our own did not behave as without it: {0}")]
    Trial(#[from] trial::Difference),
}

impl Refusal {
    fn program(program: &'static str) -> impl Fn(ProgramError) -> Self {
        move |error| {
            verifier::tell(program, &error);
            Self::Program { program, source: Box::new(error) }
        }
    }
}

/// How often a connection is tried: on a busy machine one of them may be left as it is, which is no difference. What this
/// kernel does otherwise, it does each time.
const TRIALS: usize = 3;

/// Attaches the programs, tries them, and switches injection on.
pub(super) fn start(ebpf: &mut Ebpf, profile: Profile, btf: &Btf, into: u32) -> Result<Again, Refusal> {
    if profile != Profile::Socket {
        return Err(Refusal::Profile);
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let path = hierarchy(&mounts).ok_or(Refusal::NoCgroup)?;
    let cgroup = File::open(&path).map_err(|error| Refusal::Cgroup(path.clone(), error))?;
    attach_messages(ebpf)?;
    attach_sockets(ebpf, &cgroup).map_err(Refusal::program("inject_socket"))?;
    let again = Again::attach(ebpf, btf).map_err(Refusal::program("inject_again"))?;
    say(ebpf, ALL, std::process::id())?;
    let mut tried = trial::run();
    for _ in 1..TRIALS {
        if tried.is_err() {
            tried = trial::run();
        }
    }
    say(ebpf, if tried.is_ok() { into } else { OFF }, 0)?;
    tried?;
    Ok(again)
}

fn attach_messages(ebpf: &mut Ebpf) -> Result<(), Refusal> {
    const NAME: &str = "inject_message";
    let map = ebpf.map("ARMED").ok_or(MapError::InvalidName { name: "ARMED".into() })?;
    let map: SockHash<_, u64> = SockHash::try_from(map)?;
    let fd = map.fd().try_clone().map_err(|error| Refusal::program(NAME)(ProgramError::IOError(error)))?;
    let attach = |program: Option<&mut aya::programs::Program>| {
        let program: &mut SkMsg = program.ok_or_else(missing)?.try_into()?;
        program.load()?;
        program.attach(&fd)?;
        Ok(())
    };
    attach(ebpf.program_mut(NAME)).map_err(Refusal::program(NAME))
}

fn attach_sockets(ebpf: &mut Ebpf, cgroup: &File) -> Result<(), ProgramError> {
    let program: &mut SockOps = ebpf.program_mut("inject_socket").ok_or_else(missing)?.try_into()?;
    program.load()?;
    // By a link, which many programs can have on one group, and which ends with the process.
    program.attach(cgroup, CgroupAttachMode::Single)?;
    Ok(())
}

fn missing() -> ProgramError {
    ProgramError::IOError(io::Error::other("not in the kernel object"))
}

/// Tells the kernel side into which requests to inject, and whose connections are tried.
fn say(ebpf: &mut Ebpf, into: u32, tester: u32) -> Result<(), MapError> {
    let map = ebpf.map_mut("INJECTION").ok_or(MapError::InvalidName { name: "INJECTION".into() })?;
    let mut map: Array<_, [u32; 2]> = Array::try_from(map)?;
    map.set(0, [into, tester], 0)
}

/// Where the whole hierarchy of version 2 is mounted; on some systems that is not `/sys/fs/cgroup`.
/// `mounts` is `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
fn hierarchy(mounts: &str) -> Option<String> {
    let mut found = None;
    for line in mounts.lines() {
        let Some((own, filesystem)) = line.split_once(" - ") else { continue };
        if !filesystem.starts_with("cgroup2 ") {
            continue;
        }
        let mut fields = own.split(' ').skip(3);
        let (Some(root), Some(point)) = (fields.next(), fields.next()) else { continue };
        // Special characters are written as octal numbers; a path with such is not looked for.
        if point.contains('\\') {
            continue;
        }
        if root == "/" {
            return Some(point.to_owned());
        }
        found.get_or_insert_with(|| point.to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_is_found_where_it_is_mounted() {
        let hybrid = "24 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      33 24 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
                      34 24 0:30 /a /mnt/part rw,relatime shared:3 - cgroup2 cgroup2 rw\n\
                      35 24 0:30 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(hierarchy(hybrid).as_deref(), Some("/sys/fs/cgroup/unified"));
        let part: String = hybrid.lines().take(3).flat_map(|line| [line, "\n"]).collect();
        assert_eq!(hierarchy(&part).as_deref(), Some("/mnt/part"));
        assert_eq!(hierarchy("x\n1 - cgroup2\n1 2 3 - cgroup2 a\n"), None);
    }
}
