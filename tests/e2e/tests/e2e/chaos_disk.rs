//! A disk that hangs under the queue: a real file system that is frozen. The destinations and the traced program go on,
//! and when it thaws nothing is lost and nothing was sent twice.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use spandrel_test_support::{
    Agent, Lab, Options,
    otlp::{Backend, Reply},
    process::{command, run},
    require, skip,
};

use crate::{
    chaos::{COUNT, assert_once, configured, destination, requests, segments},
    common::{PYTHON, echo},
};

/// A file system on a file, in a mount namespace of its own. It thaws and goes with its owner, however that ends: whoever
/// holds it does so when its standard input ends.
struct Disk {
    holder: Child,
    at: PathBuf,
}

impl Disk {
    /// `None` where there is no loop device.
    fn mount(lab: &Lab) -> Option<Self> {
        let (image, at) = (lab.write("disk.img", ""), lab.path("disk"));
        fs::File::options()
            .write(true)
            .open(&image)
            .and_then(|file| file.set_len(16 << 20))
            .expect("an image");
        fs::create_dir(&at).expect("a folder");
        run(command("mkfs.ext4").arg("-q").arg(&image)).success();
        let script =
            "mount -o loop \"$0\" \"$1\" && echo mounted && cat; fsfreeze -u \"$1\"; umount -l \"$1\"";
        let mut holder = command("unshare")
            .args(["--mount", "sh", "-c", script])
            .args([&image, &at])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("unshare");
        let mut line = String::new();
        BufReader::new(holder.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        let disk = Self { holder, at };
        (line.trim() == "mounted").then_some(disk)
    }

    fn namespace(&self) -> String {
        format!("--mount=/proc/{}/ns/mnt", self.holder.id())
    }

    /// What is on it, seen from outside.
    fn seen(&self, name: &str) -> PathBuf {
        let at = self.at.strip_prefix("/").expect("a whole path");
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(at).join(name)
    }

    fn fsfreeze(&self, how: &str) {
        run(command("nsenter").arg(self.namespace()).args(["fsfreeze", how]).arg(&self.at)).success();
    }

    /// Starts the agent where this disk is.
    fn given_to(&self, options: Options) -> Options {
        options.started_by(["nsenter", &self.namespace(), "--"])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        self.holder.wait().ok();
    }
}

fn config(disk: &Disk, destinations: &[String]) -> String {
    let queue = disk.at.join("queue");
    let destinations = destinations.concat();
    format!(
        "distribution:\n  spandrel:\n    spill: {{path: {}}}\n    destinations:\n{destinations}",
        queue.display()
    )
}

#[test]
fn a_disk_that_hangs() {
    require!(PYTHON, "curl", "unshare", "nsenter", "mount", "mkfs.ext4", "fsfreeze");
    let lab = Lab::new();
    let Some(disk) = Disk::mount(&lab) else { skip!("no loop device") };
    let backends = [Backend::start(|_| Reply::Ok), Backend::start(|_| Reply::Ok)];
    let [one, two] = &backends;
    let names = ["one", "two"];
    let config = config(&disk, &[destination("one", &one.url(), ""), destination("two", &two.url(), "")]);
    let agent = Agent::start(&disk.given_to(configured(&lab, &config)));
    let (_server, port) = echo(&lab);
    let arrive = |spans| backends.iter().for_each(|backend| backend.wait_accepted(spans));
    requests(&lab, port);
    arrive(2 * COUNT);
    disk.fsfreeze("--freeze");
    requests(&lab, port);
    arrive(4 * COUNT);
    requests(&lab, port);
    arrive(6 * COUNT);
    agent.wait_stderr("no word of the disk", |line| line.contains("does not answer").then_some(()));
    disk.fsfreeze("--unfreeze");
    for name in names {
        agent.wait_stderr("no word of its return", |line| {
            (line.contains("answers again") && line.contains(&format!("/to-{name}"))).then_some(())
        });
    }
    requests(&lab, port);
    arrive(8 * COUNT);
    let finished = agent.stop();
    finished.report.ledger.assert_closed();
    let spans = 8 * COUNT as u64;
    assert_eq!((finished.report.ledger.exported, finished.report.ledger.open), (spans, 0));
    for (backend, name) in backends.iter().zip(names) {
        assert_eq!(backend.accepted().len(), 8 * COUNT);
        assert_once(&backend.accepted());
        assert_eq!(finished.report.json["destinations"][name]["exported"], spans);
        assert_eq!(segments(&disk.seen("queue").join(format!("to-{name}"))), 0);
    }
    let said = finished.stderr.matches("does not answer").count();
    assert_eq!(said, 2, "once for each:\n{}", finished.stderr);
}

/// The end keeps its deadline, and the next start sends what was on the disk, once.
#[test]
fn a_disk_that_hangs_at_the_end() {
    require!(PYTHON, "curl", "unshare", "nsenter", "mount", "mkfs.ext4", "fsfreeze");
    let lab = Lab::new();
    let Some(disk) = Disk::mount(&lab) else { skip!("no loop device") };
    let backend = Backend::start(|_| Reply::Status(503, vec![]));
    let config = config(&disk, &[destination("main", &backend.url(), "")]);
    let options = || disk.given_to(configured(&lab, &config)).args(["--shutdown-timeout", "1"]);
    let agent = Agent::start(&options());
    let (server, port) = echo(&lab);
    requests(&lab, port);
    backend.wait_requests(4);
    disk.fsfreeze("--freeze");
    requests(&lab, port);
    agent.wait_stderr("no word of the disk", |line| line.contains("does not answer").then_some(()));
    let begun = Instant::now();
    agent.signal(Signal::TERM);
    agent.wait_stderr("no last word", |line| line.contains("at the end").then_some(()));
    let took = begun.elapsed();
    // The system does not end a process that waits for a disk.
    disk.fsfreeze("--unfreeze");
    let finished = agent.finish();
    assert!(took < Duration::from_secs(5), "{took:?}");
    finished.report.ledger.assert_closed();
    let (spilled, lost) =
        (finished.report.ledger.dropped["spilled"], finished.report.ledger.dropped["shutdown"]);
    assert!(spilled >= COUNT as u64 && spilled + lost == 4 * COUNT as u64, "{:?}", finished.report.ledger);
    drop(server);
    backend.script(|_| Reply::Ok);
    let agent = Agent::start(&options());
    backend.wait_accepted(spilled as usize);
    agent.stop();
    assert_once(&backend.accepted());
}

/// A disk that hangs when the agent starts: it starts all the same and does without, and what an earlier run left there is
/// sent when it answers.
#[test]
fn a_disk_that_hangs_at_the_start() {
    require!(PYTHON, "curl", "unshare", "nsenter", "mount", "mkfs.ext4", "fsfreeze");
    let lab = Lab::new();
    let Some(disk) = Disk::mount(&lab) else { skip!("no loop device") };
    let backend = Backend::start(|_| Reply::Status(503, vec![]));
    let config = config(&disk, &[destination("main", &backend.url(), "")]);
    let options = || disk.given_to(configured(&lab, &config)).args(["--shutdown-timeout", "1"]);
    let agent = Agent::start(&options());
    let (_server, port) = echo(&lab);
    requests(&lab, port);
    backend.wait_requests(4);
    let spilled = agent.stop().report.ledger.dropped["spilled"] as usize;
    assert_eq!(spilled, 2 * COUNT);
    backend.script(|_| Reply::Ok);
    disk.fsfreeze("--freeze");
    let agent = Agent::start(&options());
    agent.wait_stderr("no word of the disk", |line| line.contains("does not answer").then_some(()));
    requests(&lab, port);
    backend.wait_accepted(2 * COUNT);
    disk.fsfreeze("--unfreeze");
    backend.wait_accepted(2 * COUNT + spilled);
    let finished = agent.stop();
    finished.report.ledger.assert_closed();
    assert_once(&backend.accepted());
    assert_eq!(finished.report.ledger.exported, 2 * COUNT as u64, "{}", finished.stderr);
    assert_eq!(finished.report.json["destinations"]["main"]["recovered"], spilled);
    assert_eq!(segments(&disk.seen("queue").join("to-main")), 0);
}
