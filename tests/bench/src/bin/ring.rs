//! How many bytes the kernel side has written to a ring buffer, read from the ring itself.
//!
//! `ring ID` prints the producer's position of the map with this id: all bytes ever reserved, record headers
//! and padding included. The difference of two readings is what went through between them.
#![expect(clippy::print_stdout, reason = "its result goes to standard output")]

use std::{
    env, io,
    os::fd::{AsFd as _, AsRawFd as _},
    ptr,
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result};
use aya::maps::MapData;

fn main() -> Result<()> {
    let id = env::args().nth(1).context("usage: ring ID")?.parse().context("the id is no number")?;
    let map = MapData::from_id(id).with_context(|| format!("the map {id} cannot be opened"))?;
    println!("{}", produced(&map)?);
    Ok(())
}

/// The layout is the kernel's (`kernel/bpf/ringbuf.c`): a page for the consumer, a page for the producer with
/// its position first, then the data.
fn produced(map: &MapData) -> Result<u64> {
    let fd = map.fd().as_fd().as_raw_fd();
    // SAFETY: it reads a constant of the system.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).context("no page size")?;
    // SAFETY: a new mapping, of a page that the kernel lets everyone read who holds the descriptor.
    let at = unsafe {
        libc::mmap(ptr::null_mut(), page, libc::PROT_READ, libc::MAP_SHARED, fd, page as libc::off_t)
    };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error()).context("the ring cannot be mapped");
    }
    // SAFETY: the page is mapped, aligned, and written by the kernel only as a whole word.
    let position = unsafe { &*at.cast::<AtomicU64>() }.load(Ordering::Acquire);
    // SAFETY: the mapping made above; nothing refers to it any more.
    unsafe { libc::munmap(at, page) };
    Ok(position)
}
