//! What has to hold for any bytes whatever. Each function panics if something does not. `tests/random.rs`
//! runs them on the corpus and on bytes made from it; tests/fuzz looks for longer.
#![expect(
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a property that does not hold is told by a panic"
)]

mod config;
mod event;
mod http1;
mod http2;
mod inject;
mod kafka;
mod queue;
mod record;
mod redact;
mod w3c;

pub use config::config;
pub use event::event;
pub use http1::http1;
pub use http2::http2;
pub use inject::inject;
pub use kafka::kafka;
pub use queue::queue;
pub use record::record;
pub use redact::redact;
pub use w3c::w3c;

/// Something that holds for any bytes, or panics.
pub type Property = fn(&[u8]);

/// The properties by name; a folder of tests/corpus with that name has bytes to start from.
pub const ALL: &[(&str, Property)] = &[
    ("http1", http1),
    ("http2", http2),
    ("kafka", kafka),
    ("w3c", w3c),
    ("event", event),
    ("redact", redact),
    ("config", config),
    ("inject", inject),
    ("record", record),
    ("queue", queue),
];
