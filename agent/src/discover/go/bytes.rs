//! Bytes of a file or of memory, by position. Nothing is mapped: a file that shrinks gives `None`, not a signal.

use std::{fs::File, os::unix::fs::FileExt as _};

/// Bytes that a [`Window`] reads at once. Tables are walked forwards, so most reads find theirs inside.
const WINDOW: usize = 256 * 1024;

/// Where bytes come from.
pub(super) trait Bytes {
    /// `len` bytes from position `at` on.
    fn get(&mut self, at: u64, len: usize) -> Option<&[u8]>;

    /// Little-endian 32-bit number.
    fn u32(&mut self, at: u64) -> Option<u32> {
        Some(u32::from_le_bytes(self.get(at, 4)?.try_into().ok()?))
    }

    /// Little-endian 64-bit number.
    fn u64(&mut self, at: u64) -> Option<u64> {
        Some(u64::from_le_bytes(self.get(at, 8)?.try_into().ok()?))
    }
}

impl Bytes for &[u8] {
    fn get(&mut self, at: u64, len: usize) -> Option<&[u8]> {
        let at = usize::try_from(at).ok()?;
        <[u8]>::get(self, at..at.checked_add(len)?)
    }
}

/// A part of a file.
#[derive(Debug)]
pub(super) struct Window<'a> {
    file: &'a File,
    start: u64,
    end: u64,
    /// Position of `held` in the part.
    at: u64,
    held: Vec<u8>,
}

impl<'a> Window<'a> {
    /// The `size` bytes of `file` from `start` on.
    pub(super) const fn new(file: &'a File, start: u64, size: u64) -> Self {
        Self { file, start, end: start.saturating_add(size), at: 0, held: Vec::new() }
    }

    /// Makes sure that `len` bytes from `at` on are held.
    fn fill(&mut self, at: u64, len: usize) -> Option<()> {
        let held = self.at.checked_add(self.held.len() as u64)?;
        let wanted = at.checked_add(len as u64)?;
        if at >= self.at && wanted <= held {
            return Some(());
        }
        let from = self.start.checked_add(at)?;
        let rest = self.end.checked_sub(from)?;
        if len as u64 > rest {
            return None;
        }
        let size = (len.max(WINDOW) as u64).min(rest) as usize;
        self.held.resize(size, 0);
        self.at = at;
        if self.file.read_exact_at(&mut self.held, from).is_err() {
            self.held.clear();
            return None;
        }
        Some(())
    }
}

impl Bytes for Window<'_> {
    fn get(&mut self, at: u64, len: usize) -> Option<&[u8]> {
        // What is longer than a window is no table entry.
        if len > WINDOW {
            return None;
        }
        self.fill(at, len)?;
        let inside = usize::try_from(at.checked_sub(self.at)?).ok()?;
        self.held.get(inside..inside.checked_add(len)?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_part_of_a_file_is_read_and_nothing_beside_it() {
        let path = std::env::temp_dir().join(format!("spandrel-window-{}", std::process::id()));
        let bytes: Vec<u8> = (0..WINDOW as u32 * 3).map(|at| (at % 251) as u8).collect();
        File::create(&path).unwrap().write_all(&bytes).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let size = 2 * WINDOW as u64 + 5;
        let mut window = Window::new(&file, 7, size);
        for at in [0, 1, WINDOW as u64 - 2, 2 * WINDOW as u64, size - 4, 3] {
            let from = at as usize + 7;
            assert_eq!(window.get(at, 4), Some(&bytes[from..from + 4]), "{at}");
        }
        for at in [size - 3, size, u64::MAX - 2, u64::MAX] {
            assert_eq!(window.get(at, 4), None, "{at}");
        }
        assert_eq!(window.get(0, WINDOW + 1), None);
        // The file is shorter than the part.
        assert_eq!(Window::new(&file, 3 * WINDOW as u64 - 2, 10).get(0, 4), None);
    }
}
