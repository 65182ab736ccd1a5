//! Export: finished spans in, OTLP (or a readable tree) out, and every span accounted for exactly once.
//!
//! ```text
//! Sender::try_send -> filter -> room (bounds) -> batch -> encode, compress -> queue (memory or disk)
//!                                            \-> console (tree or OTLP/JSON lines)
//!                  queue -> requests in flight -> backend or file;  what cannot be delivered -> dead letters
//! ```
//!
//! [`start`] gives a [`Sender`] for the capture thread, which never blocks, and a [`Pipeline`] to watch and
//! to shut down. Each destination has its own bounded room, queue, connection and retries, so that one cannot hold up
//! another; what all of them hold in memory has a bound, too ([`budget`]). The first of them that wants a span (the
//! console last) settles the ledger for it. A span is counted when its [`room::Claim`] is settled, and a claim that is
//! lost in any way counts as dropped at shutdown, so that the ledger closes by type.

pub(crate) mod aside;
pub mod batch;
mod batcher;
pub mod budget;
pub mod change;
pub mod client;
mod complain;
pub mod config;
pub mod console;
pub mod counters;
mod deliver;
mod disk_queue;
mod durations;
mod durations_otlp;
mod file;
pub mod json;
mod letters;
mod line;
pub mod listen;
mod measures;
pub mod metrics;
pub mod notify;
pub mod otlp;
mod parts;
pub mod pipeline;
mod queue;
pub mod replay;
pub mod report;
pub mod retry;
pub mod room;
mod route;
pub mod store;
pub mod telemetry;
#[cfg(test)]
pub(crate) mod testing;
pub mod text;
mod transport;
mod why;

pub use config::Config;
pub use pipeline::{Error, Pipeline, Sender, start};

/// The name of the instrumentation scope of every span, and of the agent in its own telemetry.
pub const SCOPE: &str = "spandrel";
/// The agent's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
