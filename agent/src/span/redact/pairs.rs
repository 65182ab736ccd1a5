//! Names and values in pairs, as lists of headers, variables and labels are written in JSON:
//! `{"name": "password", "value": "X"}`.

/// What stands in front of a name.
pub(super) const KEYS: [&[u8]; 8] =
    [b"name", b"key", b"field", b"header", b"param", b"parameter", b"k", b"n"];
/// What stands in front of its value.
pub(super) const VALUES: [&[u8]; 4] = [b"value", b"val", b"values", b"v"];
/// How far the two may be from each other. It bounds the time that hostile texts take.
pub(super) const NEAR: usize = 512;

/// Whether a key is one of these, whatever its case.
pub(super) fn is_one(key: &[u8], of: &[&[u8]]) -> bool {
    of.iter().any(|one| one.eq_ignore_ascii_case(key))
}
