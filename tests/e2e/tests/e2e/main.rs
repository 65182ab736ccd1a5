//! Unmodified programs of others, traced by the real agent: N requests give exactly N spans with the right content.
//!
//! One file a family of programs, or of what happens to them. Every test starts its own agent, which looks at that
//! test's programs alone.
#![cfg(test)]

mod cache;
mod common;

mod addresses;
mod capabilities;
mod chaos;
mod chaos_collector;
mod chaos_disk;
mod chaos_reload;
mod chaos_system;
mod chaos_tls;
mod collector;
mod curl;
mod delivery;
mod demo;
mod durations;
mod failures;
mod grpc;
mod guest;
mod http2;
mod kafka;
mod load;
mod nginx;
mod operator;
mod propagation;
mod proxies;
mod python;
mod running;
mod runtimes;
mod sampling;
mod truth;
mod unread;
mod wget;
mod wire;
