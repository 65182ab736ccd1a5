//! Spandrel's agent: kernel events in, OTLP spans out. Data flows one way through these rooms:
//!
//! ```text
//! kernel -> decode -> stream -> protocol -> exchange -> span -> sample -> export
//!                               discover (whose bytes are these?) ^
//! ```
//!
//! `decode` to `sample` are pure: no I/O, no clock, no unsafe, no panic. See ARCHITECTURE.md.

pub mod app;
pub mod config;
pub mod decode;
pub mod discover;
pub mod doctor;
pub mod exchange;
pub mod export;
pub mod kernel;
pub mod log;
pub mod protocol;
pub mod replay;
pub mod sample;
pub mod span;
pub mod stats;
pub mod stream;
