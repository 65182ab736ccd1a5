//! Conversations through the parser: whole, at every length, in single bytes, in random pieces.

mod conversation;
mod corpus;
mod framing;
mod missing;
