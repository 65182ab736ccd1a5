//! System calls, made by number so that no C library puts another one in their place. The only file here
//! with `unsafe`.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
    ptr,
};

use libc::{c_int, c_long};

/// A finished call's number of bytes, or its error.
fn done(result: c_long) -> io::Result<usize> {
    usize::try_from(result).map_err(|_negative| io::Error::last_os_error())
}

/// A descriptor that a call returned.
fn owned(result: io::Result<usize>) -> io::Result<OwnedFd> {
    // SAFETY: the kernel just made the descriptor for this call, and nobody else knows it.
    result.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

pub(crate) fn read(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the buffer is ours and as long as told.
    done(unsafe { libc::syscall(libc::SYS_read, fd.as_raw_fd(), buf.as_mut_ptr(), buf.len()) })
}

pub(crate) fn write(fd: BorrowedFd<'_>, buf: &[u8]) -> io::Result<usize> {
    // SAFETY: as above.
    done(unsafe { libc::syscall(libc::SYS_write, fd.as_raw_fd(), buf.as_ptr(), buf.len()) })
}

/// `IoSlice` has the layout of `struct iovec` (std::io documents it).
pub(crate) fn readv(fd: BorrowedFd<'_>, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    // SAFETY: as above.
    done(unsafe { libc::syscall(libc::SYS_readv, fd.as_raw_fd(), bufs.as_mut_ptr(), bufs.len()) })
}

pub(crate) fn writev(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: as above.
    done(unsafe { libc::syscall(libc::SYS_writev, fd.as_raw_fd(), bufs.as_ptr(), bufs.len()) })
}

/// At the offset -1, which means "where the file is" and is the only one that a socket takes.
pub(crate) fn preadv2(fd: BorrowedFd<'_>, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    // SAFETY: as above; the two offset words and the flags are numbers.
    done(unsafe {
        libc::syscall(libc::SYS_preadv2, fd.as_raw_fd(), bufs.as_mut_ptr(), bufs.len(), -1_i64, -1_i64, 0)
    })
}

pub(crate) fn pwritev2(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: as above.
    done(unsafe {
        libc::syscall(libc::SYS_pwritev2, fd.as_raw_fd(), bufs.as_ptr(), bufs.len(), -1_i64, -1_i64, 0)
    })
}

pub(crate) fn recvfrom(fd: BorrowedFd<'_>, buf: &mut [u8], flags: c_int) -> io::Result<usize> {
    let none: *const u8 = ptr::null();
    // SAFETY: as above; no address is asked for.
    done(unsafe {
        libc::syscall(libc::SYS_recvfrom, fd.as_raw_fd(), buf.as_mut_ptr(), buf.len(), flags, none, none)
    })
}

pub(crate) fn sendto(fd: BorrowedFd<'_>, buf: &[u8], flags: c_int) -> io::Result<usize> {
    let none: *const u8 = ptr::null();
    // SAFETY: as above; no address is given.
    done(unsafe {
        libc::syscall(libc::SYS_sendto, fd.as_raw_fd(), buf.as_ptr(), buf.len(), flags, none, 0_usize)
    })
}

fn header(iov: *mut libc::iovec, len: usize) -> libc::msghdr {
    // SAFETY: a structure of numbers and pointers, for which zeros are a value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = iov;
    header.msg_iovlen = len as _;
    header
}

pub(crate) fn recvmsg(fd: BorrowedFd<'_>, bufs: &mut [IoSliceMut<'_>], flags: c_int) -> io::Result<usize> {
    let mut header = header(bufs.as_mut_ptr().cast(), bufs.len());
    // SAFETY: the header names the caller's buffers, which outlive the call.
    done(unsafe { libc::syscall(libc::SYS_recvmsg, fd.as_raw_fd(), &raw mut header, flags) })
}

pub(crate) fn sendmsg(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>], flags: c_int) -> io::Result<usize> {
    let header = header(bufs.as_ptr().cast_mut().cast(), bufs.len());
    // SAFETY: as above; the kernel only reads.
    done(unsafe { libc::syscall(libc::SYS_sendmsg, fd.as_raw_fd(), &raw const header, flags) })
}

fn batch(headers: impl Iterator<Item = libc::msghdr>) -> Vec<libc::mmsghdr> {
    headers.map(|msg_hdr| libc::mmsghdr { msg_hdr, msg_len: 0 }).collect()
}

fn lengths(batch: &[libc::mmsghdr], count: usize) -> Vec<usize> {
    batch.iter().take(count).map(|message| message.msg_len as usize).collect()
}

/// How many bytes each message that moved took.
pub(crate) fn recvmmsg(
    fd: BorrowedFd<'_>,
    messages: &mut [Vec<IoSliceMut<'_>>],
    flags: c_int,
    timeout: Option<libc::timespec>,
) -> io::Result<Vec<usize>> {
    let mut batch = batch(messages.iter_mut().map(|bufs| header(bufs.as_mut_ptr().cast(), bufs.len())));
    let mut timeout = timeout;
    let timeout = timeout.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
    // SAFETY: the headers name the caller's buffers, which outlive the call.
    let count = done(unsafe {
        libc::syscall(libc::SYS_recvmmsg, fd.as_raw_fd(), batch.as_mut_ptr(), batch.len(), flags, timeout)
    })?;
    Ok(lengths(&batch, count))
}

/// How many bytes each message that moved took.
pub(crate) fn sendmmsg(
    fd: BorrowedFd<'_>,
    messages: &[Vec<IoSlice<'_>>],
    flags: c_int,
) -> io::Result<Vec<usize>> {
    let headers = messages.iter().map(|bufs| header(bufs.as_ptr().cast_mut().cast(), bufs.len()));
    let mut batch = batch(headers);
    // SAFETY: as above.
    let count = done(unsafe {
        libc::syscall(libc::SYS_sendmmsg, fd.as_raw_fd(), batch.as_mut_ptr(), batch.len(), flags)
    })?;
    Ok(lengths(&batch, count))
}

pub(crate) fn sendfile(to: BorrowedFd<'_>, from: BorrowedFd<'_>, len: usize) -> io::Result<usize> {
    let none: *const u8 = ptr::null();
    // SAFETY: no memory is named; the offset is the file's own.
    done(unsafe { libc::syscall(libc::SYS_sendfile, to.as_raw_fd(), from.as_raw_fd(), none, len) })
}

pub(crate) fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, len: usize, flags: u32) -> io::Result<usize> {
    let none: *const u8 = ptr::null();
    // SAFETY: no memory is named.
    done(unsafe { libc::syscall(libc::SYS_splice, from.as_raw_fd(), none, to.as_raw_fd(), none, len, flags) })
}

/// The two ends of a pipe: read, write.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0 as RawFd; 2];
    // SAFETY: the array has room for both, and nobody else knows them.
    unsafe {
        done(libc::syscall(libc::SYS_pipe2, ends.as_mut_ptr(), libc::O_CLOEXEC))?;
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}

/// A file in memory that holds `bytes` and stands at their start.
pub(crate) fn memory_file(bytes: &[u8]) -> io::Result<OwnedFd> {
    // SAFETY: a NUL-ended name.
    let file = owned(done(unsafe { libc::syscall(libc::SYS_memfd_create, c"ktest".as_ptr(), 0) }))?;
    let mut file = std::fs::File::from(file);
    io::Write::write_all(&mut file, bytes)?;
    io::Seek::rewind(&mut file)?;
    Ok(file.into())
}

/// A file in memory, seen through pages that are not there until they are touched.
pub(crate) struct Map {
    at: *mut libc::c_void,
    len: usize,
}

impl Map {
    pub(crate) fn of(file: &OwnedFd, len: usize) -> io::Result<Self> {
        // SAFETY: a new mapping, which keeps the file.
        let at = unsafe {
            libc::mmap(ptr::null_mut(), len, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Self { at, len }) }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: our own mapping of that length, of a file that nobody else knows.
        unsafe { std::slice::from_raw_parts(self.at.cast(), self.len) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: mapped in `of`, and nothing refers to it any more.
        unsafe { libc::munmap(self.at, self.len) };
    }
}

pub(crate) fn set_option(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let size = size_of::<c_int>();
    // SAFETY: the value is an int, as long as told.
    done(unsafe { libc::syscall(libc::SYS_setsockopt, fd.as_raw_fd(), level, name, &raw const value, size) })
        .map(drop)
}

/// Makes closing the socket break the connection (RST) instead of ending it.
pub(crate) fn break_on_close(fd: BorrowedFd<'_>) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let (level, name, size) = (libc::SOL_SOCKET, libc::SO_LINGER, size_of::<libc::linger>());
    // SAFETY: the value is a `struct linger`, as long as told.
    done(unsafe { libc::syscall(libc::SYS_setsockopt, fd.as_raw_fd(), level, name, &raw const linger, size) })
        .map(drop)
}

/// A stream socket of a family.
pub(crate) fn socket(family: c_int, flags: c_int) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | flags;
    // SAFETY: numbers only.
    owned(done(unsafe { libc::syscall(libc::SYS_socket, family, kind, 0) }))
}

pub(crate) fn accept4(fd: BorrowedFd<'_>, flags: c_int) -> io::Result<OwnedFd> {
    let none: *const u8 = ptr::null();
    // SAFETY: no address is asked for.
    owned(done(unsafe { libc::syscall(libc::SYS_accept4, fd.as_raw_fd(), none, none, flags) }))
}

pub(crate) fn listen(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: numbers only.
    done(unsafe { libc::syscall(libc::SYS_listen, fd.as_raw_fd(), 128) }).map(drop)
}

/// An address as the kernel takes it.
pub(crate) struct Name {
    storage: libc::sockaddr_storage,
    len: usize,
}

impl Name {
    pub(crate) fn of(addr: std::net::SocketAddr) -> Self {
        // SAFETY: structures of numbers, for which zeros are a value; each fits into the storage.
        unsafe {
            let mut storage: libc::sockaddr_storage = std::mem::zeroed();
            let len = match addr {
                std::net::SocketAddr::V4(addr) => {
                    let mut name: libc::sockaddr_in = std::mem::zeroed();
                    name.sin_family = libc::AF_INET as _;
                    name.sin_port = addr.port().to_be();
                    name.sin_addr.s_addr = u32::from_ne_bytes(addr.ip().octets());
                    ptr::from_mut(&mut storage).cast::<libc::sockaddr_in>().write(name);
                    size_of::<libc::sockaddr_in>()
                }
                std::net::SocketAddr::V6(addr) => {
                    let mut name: libc::sockaddr_in6 = std::mem::zeroed();
                    name.sin6_family = libc::AF_INET6 as _;
                    name.sin6_port = addr.port().to_be();
                    name.sin6_addr.s6_addr = addr.ip().octets();
                    ptr::from_mut(&mut storage).cast::<libc::sockaddr_in6>().write(name);
                    size_of::<libc::sockaddr_in6>()
                }
            };
            Self { storage, len }
        }
    }

    /// Nothing: takes a connected socket back to where it was (connect(2), `AF_UNSPEC`).
    pub(crate) fn unspecified() -> Self {
        // SAFETY: as above; the family is zero, which is `AF_UNSPEC`.
        Self { storage: unsafe { std::mem::zeroed() }, len: size_of::<libc::sockaddr_in>() }
    }
}

pub(crate) fn bind(fd: BorrowedFd<'_>, name: &Name) -> io::Result<()> {
    // SAFETY: the name is as long as told.
    done(unsafe { libc::syscall(libc::SYS_bind, fd.as_raw_fd(), &raw const name.storage, name.len) })
        .map(drop)
}

pub(crate) fn connect(fd: BorrowedFd<'_>, name: &Name) -> io::Result<()> {
    // SAFETY: as above.
    done(unsafe { libc::syscall(libc::SYS_connect, fd.as_raw_fd(), &raw const name.storage, name.len) })
        .map(drop)
}

pub(crate) fn shutdown_write(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: numbers only.
    done(unsafe { libc::syscall(libc::SYS_shutdown, fd.as_raw_fd(), libc::SHUT_WR) }).map(drop)
}

pub(crate) fn dup(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: numbers only.
    owned(done(unsafe { libc::syscall(libc::SYS_dup, fd.as_raw_fd()) }))
}

/// Makes the descriptor `onto` another name of `fd`'s socket; what it named before is closed.
pub(crate) fn dup_onto(fd: BorrowedFd<'_>, onto: &OwnedFd) -> io::Result<()> {
    // SAFETY: numbers only; `onto` stays owned by who owns it.
    done(unsafe { libc::syscall(libc::SYS_dup3, fd.as_raw_fd(), onto.as_raw_fd(), libc::O_CLOEXEC) })
        .map(drop)
}

/// Lets a program that this one becomes or starts keep the descriptor.
pub(crate) fn keep_on_exec(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: numbers only.
    done(unsafe { libc::syscall(libc::SYS_fcntl, fd.as_raw_fd(), libc::F_SETFD, 0) }).map(drop)
}

pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: numbers only.
    done(unsafe { libc::syscall(libc::SYS_fcntl, fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) }).map(drop)
}

/// Waits until the socket can be read or written.
pub(crate) fn poll(fd: BorrowedFd<'_>, events: libc::c_short) -> io::Result<libc::c_short> {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    // SAFETY: one entry, ours.
    if unsafe { libc::poll(&raw mut entry, 1, -1) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(entry.revents)
}

/// Takes a descriptor that this process was started with.
pub(crate) fn inherited(fd: RawFd) -> OwnedFd {
    // SAFETY: the starter gave the number for this purpose only.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Runs `child` in a forked process, which ends with it, and waits for that. The caller must have one thread.
pub(crate) fn in_child(child: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    wait(fork(child)?)
}

/// Starts `child` in a forked process and returns its id. The caller must have one thread.
pub(crate) fn fork(child: impl FnOnce() -> io::Result<()>) -> io::Result<u32> {
    // SAFETY: the caller has one thread, so the child finds every lock free; it ends in this block.
    unsafe {
        let pid = libc::fork();
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        if pid == 0 {
            libc::_exit(i32::from(child().is_err()));
        }
        Ok(pid as u32)
    }
}

/// Waits for a child, and complains if it did not end well.
pub(crate) fn wait(pid: u32) -> io::Result<()> {
    let mut status = 0;
    // SAFETY: the status is ours.
    while unsafe { libc::waitpid(pid as i32, &raw mut status, 0) } < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    if status == 0 { Ok(()) } else { Err(io::Error::other(format!("a child ended with {status}"))) }
}

/// Kills a child and takes its end in.
pub(crate) fn kill_child(pid: u32) -> io::Result<()> {
    // SAFETY: numbers only; the child was not waited for, so its id is still its own.
    if unsafe { libc::kill(pid as i32, libc::SIGKILL) } < 0 {
        return Err(io::Error::last_os_error());
    }
    wait(pid).or(Ok(()))
}

/// Sends a signal to the parent: the agent, if this is its command.
pub(crate) fn signal_parent(signal: c_int) -> io::Result<()> {
    // SAFETY: numbers only.
    if unsafe { libc::kill(libc::getppid(), signal) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Sends a descriptor over a Unix socket, with one byte.
pub(crate) fn send_descriptor(over: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> io::Result<()> {
    let byte = [IoSlice::new(b"d")];
    let mut header = header(byte.as_ptr().cast_mut().cast(), 1);
    let mut control = [0_u64; 4];
    header.msg_control = control.as_mut_ptr().cast();
    // SAFETY: the control buffer is aligned and has room for one descriptor (24 bytes).
    unsafe {
        header.msg_controllen = libc::CMSG_SPACE(4) as _;
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        (*first).cmsg_level = libc::SOL_SOCKET;
        (*first).cmsg_type = libc::SCM_RIGHTS;
        (*first).cmsg_len = libc::CMSG_LEN(4) as _;
        libc::CMSG_DATA(first).cast::<RawFd>().write_unaligned(fd.as_raw_fd());
        done(libc::syscall(libc::SYS_sendmsg, over.as_raw_fd(), &raw const header, 0)).map(drop)
    }
}

/// Receives a descriptor that was sent so.
pub(crate) fn receive_descriptor(over: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut byte = [0_u8];
    let mut bufs = [IoSliceMut::new(&mut byte)];
    let mut header = header(bufs.as_mut_ptr().cast(), 1);
    let mut control = [0_u64; 4];
    header.msg_control = control.as_mut_ptr().cast();
    // SAFETY: as above; a descriptor that came is this process's own.
    unsafe {
        header.msg_controllen = libc::CMSG_SPACE(4) as _;
        done(libc::syscall(libc::SYS_recvmsg, over.as_raw_fd(), &raw mut header, 0))?;
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        if first.is_null() {
            return Err(io::Error::other("no descriptor came"));
        }
        Ok(OwnedFd::from_raw_fd(libc::CMSG_DATA(first).cast::<RawFd>().read_unaligned()))
    }
}

/// Interrupts this thread's calls by a signal every `micros` microseconds, or ends that (0).
pub(crate) fn storm(micros: i64) -> io::Result<()> {
    extern "C" fn ignore(_: c_int) {}
    let every = libc::timeval { tv_sec: 0, tv_usec: micros };
    let timer = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: the handler does nothing; without SA_RESTART calls end with EINTR.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = ignore as *const () as usize;
        if libc::sigaction(libc::SIGALRM, &raw const action, ptr::null_mut()) < 0
            || libc::setitimer(libc::ITIMER_REAL, &raw const timer, ptr::null_mut()) < 0
        {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Moves this thread to a network namespace of its own and sets its loopback interface up.
pub(crate) fn new_network() -> io::Result<()> {
    // SAFETY: numbers only; the request structure is ours and as long as the call expects.
    unsafe {
        done(libc::syscall(libc::SYS_unshare, libc::CLONE_NEWNET))?;
        let any = owned(done(libc::syscall(libc::SYS_socket, libc::AF_INET, libc::SOCK_DGRAM, 0)))?;
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
            *to = *from as _;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as _;
        let flags = c_long::from(0x8914_i32); // SIOCSIFFLAGS (linux/sockios.h)
        done(libc::syscall(libc::SYS_ioctl, any.as_raw_fd(), flags, &raw const request)).map(drop)
    }
}

/// Lets the calling thread run before all ordinary ones (`SCHED_FIFO`, lowest priority).
pub(crate) fn take_precedence() -> io::Result<()> {
    // The kernel's `struct sched_param`. (The one of musl is another, and its function refuses.)
    let priority: c_int = 1;
    // SAFETY: the kernel reads the number, which is ours.
    done(unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_FIFO, &raw const priority) })?;
    Ok(())
}
