//! Bytes of the ring to events.
