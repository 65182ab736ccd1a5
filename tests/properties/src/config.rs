//! The configuration file: any text is judged, and what is refused says where.

use std::collections::HashMap;

use spandrel::config::judge;

/// Any text as a file.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let env = HashMap::from([("NAME".to_owned(), "value".to_owned())]);
    for mistake in judge(&text, &env) {
        assert!(!mistake.what.is_empty() && !mistake.advice.is_empty(), "{mistake:?}");
        assert!(mistake.place.starts_with("file"), "{mistake:?}");
    }
}
