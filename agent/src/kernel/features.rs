//! What this kernel can do, for `spandrel doctor`.
