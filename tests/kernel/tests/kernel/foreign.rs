//! What is not followed is said, counted, and makes no false spans.

use crate::stage::{Played, agree, by_both, options, play};

/// Nothing false, the process named on standard error with this word, and its calls counted.
#[track_caller]
fn said(profile: &str, played: &Played, pid: u32, word: &str, counter: &str) {
    agree(profile, &played.truth, &played.finished);
    let stderr = &played.finished.stderr;
    let lines =
        stderr.lines().filter(|line| line.contains(&format!("process {pid} ")) && line.contains(word));
    assert_eq!(lines.count(), 1, "{profile}: process {pid} and {word} on standard error once:\n{stderr}");
    let report = &played.finished.report;
    assert!(report.kernel(counter) > 0, "{profile}: {counter} {}", report.json);
    assert!(report.count("unseen_processes") > 0, "{profile}: unseen_processes");
}

#[track_caller]
fn io_uring(how: &str) {
    by_both(|profile| {
        let played = play(options(profile), "io-uring", &[how]);
        said(profile, &played, played.truth.pid(), "io_uring", "unseen_io_uring");
    });
}

#[test]
fn io_uring_by_its_system_call() {
    io_uring("plain");
}

#[test]
fn io_uring_with_operations_of_files() {
    io_uring("file");
}

#[test]
fn io_uring_without_system_calls() {
    io_uring("polled");
}

#[test]
fn io_uring_during_another_system_call() {
    io_uring("late");
}

#[test]
fn calls_by_the_32_bit_table() {
    by_both(|profile| {
        let played = play(options(profile), "compat-call", &[]);
        said(profile, &played, played.truth.pid(), "32-bit", "unseen_compat");
    });
}

#[test]
fn a_32_bit_program() {
    by_both(|profile| {
        let played = play(options(profile), "compat-program", &[]);
        for family in ["v4", "pair"] {
            let pid = played.truth.note(family).parse().expect("a process id");
            said(profile, &played, pid, "32-bit", "unseen_compat");
        }
    });
}
