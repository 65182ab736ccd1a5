//! The agent on the real kernel, by both profiles: what `ktest` says it did against what the agent saw.
//!
//! Most tests run one scenario of `ktest` as the agent's command (`spandrel run -- ktest SCENARIO`), so that the
//! agent ends with it and nothing has to be waited for. The program writes down what it did; [`truth`] compares.
#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests: a failure is a panic")]

mod actor;
mod bodies;
mod ends;
mod flow;
mod foreign;
mod identity;
mod inject;
mod leftovers;
mod load;
mod older;
mod processes;
mod sampling;
mod selection;
mod stage;
mod timing;
mod truth;
mod ways;
