//! `cargo xtask go-layouts`: writes the agent's table of offsets inside Go's own structures.
//!
//! It builds a small program (`xtask/go/subject`) with each release, fetched by the go command itself, and asks a reader of
//! DWARF (`xtask/go/layouts`) where the members are. The first and the last patch release of a minor one that can be
//! had have to agree. A member that is lost with a new release of Go shows here, and not in a wrong trace.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::run::{command, root};

/// Releases that are looked at.
const RELEASES: &[&str] = &[
    "1.18.4", "1.18.8", "1.19.4", "1.20.1", "1.20.14", "1.21.0", "1.21.13", "1.22.0", "1.22.12", "1.23.0",
    "1.23.12", "1.24.0", "1.24.13", "1.25.0", "1.25.14", "1.26.0", "1.26.11", "1.27.0", "1.27.4",
];
/// Where the table is.
const TABLE: &str = "agent/src/discover/go/table.rs";
/// Between these lines it is written.
const MARKS: (&str, &str) = ("pub(super) const LAYOUTS: &[(u32, Layout)] = &[", "];\n");
/// Members of the table, in its order.
const MEMBERS: [&str; 20] = [
    "g_m",
    "g_goid",
    "g_parent",
    "m_curg",
    "m_p",
    "m_oldp",
    "p_cache",
    "pc_conn",
    "pc_is_client",
    "conn_fd",
    "fd_sysfd",
    "itab_hash",
    "req_ctx",
    "g_startpc",
    "tcp_hash",
    "unix_hash",
    "cancel_hash",
    "timer_hash",
    "value_hash",
    "without_hash",
];
/// Members that the older releases lack.
const OPTIONAL: [&str; 3] = ["g_parent", "pc_is_client", "without_hash"];
/// What the agent takes to be the first member.
const FIRST: [&str; 3] = ["treq_request", "cancel_parent", "value_parent"];

type Offsets = BTreeMap<String, i64>;

pub(crate) fn run() -> Result<()> {
    let source = root().join("xtask/go");
    let built = root().join("target/go-layouts");
    fs::create_dir_all(&built).with_context(|| format!("cannot make {}", built.display()))?;
    let reader = built.join("layouts");
    build(&source, "./layouts", &reader, &built, None)?;
    let mut table: BTreeMap<u32, Offsets> = BTreeMap::new();
    for release in RELEASES {
        let subject = built.join(format!("subject-{release}"));
        build(&source, "./subject", &subject, &built, Some(release))?;
        let mut offsets = read(&reader, &subject)?;
        if offsets.get("timer_parent") != Some(&0) {
            // Go 1.20 has a pointer in its place: the search for a context's origin ends there.
            offsets.insert("timer_hash".to_owned(), 0);
        }
        check(&offsets).with_context(|| format!("Go {release}"))?;
        let minor = release.split('.').nth(1).and_then(|minor| minor.parse().ok());
        let minor: u32 = minor.with_context(|| format!("{release} is no release"))?;
        match table.get(&minor) {
            Some(other) if *other != offsets => {
                bail!("the patch releases of Go 1.{minor} differ: the table needs a row for each")
            }
            _ => table.insert(minor, offsets),
        };
    }
    write(&table)
}

/// Builds a program. A release and what it leaves behind take half a gigabyte, so they are in a folder of their own
/// under `built` and go afterwards.
fn build(source: &Path, package: &str, to: &Path, built: &Path, release: Option<&str>) -> Result<()> {
    let mut go = command("go");
    go.current_dir(source).arg("build").arg("-o").arg(to).arg(package);
    if let Some(release) = release {
        go.env("GOTOOLCHAIN", format!("go{release}"));
    }
    let fetched = built.join("fetched");
    go.env("GOMODCACHE", fetched.join("modules")).env("GOCACHE", fetched.join("cache"));
    let status =
        go.env("GOFLAGS", "-modcacherw").status().context("cannot run go: install it (https://go.dev/dl)")?;
    if fetched.exists() {
        fs::remove_dir_all(&fetched).with_context(|| format!("cannot remove {}", fetched.display()))?;
    }
    if !status.success() {
        bail!("`go build {package}` failed with {}", release.unwrap_or("the installed release"));
    }
    Ok(())
}

fn read(reader: &Path, subject: &Path) -> Result<Offsets> {
    let output = Command::new(reader).arg(subject).output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(output.stdout)?;
    let pairs = text.split_whitespace().filter_map(|word| word.split_once('='));
    pairs.map(|(name, value)| Ok((name.to_owned(), value.parse()?))).collect()
}

/// What the agent takes for granted.
fn check(offsets: &Offsets) -> Result<()> {
    let of = |name: &str| offsets.get(name).copied().unwrap_or(-1);
    for name in MEMBERS {
        if of(name) < 0 && !OPTIONAL.contains(&name) {
            bail!("{name} is not found");
        }
    }
    if of("p_cache_end") != of("p_cache") + 8 {
        bail!("p.goidcacheend is not behind p.goidcache");
    }
    if of("sched_goidgen") != 0 {
        bail!("schedt.goidgen is not the first member");
    }
    for name in FIRST {
        if of(name) != 0 {
            bail!("{name} is not the first member, but at {}", of(name));
        }
    }
    if of("without_hash") >= 0 && of("without_parent") != 0 {
        bail!("the parent of a context that is not cancelled is not its first member");
    }
    Ok(())
}

/// Whether a member is the hash of a type, and not an offset.
fn is_hash(name: &str) -> bool {
    name.ends_with("_hash") && name != "itab_hash"
}

fn write(table: &BTreeMap<u32, Offsets>) -> Result<()> {
    let mut rows = String::new();
    for (minor, offsets) in table {
        write!(rows, "({minor}, Layout {{")?;
        for name in MEMBERS {
            match offsets.get(name) {
                Some(-1) | None if is_hash(name) => write!(rows, "{name}: 0, ")?,
                Some(-1) | None => write!(rows, "{name}: ABSENT, ")?,
                Some(value) if is_hash(name) => {
                    write!(rows, "{name}: {:#06x}_{:04x}, ", value >> 16, value & 0xffff)?;
                }
                Some(value) => write!(rows, "{name}: {value}, ")?,
            }
        }
        rows.push_str("}),\n");
    }
    let path = root().join(TABLE);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {TABLE}"))?;
    let parts =
        text.split_once(MARKS.0).and_then(|(before, rest)| Some((before, rest.split_once(MARKS.1)?.1)));
    let Some((before, after)) = parts else { bail!("{TABLE} has no table to write") };
    fs::write(&path, format!("{before}{}\n{rows}{}{after}", MARKS.0, MARKS.1))?;
    let formatted = command("rustfmt").arg("--edition=2024").arg(&path).status()?;
    if !formatted.success() {
        bail!("rustfmt refuses {TABLE}");
    }
    Ok(())
}
