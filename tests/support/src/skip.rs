//! Tests that cannot do their work on this machine say so and return.

use std::{env, path::Path};

/// Returns from the test, saying why, unless every program is there. Names are looked up in `PATH`; a name with
/// a slash is a file.
#[macro_export]
macro_rules! require {
    ($($program:expr),+ $(,)?) => {
        $(if !$crate::found($program) {
            $crate::skip!("{} is not installed", $program);
        })+
    };
}

/// Returns from the test, saying why.
#[macro_export]
macro_rules! skip {
    ($($why:tt)+) => {{
        // A function's type is named after the function that it is in: here, the test.
        fn here() {}
        $crate::skipped(std::any::type_name_of_val(&here), &format!($($why)+));
        return;
    }};
}

/// Returns from the test unless slow ones were asked for: those that fetch and build for minutes, or repeat by another
/// way what quick ones show.
#[macro_export]
macro_rules! slow {
    () => {
        if !$crate::slow_too() {
            $crate::skip!("it is slow: `cargo xtask test --slow` runs it");
        }
    };
}

/// Whether slow tests were asked for: `cargo xtask test --slow` sets `SPANDREL_TEST_SLOW`.
pub fn slow_too() -> bool {
    env::var_os("SPANDREL_TEST_SLOW").is_some_and(|value| !value.is_empty())
}

/// Whether a program is there.
pub fn found(program: &str) -> bool {
    if program.contains('/') {
        return Path::new(program).exists();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Prints the line that `cargo xtask test` counts: `SKIPPED: name: why`.
pub fn skipped(here: &str, why: &str) {
    let name = here.strip_suffix("::here").unwrap_or(here);
    println!("SKIPPED: {name}: {why}");
}

#[cfg(test)]
mod tests {
    use super::found;

    #[test]
    fn programs_are_looked_up() {
        assert!(found("sh") && found("/bin/sh"));
        assert!(!found("no-such-program") && !found("/no/such/program"));
    }
}
