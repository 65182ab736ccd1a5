//! Spans on their way into one request, grouped by resource as OTLP has them.

use std::{
    borrow::Borrow,
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use foldhash::fast::RandomState;

use super::otlp;
use crate::{discover::resource::Resource, span::Span};

/// Spans of one resource.
#[derive(Debug)]
pub struct Group {
    pub resource: Arc<Resource>,
    /// Indices into the batch's spans.
    pub(super) members: Vec<u32>,
    /// Encoded length of the resource message.
    pub(super) resource_len: usize,
    /// Encoded length of the spans, each with its tag and length.
    pub(super) spans_len: usize,
}

/// Spans and what their encoding will take.
#[derive(Debug)]
pub struct Batch<S> {
    pub(super) spans: Vec<S>,
    /// Encoded length of each span message.
    pub(super) lens: Vec<u32>,
    pub(super) groups: Vec<Group>,
    /// Resource id to index in `groups`.
    index: HashMap<u64, usize, RandomState>,
    /// The group of the last span: the next one is often of the same.
    last: Option<(u64, usize)>,
    bytes: usize,
}

impl<S> Default for Batch<S> {
    fn default() -> Self {
        let (spans, lens, groups) = (Vec::new(), Vec::new(), Vec::new());
        Self { spans, lens, groups, index: HashMap::default(), last: None, bytes: 0 }
    }
}

impl<S: Borrow<Span>> Batch<S> {
    /// Adds one span.
    pub fn push(&mut self, span: S) {
        let len = otlp::span_len(span.borrow());
        self.push_measured(span, len);
    }

    /// Adds one span whose encoded length is known.
    pub(super) fn push_measured(&mut self, span: S, len: usize) {
        let group = self.group(&span.borrow().resource);
        let framed = otlp::framed_len(len);
        if let Some(group) = self.groups.get_mut(group) {
            group.members.push(self.spans.len() as u32);
            group.spans_len += framed;
        }
        self.bytes += framed;
        self.lens.push(len as u32);
        self.spans.push(span);
    }

    fn group(&mut self, resource: &Arc<Resource>) -> usize {
        if let Some((id, at)) = self.last
            && id == resource.id
        {
            return at;
        }
        let at = match self.index.entry(resource.id) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let resource_len = otlp::resource_len(resource);
                self.bytes += resource_len + otlp::GROUP_OVERHEAD;
                let (resource, members) = (Arc::clone(resource), Vec::new());
                self.groups.push(Group { resource, members, resource_len, spans_len: 0 });
                *new.insert(self.groups.len() - 1)
            }
        };
        self.last = Some((resource.id, at));
        at
    }

    /// How many spans there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The encoded size: exact but for a few bytes a group, never less than the real one.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What one span more, whose encoded length is known, would add to [`Self::bytes`].
    pub(super) fn cost(&self, span: &Span, len: usize) -> usize {
        let new = match self.last {
            Some((id, _)) if id == span.resource.id => false,
            _ => !self.index.contains_key(&span.resource.id),
        };
        let group = if new { otlp::resource_len(&span.resource) + otlp::GROUP_OVERHEAD } else { 0 };
        otlp::framed_len(len) + group
    }

    /// The spans of a group, in the order in which they came.
    pub(super) fn members<'a>(&'a self, group: &'a Group) -> impl Iterator<Item = (&'a Span, usize)> {
        group.members.iter().filter_map(|at| {
            let at = *at as usize;
            Some((self.spans.get(at)?.borrow(), *self.lens.get(at)? as usize))
        })
    }
}

impl<S: Borrow<Span>> FromIterator<S> for Batch<S> {
    fn from_iter<I: IntoIterator<Item = S>>(spans: I) -> Self {
        let mut batch = Self::default();
        spans.into_iter().for_each(|span| batch.push(span));
        batch
    }
}
