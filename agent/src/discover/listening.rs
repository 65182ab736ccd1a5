//! Who listens on a port: the listening sockets of each network namespace, and the processes that hold
//! one of them. The kernel tells of later ones by events; this is for what was there before.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ffi::OsString,
};

use procfs::process::{FDTarget, Process};

/// Descriptors of one process that are looked at: more than the usual limit of 65,536 are not, so that
/// one process cannot hold up the start.
const MAX_FDS: usize = 65_536;

/// Listening sockets on some ports, read once for each network namespace.
pub(super) struct Listening<'a> {
    ports: &'a BTreeSet<u16>,
    namespaces: HashMap<OsString, HashSet<u64>>,
}

impl<'a> Listening<'a> {
    pub(super) fn new(ports: &'a BTreeSet<u16>) -> Self {
        Self { ports, namespaces: HashMap::new() }
    }

    /// Whether a process holds a socket that listens on one of the ports.
    pub(super) fn has(&mut self, process: &Process) -> bool {
        if self.ports.is_empty() {
            return false;
        }
        let fds = process.fd().into_iter().flatten().flatten().take(MAX_FDS);
        let sockets = fds.filter_map(|fd| match fd.target {
            FDTarget::Socket(inode) => Some(inode),
            _ => None,
        });
        let sockets: Vec<_> = sockets.collect();
        if sockets.is_empty() {
            return false;
        }
        let listening = self.namespace(process);
        sockets.iter().any(|inode| listening.contains(inode))
    }

    fn namespace(&mut self, process: &Process) -> &HashSet<u64> {
        let link = std::fs::read_link(format!("/proc/{}/ns/net", process.pid)).unwrap_or_default();
        let ports = self.ports;
        self.namespaces.entry(link.into_os_string()).or_insert_with(|| {
            let tables = [process.tcp(), process.tcp6()].into_iter().flatten().flatten();
            let listening = tables.filter(|entry| {
                entry.state == procfs::net::TcpState::Listen && ports.contains(&entry.local_address.port())
            });
            listening.map(|entry| entry.inode).collect()
        })
    }
}
