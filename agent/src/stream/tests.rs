//! Synthetic event sequences: what the table makes of order, gaps, losses and ends.

mod calls;
mod ends;
mod held;
mod missing;
mod order;
mod streams;
mod truth;
mod wire;
mod withheld;
