//! The conversations of `tests/corpus/http1`: `NAME.req`, `NAME.resp` and what they are, `NAME.expected`.
//! `UPDATE_EXPECT=1` writes what came out; read the difference before it is committed.

use std::{fs, path::Path};

use super::conversation::{Step, req, resp, run_all_ways, run_pieces};
use crate::protocol::Side;

#[test]
fn conversations() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/corpus/http1"));
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "req"));
    names.sort();
    assert!(!names.is_empty());
    for path in names {
        let (request, response) = (fs::read(&path).unwrap(), fs::read(path.with_extension("resp")).unwrap());
        let steps = [req(&request), resp(&response), Step::Eof(Side::Request), Step::Eof(Side::Response)];
        let told = run_all_ways(&steps);
        assert_eq!(run_pieces(&steps, &[1, 3, 1460, 5]), told, "{}", path.display());
        let expected = path.with_extension("expected");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&expected, &told).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(told, expected, "{}: UPDATE_EXPECT=1 if the new one is right", path.display());
    }
}
