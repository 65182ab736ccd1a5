//! What the kernel side and the agent must agree on, to the bit: the events of the ring, trace and
//! span ids, the W3C trace context, the sampling decision, and the bounds.
//!
//! Pure data and pure functions; no dependency, no allocation, no unsafe. Both sides compile this very
//! code, so an answer computed in the kernel and one computed in userspace cannot differ.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod context;
pub mod event;
pub mod feeds;
pub mod go;
pub mod http1;
pub mod http2;
pub mod ids;
pub mod inject;
pub mod kafka;
pub mod kfunc;
pub mod layout;
pub mod limits;
pub mod rules;
pub mod runtime;
pub mod sample;
pub mod stats;
pub mod w3c;
