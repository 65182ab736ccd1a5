//! Which processes are traced: by every selector, through fork and exec, before and after they listen.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;
use spandrel_test_support::{Agent, Kind, Lab, Options, http, skip};

use crate::{
    actor::Actor,
    load::FLOOD,
    stage::{agree, by_both, ktest, options},
    truth::Truth,
};

/// What the actors did in conversations with this name.
#[track_caller]
fn of(lab: &Lab, actors: &[&Actor], name: &str) -> Truth {
    let mut all = Truth::default();
    for actor in actors {
        all.lines.extend(actor.truth(lab).lines);
    }
    all.lines.retain(|line| line.path.starts_with(&format!("/{name}")));
    all
}

/// `ktest` by another name.
#[track_caller]
fn copy(lab: &Lab, name: &str) -> PathBuf {
    let path = lab.path(name);
    fs::copy(ktest(), &path).expect("a copy of ktest");
    path
}

/// Two programs talk to themselves, one of them chosen by what `choose` says; first with the agent started before
/// them, then after. Only the chosen one has spans.
#[track_caller]
fn one_of_two(choose: impl Fn(Options, &Lab) -> Options) {
    by_both(|profile| {
        for first in [true, false] {
            let lab = Lab::new();
            let start = |name: &str| {
                let mut actor = Actor::start_by(Command::new(copy(&lab, name)), &lab, "steps", &[name, "1"]);
                actor.says("ready");
                actor
            };
            let begin = || Agent::start(&choose(options(profile), &lab));
            let (agent, mut actors) = if first {
                let agent = begin();
                (agent, [start("chosen"), start("other")])
            } else {
                let actors = [start("chosen"), start("other")];
                (begin(), actors)
            };
            for actor in &mut actors {
                actor.go();
                actor.says("done");
            }
            let finished = agent.stop();
            let [chosen, other] = &actors;
            agree(profile, &of(&lab, &[chosen, other], "chosen"), &finished);
        }
    });
}

#[test]
fn by_the_path_of_its_executable() {
    one_of_two(|options, lab| options.arg("--exe").arg(lab.text("chosen")));
}

#[test]
fn by_the_name_of_its_executable() {
    // The folder's name tells it from what other tests run.
    one_of_two(|options, lab| options.arg("--exe").arg(format!("*{}/cho?en", lab.tag())));
}

#[test]
fn by_its_command_line() {
    one_of_two(|options, lab| options.arg("--cmd").arg(format!("*{}* chosen 1", lab.tag())));
}

#[test]
fn by_its_process_id() {
    by_both(|profile| {
        let lab = Lab::new();
        let mut actors = ["chosen", "other"].map(|name| Actor::start(&lab, "steps", &[name, "1"]));
        for actor in &mut actors {
            actor.says("ready");
        }
        let agent = Agent::start(&options(profile).arg("--pid").arg(actors[0].pid().to_string()));
        for actor in &mut actors {
            actor.go();
            actor.says("done");
        }
        let finished = agent.stop();
        let [chosen, other] = &actors;
        agree(profile, &of(&lab, &[chosen, other], "chosen"), &finished);
    });
}

/// Where control groups of version 2 are mounted.
fn cgroup_root() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    mounts.find(|words| words.get(2) == Some(&"cgroup2")).map(|words| PathBuf::from(words[1]))
}

/// A control group that is gone with its value.
struct Group(PathBuf);

impl Group {
    fn new(root: &Path, lab: &Lab) -> Option<Self> {
        let path = root.join(lab.tag());
        fs::create_dir(&path).ok().map(|()| Self(path))
    }

    #[track_caller]
    fn take(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).expect("the process goes into the group");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        fs::remove_dir(&self.0).ok();
    }
}

#[test]
fn by_its_control_group() {
    let Some(root) = cgroup_root() else { skip!("no control groups of version 2 here") };
    by_both(|profile| {
        let lab = Lab::new();
        let Some(group) = Group::new(&root, &lab) else { panic!("a control group below {}", root.display()) };
        let mut actors = ["chosen", "other"].map(|name| Actor::start(&lab, "steps", &[name, "1"]));
        for actor in &mut actors {
            actor.says("ready");
        }
        group.take(actors[0].pid());
        let agent = Agent::start(&options(profile).arg("--cgroup").arg(group.0.to_str().expect("a path")));
        for actor in &mut actors {
            actor.go();
            actor.says("done");
        }
        let finished = agent.stop();
        for actor in &mut actors {
            actor.go();
            actor.ends();
        }
        let [chosen, other] = &actors;
        agree(profile, &of(&lab, &[chosen, other], "chosen"), &finished);
    });
}

#[test]
fn by_a_port_on_which_it_listens_later() {
    by_both(|profile| {
        let lab = Lab::new();
        let mut actor = Actor::start(&lab, "listens", &["later"]);
        let port = actor.says("PORT");
        let agent = Agent::start(&options(profile).arg("--port").arg(port));
        actor.go();
        actor.says("listening");
        actor.go();
        actor.says("done");
        agree(profile, &of(&lab, &[&actor], "later"), &agent.stop());
    });
}

#[test]
fn by_a_port_on_which_it_listens_already() {
    by_both(|profile| {
        let lab = Lab::new();
        let mut actor = Actor::start(&lab, "listens", &["already"]);
        let port = actor.says("PORT");
        actor.go();
        actor.says("listening");
        let agent = Agent::start(&options(profile).arg("--port").arg(port));
        actor.go();
        actor.says("done");
        // What it did before is older than the agent.
        agree(profile, &of(&lab, &[&actor], "already/2/"), &agent.stop());
    });
}

#[test]
fn forked_children_are_traced_too() {
    by_both(|profile| {
        let lab = Lab::new();
        let mut actor = Actor::start(&lab, "forks", &["family"]);
        actor.says("ready");
        let agent = Agent::start(&options(profile).arg("--pid").arg(actor.pid().to_string()));
        actor.go();
        actor.says("done");
        agree(profile, &of(&lab, &[&actor], "family"), &agent.stop());
    });
}

/// A program of this name becomes one of that name; what matches is traced, from its first request on.
#[track_caller]
fn becomes(name: &str, next: &str) {
    by_both(|profile| {
        let lab = Lab::new();
        let agent = Agent::start(&options(profile).arg("--cmd").arg(format!("*{}* chosen *", lab.tag())));
        let mut actor = Actor::start(&lab, "becomes", &[name, next]);
        actor.says("ready");
        for word in ["ready", "ready", "done"] {
            actor.go();
            actor.says(word);
        }
        agree(profile, &of(&lab, &[&actor], "chosen"), &agent.stop());
    });
}

#[test]
fn an_exec_leads_away_from_the_selection() {
    becomes("chosen", "other");
}

#[test]
fn an_exec_leads_into_the_selection() {
    becomes("other", "chosen");
}

#[test]
fn a_program_whose_exec_event_is_lost() {
    by_both(|profile| {
        let lab = Lab::new();
        let mut flood = Actor::start(&lab, "flood-on-cue", &FLOOD);
        flood.says("ready");
        let mut agent = Agent::start(&options(profile).arg("--pid").arg(flood.pid().to_string()));
        // The ring is full while the agent stands still and this one is executed.
        agent.signal(Signal::STOP);
        flood.go();
        flood.says("done");
        let mut command = Command::new(ktest());
        // Its exec event takes more room than any that was lost before it.
        command.env("KTEST_LONG", "x".repeat(8192));
        let mut other = Actor::start_by(command, &lab, "steps", &["other", "3"]);
        other.says("ready");
        other.go();
        other.says("ready");
        agent.signal(Signal::CONT);
        // From now on there is room again, for whatever the other one does: most of what was in the ring has been read.
        agent.wait_count(Kind::Server, 400);
        for word in ["ready", "done"] {
            other.go();
            other.says(word);
        }
        let finished = agent.stop();
        let false_ones: Vec<_> =
            finished.spans.iter().filter(|span| span.path().contains("/other/")).collect();
        assert!(false_ones.is_empty(), "{profile}: {false_ones:?}");
    });
}

#[test]
fn the_agent_does_not_trace_itself() {
    by_both(|profile| {
        let binary = spandrel_test_support::agent::binary();
        let binary = fs::canonicalize(binary).expect("the agent");
        let agent = Agent::start(&options(profile).arg("--exe").arg(binary.to_str().expect("a path")));
        for _ in 0..3 {
            assert!(http::get(agent.address().port(), "/metrics").contains("200 OK"));
        }
        let own = agent.pid();
        let finished = agent.stop();
        let traced: Vec<_> = finished.spans.iter().filter(|span| span.pid() == own).collect();
        assert!(traced.is_empty(), "{profile}: {traced:?}");
    });
}
