//! A test's own folder, whose name also tells its programs from everybody else's.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::told::tell_failures;

/// A temporary folder, removed on drop. Its random name is in the command line of every program that has one of
/// its files as argument, so that an agent can be told to look at these alone: `--cmd` [`Lab::pattern`].
#[derive(Debug)]
pub struct Lab(TempDir);

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// An empty folder that every user may read: servers drop their privileges.
    #[track_caller]
    pub fn new() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        tell_failures();
        let folder = tempfile::Builder::new().prefix("spandrel-").tempdir().expect("a temporary folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a readable folder");
        Self(folder)
    }

    /// The folder's name: random, and free of what a shell, a URL or a glob would misread.
    pub fn tag(&self) -> &str {
        self.0.path().file_name().and_then(|name| name.to_str()).expect("a name in UTF-8")
    }

    /// What `--cmd` takes to select this test's programs.
    pub fn pattern(&self) -> String {
        format!("*{}*", self.tag())
    }

    /// A path in it.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    /// The same as text.
    #[track_caller]
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("a path in UTF-8").to_owned()
    }

    /// Writes a file.
    #[track_caller]
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder for the file");
        fs::write(&path, content).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        path
    }

    /// Reads a file.
    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        let path = self.path(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
    }
}
