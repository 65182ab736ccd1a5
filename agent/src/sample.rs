//! The sampling room: the decision of [`spandrel_common::sample`], for what the kernel side left open.
