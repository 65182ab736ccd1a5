//! The scenarios, by name.

mod bodies;
mod ends;
mod flow;
mod foreign;
mod framing;
mod identity;
mod inject;
mod load;
mod older;
mod processes;
mod sampling;
mod selection;
mod timing;
mod ways;

use std::io;

use crate::Stage;

/// One thing to do.
pub(crate) type Scenario = fn(&mut Stage) -> io::Result<()>;

pub(crate) const ALL: &[(&str, Scenario)] = &[
    ("answer", processes::answer),
    ("answered-early", timing::answered_early),
    ("apart", bodies::apart),
    ("apart-threads", timing::apart),
    ("becomes", selection::becomes),
    ("broken-pipe", ends::broken_pipe),
    ("chunks", bodies::chunks),
    ("closed", ends::closed),
    ("closes", flow::closes),
    ("compat-call", foreign::compat_call),
    ("compat-program", foreign::compat_program),
    ("connects", flow::connects),
    ("crowd", load::crowd),
    ("descriptors", identity::descriptors),
    ("dup", flow::dup),
    ("enclosed", timing::enclosed),
    ("exec", processes::exec),
    ("families", ways::families),
    ("flood", load::flood),
    ("flood-on-cue", load::flood_on_cue),
    ("fork", processes::fork),
    ("forks", selection::forks),
    ("framing", framing::framing),
    ("half-close", flow::half_close),
    ("heads", bodies::heads),
    ("injected", inject::injected),
    ("io-uring", foreign::io_uring),
    ("kept", inject::kept),
    ("killed", ends::killed),
    ("killed-client", ends::killed_client),
    ("lengths", bodies::lengths),
    ("listens", selection::listens),
    ("mixed", sampling::mixed),
    ("namespaces", identity::namespaces),
    ("nonblocking", flow::nonblocking),
    ("older", older::older),
    ("passing", processes::passing),
    ("pipelined", bodies::pipelined),
    ("ports", identity::ports),
    ("reconnected", identity::reconnected),
    ("released", ends::released),
    ("reset", ends::reset),
    ("reset-later", ends::reset_later),
    ("reuseport", processes::reuseport),
    ("rx", ways::rx),
    ("signals", flow::signals),
    ("steps", selection::steps),
    ("threads", processes::threads),
    ("tunnels", framing::tunnels),
    ("tx", ways::tx),
    ("waiting", timing::waiting),
];
