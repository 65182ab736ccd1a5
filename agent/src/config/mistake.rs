//! Mistakes: what is wrong with what a person typed or wrote, and what to do about it. They are collected,
//! so that one run shows them all, and they are all found before anything is attached to the kernel.

use std::{collections::BTreeMap, fmt};

/// Exit codes of `sysexits.h`.
pub mod exit {
    /// The command was used incorrectly.
    pub const USAGE: u8 = 64;
    /// The input data was incorrect (a selector that selects what does not exist, a file's content).
    pub const DATAERR: u8 = 65;
    /// An input file did not exist or was not readable.
    pub const NOINPUT: u8 = 66;
    /// A service or a feature of this machine is unavailable.
    pub const UNAVAILABLE: u8 = 69;
    /// An output file cannot be created.
    pub const CANTCREAT: u8 = 73;
    /// Not all could be done now; trying again may help.
    pub const TEMPFAIL: u8 = 75;
    /// Not enough privilege.
    pub const NOPERM: u8 = 77;
    /// Something was found in an unconfigured or misconfigured state (variables, the configuration file).
    pub const CONFIG: u8 = 78;
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// What it is about: a flag, a variable, or a place in a file.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// What to do next.
    pub advice: String,
    /// One of [`exit`].
    pub code: u8,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.what, self.advice)
    }
}

/// What was found while reading the configuration.
#[derive(Debug, Default)]
pub struct Findings {
    pub mistakes: Vec<Mistake>,
    /// Worth saying, but no reason to stop.
    pub notes: Vec<String>,
    /// What a file gave: the keys with dots between them, and their lines.
    pub given: BTreeMap<String, usize>,
    /// What variables gave to a file, by their names: that may be secret, and in a wrong place it is a mistake.
    pub filled: Vec<(String, String)>,
}

/// A variable's value that is shorter is no secret; replacing it would only make a mistake unreadable.
const SHORTEST_SECRET: usize = 4;

impl Findings {
    /// Adds a mistake, once: several values may come from the same variable.
    pub fn mistake(
        &mut self,
        code: u8,
        place: impl Into<String>,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) {
        let (place, what) = (self.without_values(place.into()), self.without_values(what.into()));
        let mistake = Mistake { place, what, advice: advice.into(), code };
        if !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
    }

    /// A text with the names of variables in place of what they hold.
    fn without_values(&self, mut text: String) -> String {
        for (name, value) in self.filled.iter().filter(|(_, value)| value.len() >= SHORTEST_SECRET) {
            let quoted = format!("{value:?}");
            let quoted = quoted.get(1..quoted.len() - 1).unwrap_or(value);
            for form in [value, quoted] {
                if text.contains(form) {
                    text = text.replace(form, &format!("${{{name}}}"));
                }
            }
        }
        text
    }

    /// Adds the lines to mistakes in values that a file gave and that were judged later: `FILE: KEY` becomes
    /// `FILE:LINE (KEY)`.
    pub fn locate(&mut self) {
        for mistake in &mut self.mistakes {
            let Some((file, key)) = mistake.place.split_once(": ") else { continue };
            let name = key.split(' ').next().unwrap_or(key);
            if let Some(line) = self.given.get(name) {
                mistake.place = format!("{file}:{line} ({key})");
            }
        }
    }

    /// Adds a note.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

/// All mistakes of one start, in the order flags, file, variables. Never empty.
#[derive(Debug, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl Mistakes {
    /// The exit code: that of the first mistake.
    pub fn code(&self) -> u8 {
        self.0.first().map_or(exit::CONFIG, |mistake| mistake.code)
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 { "" } else { "s" };
        write!(f, "{} mistake{plural}, nothing was attached:", self.0.len())?;
        self.0.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}
