//! What is measured of requests before sampling: durations by service (`http.server.request.duration`,
//! `http.client.request.duration`; http-metrics.md) and the service graph of this node.
//!
//! Of requests that the kernel side withholds because they are not sampled, it tells only how they went: what is to be
//! read in their heads (a server's scheme; the address of a client's server, unless its `Host` comes first) is no label.

mod graph;
pub mod histogram;

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::RandomState;

use self::graph::{End, Graph};
pub use self::{
    graph::Edge,
    histogram::{Exemplar, Histogram},
};
use super::{Attribute, semconv::OTHER};
use crate::{
    discover::resource::Resource,
    exchange::{Addr, Connection, Role},
};

/// Resources whose service is remembered; then all are looked up anew.
const MAX_RESOURCES: usize = 8192;
/// Services that are told apart; requests of others are in the overflow series.
const MAX_SERVICES: usize = 4096;

/// Attributes of an instance that also describe its service as a whole on this node.
const OF_SERVICE: [&str; 14] = [
    "service.name",
    "service.namespace",
    "service.version",
    "deployment.environment.name",
    "host.name",
    "host.id",
    "host.arch",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.node.name",
    "k8s.deployment.name",
    "cloud.region",
    "telemetry.sdk.name",
    "os.type",
];

/// What tells series apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// An index into [`Snapshot::services`].
    pub service: u32,
    pub server: bool,
    /// `http.request.method`.
    pub method: Cow<'static, str>,
    /// `url.scheme`; of servers.
    pub scheme: &'static str,
    /// `http.response.status_code`; 0 if there was no response.
    pub code: u16,
    /// `error.type`; empty if there was no error.
    pub error: Cow<'static, str>,
    /// `network.protocol.version`; empty if unknown.
    pub version: &'static str,
    /// `server.address` and `server.port`, of clients.
    pub address: Box<str>,
    pub port: u16,
}

impl Key {
    /// What has no room of its own.
    pub fn overflow(server: bool) -> Self {
        Self {
            service: u32::MAX,
            server,
            method: Cow::Borrowed(""),
            scheme: "",
            code: 0,
            error: Cow::Borrowed(""),
            version: "",
            address: Box::default(),
            port: 0,
        }
    }

    /// Whether this is [`Self::overflow`].
    pub const fn is_overflow(&self) -> bool {
        self.service == u32::MAX
    }
}

/// A scheme that can be a label.
pub(super) fn scheme_label(scheme: &str) -> &'static str {
    match scheme {
        "http" => "http",
        "https" => "https",
        "ws" => "ws",
        "wss" => "wss",
        _ => OTHER,
    }
}

/// A service: attributes of its resource on this node.
pub type Service = Arc<[Attribute]>;

/// One request.
#[derive(Debug)]
pub(super) struct Observed<'a> {
    /// All but the service.
    pub(super) key: Key,
    pub(super) resource: &'a Arc<Resource>,
    pub(super) connection: &'a Connection,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    /// If it is sampled.
    pub(super) exemplar: Option<Exemplar>,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Series of each role at most.
    pub max_series: usize,
    pub exponential: bool,
    pub exemplars: bool,
}

/// All that is measured. The capture thread adds to it, any thread reads it.
#[derive(Debug)]
pub struct Measures {
    limits: Limits,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    services: Vec<Service>,
    by_resource: HashMap<u64, u32, RandomState>,
    by_name: HashMap<Box<str>, u32>,
    series: HashMap<Key, Histogram, RandomState>,
    counts: [usize; 2],
    graph: Graph,
}

/// What was measured so far.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub services: Vec<Service>,
    /// In the order of their keys.
    pub series: Vec<(Key, Histogram)>,
    /// Client, server, and what went between them.
    pub edges: Vec<(u32, u32, Edge)>,
    pub edges_overflow: u64,
}

impl Snapshot {
    /// `service.name`; empty for the overflow.
    pub fn name(&self, service: u32) -> &str {
        let attributes = self.services.get(service as usize).map_or(&[][..], |service| service);
        let name = attributes.iter().find(|attribute| attribute.key == "service.name");
        match name.map(|attribute| &attribute.value) {
            Some(super::Value::Str(name)) => name,
            Some(super::Value::Static(name)) => name,
            _ => "",
        }
    }
}

impl Measures {
    /// Nothing yet.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, inner: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it is held; counts are right in any case.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a request.
    pub(super) fn observe(&self, observed: Observed<'_>) {
        let Observed { mut key, resource, connection, start_ns, end_ns, exemplar } = observed;
        let mut inner = self.lock();
        let server = key.server;
        let Some(service) = inner.service(resource) else {
            key = Key::overflow(server);
            return inner.record(self.limits, key, (start_ns, end_ns), exemplar);
        };
        key.service = service;
        let failed = !key.error.is_empty();
        inner.record(self.limits, key, (start_ns, end_ns), exemplar);
        let client = if server { connection.peer } else { connection.local };
        if let Addr::Ip(address) = client {
            let namespace = if address.ip().is_loopback() { connection.netns } else { 0 };
            let end = End { service, server, from_ns: start_ns, to_ns: end_ns, failed };
            inner.graph.end((namespace, address), end, self.limits.exponential);
        }
    }

    /// What was measured so far.
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.lock();
        let mut series: Vec<_> =
            inner.series.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        let edges = inner.graph.edges.iter();
        let mut edges: Vec<_> = edges.map(|((from, to), edge)| (*from, *to, edge.clone())).collect();
        let (services, edges_overflow) = (inner.services.clone(), inner.graph.overflow);
        drop(inner);
        series.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        edges.sort_unstable_by_key(|(from, to, _)| (*from, *to));
        Snapshot { services, series, edges, edges_overflow }
    }
}

impl Inner {
    fn record(&mut self, limits: Limits, key: Key, (start, end): (u64, u64), exemplar: Option<Exemplar>) {
        let seconds = end.saturating_sub(start) as f64 / 1e9;
        let exemplar = exemplar.filter(|_| limits.exemplars).map(|one| Exemplar { seconds, ..one });
        if let Some(series) = self.series.get_mut(&key) {
            return series.record(seconds, exemplar);
        }
        let role = usize::from(key.server);
        let count = self.counts.get(role).copied().unwrap_or(0);
        let key = if count >= limits.max_series { Key::overflow(key.server) } else { key };
        if !key.is_overflow()
            && let Some(count) = self.counts.get_mut(role)
        {
            *count += 1;
        }
        self.series
            .entry(key)
            .or_insert_with(|| Histogram::new(limits.exponential))
            .record(seconds, exemplar);
    }

    /// The service of a resource; `None` if there are too many.
    fn service(&mut self, resource: &Resource) -> Option<u32> {
        if let Some(known) = self.by_resource.get(&resource.id) {
            return Some(*known);
        }
        let kept = |attribute: &&Attribute| OF_SERVICE.contains(&&*attribute.key);
        let attributes: Service = resource.attributes.iter().filter(kept).cloned().collect();
        let namespace = attributes.iter().find(|attribute| attribute.key == "service.namespace");
        let name: Box<str> = match namespace {
            None => resource.service.clone(),
            Some(namespace) => format!("{:?}/{}", namespace.value, resource.service).into(),
        };
        let at = match self.by_name.get(&name) {
            Some(known) => *known,
            None if self.services.len() >= MAX_SERVICES => return None,
            None => {
                let new = self.services.len() as u32;
                self.services.push(attributes);
                self.by_name.insert(name, new);
                new
            }
        };
        if self.by_resource.len() >= MAX_RESOURCES {
            self.by_resource.clear();
        }
        self.by_resource.insert(resource.id, at);
        Some(at)
    }
}

/// The role as a key has it.
pub(super) fn is_server(role: Role) -> bool {
    role == Role::Server
}

/// A request of each kind, and one between two services, for tests elsewhere.
#[cfg(test)]
pub(crate) fn example(measures: &Measures) {
    let connection = |role, local: &str, peer: &str| Connection {
        id: 1,
        seed: [1, 2],
        role,
        local: Addr::Ip(local.parse().unwrap()),
        peer: Addr::Ip(peer.parse().unwrap()),
        netns: 1,
    };
    for (id, service, server, local, peer) in
        [(1, "web", false, "10.0.0.1:9", "10.0.0.2:80"), (2, "shop", true, "10.0.0.2:80", "10.0.0.1:9")]
    {
        let name = Attribute { key: "service.name".into(), value: super::Value::Str(service.into()) };
        let resource = Arc::new(Resource { id, service: service.into(), attributes: vec![name] });
        let key = Key {
            method: "GET".into(),
            scheme: if server { "http" } else { "" },
            code: 500,
            error: "500".into(),
            version: "1.1",
            address: if server { Box::default() } else { "shop".into() },
            port: if server { 0 } else { 80 },
            ..Key::overflow(server)
        };
        let role = if server { Role::Server } else { Role::Client };
        let exemplar =
            Exemplar { trace_id: [1; 16], span_id: [2; 8], seconds: 0.0, unix_ns: 1_700_000_000_000_000_000 };
        measures.observe(Observed {
            key,
            resource: &resource,
            connection: &connection(role, local, peer),
            start_ns: 1_000_000_000,
            end_ns: 1_020_000_000,
            exemplar: Some(exemplar),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::Value;

    fn resource(id: u64, name: &str) -> Arc<Resource> {
        let attribute = Attribute { key: "service.name".into(), value: Value::Str(name.into()) };
        let pid = Attribute { key: "process.pid".into(), value: Value::Int(id as i64) };
        Arc::new(Resource { id, service: name.into(), attributes: vec![attribute, pid] })
    }

    fn observe(measures: &Measures, resource: &Arc<Resource>, server: bool, code: u16) {
        let (client, other) = ("10.0.0.1:9".parse().unwrap(), "10.0.0.2:80".parse().unwrap());
        let (local, peer) = if server { (other, client) } else { (client, other) };
        let role = if server { Role::Server } else { Role::Client };
        let connection =
            Connection { id: 1, seed: [1, 2], role, local: Addr::Ip(local), peer: Addr::Ip(peer), netns: 1 };
        let key = Key { method: "GET".into(), code, service: 0, ..Key::overflow(server) };
        let (start_ns, end_ns) = (1_000_000_000, 1_020_000_000);
        measures.observe(Observed {
            key,
            resource,
            connection: &connection,
            start_ns,
            end_ns,
            exemplar: None,
        });
    }

    #[test]
    fn instances_of_a_service_are_one() {
        let measures = Measures::new(Limits { max_series: 3, exponential: false, exemplars: true });
        for id in 1..20_000 {
            observe(&measures, &resource(id, "shop"), true, 200);
        }
        observe(&measures, &resource(0, "web"), false, 200);
        let snapshot = measures.snapshot();
        assert_eq!(snapshot.services.len(), 2);
        assert_eq!((snapshot.name(0), snapshot.name(1), snapshot.name(2)), ("shop", "web", ""));
        assert_eq!(snapshot.services[0].len(), 1);
        assert_eq!(snapshot.series.len(), 2);
        assert_eq!(snapshot.series[0].1.count(), 19_999);
        assert_eq!(snapshot.edges.len(), 1);
        assert_eq!((snapshot.edges[0].0, snapshot.edges[0].1, snapshot.edges[0].2.requests), (1, 0, 1));
    }

    #[test]
    fn histograms_of_services_and_between_them_are_of_one_kind() {
        for exponential in [false, true] {
            let measures = Measures::new(Limits { max_series: 3, exponential, exemplars: true });
            observe(&measures, &resource(1, "shop"), true, 200);
            observe(&measures, &resource(2, "web"), false, 200);
            let snapshot = measures.snapshot();
            let edge = &snapshot.edges[0].2;
            for histogram in [&snapshot.series[0].1, &edge.server, &edge.client] {
                assert_eq!((histogram.count(), histogram.exponential.is_some()), (1, exponential));
            }
        }
    }

    #[test]
    fn there_are_never_too_many_series() {
        let measures = Measures::new(Limits { max_series: 3, exponential: true, exemplars: true });
        let shop = resource(1, "shop");
        (0..100).for_each(|code| observe(&measures, &shop, true, code));
        (0..2).for_each(|code| observe(&measures, &shop, false, code));
        let snapshot = measures.snapshot();
        assert_eq!(snapshot.series.len(), 3 + 2 + 1);
        let (overflow, histogram) = snapshot.series.last().unwrap();
        assert!(overflow.is_overflow() && overflow.server);
        assert_eq!(histogram.count(), 97);
    }
}
