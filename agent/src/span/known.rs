//! What one connection's messages say that others' spans need: names of topics, groups of consumers, ids of
//! clusters.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::Arc,
};

use crate::exchange::Addr;

/// Topics whose names are kept by their ids. Some megabytes; clusters of thousands of topics fit. Ids are
/// random (KIP-516), so that those of several clusters do not meet.
pub const TOPICS: usize = 65_536;
/// Clients whose consumer group is kept: more than the processes of a machine have.
pub const GROUPS: usize = 4096;
/// Brokers whose cluster's id is kept.
pub const BROKERS: usize = 4096;

/// A map that forgets the oldest entry where it is full. What is still used is told again before long:
/// clients ask for metadata every few minutes and send heartbeats every few seconds.
#[derive(Debug)]
struct Bounded<K, V> {
    map: HashMap<K, V>,
    order: VecDeque<K>,
    most: usize,
}

impl<K: Clone + Eq + Hash, V> Bounded<K, V> {
    fn new(most: usize) -> Self {
        Self { map: HashMap::new(), order: VecDeque::new(), most }
    }

    fn set(&mut self, key: K, value: V) {
        if self.map.insert(key.clone(), value).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.map.remove(&oldest);
        }
    }
}

/// A client of a process.
type Client = (u32, Option<Box<str>>);

/// What is known.
#[derive(Debug)]
pub struct Known {
    topics: Bounded<[u8; 16], Arc<str>>,
    /// `None` for a client that is in several groups, whose connections nobody can tell apart.
    groups: Bounded<Client, Option<Box<str>>>,
    clusters: Bounded<(std::net::SocketAddr, u32), Box<str>>,
}

impl Default for Known {
    fn default() -> Self {
        Self { topics: Bounded::new(TOPICS), groups: Bounded::new(GROUPS), clusters: Bounded::new(BROKERS) }
    }
}

impl Known {
    /// A topic has this id.
    pub(super) fn set_topic(&mut self, id: [u8; 16], name: &Arc<str>) {
        self.topics.set(id, Arc::clone(name));
    }

    /// The name of a topic.
    pub(super) fn topic(&self, id: &[u8; 16]) -> Option<&Arc<str>> {
        self.topics.map.get(id)
    }

    /// A client of a process is a member of this group.
    pub(super) fn set_group(&mut self, tgid: u32, client: Option<&str>, group: &str) {
        let key = (tgid, client.map(Into::into));
        match self.groups.map.get(&key) {
            Some(Some(known)) if **known == *group => {}
            Some(None) => {}
            Some(Some(_)) => self.groups.set(key, None),
            None => self.groups.set(key, Some(group.into())),
        }
    }

    /// The group that a client of a process is a member of.
    pub(super) fn group(&self, tgid: u32, client: Option<&str>) -> Option<&str> {
        self.groups.map.get(&(tgid, client.map(Into::into)))?.as_deref()
    }

    /// A broker belongs to this cluster.
    pub(super) fn set_cluster(&mut self, broker: Addr, netns: u32, id: &str) {
        if let Addr::Ip(broker) = broker
            && self.clusters.map.get(&(broker, netns)).is_none_or(|known| **known != *id)
        {
            self.clusters.set((broker, netns), id.into());
        }
    }

    /// The cluster that a broker belongs to.
    pub(super) fn cluster(&self, broker: Addr, netns: u32) -> Option<&str> {
        match broker {
            Addr::Ip(broker) => self.clusters.map.get(&(broker, netns)).map(|id| &**id),
            Addr::Unix => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten() {
        let mut known = Bounded::new(2);
        for (key, value) in [(1, 'a'), (2, 'b'), (1, 'c'), (3, 'd')] {
            known.set(key, value);
        }
        assert_eq!((known.map.get(&1), known.map.get(&2), known.map.get(&3)), (None, Some(&'b'), Some(&'d')));
        assert_eq!(known.order.len(), 2);
    }

    #[test]
    fn a_client_in_two_groups_is_in_none() {
        let mut known = Known::default();
        known.set_group(1, Some("c"), "a");
        known.set_group(1, Some("c"), "a");
        known.set_group(2, Some("c"), "b");
        assert_eq!((known.group(1, Some("c")), known.group(1, None)), (Some("a"), None));
        known.set_group(1, Some("c"), "b");
        known.set_group(1, Some("c"), "a");
        assert_eq!((known.group(1, Some("c")), known.group(2, Some("c"))), (None, Some("b")));
    }
}
