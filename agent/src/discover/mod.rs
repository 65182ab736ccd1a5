//! Whose bytes are these? Processes, whether they are traced, and the resource that describes them.

pub mod resource;
