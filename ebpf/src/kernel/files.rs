//! From a descriptor to its socket, through the running task's descriptor table.

use super::{sock::Sock, task::Running};
use crate::{globals, read};

const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;

/// The running task's descriptor table: where the array is, and how long.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Table {
    array: u64,
    pub len: u64,
}

impl Table {
    /// `None` also if this kernel's table is not to be read.
    #[inline(always)]
    pub fn current() -> Option<Self> {
        let known = globals::has(globals::task_files())
            && globals::has(globals::files_fdt())
            && globals::has(globals::fdt_max())
            && globals::has(globals::fdt_fd())
            && globals::has(globals::file_inode())
            && globals::has(globals::inode_mode())
            && globals::has(globals::inode_ino());
        if !known {
            return None;
        }
        let table: u64 = read::kernel(Running::task().files(), globals::files_fdt())?;
        let len: u32 = read::kernel(table, globals::fdt_max())?;
        Some(Self { array: read::kernel(table, globals::fdt_fd())?, len: u64::from(len) })
    }

    /// The inode of the socket behind a descriptor; `None` if it is none.
    #[inline(always)]
    pub fn socket_inode(&self, fd: u64) -> Option<u64> {
        let file: u64 = read::kernel(self.array + 8 * fd, 0)?;
        if file == 0 {
            return None;
        }
        let inode: u64 = read::kernel(file, globals::file_inode())?;
        let mode: u16 = read::kernel(inode, globals::inode_mode())?;
        if mode & S_IFMT != S_IFSOCK { None } else { read::kernel(inode, globals::inode_ino()) }
    }
}

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
