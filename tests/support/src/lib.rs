//! What the tests that run real programs share: the agent as a child process, its spans as typed values,
//! programs that end with their test, temporary folders and network namespaces.
//!
//! Everything blocks, and everything has a deadline: a wait ends when its condition holds, and fails the test
//! with what was there when it does not. Nothing sleeps. Whatever is started or made is gone when its value is
//! dropped, also when the test panics.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests: a failure is a panic, and a skipped test says so"
)]

pub mod agent;
pub mod http;
mod lab;
mod lines;
pub mod namespace;
pub mod otlp;
pub mod process;
mod profile;
pub mod report;
mod skip;
pub mod span;
mod told;

use std::{env, sync::LazyLock, time::Duration};

pub use self::{
    agent::{Agent, Finished, Options},
    lab::Lab,
    process::{Output, Program},
    profile::profiles,
    report::Report,
    skip::{found, skipped, slow_too},
    span::{Kind, Span, Value},
    told::tell_failures,
};

/// How long anything may take: 120 s, or as many as `SPANDREL_TEST_PATIENCE` says, where a machine is emulated. Far
/// more than it needs on two busy cores, and more than a disk needs that has all of a build's files to write first, so that
/// only what hangs fails.
pub fn patience() -> Duration {
    static SECONDS: LazyLock<u64> = LazyLock::new(|| {
        env::var("SPANDREL_TEST_PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(120)
    });
    Duration::from_secs(*SECONDS)
}
