//! 32-bit system calls: from this program by their interrupt, and from a 32-bit program, which is so small
//! that it is put together here by hand.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr,
};

/// Numbers of the 32-bit table (arch/x86/entry/syscalls/syscall_32.tbl).
const EXIT: u32 = 1;
const READ: u32 = 3;
const WRITE: u32 = 4;

/// Memory with an address that 32 bits hold.
pub(crate) struct Low {
    at: *mut u8,
    len: usize,
}

impl Low {
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
        // SAFETY: a new mapping.
        let at = unsafe { libc::mmap(ptr::null_mut(), len, access, kind, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { at: at.cast(), len })
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: our own mapping of that length, zeroed by the kernel.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.len) }
    }

    /// `read(2)` by the 32-bit table.
    pub(crate) fn read(&mut self, fd: BorrowedFd<'_>, len: usize) -> io::Result<usize> {
        call(READ, fd, self.at as u32, len.min(self.len))
    }

    /// `write(2)` by the 32-bit table.
    pub(crate) fn write(&mut self, fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(self.len);
        self.bytes()[..len].copy_from_slice(&bytes[..len]);
        call(WRITE, fd, self.at as u32, len)
    }
}

impl Drop for Low {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, and nothing refers to it any more.
        unsafe { libc::munmap(self.at.cast(), self.len) };
    }
}

fn call(number: u32, fd: BorrowedFd<'_>, address: u32, len: usize) -> io::Result<usize> {
    let result: i32;
    // SAFETY: the interrupt takes its arguments from these registers and keeps all others but r8 to r11; rbx, which
    // the compiler keeps for itself, is put back.
    unsafe {
        std::arch::asm!(
            "xchg {fd}, rbx",
            "int 0x80",
            "xchg {fd}, rbx",
            fd = inout(reg) fd.as_raw_fd() as u64 => _,
            inlateout("eax") number => result,
            in("ecx") address,
            in("edx") len as u32,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    usize::try_from(result).map_err(|_negative| io::Error::from_raw_os_error(-result))
}

/// Where the program is loaded; any page that is free in an empty address space.
const BASE: u32 = 0x0804_8000;
/// Bytes of the ELF header and of one program header (elf(5), 32-bit).
const HEADERS: u32 = 52 + 32;
/// Bytes of code: three calls.
const CODE: u32 = 22 + 22 + 12;
/// Bytes for what is received, behind the file's.
const ROOM: u32 = 4096;

/// A 32-bit program that reads once from a descriptor, writes `answer` there, and ends.
pub(crate) fn program(fd: i32, answer: &[u8]) -> Vec<u8> {
    let size = HEADERS + CODE + answer.len() as u32;
    let mut out = Vec::new();
    let word = |out: &mut Vec<u8>, value: u32| out.extend(value.to_le_bytes());
    let half = |out: &mut Vec<u8>, value: u16| out.extend(value.to_le_bytes());
    // ELF, 32 bits, little-endian, version 1.
    out.extend(b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0");
    half(&mut out, 2); // an executable
    half(&mut out, 3); // for the 386
    word(&mut out, 1);
    word(&mut out, BASE + HEADERS); // its entry
    word(&mut out, 52); // program headers
    word(&mut out, 0);
    word(&mut out, 0);
    for value in [52, 32, 1, 0, 0, 0] {
        half(&mut out, value);
    }
    // One segment to load: offset, addresses, sizes, all rights, alignment.
    for value in [1, 0, BASE, BASE, size, size + ROOM, 7, 0x1000] {
        word(&mut out, value);
    }
    let mut call = |number: u32, address: u32, len: u32| {
        for (opcode, value) in [(0xb8, number), (0xbb, fd as u32), (0xb9, address), (0xba, len)] {
            out.push(opcode); // mov eax, ebx, ecx, edx
            word(&mut out, value);
        }
        out.extend([0xcd, 0x80]);
    };
    call(READ, BASE + size, ROOM);
    call(WRITE, BASE + HEADERS + CODE, answer.len() as u32);
    out.push(0xb8);
    word(&mut out, EXIT);
    out.push(0xbb);
    word(&mut out, 0);
    out.extend([0xcd, 0x80]);
    out.extend(answer);
    out
}
