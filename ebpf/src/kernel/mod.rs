//! Typed readers of the few kernel structures that are touched. Offsets come from this kernel's BTF.

pub mod files;
pub mod goroutine;
pub mod preempt;
pub mod sock;
pub mod syscall;
pub mod task;
pub mod wait;
