//! Batches on disk: the queue that survives a restart ([`spill`]), and what can never be delivered ([`dead`]), in one
//! format ([`record`]) that `spandrel replay` reads.
//!
//! Own segment files, after looking for a library. What the queue needs is acknowledgement out of order (several
//! requests are in flight), a cap on bytes, and a checksum for each batch, so that a torn write costs one batch and
//! not the store. Queues in files (yaque, queue-file) acknowledge in order and check no content; logs (okaywal,
//! commitlog) are not kept up; databases (redb, SQLite) pay a flush for each commit or lose all since the last one,
//! do not give space back, and are whole or broken as one.

pub mod dead;
pub(super) mod disk;
pub mod left;
pub mod record;
pub(super) mod segment;
pub mod settled;
pub mod spill;
