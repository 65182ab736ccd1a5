//! Why a test fails, on the real standard error and at once.

use std::{
    cell::Cell,
    io::{self, Write as _},
    panic,
    sync::Once,
    thread,
};

/// Characters of a reason that are told from its beginning, and from its end: a log that keeps only its first lines still has
/// the cause. The test's own report, whole, comes with the others at the end.
const BEGINNING: usize = 400;
const END: usize = 1600;

/// From now on the reason of every failure is also told when it happens. The test harness keeps what tests print until all of
/// them have ended; that is too late for who reads a log that was cut, or a run that was stopped.
pub fn tell_failures() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |failure| {
            usual(failure);
            if EXPECTED.get() {
                return;
            }
            let name = thread::current().name().unwrap_or("?").to_owned();
            let text = shortened(&failure.to_string());
            // Written past the harness, which catches only what the printing macros write. A closed stream fails no test.
            writeln!(io::stderr(), "{name} fails: {text}").ok();
        }));
    });
}

thread_local! {
    /// Whether the test that runs here is to fail.
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// From now on a failure of this thread's test is what it is for, and nothing to tell.
#[cfg(test)]
pub(crate) fn expect_failure() {
    EXPECTED.set(true);
}

/// Both ends of a text.
fn shortened(text: &str) -> String {
    let count = text.chars().count();
    if count <= BEGINNING + END {
        return text.to_owned();
    }
    let first: String = text.chars().take(BEGINNING).collect();
    let last: String = text.chars().skip(count - END).collect();
    format!("{first}\n[{} characters]\n{last}", count - BEGINNING - END)
}

#[cfg(test)]
mod tests {
    use super::{BEGINNING, END, shortened};

    #[test]
    fn long_reasons_keep_both_ends() {
        assert_eq!(shortened("short"), "short");
        let long = format!("a{}z", "\u{e4}".repeat(BEGINNING + END));
        let short = shortened(&long);
        assert!(short.starts_with("a\u{e4}") && short.ends_with("\u{e4}z"));
        assert!(short.contains("[2 characters]"));
    }
}
