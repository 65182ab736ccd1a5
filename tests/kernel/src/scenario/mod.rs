//! The scenarios, by name.

mod bodies;
mod flow;
mod identity;
mod processes;
mod ways;

use std::io;

use crate::Stage;

/// One thing to do.
pub(crate) type Scenario = fn(&mut Stage) -> io::Result<()>;

pub(crate) const ALL: &[(&str, Scenario)] = &[
    ("answer", processes::answer),
    ("chunks", bodies::chunks),
    ("closes", flow::closes),
    ("connects", flow::connects),
    ("descriptors", identity::descriptors),
    ("dup", flow::dup),
    ("exec", processes::exec),
    ("families", ways::families),
    ("fork", processes::fork),
    ("half-close", flow::half_close),
    ("heads", bodies::heads),
    ("lengths", bodies::lengths),
    ("namespaces", identity::namespaces),
    ("nonblocking", flow::nonblocking),
    ("passing", processes::passing),
    ("pipelined", bodies::pipelined),
    ("ports", identity::ports),
    ("reconnected", identity::reconnected),
    ("reuseport", processes::reuseport),
    ("rx", ways::rx),
    ("signals", flow::signals),
    ("threads", processes::threads),
    ("tx", ways::tx),
];
