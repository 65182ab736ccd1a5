//! What the kernel tells about an agent's BPF programs and ring, read from the descriptors that it holds.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::process::CommandExt as _,
    process::{Child, Stdio},
};

use anyhow::{Context as _, Result};

use crate::run::{answer, command, exists};

/// 1 while the kernel measures every run of every program, which costs each run two readings of a clock.
const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";
/// `BPF_MAP_TYPE_RINGBUF`.
const RING: &str = "27";

/// The kernel's run-time statistics, switched on. What was set before is set again when this is dropped, and
/// when this program dies in any other way: a shell waits for the end of a pipe and does it.
pub(super) struct Statistics {
    restorer: Child,
}

impl Statistics {
    pub(super) fn on() -> Result<Self> {
        let before = fs::read_to_string(SWITCH).with_context(|| format!("cannot read {SWITCH}"))?;
        let script = "read -r _; echo \"$1\" > \"$2\"";
        let mut shell = command("sh");
        // A group of its own: Ctrl-C at the terminal must not reach it.
        shell.args(["-c", script, "sh", before.trim(), SWITCH]).process_group(0);
        let restorer = shell.stdin(Stdio::piped()).spawn().context("cannot start sh")?;
        let this = Self { restorer };
        fs::write(SWITCH, "1").with_context(|| format!("cannot write {SWITCH}: are you root?"))?;
        Ok(this)
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        if let Some(mut pipe) = self.restorer.stdin.take() {
            // Closing is enough; the line only spares the shell a complaint.
            pipe.write_all(b"\n").ok();
        }
        self.restorer.wait().ok();
    }
}

/// One program of an agent.
#[derive(Clone, Debug, Default)]
pub(super) struct Program {
    /// Where it is attached.
    pub(super) place: String,
    pub(super) runs: u64,
    pub(super) ns: u64,
    /// Instructions that the verifier walked through when it was loaded.
    pub(super) verified: u64,
}

/// The programs that a process holds, by their ids.
pub(super) fn programs(pid: u32) -> Result<BTreeMap<u32, Program>> {
    let mut programs = BTreeMap::<u32, Program>::new();
    for fields in descriptors(pid)? {
        let Some(id) = fields.get("prog_id").and_then(|id| id.parse().ok()) else { continue };
        let number = |name: &str| fields.get(name).and_then(|text| text.parse::<u64>().ok());
        let program = programs.entry(id).or_default();
        if let Some(place) = fields.get("tp_name") {
            program.place.clone_from(place);
        }
        if let Some(runs) = number("run_cnt") {
            program.runs = runs;
            program.ns = number("run_time_ns").unwrap_or(0);
            program.verified = number("verified_insns").unwrap_or(0);
        }
    }
    for (id, program) in programs.iter_mut().filter(|(_, program)| program.place.is_empty()) {
        program.place = format!("program {id}");
    }
    Ok(programs)
}

/// What the programs did between two readings.
pub(super) fn since(after: &BTreeMap<u32, Program>, before: &BTreeMap<u32, Program>) -> Vec<Program> {
    let difference = |(id, now): (&u32, &Program)| {
        let then = before.get(id).cloned().unwrap_or_default();
        Program {
            runs: now.runs.saturating_sub(then.runs),
            ns: now.ns.saturating_sub(then.ns),
            ..now.clone()
        }
    };
    after.iter().map(difference).collect()
}

/// Instructions of a program as the kernel keeps it, if bpftool is here to say.
pub(super) fn instructions(id: u32) -> Option<u64> {
    if !exists("bpftool") {
        return None;
    }
    let text = answer(command("bpftool").args(["prog", "show", "id", &id.to_string(), "--json"]))?;
    let shown: serde_json::Value = serde_json::from_str(&text).ok()?;
    // Eight bytes each.
    shown.get("bytes_xlated")?.as_u64().map(|bytes| bytes / 8)
}

/// The id of the largest ring buffer that a process holds.
pub(super) fn ring(pid: u32) -> Result<Option<u32>> {
    let rings =
        descriptors(pid)?.into_iter().filter(|fields| fields.get("map_type").is_some_and(|t| t == RING));
    let sized = rings.filter_map(|fields| {
        Some((fields.get("max_entries")?.parse::<u64>().ok()?, fields.get("map_id")?.parse().ok()?))
    });
    Ok(sized.max().map(|(_, id)| id))
}

/// What `/proc/PID/fdinfo` says of each descriptor: `name: value` lines.
fn descriptors(pid: u32) -> Result<Vec<BTreeMap<String, String>>> {
    let folder = format!("/proc/{pid}/fdinfo");
    let mut all = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
        // A descriptor may be closed between the listing and the reading.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        all.push(fields(&text));
    }
    Ok(all)
}

fn fields(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_read() {
        let fields = fields("pos:\t0\nprog_id:\t1445\nrun_cnt:\t7\ntp_name:\tsock_send_length\n");
        assert_eq!(fields["prog_id"], "1445");
        assert_eq!(fields["tp_name"], "sock_send_length");
    }

    #[test]
    fn differences() {
        let program = |runs, ns| Program { place: "a".to_owned(), runs, ns, verified: 9 };
        let before = BTreeMap::from([(1, program(10, 1000))]);
        let after = BTreeMap::from([(1, program(15, 2000)), (2, program(3, 30))]);
        let grown: Vec<_> = since(&after, &before).iter().map(|p| (p.runs, p.ns, p.verified)).collect();
        assert_eq!(grown, [(5, 1000, 9), (3, 30, 9)]);
    }
}
