//! What an operator relies on: no secret comes out, a changed file takes effect without a lost request, a bad one
//! changes nothing, and requests are measured whether they are sampled or not.

use std::{os::unix::fs::FileTypeExt as _, path::Path};

use rustix::process::Signal;
use spandrel_test_support::{
    Agent, Kind, Lab, Options, Program, http,
    otlp::{Backend, Reply},
    process,
};

use crate::common::{PYTHON, echo, profiles, script};

profiles!(secrets, reload, mended, measured);

const HEADERS: &str = "authorization,cookie,x-api-key,referer,x-any";

/// What the server declares of itself.
const DECLARED: &str =
    "api_key=canary-18,note=AKIAIOSFODNN7CANARY2,db.url=postgres://u:canary-19@h/d,team=blue";

/// Sends requests with secrets in every field to a real server, and looks at everything that the agent writes.
fn secrets(profile: &str) {
    let lab = Lab::new();
    let options = Options::of(&lab)
        .profile(profile)
        .env("OTEL_LOG_LEVEL", "trace")
        .env("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST", HEADERS)
        .env("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE", "set-cookie,location");
    let mut agent = Agent::start(&options);
    let mut program = script(&lab, PYTHON, "echo.py", include_str!("../../programs/echo.py"));
    program.env("OTEL_RESOURCE_ATTRIBUTES", DECLARED);
    let server = Program::start(&mut program);
    let port = server.port();
    let stream = http::connect(http::local(port));
    let request = "GET /p/token=canary-1/AKIAIOSFODNN7CANARY2?password=canary-3&q=4111111111111111&sid=canary-4\
                   &to=http%3A%2F%2Fu%3Acanary-13%40h%2F&j=%7B%22token%22%3A%5B%22canary-14%22%5D%7D\
                   &code_verifier=canary-15&password%20=canary-16&next=%252Fx%253Fcsrf%253Dcanary-17 HTTP/1.1\r\n\
                   Host: user:canary-5@localhost\r\nAuthorization: Bearer canary-6\r\nCookie: a=canary-7\r\n\
                   X-Api-Key: canary-8\r\nReferer: http://u:canary-9@h/?api_key=canary-10\r\n\
                   X-Any: Basic dXNlcjpjYW5hcnk= token=canary-11\r\nUser-Agent: a (secret=canary-12)\r\n\
                   tracestate: a=AKIAIOSFODNN7CANARY2\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n";
    http::send(&stream, request.as_bytes());
    assert!(http::receive(&stream).starts_with("HTTP/1.1 200"));
    agent.wait_count(Kind::Server, 1);
    let metrics = http::get(agent.address().port(), "/metrics");
    drop(stream);
    server.kill();
    let finished = agent.stop();
    let spans = format!("{:?}", finished.spans);
    let resources = format!("{:?}", finished.spans.iter().map(|span| &span.resource).collect::<Vec<_>>());
    let report = format!("{:?}", finished.report);
    for (name, output) in [
        ("spans", &spans),
        ("resources", &resources),
        ("metrics", &metrics),
        ("the log", &finished.stderr),
        ("the report", &report),
    ] {
        for canary in ["canary-", "CANARY2", "4111111111111111", "dXNlcjpjYW5hcnk"] {
            assert!(!output.contains(canary), "{canary} is in {name}: {output}");
        }
    }
    assert!(spans.contains("/p/token=REDACTED") && spans.contains("[REDACTED]"), "{spans}");
    assert!(
        resources.contains("postgres://REDACTED:REDACTED@h/d") && resources.contains("blue"),
        "{resources}"
    );
    assert!(metrics.contains("spandrel_redactions_total{rule=\"aws_key\"}"), "{metrics}");
}

fn file(lab: &Lab, ratio: &str) -> String {
    let text = format!(
        "file_format: \"1.1\"\ntracer_provider:\n  sampler: {{probability/development: {{ratio: {ratio}}}}}\n  \
         processors: [{{batch: {{schedule_delay: 20, exporter: {{console: }}}}}}]\n"
    );
    lab.write("spandrel.yaml", text).display().to_string()
}

/// The sampler is changed to nothing and back, between requests of one connection; a bad file changes nothing.
fn reload(profile: &str) {
    let lab = Lab::new();
    let path = file(&lab, "1");
    let options = Options::of(&lab).profile(profile).args(["--config", &path]);
    let agent = Agent::start(&options);
    let (server, port) = echo(&lab);
    let stream = http::connect(http::local(port));
    let ask = |path: &str| {
        http::send(&stream, format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
        assert!(http::receive(&stream).starts_with("HTTP/1.1 200"));
    };
    let mut times = 0;
    let mut reload = |word: &str| {
        times += 1;
        agent.signal(Signal::HUP);
        let mut seen = 0;
        agent.wait_stderr("the agent did not reload", |line| {
            seen += usize::from(line.contains("reload: ") && line.contains(word));
            (seen >= 1).then_some(())
        });
    };
    ask("/one");
    file(&lab, "0");
    reload("is in force");
    ask("/two");
    lab.write("spandrel.yaml", "file_format: \"1.1\"\ntracer_provider: {sampler: {sometimes: }}\n");
    reload("is as it was");
    ask("/three");
    drop(stream);
    server.kill();
    let finished = agent.stop();
    finished.assert_complete();
    let paths: Vec<_> = finished.spans.iter().map(spandrel_test_support::Span::path).collect();
    assert_eq!(paths, ["/one"], "{}", finished.stderr);
    assert_eq!((finished.report.ledger.seen, finished.report.ledger.unsampled), (3, 2));
    assert!(finished.stderr.contains("spandrel.yaml:2"), "the line of the mistake: {}", finished.stderr);
}

/// A backend that hangs holds the queue; the file is changed to name another one: nothing is lost, also not by the
/// changes before it, and the account goes on.
fn mended(profile: &str) {
    const REQUESTS: usize = 300;
    let lab = Lab::new();
    let hung = Backend::start(|_| Reply::Hang);
    let well = Backend::start(|_| Reply::Ok);
    // The log names the version, and so tells one reload from another.
    let write = |backend: &Backend, version: usize| {
        let url = format!("{}/v1/traces", backend.url());
        let text = format!(
            "file_format: \"1.{version}\"\ndistribution:\n  spandrel:\n    shutdown_timeout: 500\n    destinations:\n    \
             - {{name: d, schedule_delay: 1{version}, max_export_batch_size: 20, \
             exporter: {{otlp_http: {{endpoint: \"{url}\", timeout: 1000}}}}}}\n"
        );
        lab.write("spandrel.yaml", text).display().to_string()
    };
    let path = write(&hung, 1);
    let options = Options::of(&lab).profile(profile).console("off").args(["--config", &path]);
    let agent = Agent::start(&options);
    let (server, port) = echo(&lab);
    let stream = http::connect(http::local(port));
    for _ in 0..REQUESTS {
        http::send(&stream, b"GET /mended HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(http::receive(&stream).starts_with("HTTP/1.1 200"));
    }
    hung.wait_requests(4);
    for (backend, version) in [(&hung, 7), (&hung, 8), (&well, 9)] {
        write(backend, version);
        agent.signal(Signal::HUP);
        let said = format!("file_format 1.{version} is newer");
        agent.wait_stderr("the agent did not reload", |line| line.contains(&said).then_some(()));
    }
    well.wait_accepted(REQUESTS);
    drop(stream);
    server.kill();
    let finished = agent.stop();
    assert_eq!(finished.report.ledger.exported, REQUESTS as u64, "{}", finished.stderr);
    assert!(!finished.stderr.contains("are lost"), "{}", finished.stderr);
}

/// Durations on /metrics, by service and status.
fn measured(profile: &str) {
    let lab = Lab::new();
    let mut agent = Agent::start(&Options::of(&lab).profile(profile));
    let (server, port) = echo(&lab);
    let stream = http::connect(http::local(port));
    for _ in 0..3 {
        http::send(&stream, b"GET /measured HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(http::receive(&stream).starts_with("HTTP/1.1 200"));
    }
    agent.wait_count(Kind::Server, 3);
    let metrics = http::get(agent.address().port(), "/metrics");
    let line = metrics
        .lines()
        .find(|line| line.starts_with("http_server_request_duration_seconds_count"))
        .unwrap_or_else(|| panic!("{metrics}"));
    assert!(line.ends_with(" 3") && line.contains("http_response_status_code=\"200\""), "{line}");
    assert!(line.contains("service_name=\""), "{line}");
    drop(stream);
    server.kill();
    agent.stop().assert_complete();
}

/// A device or a link that the report is to go to stays what it is.
#[test]
fn reports_go_through_links_and_into_devices() {
    let lab = Lab::new();
    let (file, link) = (lab.write("report", "old"), lab.path("link"));
    std::os::unix::fs::symlink(&file, &link).expect("a link");
    for place in [Path::new("/dev/null"), &link] {
        let mut command = process::command(spandrel_test_support::agent::binary());
        command.args(["run", "--cmd", &lab.pattern(), "--console", "off", "--report"]).arg(place);
        process::run(command.args(["--", "true"])).success();
    }
    let kind = |path: &Path| std::fs::symlink_metadata(path).expect("it is there").file_type();
    assert!(kind(Path::new("/dev/null")).is_char_device());
    assert!(kind(&link).is_symlink());
    assert!(lab.read("report").contains("\"ledger\""));
}

/// `spandrel config`: check says what is wrong and where, show where values come from, schema is JSON.
#[test]
fn config_commands() {
    let lab = Lab::new();
    let good = file(&lab, "0.5");
    let run = |args: &[&str]| {
        let mut command = process::command(spandrel_test_support::agent::binary());
        process::run(command.args(args))
    };
    assert!(run(&["config", "check", &good]).success().contains("is correct"));
    let shown = run(&["config", "show", "--config", &good, "--port", "80"]).success();
    assert!(shown.contains("probability 0.5") && shown.contains("spandrel.yaml:3"), "{shown}");
    assert!(run(&["config", "schema"]).success().starts_with('{'));
    let bad = lab.write("bad.yaml", "file_format: \"1.1\"\nlogger_provider: {}\n");
    let refused = run(&["config", "check", bad.to_str().expect("UTF-8")]);
    assert_eq!(refused.code(), 78);
    assert!(refused.stderr.contains("bad.yaml:2 (logger_provider)"), "{}", refused.stderr);
}

/// An address that somebody else has is told beside other mistakes, before anything is attached.
#[test]
fn a_port_that_is_taken_is_one_mistake_among_others() {
    let lab = Lab::new();
    let (_listener, port) = http::listener();
    let taken = format!("127.0.0.1:{port}");
    let config = format!(
        "file_format: \"1.1\"\nlogger_provider: {{}}\ndistribution:\n  spandrel:\n    listen: {taken}\n"
    );
    let file = lab.write("spandrel.yaml", config).display().to_string();
    let run = |args: &[&str]| {
        let mut command = process::command(spandrel_test_support::agent::binary());
        process::run(command.args(args))
    };
    let refused = run(&["run", "--listen", &taken, "--profile", "none", "--cmd", &lab.pattern()]);
    assert!(refused.stderr.contains("2 mistakes, nothing was attached"), "{}", refused.stderr);
    assert!(refused.stderr.contains(&format!("--listen: cannot listen on {taken}")), "{}", refused.stderr);
    let refused = run(&["run", "--config", &file, "--cmd", &lab.pattern()]);
    assert!(refused.stderr.contains("2 mistakes, nothing was attached"), "{}", refused.stderr);
    let place = format!("spandrel.yaml:5 (distribution.spandrel.listen): cannot listen on {taken}");
    assert!(refused.stderr.contains(&place), "{}", refused.stderr);
    // Where nothing is to be listened on, that is no mistake.
    let shown = run(&["config", "show", "--listen", &taken]).success();
    assert!(shown.contains(&taken), "{shown}");
}
