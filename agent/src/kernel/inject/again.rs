//! Runs the iterator that arms idle connections again. The loader library attaches iterators without naming the map
//! that they walk, so two system calls are made here.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    time::{Duration, Instant},
};

use aya::{
    Btf, Ebpf,
    maps::{Array, Map, MapData, MapError},
    programs::{Iter, ProgramError},
};

// include/uapi/linux/bpf.h
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_ITER_CREATE: libc::c_long = 33;
const BPF_TRACE_ITER: u32 = 28;

/// How many times as long as a walk took there is none: many connections are not to cost more than two per cent of
/// a CPU.
const REST: u32 = 50;

/// The arguments of `BPF_LINK_CREATE` for an iterator.
#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    kind: u32,
    flags: u32,
    info: u64,
    info_len: u32,
    reserved: u32,
}

/// `union bpf_iter_link_info`, for a map.
#[repr(C)]
struct LinkInfo {
    map: u32,
    reserved: [u32; 3],
}

/// The attached iterator.
#[derive(Debug)]
pub(in crate::kernel) struct Again {
    link: OwnedFd,
    not_before: Instant,
}

impl Again {
    /// Loads the iterator and attaches it to the states of sockets.
    pub(super) fn attach(ebpf: &mut Ebpf, btf: &Btf) -> Result<Self, ProgramError> {
        let Some(Map::SkStorage(states)) = ebpf.map("SOCKETS") else { return Err(super::missing()) };
        let map = states.fd().as_fd().as_raw_fd();
        let program: &mut Iter = ebpf.program_mut("inject_again").ok_or_else(super::missing)?.try_into()?;
        program.load("bpf_sk_storage_map", btf)?;
        let program = program.fd()?.as_fd().as_raw_fd();
        let link = link(program, map).map_err(ProgramError::IOError)?;
        Ok(Self { link, not_before: Instant::now() })
    }

    /// Walks, if a connection waits for it.
    pub(in crate::kernel) fn run(&mut self, wanted: &mut Array<&mut MapData, u32>) -> Result<(), MapError> {
        if Instant::now() < self.not_before || wanted.get(&0, 0)? == 0 {
            return Ok(());
        }
        wanted.set(0, 0, 0)?;
        let begun = Instant::now();
        if let Err(error) = self.walk() {
            log::debug!("idle connections cannot be walked: {error}");
        }
        let end = Instant::now();
        self.not_before = end + REST * (end - begun).min(Duration::from_secs(1));
        Ok(())
    }

    fn walk(&self) -> io::Result<()> {
        let arguments = [self.link.as_raw_fd() as u32, 0];
        // SAFETY: the pointer and the length describe the arguments, which outlive the call.
        let mut file =
            File::from(unsafe { made(BPF_ITER_CREATE, arguments.as_ptr().cast(), size_of_val(&arguments)) }?);
        // The iterator writes nothing: the first read walks all sockets and returns 0.
        file.read(&mut [0; 64]).map(|_| ())
    }
}

fn link(program: RawFd, map: RawFd) -> io::Result<OwnedFd> {
    let info = LinkInfo { map: map as u32, reserved: [0; 3] };
    let arguments = LinkCreate {
        program: program as u32,
        target: 0,
        kind: BPF_TRACE_ITER,
        flags: 0,
        info: (&raw const info) as u64,
        info_len: size_of::<LinkInfo>() as u32,
        reserved: 0,
    };
    // SAFETY: the pointer and the length describe the arguments, which outlive the call with what they point to.
    unsafe { made(BPF_LINK_CREATE, (&raw const arguments).cast(), size_of_val(&arguments)) }
}

/// Calls `bpf(2)` with a command that makes a descriptor.
///
/// # Safety
/// `len` bytes at `arguments` are the arguments of the command.
unsafe fn made(command: libc::c_long, arguments: *const u8, len: usize) -> io::Result<OwnedFd> {
    // SAFETY: as the caller says.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, arguments, len) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}
