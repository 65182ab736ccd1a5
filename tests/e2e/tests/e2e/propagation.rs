//! Trace context on the wire: what a server receives names the span that is exported, with the decision about it, and a
//! request through unmodified programs is one trace.

mod peers;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpListener,
    process::Command,
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use spandrel_test_support::{
    Agent, Finished, Kind, Lab, Options, Program, Span, http,
    process::{command, run},
    require, skip,
};

use crate::{
    common::{PYTHON, echo, nginx, require_profile, script, traced},
    runtimes::go_program,
};

/// The agent, writing trace context as it does by default.
fn writing(lab: &Lab) -> Options {
    traced(lab, "socket")
}

/// Whether this kernel lets it; the agent says by itself why not.
fn possible(agent: &Agent) -> bool {
    !agent.stderr().contains("trace context is not written")
}

/// Fails the test if a parent is wrong. How many server spans continue a client's, and how many start a trace.
fn joined(finished: &Finished) -> (usize, usize) {
    let all: BTreeMap<&str, &Span> =
        finished.spans.iter().map(|span| (span.span_id.as_str(), span)).collect();
    assert_eq!(all.len(), finished.spans.len(), "span ids are unique");
    let (mut continued, mut alone) = (0, 0);
    for span in &finished.spans {
        let Some(parent) = span.parent_id.as_deref() else {
            alone += usize::from(span.kind == Kind::Server);
            continue;
        };
        let cause = all.get(parent).unwrap_or_else(|| panic!("nobody is the parent of {span:#?}"));
        assert_eq!(cause.trace_id, span.trace_id, "{span:#?}");
        assert_eq!(cause.path(), span.path(), "{span:#?}\n{cause:#?}");
        // A proxy that hands a `traceparent` on leaves it to the next one, too: these are parents of several.
        if span.kind == Kind::Server {
            assert_eq!(cause.kind, Kind::Client, "{span:#?}\n{cause:#?}");
            continued += 1;
        }
    }
    (continued, alone)
}

/// Asks for what it is told to, each by a connection of its own.
const ASKER: &str = r#"
import http.client, sys
for line in sys.stdin:
    port, path = line.split()
    connection = http.client.HTTPConnection("127.0.0.1", int(port))
    connection.request("GET", path)
    connection.getresponse().read()
    connection.close()
    print("DONE", path, flush=True)
"#;

/// A client that lives as long as the test: until the agent knows a program, it writes nothing into what that one sends.
struct Asker(Program);

impl Asker {
    /// Starts it, and asks until the agent has told of that.
    fn known(lab: &Lab, agent: &mut Agent, port: u16) -> Self {
        let mut asker = Self(Program::start_told(&mut script(lab, PYTHON, "asker.py", ASKER)));
        for n in 0..200 {
            asker.ask(port, &format!("/hello/{n}"));
            if agent.wait_in(Duration::from_millis(200), |spans| !spans.is_empty()) {
                return asker;
            }
        }
        panic!("no request of 200 was told: {}", agent.stderr());
    }

    fn ask(&mut self, port: u16, path: &str) {
        self.0.tell(&format!("{port} {path}"));
        let done = format!("DONE {path}");
        self.0.wait_stdout("not asked", |line| (line == done).then_some(()));
    }
}

/// What was not asked only to be known.
fn meant(span: &Span) -> bool {
    !span.path().starts_with("/hello")
}

/// Reports what was joined, and asks for a share of all requests in hundredths.
fn assert_joined(what: &str, finished: &Finished, least: usize) {
    let (continued, alone) = joined(finished);
    eprintln!("{what}: {continued} of {} server spans continue their caller's", continued + alone);
    assert!(100 * continued >= least * (continued + alone), "{what}: {continued} continued, {alone} alone");
}

#[test]
fn python_through_nginx() {
    require_profile!("socket");
    require!(PYTHON, "nginx");
    let lab = Lab::new();
    let mut agent = Agent::start(&writing(&lab));
    if !possible(&agent) {
        skip!("{}", agent.stderr());
    }
    let (_echo, behind) = echo(&lab);
    // Each of its connections carries one request: on kept ones the next can come before the socket is ready for it.
    let config =
        format!("server {{ listen LISTEN; location / {{ proxy_pass http://127.0.0.1:{behind}; }} }}");
    let (_nginx, port) = nginx(&lab, &config);
    let mut asker = Asker::known(&lab, &mut agent, port);
    for n in 0..10 {
        asker.ask(port, &format!("/bytes/{n}"));
    }
    agent.wait_for("40 spans", |spans| spans.iter().filter(|span| meant(span)).count() >= 40);
    let mut one = agent.stop();
    one.spans.retain(meant);
    assert_joined("python and nginx", &one, 100);
    let traces: BTreeSet<_> = one.spans.iter().map(|span| span.trace_id.as_str()).collect();
    assert_eq!(traces.len(), 10, "{:#?}", one.spans);
}

/// A shop's client asks once, and goes on when the agent has told that request: until it knows a program, it writes
/// nothing into what that one sends, and these clients live for some hundredths of a second.
fn joins(mut agent: Agent, what: &str, shop: impl Fn() -> Command, count: usize) {
    let server = Program::start(&mut shop());
    let mut client = Program::start_told(shop().args([&server.port().to_string(), "25", "told"]));
    agent.wait_for("the first request", |spans| spans.len() >= 2);
    client.tell("on");
    client.finish().success();
    agent.wait_for("all spans", |spans| spans.len() >= 2 * (1 + count));
    let finished = agent.stop();
    drop(server);
    // How many depends on how soon each socket is ready: on what else the machine does.
    assert_joined(what, &finished, 1);
}

#[test]
fn node_joins() {
    require_profile!("socket");
    require!("node", "nginx");
    let lab = Lab::new();
    let agent = Agent::start(&writing(&lab));
    if !possible(&agent) {
        skip!("{}", agent.stderr());
    }
    let shop = || script(&lab, "node", "nodeshop.js", include_str!("../../programs/nodeshop.js"));
    joins(agent, "node", shop, 78);
}

#[test]
fn go_joins() {
    require_profile!("socket");
    require!("go");
    let lab = Lab::new();
    let shop = go_program(&lab);
    let agent = Agent::start(&writing(&lab));
    if !possible(&agent) {
        skip!("{}", agent.stderr());
    }
    joins(agent, "go", || command(shop.get_program()), 53);
}

#[test]
fn java_joins() {
    require_profile!("socket");
    require!("java");
    let lab = Lab::new();
    let mut agent = Agent::start(&writing(&lab));
    if !possible(&agent) {
        skip!("{}", agent.stderr());
    }
    let mut java = script(&lab, "java", "JavaShop.java", include_str!("../../programs/JavaShop.java"));
    let shop = Program::start(java.arg("25"));
    shop.wait_stdout("not done", |line| (line == "DONE").then_some(()));
    agent.wait_for("all spans", |spans| spans.len() >= 2 * 53);
    drop(shop);
    assert_joined("java", &agent.stop(), 0);
}

/// A server of the test's own that answers everything, and the heads that it received.
fn leaf() -> (u16, Receiver<String>) {
    let (listener, port) = http::listener();
    let (sender, heads) = mpsc::channel();
    thread::spawn(move || serve(&listener, &sender));
    (port, heads)
}

fn serve(listener: &TcpListener, heads: &mpsc::Sender<String>) {
    while let Ok((mut stream, _)) = listener.accept() {
        let head = http::receive(&mut stream);
        http::send(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        if heads.send(head).is_err() {
            return;
        }
    }
}

/// The values of a field in a head.
fn values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
}

/// Trace id, span id and flags of the only `traceparent`.
fn parent(head: &str) -> (String, String, u8) {
    let values = values(head, "traceparent");
    let [value] = values.as_slice() else { panic!("one traceparent in\n{head}") };
    let parts: Vec<_> = value.split('-').collect();
    let ["00", trace_id, span_id, flags] = parts.as_slice() else {
        panic!("a traceparent of version 00: {value}")
    };
    let flags = u8::from_str_radix(flags, 16).expect("flags");
    ((*trace_id).to_owned(), (*span_id).to_owned(), flags)
}

#[test]
fn the_header_names_the_span_and_its_decision() {
    const COUNT: usize = 60;
    require_profile!("socket");
    require!(PYTHON);
    let lab = Lab::new();
    let options = writing(&lab)
        .env("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
        .env("OTEL_TRACES_SAMPLER_ARG", "0.5");
    let mut agent = Agent::start(&options);
    if !possible(&agent) {
        skip!("{}", agent.stderr());
    }
    let (port, heads) = leaf();
    let mut asker = Asker::known(&lab, &mut agent, port);
    for n in 0..COUNT {
        asker.ask(port, &format!("/{n}"));
    }
    let heads = heads.iter().filter(|head| !head.starts_with("GET /hello"));
    let sent: Vec<_> = heads.take(COUNT).map(|head| parent(&head)).collect();
    let finished = agent.stop();
    let told = finished.clients().into_iter().filter(|span| meant(span));
    let told: BTreeSet<_> = told.map(|span| (span.trace_id.clone(), span.span_id.clone())).collect();
    let kept: BTreeSet<_> = sent
        .iter()
        .filter(|(_, _, flags)| flags & 1 != 0)
        .map(|(trace_id, span_id, _)| (trace_id.clone(), span_id.clone()))
        .collect();
    assert_eq!(told, kept, "what the header calls sampled is exported, and nothing else");
    assert!(kept.len() > 10 && kept.len() < COUNT - 10, "{} of {COUNT}", kept.len());
    assert!(sent.iter().all(|(_, _, flags)| flags & 2 != 0), "the ids are random");
}

#[test]
fn a_trace_goes_on_through_a_service_as_it_came() {
    require_profile!("socket");
    require!(PYTHON);
    let lab = Lab::new();
    let mut agent = Agent::start(&writing(&lab));
    if !possible(&agent) {
        skip!("{}", agent.stderr());
    }
    let (port, heads) = leaf();
    let mut relay = script(&lab, PYTHON, "relay.py", include_str!("../../programs/relay.py"));
    let relay = Program::start(relay.arg(port.to_string()));
    assert!(http::get(relay.port(), "/hello").starts_with("HTTP/1."));
    heads.recv().expect("the relay asks");
    agent.wait_for("the relay's spans", |spans| spans.len() >= 2);
    let mut trace_ids = Vec::new();
    for (n, flags) in ["00", "01", "02", "03"].into_iter().enumerate() {
        let trace_id = format!("0af7651916cd43dd8448eb211c80319{n}");
        // Not by a traced program: it is the agent's own test of what comes from elsewhere.
        let mut stream = http::connect(http::local(relay.port()));
        let request = format!(
            "GET /{n} HTTP/1.1\r\nHost: relay\r\nTraceparent: 00-{trace_id}-b7ad6b7169203331-{flags}\r\n\
             tracestate: a=1 , b@x=2\r\nTraceState: c=3\r\nConnection: close\r\n\r\n"
        );
        http::send(&mut stream, request.as_bytes());
        http::receive(&mut stream);
        let head = heads.recv().expect("the relay asks");
        let (trace, span, sent) = parent(&head);
        assert_eq!((trace.as_str(), format!("{sent:02x}").as_str()), (trace_id.as_str(), flags), "{head}");
        let states: Vec<_> =
            values(&head, "tracestate").concat().split(',').map(|m| m.trim().to_owned()).collect();
        assert_eq!(states, ["a=1", "b@x=2", "c=3"], "{head}");
        if sent & 1 != 0 {
            trace_ids.push((trace, span));
        }
    }
    drop(relay);
    let finished = agent.stop();
    let told = finished.clients().into_iter().filter(|span| meant(span));
    let told: Vec<_> = told.map(|span| (span.trace_id.clone(), span.span_id.clone())).collect();
    assert_eq!(told, trace_ids);
}

/// What the kernel answers otherwise about a socket that is looked at (ARCHITECTURE.md, "Injection"): receives that
/// waited before anything was sent or while nothing was asked, what waits unasked on a kept connection, invalid
/// arguments, time stamps asked for by a call, zero-copy notes in parts, and TCP_REPAIR.
const KNOWN: [&str; 14] = [
    "bad_cmsg",
    "bad_cmsg_len",
    "blocked_reset",
    "blocked_signal_eintr",
    "blocked_signal_restart",
    "efault",
    "efault_page",
    "efault_second",
    "idle_408",
    "idle_blocked_reset",
    "idle_blocked_signal",
    "repair",
    "ts_cmsg",
    "zc_after_big",
];

/// The part of [`KNOWN`] that is about connections that were used before: each case has a server of its own, and what is said
/// first to a new one is left alone by default.
const KNOWN_IDLE: [&str; 3] = ["idle_408", "idle_blocked_reset", "idle_blocked_signal"];

#[test]
fn programs_see_no_other_difference() {
    require_profile!("socket");
    require!(PYTHON);
    let lab = Lab::new();
    let source = include_str!("../../programs/sockets.py");
    let plain = run(&mut script(&lab, PYTHON, "sockets.py", source)).success();
    let line = [PYTHON.to_owned(), lab.text("sockets.py")];
    for (propagation, known) in [("off", &[][..]), ("auto", &KNOWN_IDLE[..]), ("on", &KNOWN[..])] {
        let options = Options::new().profile("socket").console("off").arg("--propagation").arg(propagation);
        let finished = Agent::start(&options.command(line.clone())).finish();
        let other: Vec<_> = plain
            .lines()
            .zip(finished.output.lines())
            .filter(|(plain, traced)| plain != traced)
            .filter(|(plain, _)| {
                let name = plain.split(' ').next().unwrap_or_default();
                !known.contains(&name)
            })
            .collect();
        assert!(other.is_empty(), "{propagation}: {other:#?}");
        assert_eq!(plain.lines().count(), finished.output.lines().count(), "{}", finished.stderr);
    }
}
