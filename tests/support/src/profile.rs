//! The capture profiles of this kernel, as `spandrel doctor` tells them.

use std::sync::LazyLock;

use serde_json::Value;

use crate::{agent::binary, process};

/// A tracepoint that only the profile needs.
const TELLING: [(&str, &str); 2] =
    [("socket", "tracepoint sock_send_length"), ("syscall", "tracepoint sys_exit")];

/// Names of the profiles that this kernel has the tracepoints of.
#[track_caller]
pub fn profiles() -> &'static [&'static str] {
    static FOUND: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
        // Its exit code is for people who want to know whether the agent works.
        let said = process::run(process::command(binary()).args(["doctor", "--json"]));
        let survey: Value = serde_json::from_str(&said.stdout)
            .unwrap_or_else(|error| panic!("no survey: {error}\n{}\n{}", said.stdout, said.stderr));
        let features = survey["features"].as_array().expect("features");
        let has =
            |name: &str| features.iter().any(|feature| feature["name"] == name && feature["present"] == true);
        TELLING.iter().filter(|(_, feature)| has(feature)).map(|(profile, _)| *profile).collect()
    });
    &FOUND
}
