//! Who may name whom.

use super::{
    Finding,
    source::{Source, line_at, paths, words},
};

const AGENT: &str = "agent/src";

/// A dependency that only some rooms of the agent may name.
struct Confined {
    /// First word of its paths, or their common start.
    name: &'static str,
    rooms: &'static [&'static str],
    why: &'static str,
}

const CONFINED: &[Confined] = &[
    Confined { name: "aya", rooms: &["kernel"], why: "only agent/src/kernel talks to the kernel" },
    Confined { name: "opentelemetry", rooms: &["export"], why: "only agent/src/export knows OTLP's types" },
    Confined {
        name: "tokio",
        rooms: &["main", "lib", "app", "kernel", "export"],
        why: "tasks and timers live in main, lib, app, kernel and export; give the rest plain data",
    },
];

/// The pure rooms, each before those that may name it. That is the flow of the data, but for `stream`: it
/// holds the connections, and so drives their parsers and pairs their messages.
const PURE: [&str; 6] = ["decode", "protocol", "exchange", "stream", "sample", "span"];

/// What a pure room may take from rooms outside the flow: plain data.
const DATA: [&str; 2] = ["discover::resource", "stats"];

/// Parts of std that do I/O or look at the world.
const IMPURE_MODULES: [&str; 6] =
    ["std::fs", "std::env", "std::thread", "std::process", "std::io", "std::os"];

/// Types that do, in modules that also hold plain data (addresses, durations).
const IMPURE_TYPES: [&str; 8] = [
    "Instant",
    "SystemTime",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "ToSocketAddrs",
];

/// A dependency is named only in its rooms.
pub(super) fn rooms(source: &Source) -> Vec<Finding> {
    if !source.path.starts_with(AGENT) {
        return Vec::new();
    }
    let code = source.shipped();
    let mut found = Vec::new();
    for Confined { name, rooms, why } in CONFINED {
        if rooms.iter().any(|room| source.is_in(AGENT, room)) {
            continue;
        }
        for (position, path) in paths(&code) {
            let first = path.split("::").next().unwrap_or_default();
            let rest = first.strip_prefix(name);
            if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_')) && path.contains("::") {
                found.push(Finding {
                    line: line_at(&code, position),
                    what: format!("`{path}` outside its rooms ({}): {why}", rooms.join(", ")),
                });
            }
        }
    }
    found
}

/// The middle does no I/O and reads no clock.
pub(super) fn purity(source: &Source) -> Vec<Finding> {
    let Some(room) = pure_room(source) else { return Vec::new() };
    let code = source.shipped();
    let mut found = Vec::new();
    let mut report = |position: usize, name: &str| {
        found.push(Finding {
            line: line_at(&code, position),
            what: format!("`{name}` in `{room}`, which is pure: take what it gives as an argument instead"),
        });
    };
    for (position, path) in paths(&code) {
        let inside = |module: &&str| path == **module || path.starts_with(&format!("{module}::"));
        if IMPURE_MODULES.iter().any(inside) {
            report(position, &path);
        }
    }
    for (position, word) in words(&code).filter(|(_, word)| IMPURE_TYPES.contains(word)) {
        report(position, word);
    }
    found
}

/// A pure room names only rooms to its left, and plain data.
pub(super) fn direction(source: &Source) -> Vec<Finding> {
    let Some(room) = pure_room(source) else { return Vec::new() };
    let allowed = PURE.iter().take_while(|name| **name != room).chain([&room]).chain(&DATA);
    let allowed: Vec<_> = allowed.collect();
    let code = source.shipped();
    let mut found = Vec::new();
    for (position, path) in paths(&code) {
        let Some(inner) = path.strip_prefix("crate::") else { continue };
        let inside = |name: &&&&str| {
            inner.strip_prefix(**name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        if allowed.iter().find(inside).is_none() {
            found.push(Finding {
                line: line_at(&code, position),
                what: format!(
                    "`{path}` in `{room}`: of {} a room names only those before it, and {}",
                    PURE.join(", "),
                    DATA.join(", ")
                ),
            });
        }
    }
    found
}

fn pure_room(source: &Source) -> Option<&'static str> {
    PURE.into_iter().find(|room| source.is_in(AGENT, room))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(rule: fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
        rule(&Source::new(path, text.to_owned())).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn aya_stays_in_the_kernel_room() {
        let text = "//! aya::x\nuse aya::maps::RingBuf;\nlet a = aya_log::x();\nlet ayah = 1;";
        assert_eq!(lines(rooms, "agent/src/decode.rs", text), [2, 3]);
        assert!(lines(rooms, "agent/src/kernel/ring.rs", text).is_empty());
        assert!(lines(rooms, "tests/kernel/src/lib.rs", text).is_empty());
    }

    #[test]
    fn opentelemetry_and_tokio_stay_in_theirs() {
        let text = "use opentelemetry_proto::tonic::Span;\nuse tokio::{net::TcpStream, time};";
        assert_eq!(lines(rooms, "agent/src/span/mod.rs", text), [1, 2, 2]);
        assert_eq!(lines(rooms, "agent/src/lib.rs", text), [1]);
        assert!(lines(rooms, "agent/src/export/otlp.rs", text).is_empty());
    }

    #[test]
    fn the_middle_is_pure() {
        let text = "use std::{fs, net::SocketAddr, time::Duration};\nfn f() { std::env::var(a); Instant::now() }\n\
                    #[cfg(test)]\nmod tests { use std::io::Read; }";
        assert_eq!(lines(purity, "agent/src/stream/mod.rs", text), [1, 2, 2]);
        assert!(lines(purity, "agent/src/export/mod.rs", text).is_empty());
    }

    #[test]
    fn data_flows_one_way() {
        let text = "use crate::protocol::Message;\nuse crate::{span::Span, stats::Stats};\nuse crate::discover::resource::Resource;\n\
                    use crate::config::Config;";
        assert_eq!(lines(direction, "agent/src/exchange.rs", text), [2, 4]);
        assert_eq!(lines(direction, "agent/src/span/mod.rs", text), [4]);
        assert_eq!(lines(direction, "agent/src/stream/mod.rs", text), [2, 4]);
        assert_eq!(lines(direction, "agent/src/decode.rs", text), [1, 2, 4]);
        assert!(lines(direction, "agent/src/lib.rs", text).is_empty());
    }
}
