//! What the agent says about itself: one line a message, on standard error, never on standard output.
#![expect(clippy::print_stderr, reason = "this is the place that writes to standard error")]

use log::{LevelFilter, Log, Metadata, Record};

/// Messages of libraries are for those who look for a fault.
const OURS: &str = "spandrel";

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with(OURS) || log::max_level() >= LevelFilter::Debug
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            eprintln!("spandrel: {}: {}", record.level().as_str().to_ascii_lowercase(), record.args());
        }
    }

    fn flush(&self) {}
}

/// Starts logging at a level. A second call only changes the level.
pub fn init(level: LevelFilter) {
    static LOGGER: Stderr = Stderr;
    // It fails if a logger is set already, and that is this one.
    log::set_logger(&LOGGER).ok();
    log::set_max_level(level);
}
