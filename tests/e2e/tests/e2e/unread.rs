//! Nobody reads what the agent writes: a terminal that is stopped, a collector of logs that hangs. Spans arrive at the
//! backend all the same, and the agent ends in its time.

use std::{
    io::{self, PipeReader, PipeWriter, Write as _},
    os::unix::net::UnixDatagram,
    process::{Child, ExitStatus, Stdio},
    sync::mpsc,
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use spandrel_test_support::{
    Lab,
    agent::binary,
    http,
    otlp::{Backend, Reply},
    patience,
    process::command,
};

use crate::common::{echo, profiles};

profiles!(standard_output, standard_error);

/// What a pipe holds, by pipe(7).
const CAPACITY: usize = 65_536;

/// A pipe that is full. It stays so as long as the reader is there and reads nothing.
fn full() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = io::pipe().expect("a pipe");
    writer.write_all(&vec![b'\n'; CAPACITY]).expect("a pipe of 64 KiB");
    (reader, writer)
}

fn standard_output(profile: &str) {
    let (reader, writer) = full();
    traced(profile, "info", writer.into(), Stdio::null());
    drop(reader);
}

fn standard_error(profile: &str) {
    let (reader, writer) = full();
    traced(profile, "trace", Stdio::null(), writer.into());
    drop(reader);
}

fn traced(profile: &str, level: &str, stdout: Stdio, stderr: Stdio) {
    let lab = Lab::new();
    let backend = Backend::start(|_| Reply::Ok);
    let ready = UnixDatagram::bind(lab.path("notify")).expect("a socket");
    ready.set_read_timeout(Some(patience())).expect("a socket with a limit");
    let agent = command(binary())
        .args(["run", "--console", "json", "--profile", profile, "--log-level", level])
        .args(["--cmd", &lab.pattern(), "--otlp-endpoint", &backend.url(), "--shutdown-timeout", "1"])
        .env("NOTIFY_SOCKET", lab.path("notify"))
        .env("OTEL_BSP_SCHEDULE_DELAY", "20")
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .expect("the agent starts");
    let agent = Running(Some(agent));
    let mut said = [0; 256];
    let length = ready.recv(&mut said).expect("the agent is not ready in time");
    assert!(said[..length].starts_with(b"READY=1"));
    let (server, port) = echo(&lab);
    let stream = http::connect(http::local(port));
    for _ in 0..200 {
        http::send(&stream, b"GET /unread HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(http::receive(&stream).starts_with("HTTP/1.1 200"));
    }
    backend.wait_accepted(200);
    drop(stream);
    server.kill();
    assert!(agent.end().success());
}

/// The agent; killed if the test ends early.
struct Running(Option<Child>);

impl Running {
    fn signal(&self, signal: Signal) {
        let pid = self.0.as_ref().and_then(|child| Pid::from_raw(child.id() as i32));
        kill_process(pid.expect("a process"), signal).expect("it can be signalled");
    }

    fn end(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let pid = self.0.as_ref().and_then(|child| Pid::from_raw(child.id() as i32)).expect("a process");
        let mut child = self.0.take().expect("a process");
        let (ended, status) = mpsc::channel();
        let waiter = thread::spawn(move || ended.send(child.wait().expect("a child")));
        let status = status.recv_timeout(patience());
        if status.is_err() {
            kill_process(pid, Signal::KILL).expect("it can be killed");
        }
        waiter.join().expect("the waiter ends").ok();
        status.expect("the agent did not end in time")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // It may be gone.
            child.kill().ok();
            child.wait().ok();
        }
    }
}
