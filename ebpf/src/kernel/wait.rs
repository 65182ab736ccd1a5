//! How a program waits for a socket: by blocking in the call, or through an epoll set, and who waits for that.

use super::{
    sock::Sock,
    task::{Ids, Task},
};
use crate::{globals, read};

const O_NONBLOCK: u32 = 0o4000;

/// How a program waits for a socket.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// It blocks in the call.
    Blocks,
    /// It does not block, and the socket is in no epoll set.
    Alone,
    /// The socket is in an epoll set that another thread waits for.
    Others,
    /// The socket is in an epoll set that nobody waits for just now: perhaps the running thread does at other times.
    Nobody,
    /// This kernel does not show it, or the socket is gone.
    Unknown,
}

/// How the socket is waited for. The running thread does not wait, or it would not run.
#[inline(always)]
pub fn of(sock: Sock, ids: Ids) -> Waits {
    inquire(sock, ids).unwrap_or(Waits::Unknown)
}

/// Whether no call on the socket waits, by the flags of its file.
#[inline(always)]
pub fn never_blocks(sock: Sock) -> bool {
    flags(sock).is_some_and(|flags| flags & O_NONBLOCK != 0)
}

#[inline(always)]
fn flags(sock: Sock) -> Option<u32> {
    if !globals::has(globals::sk_socket())
        || !globals::has(globals::socket_file())
        || !globals::has(globals::file_flags())
    {
        return None;
    }
    let socket = pointer(sock.0, globals::sk_socket())?;
    let file = pointer(socket, globals::socket_file())?;
    read::kernel(file, globals::file_flags())
}

#[inline(always)]
fn inquire(sock: Sock, ids: Ids) -> Option<Waits> {
    if !globals::has(globals::sk_socket())
        || !globals::has(globals::socket_file())
        || !globals::has(globals::file_flags())
        || !globals::has(globals::file_ep())
    {
        return None;
    }
    let socket = pointer(sock.0, globals::sk_socket())?;
    let file = pointer(socket, globals::socket_file())?;
    let flags: u32 = read::kernel(file, globals::file_flags())?;
    let set = watched(file)?;
    if set == 0 {
        return Some(if flags & O_NONBLOCK == 0 { Waits::Blocks } else { Waits::Alone });
    }
    Some(waiter(set, ids).unwrap_or(Waits::Nobody))
}

/// The item by which an epoll set watches a file, or 0.
#[inline(always)]
fn watched(file: u64) -> Option<u64> {
    let list: u64 = read::kernel(file, globals::file_ep())?;
    if list == 0 {
        return Some(0);
    }
    read::kernel(list, 0)
}

/// Who waits for the set of an item.
#[inline(always)]
fn waiter(link: u64, ids: Ids) -> Option<Waits> {
    if !globals::has(globals::epitem_link())
        || !globals::has(globals::epitem_ep())
        || !globals::has(globals::eventpoll_wq())
        || !globals::has(globals::wait_head())
        || !globals::has(globals::wait_entry())
        || !globals::has(globals::wait_private())
    {
        return None;
    }
    let set = pointer(link - u64::from(globals::epitem_link()), globals::epitem_ep())?;
    let head = set + u64::from(globals::eventpoll_wq()) + u64::from(globals::wait_head());
    let next = pointer(head, 0)?;
    if next == head {
        return None;
    }
    let task = Task(pointer(next - u64::from(globals::wait_entry()), globals::wait_private())?);
    // Threads that a virtual machine has for its virtual threads wait for nobody in particular.
    let ours = task.tgid() == ids.tgid && task.tid() != ids.tid;
    (ours && !task.is_named(b"Read-Pol") && !task.is_named(b"VirtualT")).then_some(Waits::Others)
}

#[inline(always)]
fn pointer(base: u64, offset: u32) -> Option<u64> {
    read::kernel::<u64>(base, offset).filter(|pointer| *pointer != 0)
}
