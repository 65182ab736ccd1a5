//! What the verifier says of a program that it refuses: thousands of lines, the last of which tells why.

use aya::programs::ProgramError;

/// Statistics, which stand below the line that tells why.
const STATISTICS: [&str; 4] = ["processed ", "verification time ", "stack depth ", "insns processed "];

/// A line may hold the names of a whole chain of calls.
const MAX_REASON: usize = 300;

/// Why a program was not loaded, in one line.
pub(super) fn reason(error: &ProgramError) -> String {
    let ProgramError::LoadError { io_error, verifier_log } = error else { return with_causes(error) };
    // A lack of privilege leaves no log.
    last(&verifier_log.to_string())
        .map_or_else(|| io_error.to_string(), |line| format!("{line} ({io_error})"))
}

/// An error with what caused it, down to the system call's own.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// All that the verifier said.
pub(super) fn log(error: &ProgramError) -> Option<String> {
    let ProgramError::LoadError { verifier_log, .. } = error else { return None };
    Some(verifier_log.to_string()).filter(|text| !text.trim().is_empty())
}

/// Tells all of it to those who look for a fault.
pub(super) fn tell(program: &str, error: &ProgramError) {
    if let Some(text) = log(error) {
        log::debug!("what the verifier said of program {program}:\n{text}");
    }
}

/// The line of a log that tells why.
fn last(log: &str) -> Option<String> {
    let mut lines = log.lines().map(str::trim).rev();
    let line = lines
        .find(|line| !line.is_empty() && !STATISTICS.iter().any(|statistics| line.starts_with(statistics)))?;
    Some(line.chars().take(MAX_REASON).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_one_line() {
        let log = "0: (bf) r6 = r1\n405: (79) r3 = *(u64 *)(r10 -104)\n\
                   invalid read from stack off -104+0 size 8\n\
                   verification time 8192 usec\nstack depth 136\n\
                   processed 5410 insns (limit 1000000) max_states_per_insn 4 total_states 300\n\n";
        assert_eq!(last(log).as_deref(), Some("invalid read from stack off -104+0 size 8"));
        assert_eq!(last("\nprocessed 2 insns\n"), None);
        assert_eq!(last(&"x".repeat(9000)).map(|line| line.len()), Some(MAX_REASON));
    }
}
