//! What an OTLP Resource says about a service instance.

use crate::span::Attribute;

/// The resource of one process.
#[derive(Debug, Default)]
pub struct Resource {
    /// Unique for each resource while the agent runs; spans are grouped by it.
    pub id: u64,
    /// `service.name`, for the console.
    pub service: Box<str>,
    /// All attributes, `service.name` included.
    pub attributes: Vec<Attribute>,
}
