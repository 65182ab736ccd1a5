//! `cargo xtask demo`: what a reader of the README sees first is true, and leaves nothing behind.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use spandrel_test_support::tell_failures;

/// A demo's own temporary folder. What it starts is recognised by the variable that names it.
struct Place(PathBuf);

struct Ended {
    status: ExitStatus,
    out: String,
    errors: String,
}

impl Place {
    fn new(name: &str) -> Self {
        tell_failures();
        let folder = env::temp_dir().join(format!("demo-test-{name}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn demo(&self, args: &[&str]) -> Command {
        let mut demo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
        demo.args(["run", "--quiet", "--locked", "--package", "xtask", "--", "demo"]).args(args);
        demo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
        demo.env("TMPDIR", &self.0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        demo
    }

    /// Processes that have the variable.
    fn processes(&self) -> Vec<String> {
        let mark = format!("TMPDIR={}\0", self.0.display());
        let marked = |pid: &String| {
            let variables = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            variables.windows(mark.len()).any(|bytes| bytes == mark.as_bytes())
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(marked).collect()
    }

    #[track_caller]
    fn assert_empty(&self) {
        assert_eq!(self.processes(), Vec::<String>::new(), "processes are left");
        assert_eq!(fs::read_dir(&self.0).unwrap().count(), 0, "files are left");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What a failed test leaves.
        for pid in self.processes() {
            signal("KILL", &pid);
        }
        fs::remove_dir_all(&self.0).ok();
    }
}

fn signal(name: &str, pid: &str) {
    Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap();
}

fn finish(demo: &mut Command) -> Ended {
    let out = demo.output().unwrap();
    Ended {
        status: out.status,
        out: String::from_utf8(out.stdout).unwrap(),
        errors: String::from_utf8(out.stderr).unwrap(),
    }
}

/// The port of the front door.
fn port(out: &str) -> u16 {
    let line = out.lines().find(|line| line.trim_start().starts_with("nginx ")).unwrap();
    line.rsplit(':').next().unwrap().trim().parse().unwrap()
}

fn is_open(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[track_caller]
fn until(what: &str, mut look: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !look() {
        assert!(Instant::now() < end, "{what}");
        thread::yield_now();
    }
}

/// Checks what the demo shows: each request's trace, whole, with its failure and its slowness.
#[track_caller]
fn check(ended: &Ended) {
    let Ended { status, out, errors } = ended;
    assert!(status.success(), "{status}\n{out}\n{errors}");
    let (go, java) = (out.contains("  Go "), out.contains("  Java "));
    let expected = [3 + if go { 4 } else { 0 }, 5 + if go { 2 } else { 0 }, 5 + if java { 2 } else { 0 }];
    let total: usize = expected.iter().sum();
    assert!(out.contains(&format!("{total} of {total} spans")), "{out}");

    let traces: Vec<Vec<&str>> = out
        .split("\n\n")
        .filter(|block| block.contains(" spans in "))
        .map(|block| block.lines().collect())
        .collect();
    assert_eq!(traces.len(), 3, "{out}");
    for (trace, spans) in traces.iter().zip(expected) {
        assert!(trace[0].contains(&format!(", {spans} spans in ")), "{out}");
        // One root, and all others below it.
        let below =
            |line: &&&str| line.trim_start_matches([' ', '\u{2502}']).starts_with(['\u{251c}', '\u{2514}']);
        assert!(trace[1].starts_with("nginx "), "{out}");
        assert_eq!(trace.iter().filter(below).count(), spans - 1, "{out}");
    }
    let [browse, cart, checkout] = [traces[0].join("\n"), traces[1].join("\n"), traces[2].join("\n")];
    assert!(browse.contains("nginx GET /browse") && browse.contains("storefront GET /browse"), "{out}");
    assert!(!browse.contains("failed") && !cart.contains("failed"), "{out}");
    assert!(cart.contains("cart GET /total/tea"), "{out}");
    assert!(cart.contains("\ntime: cart "), "the time was spent in the cart:\n{out}");
    assert!(checkout.contains("failed at cart,"), "it failed in the cart:\n{out}");
    assert_eq!(checkout.lines().filter(|line| line.contains(" 502 ")).count(), 3, "{out}");
    assert!(!out.contains('\x1b'), "colours are for terminals");
}

#[test]
fn it_shows_whole_traces_and_leaves_nothing() {
    let place = Place::new("whole");
    let ended = finish(&mut place.demo(&[]));
    check(&ended);
    assert!(!is_open(port(&ended.out)));
    place.assert_empty();
}

#[test]
fn interrupted_it_leaves_nothing() {
    for kind in ["INT", "TERM"] {
        let place = Place::new(kind);
        let mut demo: Child = place.demo(&[]).spawn().unwrap();
        let mut lines = BufReader::new(demo.stdout.take().unwrap());
        let mut out = String::new();
        while !out.contains("/checkout") {
            assert_ne!(lines.read_line(&mut out).unwrap(), 0, "{out}");
        }
        signal(kind, &demo.id().to_string());
        lines.read_to_string(&mut out).unwrap();
        let code = demo.wait().unwrap().code();
        assert_eq!(code, Some(if kind == "INT" { 130 } else { 143 }), "{out}");
        place.assert_empty();
    }
}

#[test]
fn a_failing_agent_is_said_and_leaves_nothing() {
    let place = Place::new("fails");
    let ended = finish(place.demo(&[]).env("SPANDREL_BIN", "/bin/false"));
    assert_eq!(ended.status.code(), Some(1), "{}", ended.out);
    assert!(ended.errors.contains("the agent ended"), "{}", ended.errors);
    place.assert_empty();
}

#[test]
fn kept_it_goes_on_until_it_is_stopped() {
    let place = Place::new("keep");
    let ended = finish(&mut place.demo(&["--keep"]));
    check(&ended);
    let typed = |word: &str| {
        let line = ended.out.lines().rfind(|line| line.contains(word)).unwrap();
        line.trim_start_matches("$ ").split("  #").next().unwrap().to_owned()
    };
    let run = |line: &str| Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(run(&typed("/cart")).status.success());
    let traces = typed("tail -f").replace("tail -f", "cat");
    until("the kept agent shows nothing", || {
        String::from_utf8_lossy(&run(&traces).stdout).contains("cart GET /total")
    });
    assert!(is_open(port(&ended.out)));

    assert!(run(&typed("kill -- ")).status.success());
    until("it does not stop", || place.processes().is_empty());
    assert!(!is_open(port(&ended.out)));
    place.assert_empty();
}
