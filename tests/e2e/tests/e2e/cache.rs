//! What takes minutes to fetch and build is kept outside the clone, in the user's cache, under a name with its
//! versions in it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

/// One build at a time: they share the caches of their tools.
static BUILDING: Mutex<()> = Mutex::new(());

/// The folder of a thing that is ready, built by `build` in a folder of its own if it is not there yet; or why it
/// cannot be had.
pub(crate) fn cached(name: &str, build: impl FnOnce(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| {
        let home = env::var_os("HOME")?;
        Some(Path::new(&home).join(".cache"))
    });
    let base = base.ok_or("no HOME for a cache")?.join("spandrel");
    let ready = base.join(name);
    let _one = BUILDING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !ready.exists() {
        let wrong = |error: std::io::Error| format!("{}: {error}", base.display());
        fs::create_dir_all(&base).map_err(wrong)?;
        let folder = tempfile::Builder::new().prefix(name).tempdir_in(&base).map_err(wrong)?;
        build(folder.path())?;
        // Whoever was faster made the same.
        if fs::rename(folder.path(), &ready).is_ok() {
            let _moved = folder.keep();
        }
    }
    if ready.exists() { Ok(ready) } else { Err(format!("{} is not there", ready.display())) }
}
