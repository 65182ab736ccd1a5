//! The kernel's structure offsets, found in its BTF, for the kernel side.

use spandrel_common::layout::{Layout, Need};

use super::btf::Btf;

/// What a kernel lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// `struct.member`.
    pub name: String,
    pub need: Need,
}

/// Finds every offset. What is absent is listed; the caller decides what that costs.
pub fn find(btf: &Btf<'_>) -> (Layout, Vec<Missing>) {
    let mut layout = Layout::NONE;
    let mut missing = Vec::new();
    for (index, (_, owner, member, need)) in Layout::FIELDS.iter().enumerate() {
        match btf.offset(owner, member) {
            Some(offset) => layout.set(index, offset),
            None => missing.push(Missing { name: format!("{owner}.{member}"), need: *need }),
        }
    }
    (layout, missing)
}
