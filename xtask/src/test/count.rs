//! Counting tests from what libtest prints.
//!
//! A test that cannot do its work here, or a part of it, prints `SKIPPED: its name: why`, once for each part:
//! libtest calls it passed, this module calls it skipped.

use std::{collections::BTreeSet, fmt};

const SKIPPED: &str = "SKIPPED: ";

/// How tests ended.
#[derive(Debug, Default)]
pub(crate) struct Count {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    /// Tests that skipped something, and those that libtest ignored.
    pub(crate) skipped: usize,
    /// What they skipped.
    skips: Vec<String>,
    failures: Vec<String>,
    /// What failed in company and passed alone.
    unsteady: Vec<String>,
}

impl Count {
    pub(crate) fn add(&mut self, other: Self) {
        let Self { passed, failed, skipped, skips, failures, unsteady } = other;
        self.passed += passed;
        self.failed += failed;
        self.skipped += skipped;
        self.skips.extend(skips);
        self.failures.extend(failures);
        self.unsteady.extend(unsteady);
    }

    /// What was skipped, and why.
    pub(crate) fn skips(&self) -> &[String] {
        &self.skips
    }

    /// The names of what failed.
    pub(crate) fn failures(&self) -> &[String] {
        &self.failures
    }

    pub(crate) fn fail(&mut self, what: String) {
        self.failed += 1;
        self.failures.push(what);
    }

    /// A test that failed has passed when it ran alone.
    pub(crate) fn steadied(&mut self, name: &str) {
        if let Some(at) = self.failures.iter().position(|failed| failed == name) {
            self.unsteady.push(self.failures.remove(at));
            self.failed -= 1;
            self.passed += 1;
        }
    }

    pub(crate) fn skip(&mut self, what: String) {
        self.skipped += 1;
        self.skips.push(what);
    }
}

/// What was skipped and what failed, then the closing line.
impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        for what in &self.skips {
            writeln!(f, "skipped: {what}")?;
        }
        for what in &self.unsteady {
            writeln!(f, "unsteady: {what}: failed, see above, and passed when it ran alone")?;
        }
        for what in &self.failures {
            writeln!(f, "FAILED: {what}")?;
        }
        writeln!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Reads the output of `cargo test -- --show-output`, line by line.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    count: Count,
    /// Inside the output of tests that passed, which nobody wants to see.
    quiet: bool,
    /// The test whose output comes, if it passed.
    passed: Option<String>,
    /// Tests of this binary that passed by libtest's count and skipped something.
    skipping: BTreeSet<String>,
}

impl Reader {
    /// Takes a line and says whether it is worth showing.
    pub(crate) fn line(&mut self, line: &str) -> bool {
        let line = line.trim_end();
        if let Some(why) = line.trim_start().strip_prefix(SKIPPED) {
            if self.quiet {
                let test = self.passed.as_deref().unwrap_or(why);
                self.skipping.insert(test.to_owned());
            }
            // One that runs twice says it twice.
            if !self.count.skips.iter().any(|known| known == why) {
                self.count.skips.push(why.to_owned());
            }
            return !self.quiet;
        }
        match line {
            "successes:" => self.quiet = true,
            "failures:" => self.quiet = false,
            _ => {}
        }
        if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            self.passed = Some(name.to_owned());
        }
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.count.failures.push(name.to_owned());
        }
        if let Some(result) = line.strip_prefix("test result: ") {
            self.quiet = false;
            let skipping = std::mem::take(&mut self.skipping).len();
            self.count.passed += number(result, " passed").saturating_sub(skipping);
            self.count.failed += number(result, " failed");
            self.count.skipped += number(result, " ignored") + skipping;
        }
        !self.quiet
    }

    pub(crate) fn finish(self) -> Count {
        self.count
    }
}

/// The number before a word: `3` for ` passed` in `ok. 3 passed; 0 failed`.
fn number(text: &str, word: &str) -> usize {
    let before = text.split(word).next().filter(|before| before.len() < text.len());
    before.and_then(|before| before.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> (String, String) {
        let mut reader = Reader::default();
        let shown: Vec<_> = text.lines().filter(|line| reader.line(line)).collect();
        (shown.join("\n"), reader.finish().to_string())
    }

    #[test]
    fn results_of_several_binaries_are_summed() {
        let (_, text) = count(
            "test a::b ... ok\n\
             test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
             test c ... FAILED\n\
             test result: FAILED. 12 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n",
        );
        assert!(text.ends_with("FAILED: c\n15 passed, 1 failed, 1 skipped\n"), "{text}");
    }

    #[test]
    fn a_skipped_test_is_no_passed_test() {
        let (shown, text) = count(
            "test a ... ok\n\nsuccesses:\n\n---- a stdout ----\nSKIPPED: a: needs io_uring\nnoise\n\n\
             successes:\n    a\n\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n",
        );
        assert!(text.ends_with("skipped: a: needs io_uring\n1 passed, 0 failed, 1 skipped\n"), "{text}");
        assert!(!shown.contains("noise"), "{shown}");
        assert!(shown.contains("test result"), "{shown}");
    }

    #[test]
    fn a_test_that_skips_several_parts_is_one() {
        let (_, text) = count(
            "successes:\n\n---- a stdout ----\nSKIPPED: a: one\nSKIPPED: a: two\n\n---- b stdout ----\nfine\n\n\
             successes:\n    a\n    b\n\nfailures:\n\n---- c stdout ----\nSKIPPED: c: three\npanicked\n\n\
             failures:\n    c\n\n\
             test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out\n",
        );
        assert!(
            text.ends_with(
                "skipped: a: one\nskipped: a: two\nskipped: c: three\n1 passed, 1 failed, 2 skipped\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn what_passes_alone_is_told() {
        let mut count = Count::default();
        count.fail("a".into());
        count.fail("b".into());
        count.steadied("a");
        count.steadied("c");
        let text = count.to_string();
        assert!(text.contains("unsteady: a: ") && text.contains("FAILED: b\n"), "{text}");
        assert!(text.ends_with("1 passed, 1 failed, 0 skipped\n"), "{text}");
    }

    #[test]
    fn output_of_failed_tests_is_shown() {
        let (shown, _) = count("successes:\nquiet\nfailures:\n---- c stdout ----\npanicked\n");
        assert!(shown.contains("panicked") && !shown.contains("quiet"), "{shown}");
    }
}
