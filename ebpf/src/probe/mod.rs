//! The programs, one file a hook family. An entry takes its arguments and hands over; nothing is decided here.

pub mod go;
pub mod process;
pub mod socket;
pub mod state;
pub mod syscall;
