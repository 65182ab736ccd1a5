//! What the families share: how the agent and frequent programs are started, and what is always true of a span.

use std::{collections::HashSet, net::TcpListener, path::Path, process::Command};

use spandrel_test_support::{Finished, Kind, Lab, Options, Program, Span, http, process::command};

pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// A test by both capture profiles: `profiles!(name)` makes `socket::name` and `syscall::name` of a function
/// that takes the profile.
macro_rules! profiles {
    ($($name:ident),+ $(,)?) => {
        mod socket { $(#[test] fn $name() { $crate::common::require_profile!("socket"); super::$name("socket"); })+ }
        mod syscall { $(#[test] fn $name() { $crate::common::require_profile!("syscall"); super::$name("syscall"); })+ }
    };
}
pub(crate) use profiles;

/// Returns from the test where the kernel lacks a profile.
macro_rules! require_profile {
    ($profile:literal) => {
        if !spandrel_test_support::profiles().contains(&$profile) {
            spandrel_test_support::skip!("this kernel has no {} profile", $profile);
        }
    };
}
pub(crate) use require_profile;

/// The agent for a test's programs, with the sizes of bodies.
pub(crate) fn traced(lab: &Lab, profile: &str) -> Options {
    Options::of(lab)
        .profile(profile)
        .env("OTEL_INSTRUMENTATION_HTTP_SERVER_EMIT_EXPERIMENTAL_TELEMETRY", "true")
        .env("OTEL_INSTRUMENTATION_HTTP_CLIENT_EMIT_EXPERIMENTAL_TELEMETRY", "true")
}

/// A script in the test's folder, and its interpreter.
pub(crate) fn script(lab: &Lab, interpreter: &str, name: &str, source: &str) -> Command {
    let mut command = command(interpreter);
    command.arg(lab.write(name, source));
    command
}

/// Python's own server, `programs/echo.py`, and its port.
pub(crate) fn echo(lab: &Lab) -> (Program, u16) {
    let server = Program::start(&mut script(lab, PYTHON, "echo.py", include_str!("../../programs/echo.py")));
    let port = server.port();
    (server, port)
}

/// curl with no output but errors. It belongs to the test by the file for the headers.
pub(crate) fn curl(lab: &Lab) -> Command {
    let mut command = command("curl");
    command.args(["--silent", "--show-error", "--max-time", "60", "--noproxy", "*", "--output", "/dev/null"]);
    command.args(["--write-out", "%{http_code} ", "--dump-header"]).arg(lab.path("curl-head"));
    command
}

/// nginx, one worker, with what is to stand in `http`; its listening socket comes from outside, so that the port
/// is certainly free and nobody has to wait. `LISTEN` stands for the listening address.
pub(crate) fn nginx(lab: &Lab, http: &str) -> (Program, u16) {
    let (listener, port) = http::listener();
    (nginx_on(lab, http, port, listener), port)
}

fn nginx_on(lab: &Lab, http: &str, port: u16, listener: TcpListener) -> Program {
    let home = lab.text("nginx");
    std::fs::create_dir_all(&home).expect("a folder");
    let http = http.replace("LISTEN", &format!("127.0.0.1:{port}"));
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {home}/{kind};\n"))
        .concat();
    let config = format!(
        "daemon off;\nmaster_process on;\nworker_processes 1;\npid {home}/pid;\nerror_log {home}/error.log;\n\
         events {{ worker_connections 512; }}\nhttp {{\n{temporary}    access_log {home}/access.log;\n{http}\n}}\n"
    );
    let config = lab.write("nginx.conf", config);
    let mut command = command("nginx");
    // Inherited sockets by their descriptors: how nginx hands them to its successor.
    command.arg("-c").arg(config).env("NGINX", "0;");
    Program::start_with(&mut command, std::os::fd::OwnedFd::from(listener))
}

/// Lines of nginx's access log: the requests that it finished.
pub(crate) fn nginx_log(lab: &Lab) -> usize {
    lab.read("nginx/access.log").lines().count()
}

/// What is true of all spans: ids are unique, times are in order, names are methods, what HTTP asks for is there.
#[track_caller]
pub(crate) fn assert_sane(finished: &Finished) {
    let mut ids = HashSet::new();
    for span in &finished.spans {
        assert!(ids.insert(&span.span_id), "a span id twice: {span:#?}");
        assert!(span.start_ns <= span.end_ns, "{span:#?}");
        assert!(span.trace_id.bytes().any(|b| b != b'0') && span.span_id.bytes().any(|b| b != b'0'));
        assert!(span.get("http.request.method").is_some(), "{span:#?}");
        assert!(!span.service().is_empty() && span.pid() != 0, "{span:#?}");
        match span.kind {
            Kind::Server => assert!(span.get("url.path").is_some() && span.get("url.scheme").is_some()),
            Kind::Client => assert!(span.get("url.full").is_some(), "{span:#?}"),
            Kind::Producer => panic!("not of HTTP: {span:#?}"),
        }
    }
}

/// Fails the test unless there are exactly so many server and client spans, sane ones, and a ledger to match.
#[track_caller]
pub(crate) fn assert_counts(finished: &Finished, servers: usize, clients: usize) {
    let found = (finished.servers().len(), finished.clients().len());
    assert_eq!(found, (servers, clients), "(server, client) spans: {:#?}", finished.spans);
    finished.assert_complete();
    assert_sane(finished);
}

/// Fails the test unless every exchange was seen to its end, without a gap.
#[track_caller]
pub(crate) fn assert_whole(finished: &Finished) {
    for span in &finished.spans {
        let odd = ["spandrel.gap", "spandrel.outcome"].iter().any(|key| span.get(key).is_some());
        assert!(!odd, "{span:#?}; the agent's report: {}", finished.report.json);
    }
}

/// How much later than its client a server may seem to end, in nanoseconds: the hook of a send runs when the call returns, and a
/// receiver on another CPU that is not interrupted may be done before. Such an interruption is the machine's, of any length.
const RETURN_NS: u64 = 100_000_000;

/// Whether a client span is around a server span of its request.
pub(crate) fn encloses(client: &Span, server: &Span) -> bool {
    let start = client.start_ns <= server.start_ns && server.start_ns <= client.end_ns;
    start && server.end_ns <= client.end_ns + RETURN_NS
}

/// The client span of a server span: by its path, and by time. Fails the test unless there is exactly one, and it encloses the
/// server span.
#[track_caller]
pub(crate) fn assert_enclosed(finished: &Finished) {
    for server in finished.servers() {
        let around = |client: &&&Span| client.path() == server.path() && encloses(client, server);
        let clients = finished.clients();
        let found = clients.iter().filter(around).count();
        assert_eq!(found, 1, "client spans around {server:#?}\nof {clients:#?}");
    }
}

/// The text of a path.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
