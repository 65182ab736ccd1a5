//! From a descriptor to its socket, through the running task's descriptor table (system call profile).

use super::{sock::Sock, task::Running};
use crate::{globals, read};

const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;

/// The socket behind descriptor `fd` of the running `task`, and its inode number.
///
/// The table is read without its lock: a descriptor that another thread closes in this instant may give
/// the socket that takes its place, as it may to the system call itself.
#[inline(always)]
pub fn socket(task: Running, fd: u32) -> Option<(Sock, u64)> {
    let table: u64 = read::kernel(task.files(), globals::files_fdt())?;
    let max: u32 = read::kernel(table, globals::fdt_max())?;
    if fd >= max {
        return None;
    }
    let array: u64 = read::kernel(table, globals::fdt_fd())?;
    let file: u64 = read::kernel(array + 8 * u64::from(fd), 0)?;
    if file == 0 {
        return None;
    }
    let inode: u64 = read::kernel(file, globals::file_inode())?;
    let mode: u16 = read::kernel(inode, globals::inode_mode())?;
    if mode & S_IFMT != S_IFSOCK {
        return None;
    }
    let socket: u64 = read::kernel(file, globals::file_private())?;
    let sk: u64 = read::kernel(socket, globals::socket_sk())?;
    let ino: u64 = read::kernel(inode, globals::inode_ino())?;
    (sk != 0).then_some((Sock(sk), ino))
}
