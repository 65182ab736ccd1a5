//! What the agent leaves in the kernel: nothing, however it ends.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use spandrel_test_support::{Agent, Lab};

use crate::{
    actor::Actor,
    stage::{by_both, options},
};

/// Kinds of objects, with the field of `/proc/PID/fdinfo` that has their number.
const FIELDS: [&str; 3] = ["prog_id:", "map_id:", "link_id:"];

/// Programs, maps and links that a process holds.
fn held(pid: u32) -> BTreeSet<String> {
    let folder = format!("/proc/{pid}/fdinfo");
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let mut found = BTreeSet::new();
    for text in texts {
        for line in text.lines() {
            let mut words = line.split_whitespace();
            if let (Some(field), Some(number)) = (words.next(), words.next())
                && FIELDS.contains(&field)
            {
                found.insert(format!("{field}{number}"));
            }
        }
    }
    found
}

mod objects {
    //! Asks the kernel whether an object with a number is there (bpf(2)).

    use std::{
        io,
        os::fd::{FromRawFd as _, OwnedFd},
    };

    const PROG_GET_FD_BY_ID: i64 = 13;
    const MAP_GET_FD_BY_ID: i64 = 14;
    const LINK_GET_FD_BY_ID: i64 = 30;

    pub(super) fn exists(object: &str) -> bool {
        let (field, number) = object.split_once(':').expect("an object");
        let command = match field {
            "prog_id" => PROG_GET_FD_BY_ID,
            "map_id" => MAP_GET_FD_BY_ID,
            _ => LINK_GET_FD_BY_ID,
        };
        let mut attributes = [0_u8; 128];
        let number: u32 = number.parse().expect("a number");
        attributes[..4].copy_from_slice(&number.to_ne_bytes());
        // SAFETY: the attributes are ours and as long as told; the kernel only reads them.
        let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), attributes.len()) };
        if fd < 0 {
            let error = io::Error::last_os_error();
            assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{object}: {error}");
            return false;
        }
        // SAFETY: the kernel just made the descriptor, which is closed here.
        drop(unsafe { OwnedFd::from_raw_fd(fd as i32) });
        true
    }
}

/// The kernel frees what nobody holds after a grace period.
const PATIENCE: Duration = Duration::from_secs(20);

#[track_caller]
fn gone(objects: &BTreeSet<String>, how: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let left: Vec<_> = objects.iter().filter(|object| objects::exists(object)).collect();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "{how}: {left:?} are still there");
        std::thread::yield_now();
    }
}

#[test]
fn nothing_is_left_in_the_kernel() {
    by_both(|profile| {
        for how in [Signal::TERM, Signal::INT, Signal::KILL] {
            let lab = Lab::new();
            let mut actor = Actor::start(&lab, "steps", &["leftovers", "2"]);
            actor.says("ready");
            let agent = Agent::start(&options(profile).arg("--pid").arg(actor.pid().to_string()));
            let objects = held(agent.pid());
            for field in FIELDS {
                let count = objects.iter().filter(|object| object.starts_with(field)).count();
                assert!(count > 2, "{profile}: {field} {objects:?}");
            }
            actor.go();
            actor.says("ready");
            if how == Signal::KILL {
                agent.kill();
            } else {
                agent.signal(how);
                agent.finish();
            }
            gone(&objects, &format!("{profile} {how:?}"));
            // And the program goes on.
            actor.go();
            actor.says("done");
        }
    });
}

#[test]
fn nothing_is_pinned_and_no_file_is_left() {
    let pins = Path::new("/sys/fs/bpf");
    let ours = || {
        let names = fs::read_dir(pins).into_iter().flatten().flatten().map(|entry| entry.file_name());
        names.filter(|name| name.to_string_lossy().contains("spandrel")).count()
    };
    let before = ours();
    let lab = Lab::new();
    let mut actor = Actor::start_by(Command::new(crate::stage::ktest()), &lab, "steps", &["pins", "1"]);
    actor.says("ready");
    let agent = Agent::start(&options("auto").arg("--pid").arg(actor.pid().to_string()));
    assert_eq!(ours(), before);
    agent.kill();
    assert_eq!(ours(), before);
}
