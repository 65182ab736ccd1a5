//! The report that `--report` writes at exit.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use serde::Serialize;

use super::{
    VERSION,
    counters::Counters,
    metrics::{Snapshot, Source},
    pipeline::Watched,
};
use crate::stats::{Count, Drop as Cause, Stats};

/// What became of every request. `seen = exported + unsampled + dropped + open`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ledger {
    pub seen: u64,
    pub exported: u64,
    pub unsampled: u64,
    /// Every cause, also those that did not happen.
    pub dropped: BTreeMap<&'static str, u64>,
    pub open: i64,
}

impl Ledger {
    /// The ledger as it is now.
    pub fn read(stats: &Stats) -> Self {
        Self {
            seen: stats.seen.load(Relaxed),
            exported: stats.exported.load(Relaxed),
            unsampled: stats.unsampled.load(Relaxed),
            dropped: Cause::ALL.iter().map(|cause| (cause.label(), stats.dropped(*cause))).collect(),
            open: stats.open.load(Relaxed),
        }
    }

    /// Whether every request is in exactly one column.
    pub fn closes(&self) -> bool {
        let dropped: u64 = self.dropped.values().sum();
        i128::from(self.seen) == i128::from(self.exported + self.unsampled + dropped) + i128::from(self.open)
    }
}

/// What became of a destination's spans. Each destination counts all that it wants, so several of these may count
/// the same span; the ledger counts it once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    pub exported: u64,
    /// The causes that happened.
    pub dropped: BTreeMap<&'static str, u64>,
    /// How many of the dropped ones are in the dead letters.
    pub saved: u64,
    /// Spans on disk that an earlier run left; they are in no ledger of this one.
    pub recovered: u64,
    /// Batches on disk that could not be read at the start.
    pub damaged_batches: u64,
    /// Bytes of the queue on disk and of the dead letters.
    pub spill_bytes: u64,
    pub dead_letter_bytes: u64,
}

impl Account {
    fn read(destination: &Watched) -> Self {
        let account = destination.room.account();
        let dropped = Cause::ALL.iter().map(|cause| (cause.label(), account.dropped(*cause)));
        let damaged = |counters: &Arc<Counters>| counters.spill_damaged.load(Relaxed);
        Self {
            exported: account.exported(),
            dropped: dropped.filter(|(_, spans)| *spans > 0).collect(),
            saved: account.saved(),
            recovered: account.recovered(),
            damaged_batches: destination.counters.as_ref().map_or(0, damaged),
            spill_bytes: destination.spill.as_ref().map_or(0, |spill| spill.bytes()),
            dead_letter_bytes: destination.dead_letters.as_ref().map_or(0, |dead| dead.bytes()),
        }
    }
}

/// The whole report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub ledger: Ledger,
    /// What the kernel side counted.
    pub kernel: BTreeMap<&'static str, u64>,
    /// What capture met besides requests.
    pub counts: BTreeMap<&'static str, u64>,
    /// Requests to backends, by destination and how they ended.
    pub requests: BTreeMap<String, BTreeMap<String, u64>>,
    /// What became of the spans that each destination wants.
    pub destinations: BTreeMap<String, Account>,
    pub version: &'static str,
    pub kernel_release: String,
    pub profile: &'static str,
    pub hooks: Vec<String>,
}

impl Report {
    /// The report as of now; at exit, call it after [`super::Pipeline::shutdown`].
    pub fn read(source: &Source) -> Self {
        let Snapshot { ready: _, kernel, kernel_release, profile, hooks } = source.snapshot();
        let counts = Count::ALL.iter().map(|what| (what.label(), source.stats().counted(*what)));
        let destinations = source.destinations();
        let requests = destinations.iter().filter_map(|destination| {
            let requests = destination.counters.as_ref()?.requests();
            Some((
                destination.name.to_string(),
                requests.into_iter().map(|(code, n)| (code.to_string(), n)).collect(),
            ))
        });
        let accounts = destinations.iter().map(|one| (one.name.to_string(), Account::read(one)));
        Self {
            ledger: Ledger::read(source.stats()),
            destinations: accounts.collect(),
            kernel: kernel.into_iter().collect(),
            counts: counts.collect(),
            requests: requests.collect(),
            version: VERSION,
            kernel_release,
            profile,
            hooks,
        }
    }

    /// Writes it to a file: whoever reads that finds the old one or the whole new one. What is there and is no plain file (a
    /// terminal, a pipe, `/dev/stdout`) is written to as it is, and links are followed.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let target = fs::canonicalize(path);
        let path = target.as_deref().unwrap_or(path);
        if path.metadata().is_ok_and(|meta| !meta.is_file()) {
            // A pipe that nobody reads must not hold up the end.
            let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
            return self.print(&OpenOptions::new().write(true).custom_flags(flags).open(path)?);
        }
        let mut name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        let written = self.fill(&temporary).and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            // It may not exist; the first error is the one to tell.
            fs::remove_file(&temporary).ok();
        }
        written
    }

    fn fill(&self, path: &Path) -> io::Result<()> {
        let file = File::create(path)?;
        self.print(&file)?;
        file.sync_all()
    }

    /// In one call, as far as the file takes that much at once.
    fn print(&self, mut file: &File) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        file.write_all(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_whole_and_readable() {
        let stats = Arc::new(Stats::default());
        (0..3).for_each(|_| stats.saw());
        stats.exported(1);
        Stats::drop(&stats, Cause::Rejected, 1);
        let source = Source::new(stats, Vec::new(), || Snapshot {
            kernel: vec![("events_lost", 4)],
            kernel_release: "6.1.0".to_owned(),
            profile: "syscall",
            hooks: vec!["sys_enter".to_owned()],
            ready: true,
        });
        let report = Report::read(&source);
        assert!(report.ledger.closes());
        let folder = std::env::temp_dir().join(format!("spandrel-report-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("report.json");
        report.write(&path).unwrap();
        report.write(&path).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(json["ledger"]["seen"], 3);
        assert_eq!(json["ledger"]["dropped"]["rejected"], 1);
        assert_eq!(json["ledger"]["dropped"]["queue_full"], 0);
        assert_eq!(json["ledger"]["open"], 1);
        assert_eq!(json["kernel"]["events_lost"], 4);
        assert_eq!(json["hooks"][0], "sys_enter");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        assert!(report.write(&folder.join("missing/report.json")).is_err());

        let link = folder.join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        fs::write(&path, "old").unwrap();
        report.write(&link).unwrap();
        assert!(link.is_symlink() && fs::read(&path).unwrap().starts_with(b"{"));
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        report.write(&link).unwrap();
        assert!(link.is_symlink() && !Path::new("/dev/null").is_file());
        fs::remove_dir_all(&folder).unwrap();
    }
}
