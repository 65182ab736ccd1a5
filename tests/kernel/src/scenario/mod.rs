//! The scenarios, by name.

mod ways;

use std::io;

use crate::Stage;

/// One thing to do.
pub(crate) type Scenario = fn(&mut Stage) -> io::Result<()>;

pub(crate) const ALL: &[(&str, Scenario)] = &[
    ("tx", ways::tx),
    ("rx", ways::rx),
    ("families", ways::families),
];
