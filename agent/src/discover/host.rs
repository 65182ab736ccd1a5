//! What is the same for every process of this machine.

use std::{fs, time::Duration};

/// Bytes of an id that are taken; machine ids have 32.
const MAX_ID: usize = 128;

/// The machine that the agent runs on. What is not known is empty.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// `host.name`.
    pub name: String,
    /// `host.id`: the machine id (`machine-id(5)`).
    pub id: String,
    /// `host.arch`, as the conventions spell it.
    pub arch: &'static str,
    /// Changes with every boot: process ids and start times count from there.
    pub boot_id: String,
    /// When the machine was booted, seconds since the Unix epoch.
    pub boot_seconds: u64,
    /// Clock ticks of a second, for start times.
    pub ticks_per_second: u64,
}

impl Host {
    /// Reads them.
    pub fn read() -> Self {
        let id = line("/etc/machine-id").or_else(|| line("/var/lib/dbus/machine-id"));
        Self {
            name: line("/proc/sys/kernel/hostname").unwrap_or_default(),
            id: id.unwrap_or_default(),
            arch: match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                "arm" => "arm32",
                "x86" => "x86",
                "powerpc64" => "ppc64",
                "s390x" => "s390x",
                other => other,
            },
            boot_id: line("/proc/sys/kernel/random/boot_id").unwrap_or_default(),
            boot_seconds: procfs::boot_time_secs().unwrap_or(0),
            ticks_per_second: procfs::ticks_per_second(),
        }
    }

    /// When a process started, since the Unix epoch; to the second, as the boot time is known no better.
    pub fn started(&self, start_ticks: u64) -> Option<Duration> {
        let since_boot = start_ticks.checked_div(self.ticks_per_second)?;
        (self.boot_seconds > 0).then(|| Duration::from_secs(self.boot_seconds.saturating_add(since_boot)))
    }
}

fn line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().next()?.trim();
    let line: String = line.chars().take(MAX_ID).collect();
    (!line.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known() {
        let host = Host::read();
        assert!(!host.name.is_empty() && !host.boot_id.is_empty() && !host.arch.is_empty());
        let start = procfs::process::Process::myself().unwrap().stat().unwrap().starttime;
        let started = host.started(start).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        assert!(started <= now + Duration::from_secs(2));
        assert!(now.saturating_sub(started) < Duration::from_secs(3600));
        assert_eq!(Host::default().started(5), None);
    }
}
