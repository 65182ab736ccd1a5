//! The registry with processes that live, and with events about ones that are gone.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
};

use spandrel_common::event::SELECT_PENDING;

use super::*;
use crate::span::Value;

/// A child that ends with the test.
struct Guest(Child);

impl Guest {
    fn spawn(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::piped()).spawn().unwrap())
    }

    /// A program that waits for the end of its standard input.
    fn waiting(command: &mut Command) -> Self {
        Self::spawn(command.stdin(Stdio::piped()))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// The id of a process that has ended.
fn gone() -> u32 {
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    child.id()
}

fn registry(selectors: Selectors) -> Registry {
    Registry::new(selectors, &ResourceConfig::default(), redact::Policy::default(), Arc::default())
}

fn by_pid(pid: u32) -> Selectors {
    Selectors { pids: [pid].into(), ..Selectors::default() }
}

fn header(pid: u32, time_ns: u64) -> Header {
    Header { tgid: pid, tid: pid, time_ns, ..Header::default() }
}

fn exec(pid: u32, parent: u32, path: &str, args: usize) -> Exec {
    let mut field = [0; 256];
    field[..path.len()].copy_from_slice(path.as_bytes());
    Exec {
        header: header(pid, 0),
        parent,
        state: SELECT_PENDING,
        reserved: [0; 3],
        args: args as u32,
        reserved2: 0,
        path: field,
    }
}

fn fork(parent: u32, child: u32) -> Fork {
    Fork { header: header(parent, 0), child, state: 1, reserved: [0; 3] }
}

fn verdict_of(decisions: &[Decision], pid: u32) -> Verdict {
    decisions.iter().find(|decision| decision.pid == pid).unwrap().verdict
}

fn text(resource: &Resource, key: &str) -> Option<String> {
    let attribute = resource.attributes.iter().find(|attribute| attribute.key == key)?;
    match &attribute.value {
        Value::Str(text) => Some(text.to_string()),
        Value::Int(number) => Some(number.to_string()),
        other => panic!("{key} is {other:?}"),
    }
}

#[test]
fn a_running_process_is_found_and_described() {
    let guest = Guest::waiting(Command::new("cat").env("OTEL_SERVICE_NAME", "shop"));
    let mut registry = registry(by_pid(guest.pid()));
    let decisions = registry.scan();
    assert_eq!(verdict_of(&decisions, guest.pid()), Verdict::Yes(Selected::Pid));
    assert_eq!(verdict_of(&decisions, std::process::id()), Verdict::No(Ignored::Agent));
    assert_eq!(verdict_of(&decisions, 1), Verdict::No(Ignored::NoMatch));
    assert_eq!(registry.len(), 1);

    let resource = registry.resource(guest.pid(), 0);
    assert_eq!(&*resource.service, "shop");
    assert_eq!(text(&resource, "process.pid"), Some(guest.pid().to_string()));
    assert_eq!(text(&resource, "process.command").as_deref(), Some("cat"));
    assert!(text(&resource, "process.executable.path").unwrap().starts_with('/'));
    for key in ["process.creation.time", "process.owner", "service.instance.id"] {
        assert!(text(&resource, key).is_some(), "{key}");
    }
    assert!(Arc::ptr_eq(&resource, &registry.resource(guest.pid(), RECHECK_NS + 1)));
}

#[test]
fn without_selectors_everything_is_traced_but_the_agent() {
    let guest = Guest::waiting(&mut Command::new("cat"));
    let decisions = registry(Selectors::default()).scan();
    assert_eq!(verdict_of(&decisions, guest.pid()), Verdict::Yes(Selected::Everything));
    assert_eq!(verdict_of(&decisions, std::process::id()), Verdict::No(Ignored::Agent));
}

#[test]
fn a_script_gives_its_name() {
    let folder = std::env::temp_dir().join(format!("spandrel-registry-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("cart")).unwrap();
    std::fs::write(folder.join("cart/main.sh"), "echo ready; read x\n").unwrap();
    let mut guest = Guest::waiting(Command::new("sh").arg("main.sh").current_dir(folder.join("cart")));
    assert_eq!(guest.line(), "ready");
    let mut registry = registry(by_pid(guest.pid()));
    registry.scan();
    let resource = registry.resource(guest.pid(), 0);
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(&*resource.service, "cart");
}

#[test]
fn the_holder_of_a_listening_socket_is_found() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let holder = Guest::spawn(Command::new("sleep").arg("60").stdin(Stdio::from(OwnedFd::from(listener))));
    let other = Guest::waiting(&mut Command::new("cat"));
    let mut registry = registry(Selectors { ports: [port].into(), ..Selectors::default() });
    let decisions = registry.scan();
    assert_eq!(verdict_of(&decisions, holder.pid()), Verdict::Yes(Selected::Port));
    assert_eq!(verdict_of(&decisions, other.pid()), Verdict::No(Ignored::NoMatch));
    // The same for one that was given the socket when it was started later.
    let later = exec(holder.pid(), 1, "/bin/sleep", 0);
    assert_eq!(registry.on_exec(&later, b""), Verdict::Yes(Selected::Port));
}

#[test]
fn a_process_that_listens_later_is_traced_then() {
    let guest = Guest::waiting(&mut Command::new("cat"));
    let mut registry = registry(Selectors { ports: [8080].into(), ..Selectors::default() });
    registry.scan();
    let listen = |port| Listen { header: header(guest.pid(), 0), port, reserved: [0; 6] };
    assert_eq!(registry.on_listen(&listen(8081)), Verdict::No(Ignored::NoMatch));
    assert_eq!(registry.on_listen(&listen(8080)), Verdict::Yes(Selected::Port));
    assert_eq!(registry.on_listen(&listen(8081)), Verdict::Yes(Selected::Port));
    let own = Listen { header: header(std::process::id(), 0), port: 8080, reserved: [0; 6] };
    assert_eq!(registry.on_listen(&own), Verdict::No(Ignored::Agent));
}

#[test]
fn forked_children_of_before_are_told_from_executed_ones() {
    let script = "exec 3<&0; (read x <&3) & echo $!; sh -c 'echo $$; read x' <&3 & wait";
    let mut guest = Guest::waiting(Command::new("sh").arg("-c").arg(script));
    let mut lines = BufReader::new(guest.0.stdout.take().unwrap()).lines();
    let mut pid = || lines.next().unwrap().unwrap().parse::<u32>().unwrap();
    let (forked, executed) = (pid(), pid());
    let decisions = registry(by_pid(guest.pid())).scan();
    assert_eq!(verdict_of(&decisions, forked), Verdict::Yes(Selected::Fork));
    assert_eq!(verdict_of(&decisions, executed), Verdict::No(Ignored::NoMatch));
    drop(guest.0.stdin.take());
}

#[test]
fn a_process_that_is_gone_is_described_by_its_exec_event() {
    let pid = gone();
    let mut registry = registry(Selectors::default());
    let args = b"/usr/bin/python3\0/srv/shop/main.py\0";
    let payload = [&args[..], b"HOME=/\0OTEL_RESOURCE_ATTRIBUTES=team=a\0"].concat();
    let event = exec(pid, 1, "/usr/bin/python3", args.len());
    assert_eq!(registry.on_exec(&event, &payload), Verdict::Yes(Selected::Everything));
    registry.on_exit(&header(pid, 5));
    assert_eq!(registry.verdict(pid), None);
    let resource = registry.resource(pid, 6);
    assert_eq!(&*resource.service, "shop");
    assert_eq!(text(&resource, "team").as_deref(), Some("a"));

    // The id comes again, as another program.
    let event = exec(pid, 1, "/usr/bin/cart", 5);
    registry.on_exec(&event, b"cart\0");
    assert_eq!(&*registry.resource(pid, 7).service, "cart");
}

#[test]
fn an_exec_decides_anew() {
    let pid = gone();
    let globs = globset::GlobSetBuilder::new().add(globset::Glob::new("curl").unwrap()).build().unwrap();
    let mut registry = registry(Selectors { exes: globs, ..Selectors::default() });
    assert_eq!(registry.on_exec(&exec(pid, 1, "/usr/bin/curl", 0), b""), Verdict::Yes(Selected::Exe));
    assert_eq!(registry.on_exec(&exec(pid, 1, "/usr/bin/wget", 0), b""), Verdict::No(Ignored::NoMatch));
    assert!(registry.is_empty());
}

#[test]
fn a_forked_child_is_an_instance_of_the_same_service() {
    let (parent, child) = (gone(), gone());
    let mut registry = registry(Selectors::default());
    registry.on_exec(&exec(parent, 1, "/srv/shop", 5), b"shop\0OTEL_SERVICE_NAME=front\0");
    assert_eq!(registry.on_fork(&fork(parent, child)), Verdict::Yes(Selected::Fork));
    let (one, two) = (registry.resource(parent, 0), registry.resource(child, 0));
    assert_eq!((&*one.service, &*two.service), ("front", "front"));
    assert_ne!(one.id, two.id);
    assert_ne!(text(&one, "service.instance.id"), text(&two, "service.instance.id"));
    assert_eq!(text(&two, "process.pid"), Some(child.to_string()));
}

#[test]
fn a_command_is_traced_with_its_descendants_and_nothing_else() {
    let [command, child, grandchild, other] = [(); 4].map(|()| gone());
    let mut registry = registry(Selectors { command: true, ..Selectors::default() });
    registry.trace_command(command);
    let me = std::process::id();
    assert_eq!(registry.on_exec(&exec(command, me, "/bin/sh", 0), b""), Verdict::Yes(Selected::Command));
    assert_eq!(registry.on_fork(&fork(command, child)), Verdict::Yes(Selected::Command));
    assert_eq!(registry.on_exec(&exec(child, command, "/bin/curl", 0), b""), Verdict::Yes(Selected::Command));
    // Its fork event was lost.
    let lost = exec(grandchild, child, "/bin/wget", 0);
    assert_eq!(registry.on_exec(&lost, b""), Verdict::Yes(Selected::Command));
    assert_eq!(registry.on_exec(&exec(other, 1, "/bin/curl", 0), b""), Verdict::No(Ignored::NoMatch));
    // Its parent is gone, but the kernel side followed it.
    let orphan = Exec { state: SELECT_YES, ..exec(other, 1, "/bin/curl", 0) };
    assert_eq!(registry.on_exec(&orphan, b""), Verdict::Yes(Selected::Command));
}

#[test]
fn another_process_with_the_same_id_gets_its_own_resource() {
    let guest = Guest::waiting(&mut Command::new("cat"));
    let mut registry = registry(by_pid(guest.pid()));
    registry.scan();
    let before = registry.resource(guest.pid(), 0);
    registry.traced.get_mut(&guest.pid()).unwrap().start_ticks = Some(1);
    assert_eq!(registry.resource(guest.pid(), RECHECK_NS - 1).id, before.id);
    let after = registry.resource(guest.pid(), RECHECK_NS);
    assert_ne!(after.id, before.id);
    assert_eq!(registry.resource(guest.pid(), RECHECK_NS * 3).id, after.id);
}

#[test]
fn ended_processes_are_forgotten_in_time_and_number() {
    let mut registry = registry(Selectors::default());
    // Ids beyond the kernel's limit belong to nobody.
    let ids = 4_194_304..;
    for pid in ids.take(MAX_ENDED + 100) {
        registry.insert(pid, Traced::new(Selected::Everything, 1));
        registry.on_exit(&header(pid, 1));
        registry.on_exit(&header(pid, 1));
    }
    assert_eq!((registry.len(), registry.ended.len()), (MAX_ENDED, MAX_ENDED));
    registry.on_exit(&header(7, ENDED_NS + 1));
    assert_eq!((registry.len(), registry.ended.len()), (0, 0));
}

#[test]
fn the_table_has_an_end() {
    let mut registry = registry(Selectors::default());
    for pid in 0..MAX_TRACED as u32 + 1000 {
        registry.insert(5_000_000 + pid, Traced::new(Selected::Everything, 1));
    }
    assert_eq!(registry.len(), MAX_TRACED);
    let resource = registry.resource(4_999_999, 0);
    assert_eq!(&*resource.service, "unknown_service");
    assert_eq!(registry.len(), MAX_TRACED);
}
