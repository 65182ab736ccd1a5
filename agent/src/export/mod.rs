//! Export: finished spans in, OTLP (or a readable tree) out, and every span accounted for exactly once.
//!
//! ```text
//! Sender::try_send -> room (bounds) -> batch -> encode, compress -> requests in flight -> backend
//!                                  \-> console (tree or OTLP/JSON lines)
//! ```
//!
//! [`start`] gives a [`Sender`] for the capture thread, which never blocks, and a [`Pipeline`] to watch and
//! to shut down. Each destination has its own bounded room, so that one cannot hold up another; the first of
//! them (OTLP before the console) settles the ledger. A span is counted when its [`room::Claim`] is settled,
//! and a claim that is lost in any way counts as dropped at shutdown, so that the ledger closes by type.

pub mod batch;
pub mod client;
pub mod config;
pub mod console;
pub mod counters;
mod deliver;
mod durations;
mod durations_otlp;
pub mod json;
pub mod listen;
pub mod metrics;
pub mod notify;
pub mod otlp;
pub mod pipeline;
pub mod report;
pub mod retry;
pub mod room;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod text;

pub use config::Config;
pub use pipeline::{Pipeline, Sender, start};

/// The name of the instrumentation scope of every span, and of the agent in its own telemetry.
pub const SCOPE: &str = "spandrel";
/// The agent's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
