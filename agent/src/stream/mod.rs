//! Connections: which bytes belong together, in which order, and what is missing.
