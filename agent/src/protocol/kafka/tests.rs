//! The parser by itself: recorded conversations, and such as no client has.

mod batches;
mod conversation;
mod corpus;
mod frames;
mod missing;
