//! What a kernel's jobs came to, in one line, and what failed in the lines below it.

use std::fmt;

use super::{boot::Console, job::Job};

/// How a kernel did.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Release and profile, as `spandrel doctor` tells them.
    system: String,
    tests: Vec<String>,
    skips: Vec<String>,
    complaints: Vec<String>,
}

impl Verdict {
    /// A machine that never came to its jobs.
    pub(super) fn dead(why: String) -> Self {
        Self { complaints: vec![why], ..Self::default() }
    }

    pub(super) fn is_good(&self) -> bool {
        self.complaints.is_empty()
    }
}

impl Console {
    /// Compares how the jobs ended with how they have to.
    pub(super) fn judge(self, jobs: &[Job], supported: bool) -> Verdict {
        let mut verdict = Verdict { system: self.system, ..Verdict::default() };
        let mut ends = self.ends.into_iter();
        for job in jobs.iter().filter(|job| job.place.runs(supported)) {
            let Some(end) = ends.next() else {
                let name = job.name().unwrap_or_default();
                verdict.complaints.push(format!("`{name}` did not run to its end"));
                break;
            };
            if let Some(title) = job.title {
                let skipped = end.count.skipped;
                let (passed, failed) = (end.count.passed, end.count.failed);
                verdict.tests.push(format!("{title}: {passed} passed, {failed} failed, {skipped} skipped"));
                verdict.skips.extend(end.count.skips().iter().cloned());
                verdict.complaints.extend(end.count.failures().iter().map(|name| format!("{title}: {name}")));
            }
            verdict.complaints.extend(job.complaint(&end.code, supported));
        }
        if !supported && verdict.is_good() {
            verdict.tests.push("refused with a clear message, as it has to be".to_owned());
        }
        verdict.complaints.extend(self.death);
        verdict
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tests = self.tests.iter().map(String::as_str);
        let parts: Vec<_> =
            [&*self.system].into_iter().filter(|text| !text.is_empty()).chain(tests).collect();
        f.write_str(&parts.join("; "))?;
        for what in &self.skips {
            write!(f, "\n  skipped: {what}")?;
        }
        for what in &self.complaints {
            write!(f, "\n  FAILED: {what}")?;
        }
        Ok(())
    }
}
