//! Files and folders that are written: no two destinations may have the same one, whatever it is called.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use super::{
    destination::{FileConfig, ToConfig},
    settings::Exporters,
    walk::{Table, Walk},
};

/// Renamed files that are kept where nothing is said; a few more than that do no harm here.
const MAX_FILES: usize = 4;

/// Reports places that would be written for two purposes. `table` is `distribution.spandrel`.
pub(super) fn check(walk: &mut Walk<'_>, table: &Table<'_>, exporters: &Exporters) {
    if let (Some(spill), Some(dead)) = (&exporters.spill, &exporters.dead_letters)
        && same(&spill.folder) == same(&dead.folder)
    {
        let line = table.line_of("dead_letters").unwrap_or(table.line);
        let what = "is the folder of spill: what was refused for good would be sent again";
        walk.wrong(&table.at("dead_letters.path"), line, what, "give each a folder of its own");
    }
    let files: Vec<_> = exporters
        .more
        .iter()
        .filter_map(|one| match &one.to {
            ToConfig::File(file) => Some((&one.name, file)),
            ToConfig::Otlp(_) => None,
        })
        .collect();
    for (at, (name, file)) in files.iter().enumerate() {
        let clash = files.iter().take(at).find(|(_, other)| collide(file, other) || collide(other, file));
        if let Some((other, _)) = clash {
            let line = table.line_of("destinations").unwrap_or(table.line);
            let what = format!("{name:?} writes a file that {other:?} writes or renames, too");
            walk.wrong(&table.at("destinations"), line, what, "give each a file of its own");
        }
    }
}

/// Whether one file is the other, or one of those that it is renamed to.
fn collide(one: &FileConfig, other: &FileConfig) -> bool {
    let (one, base) = (same(&one.path), same(&other.path));
    if one == base {
        return true;
    }
    let number = one
        .to_str()
        .zip(base.to_str())
        .and_then(|(one, base)| one.strip_prefix(base)?.strip_prefix('.')?.parse::<usize>().ok());
    number.is_some_and(|number| (1..=other.max_files.unwrap_or(MAX_FILES)).contains(&number))
}

/// A path by which two names of one place are known, as far as it exists: without links, `.` and `..`.
fn same(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            _ => plain.push(part),
        }
        // What does not exist yet has no links.
        plain = fs::canonicalize(&plain).unwrap_or(plain);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &Path, max_files: usize) -> FileConfig {
        FileConfig { path: path.to_owned(), max_bytes: None, max_files: Some(max_files) }
    }

    #[test]
    fn one_place_by_several_names() {
        let folder = std::env::temp_dir().join(format!("spandrel-places-{}", std::process::id()));
        fs::create_dir_all(folder.join("real")).unwrap();
        std::os::unix::fs::symlink(folder.join("real"), folder.join("link")).unwrap();
        let place = |path: &str| same(&folder.join(path));
        for path in ["real/new/x", "link/new/x", "real/./new//x/", "link/new/y/../x"] {
            assert_eq!(place(path), place("real/new/x"), "{path}");
        }
        assert_ne!(place("real/new/x"), place("real/new/X"));
        let [a, b] = ["real/t.json", "link/t.json.2"].map(|path| file(&folder.join(path), 2));
        assert!(collide(&b, &a) && !collide(&a, &b));
        assert!(!collide(&b, &file(&folder.join("real/t.json"), 1)));
        fs::remove_dir_all(&folder).unwrap();
    }
}
