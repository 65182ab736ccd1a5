//! Which service calls which, as far as both are on this node: a client's and a server's exchange are the two ends of
//! one request if they have the client's socket address in common and the server's begins while the client waits.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
};

use foldhash::fast::RandomState;

use super::histogram::Histogram;

/// Client sockets whose last exchanges wait for their other end. That follows within milliseconds, so this is for
/// more than a hundred thousand new connections a second.
const MAX_SOCKETS: usize = 4096;
/// Exchanges that wait at one socket. Without pipelining there is one.
const MAX_WAITING: usize = 8;
/// Pairs of services. A node runs a few hundred services, each with a few others.
const MAX_EDGES: usize = 2000;

/// One end of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) service: u32,
    pub(super) server: bool,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub(super) from_ns: u64,
    pub(super) to_ns: u64,
    pub(super) failed: bool,
}

/// Requests from one service to another.
#[derive(Clone, Debug, Default)]
pub struct Edge {
    pub requests: u64,
    pub failed: u64,
    /// As the server saw them, and as the client did.
    pub server: Histogram,
    pub client: Histogram,
}

impl Edge {
    fn new(exponential: bool) -> Self {
        let of = || Histogram::new(exponential);
        Self { requests: 0, failed: 0, server: of(), client: of() }
    }
}

/// The client's socket: its address, and its network namespace where that address means something only there.
pub(super) type Socket = (u32, SocketAddr);

#[derive(Debug, Default)]
pub(super) struct Graph {
    waiting: HashMap<Socket, Vec<End>, RandomState>,
    order: VecDeque<Socket>,
    pub(super) edges: HashMap<(u32, u32), Edge, RandomState>,
    /// Requests between services for whose pair there was no room.
    pub(super) overflow: u64,
}

impl Graph {
    /// One end of a request is known. `exponential`: what the histograms of a pair are that is new.
    pub(super) fn end(&mut self, socket: Socket, end: End, exponential: bool) {
        let Some(waiting) = self.waiting.get_mut(&socket) else {
            if self.waiting.len() >= MAX_SOCKETS
                && let Some(oldest) = self.order.pop_front()
            {
                self.waiting.remove(&oldest);
            }
            self.order.push_back(socket);
            self.waiting.insert(socket, vec![end]);
            return;
        };
        if let Some(at) = waiting.iter().position(|other| of_one_request(other, &end)) {
            let other = waiting.remove(at);
            let (client, server) = if end.server { (other, end) } else { (end, other) };
            self.request(client, server, exponential);
            return;
        }
        if waiting.len() >= MAX_WAITING {
            waiting.remove(0);
        }
        waiting.push(end);
    }

    fn request(&mut self, client: End, server: End, exponential: bool) {
        let pair = (client.service, server.service);
        if self.edges.len() >= MAX_EDGES && !self.edges.contains_key(&pair) {
            self.overflow += 1;
            return;
        }
        let edge = self.edges.entry(pair).or_insert_with(|| Edge::new(exponential));
        edge.requests += 1;
        edge.failed += u64::from(client.failed || server.failed);
        edge.server.record(server.seconds(), None);
        edge.client.record(client.seconds(), None);
    }
}

impl End {
    fn seconds(&self) -> f64 {
        self.to_ns.saturating_sub(self.from_ns) as f64 / 1e9
    }
}

fn of_one_request(a: &End, b: &End) -> bool {
    let (client, server) = match (a.server, b.server) {
        (false, true) => (a, b),
        (true, false) => (b, a),
        _ => return false,
    };
    client.from_ns <= server.from_ns && server.from_ns <= client.to_ns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(port: u16) -> Socket {
        (1, SocketAddr::from(([127, 0, 0, 1], port)))
    }

    fn end(service: u32, server: bool, from_ns: u64, to_ns: u64) -> End {
        End { service, server, from_ns, to_ns, failed: server && service == 9 }
    }

    #[test]
    fn two_ends_make_a_request_in_any_order() {
        let mut graph = Graph::default();
        graph.end(socket(1), end(2, true, 11, 18), false);
        graph.end(socket(1), end(1, false, 10, 20), false);
        graph.end(socket(1), end(1, false, 30, 40), false);
        graph.end(socket(1), end(2, true, 31, 41), false);
        graph.end(socket(2), end(1, false, 30, 40), false);
        graph.end(socket(2), end(9, true, 31, 39), false);
        assert_eq!(graph.edges[&(1, 2)].requests, 2);
        assert_eq!((graph.edges[&(1, 9)].requests, graph.edges[&(1, 9)].failed), (1, 1));
        assert_eq!(graph.edges.len(), 2);
    }

    #[test]
    fn a_reused_port_joins_nobody() {
        let mut graph = Graph::default();
        graph.end(socket(1), end(1, false, 10, 20), false);
        graph.end(socket(1), end(2, true, 25, 28), false);
        graph.end(socket(1), end(3, false, 24, 30), false);
        assert_eq!(graph.edges.keys().collect::<Vec<_>>(), [&(3, 2)]);
    }

    #[test]
    fn nothing_grows_without_end() {
        let mut graph = Graph::default();
        for n in 0..200_000_u32 {
            graph.end((n, SocketAddr::from(([10, 0, 0, 1], 1))), end(n, true, 1, 2), false);
            graph.end(socket(1), end(1, true, u64::from(n), 2), false);
            graph.end(socket(2), end(n, true, 11, 12), false);
            graph.end(socket(2), end(n, false, 10, 12), false);
        }
        assert!(graph.waiting.len() <= MAX_SOCKETS && graph.order.len() <= MAX_SOCKETS);
        assert!(graph.waiting.values().all(|waiting| waiting.len() <= MAX_WAITING));
        assert_eq!(graph.edges.len(), MAX_EDGES);
        assert_eq!(graph.overflow, 200_000 - MAX_EDGES as u64);
    }
}
