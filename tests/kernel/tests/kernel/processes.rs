//! One connection in several processes and threads.

use crate::stage::both;

#[test]
fn children_answer() {
    both("fork");
}

#[test]
fn an_executed_program_answers() {
    both("exec");
}

#[test]
fn a_descriptor_sent_to_another_process() {
    both("passing");
}

#[test]
fn threads_share_a_connection() {
    both("threads");
}

#[test]
fn processes_share_a_port() {
    both("reuseport");
}
