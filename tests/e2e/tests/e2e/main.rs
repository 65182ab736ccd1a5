//! Unmodified programs of others, traced by the real agent: N requests give exactly N spans with the right content.
//!
//! One file a family of programs. Every test starts its own agent, which looks at that test's programs alone.
#![cfg(test)]

mod common;

mod curl;
mod failures;
mod nginx;
mod python;
mod runtimes;
mod wget;
mod wire;
