//! Whose bytes are these? Processes, whether they are traced, and the resource that describes them.
//!
//! [`registry`] is the only door: it reads `/proc`, listens to process events and answers. What it finds
//! out about a process are [`facts`]; everything decided from them ([`select`], [`name`], [`runtime`],
//! [`container`]) is a function of those facts alone.

pub mod agents;
pub mod container;
pub mod facts;
mod files;
pub mod go;
pub mod host;
mod listening;
pub mod name;
mod proc;
pub mod recognise;
pub mod registry;
pub mod resource;
pub mod runtime;
pub mod select;
pub mod sockets;
