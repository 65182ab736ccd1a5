//! Runs a scenario of `ktest` with the agent beside it.

use std::{
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
};

use spandrel_test_support::{Agent, Finished, Lab, Options, profiles};

use crate::truth::{self, Truth};

/// The traced program: where cargo built it, or beside the tests where only executables were copied to.
pub(crate) fn ktest() -> String {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_ktest"));
    let found = if built.exists() {
        built
    } else {
        std::env::current_exe().expect("the path of this program").with_file_name("ktest")
    };
    found.to_str().expect("a path in UTF-8").to_owned()
}

/// The agent by a profile, telling all that a test compares. The programs are both ends of their connections and compare
/// each byte, so nothing is written into them.
pub(crate) fn options(profile: &str) -> Options {
    propagating(profile, "off")
}

/// The same, by a kind of propagation.
pub(crate) fn propagating(profile: &str, propagation: &str) -> Options {
    Options::new()
        .profile(profile)
        .args(["--propagation", propagation])
        .env("OTEL_INSTRUMENTATION_HTTP_SERVER_EMIT_EXPERIMENTAL_TELEMETRY", "true")
        .env("OTEL_INSTRUMENTATION_HTTP_CLIENT_EMIT_EXPERIMENTAL_TELEMETRY", "true")
}

/// What a scenario did, and what the agent made of it.
pub(crate) struct Played {
    pub(crate) truth: Truth,
    pub(crate) finished: Finished,
}

/// Runs a scenario as the agent's command, to its end.
#[track_caller]
pub(crate) fn play(options: Options, scenario: &str, args: &[&str]) -> Played {
    let lab = Lab::new();
    let file = lab.text("truth");
    let line = [ktest(), scenario.to_owned(), file].into_iter();
    let line = line.chain(args.iter().map(ToString::to_string));
    let finished = Agent::start(&options.command(line)).finish();
    assert!(finished.status.success(), "ktest {scenario}: {}\n{}", finished.status, finished.stderr);
    Played { truth: truth::read(&lab.read("truth")), finished }
}

/// Runs a test by both profiles, or by the one that this kernel has; also if it fails by the first.
#[track_caller]
pub(crate) fn by_both(test: impl Fn(&'static str)) {
    assert!(!profiles().is_empty(), "this kernel has no profile");
    let failed: Vec<_> = profiles()
        .iter()
        .copied()
        .filter(|profile| panic::catch_unwind(AssertUnwindSafe(|| test(profile))).is_err())
        .collect();
    assert!(failed.is_empty(), "by the profiles {failed:?}; see above");
}

/// Fails the test if spans or ledger tell something else than the truth.
#[track_caller]
pub(crate) fn agree(profile: &str, truth: &Truth, finished: &Finished) {
    let problems = truth.problems(finished);
    assert!(problems.is_empty(), "{profile}:\n{}", problems.join("\n"));
}

/// Runs a scenario by both profiles and compares.
#[track_caller]
pub(crate) fn both(scenario: &str) {
    by_both(|profile| {
        let played = play(options(profile), scenario, &[]);
        agree(profile, &played.truth, &played.finished);
    });
}
