//! From what is typed, set and written to a `Config`, or to all mistakes at once.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use super::{
    args::Command,
    otlp::{Compression, Protocol},
    settings::{Propagation, Root},
    *,
};

mod exporters;
mod ours;

fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    let path = ("PATH".to_owned(), "/usr/bin:/bin".to_owned());
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).chain([path]).collect()
}

fn load_line(line: &str, variables: &[(&str, &str)]) -> Result<Config, Mistakes> {
    let words = "spandrel run".split(' ').chain(line.split_whitespace()).map(OsString::from);
    let Ok(Command::Run(run)) = args::parse(words) else { panic!("{line} cannot be read") };
    load(*run, &map(variables))
}

fn good(line: &str, variables: &[(&str, &str)]) -> Config {
    load_line(line, variables).unwrap_or_else(|mistakes| panic!("{line} {variables:?}: {mistakes}"))
}

fn bad(line: &str, variables: &[(&str, &str)]) -> Mistakes {
    load_line(line, variables).err().unwrap_or_else(|| panic!("{line} {variables:?} is accepted"))
}

/// A file of this test's own; removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(text: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("spandrel-config-{}-{number}.yaml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

pub(super) fn from_file(text: &str, line: &str, variables: &[(&str, &str)]) -> Result<Config, Mistakes> {
    let file = Scratch::new(text);
    load_line(&format!("--config {} {line}", file.path()), variables)
}

#[test]
fn nothing_given_shows_everything_on_the_console() {
    let config = good("", &[]);
    assert!(config.selectors.is_empty());
    assert_eq!(
        (config.console, config.profile, config.log_level),
        (Console::Text, Profile::Auto, LevelFilter::Info)
    );
    assert!(
        config.otlp.is_none()
            && config.listen.is_none()
            && config.report.is_none()
            && config.notes.is_empty()
    );
    assert_eq!(config.sampler, SamplerConfig { root: Root::AlwaysOn, parent_based: true });
}

#[test]
fn all_mistakes_come_at_once_each_with_a_way_out() {
    let line = "--pid 4194305 --pid x --exe [ --port 0 --port 70000 --cgroup here --console loud \
                --listen nowhere --report /nowhere/report.json --profile fast --log-level chatty \
                --otlp-endpoint collector -- no-such-program";
    let variables = [
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem"),
        ("OTEL_SDK_DISABLED", "maybe"),
    ];
    let mistakes = bad(line, &variables);
    let places: Vec<_> = mistakes.0.iter().map(|mistake| mistake.place.as_str()).collect();
    assert_eq!(
        places,
        [
            "--pid 4194305",
            "--pid x",
            "--exe [",
            "--port 0",
            "--port 70000",
            "--cgroup here",
            "--console",
            "--listen",
            "--profile",
            "--log-level",
            "--report",
            "-- no-such-program",
            "OTEL_SDK_DISABLED",
            "OTEL_TRACES_SAMPLER",
            "--otlp-endpoint",
            "OTEL_EXPORTER_OTLP_HEADERS",
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
            "OTEL_BSP_MAX_QUEUE_SIZE",
        ]
    );
    assert_eq!(mistakes.code(), exit::DATAERR);
    assert!(mistakes.0.iter().all(|mistake| !mistake.advice.is_empty() && !mistake.what.is_empty()));
    let text = mistakes.to_string();
    assert_eq!(text.lines().count(), mistakes.0.len() + 1);
    assert!(text.starts_with("18 mistakes, nothing was attached:\n  --pid 4194305: "), "{text}");
}

#[test]
fn each_kind_of_mistake_has_its_code() {
    for (line, variables, code) in [
        ("--pid x", &[][..], exit::USAGE),
        ("--pid 4194305", &[], exit::DATAERR),
        ("--exe [", &[], exit::USAGE),
        ("--config /nowhere.yaml", &[], exit::NOINPUT),
        ("--report /nowhere/r", &[], exit::CANTCREAT),
        ("--report /tmp", &[], exit::CANTCREAT),
        ("-- /nowhere/program", &[], exit::NOINPUT),
        ("-- /etc/passwd", &[], exit::NOPERM),
        ("", &[("OTEL_CONFIG_FILE", "/nowhere.yaml")], exit::NOINPUT),
        ("", &[("OTEL_TRACES_EXPORTER", "zipkin")], exit::CONFIG),
        ("", &[("OTEL_TRACES_EXPORTER", "none,otlp")], exit::CONFIG),
        ("", &[("OTEL_TRACES_SAMPLER", "jaeger_remote")], exit::CONFIG),
        ("", &[("OTEL_LOG_LEVEL", "loud")], exit::CONFIG),
        ("", &[("OTEL_BSP_SCHEDULE_DELAY", "-1")], exit::CONFIG),
        ("", &[("OTEL_RESOURCE_ATTRIBUTES", "a=b,c")], exit::CONFIG),
        ("", &[("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST", "x-.*")], exit::CONFIG),
    ] {
        let mistakes = bad(line, variables);
        assert_eq!((mistakes.0.len(), mistakes.code()), (1, code), "{line} {variables:?}: {mistakes}");
    }
}

#[test]
fn selectors_are_built() {
    let me = std::process::id();
    let config = good(&format!("--pid {me} --exe python* --cmd *shop* --port 80 --port 443 -- sleep 1"), &[]);
    let selectors = config.selectors;
    assert!(selectors.pids.contains(&me) && selectors.ports.len() == 2 && selectors.command);
    assert!(selectors.exes.is_match("python3") && !selectors.exes.is_match("node"));
    assert!(selectors.cmds.is_match("node shop.js --port 1"));
    assert_eq!(config.command, ["sleep", "1"]);
    // What a link leads to is what is found for a process.
    let link = std::env::temp_dir().join(format!("spandrel-link-{me}"));
    let target = std::fs::canonicalize("/proc/self/exe").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let selectors = good(&format!("--exe {}", link.display()), &[]).selectors;
    std::fs::remove_file(&link).unwrap();
    assert!(selectors.exes.is_match(&target) && selectors.exes.is_match(&link));
}

#[test]
fn a_thread_is_no_process() {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let thread = status.lines().find_map(|line| line.strip_prefix("Pid:")).unwrap().trim();
    let mistakes = bad(&format!("--pid {thread}"), &[]);
    assert!(mistakes.to_string().contains(&format!("--pid {}", std::process::id())), "{mistakes}");
}

#[test]
fn addresses_without_a_host_are_on_loopback() {
    for (typed, expected) in [
        ("9464", "127.0.0.1:9464"),
        (":9464", "127.0.0.1:9464"),
        ("localhost:0", "127.0.0.1:0"),
        ("0.0.0.0:80", "0.0.0.0:80"),
        ("[::1]:80", "[::1]:80"),
    ] {
        assert_eq!(
            good(&format!("--listen {typed}"), &[]).listen,
            Some(expected.parse().unwrap()),
            "{typed}"
        );
    }
    for typed in ["127.0.0.1", "host:80", "70000", "::1:80x"] {
        assert_eq!(bad(&format!("--listen {typed}"), &[]).code(), exit::USAGE, "{typed}");
    }
}

#[test]
fn a_report_that_can_be_written_leaves_nothing_yet() {
    let path = std::env::temp_dir().join(format!("spandrel-report-{}", std::process::id()));
    assert_eq!(good(&format!("--report {}", path.display()), &[]).report, Some(path.clone()));
    assert!(!path.exists());
}

#[test]
fn the_console_is_on_unless_spans_go_elsewhere() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:4318");
    for (line, variables, console, otlp) in [
        ("", &[][..], Console::Text, false),
        ("--console json", &[], Console::Json, false),
        ("--console off", &[], Console::Off, false),
        ("--otlp-endpoint http://h:1", &[], Console::Off, true),
        ("--otlp-endpoint http://h:1 --console text", &[], Console::Text, true),
        ("", &[endpoint], Console::Off, true),
        ("", &[("OTEL_TRACES_EXPORTER", "otlp")], Console::Off, true),
        ("", &[("OTEL_TRACES_EXPORTER", "console")], Console::Text, false),
        ("", &[("OTEL_TRACES_EXPORTER", "console"), endpoint], Console::Text, false),
        ("", &[("OTEL_TRACES_EXPORTER", "OTLP, console"), endpoint], Console::Text, true),
        ("", &[("OTEL_TRACES_EXPORTER", "none"), endpoint], Console::Off, false),
        ("--console json", &[("OTEL_TRACES_EXPORTER", "none")], Console::Json, false),
    ] {
        let config = good(line, variables);
        assert_eq!((config.console, config.otlp.is_some()), (console, otlp), "{line} {variables:?}");
    }
    assert_eq!(good("--console off", &[]).notes.len(), 1);
}

#[test]
fn samplers() {
    for (name, argument, root, parent_based) in [
        ("always_on", "", Root::AlwaysOn, false),
        ("ALWAYS_OFF", "", Root::AlwaysOff, false),
        ("traceidratio", "0.25", Root::Ratio(0.25), false),
        ("traceidratio", "", Root::Ratio(1.0), false),
        ("parentbased_traceidratio", "0", Root::Ratio(0.0), true),
        ("parentbased_always_off", "", Root::AlwaysOff, true),
        ("", "", Root::AlwaysOn, true),
    ] {
        let config = good("", &[("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", argument)]);
        assert_eq!(config.sampler, SamplerConfig { root, parent_based }, "{name} {argument}");
    }
    for argument in ["1.5", "-0.1", "NaN", "inf", "half"] {
        let variables = [("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", argument)];
        assert_eq!(bad("", &variables).code(), exit::CONFIG, "{argument}");
    }
}

#[test]
fn batches_limits_and_the_agent_itself() {
    let config = good(
        "",
        &[
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "0"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
            ("OTEL_ATTRIBUTE_COUNT_LIMIT", "10"),
            ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "20"),
            ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "50"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=x,deployment.environment.name=prod"),
            ("OTEL_LOG_LEVEL", "WARN"),
            ("OTEL_SDK_DISABLED", "True"),
            ("OTEL_SEMCONV_STABILITY_OPT_IN", "http/dup, rpc/dup"),
        ],
    );
    assert_eq!(config.batch.schedule_delay, Some(Duration::from_millis(100)));
    assert_eq!(config.batch.export_timeout, Some(otlp::NO_LIMIT));
    assert_eq!((config.batch.max_queue_size, config.batch.max_export_batch_size), (Some(100), None));
    assert_eq!((config.limits.attribute_count, config.limits.attribute_value_length), (20, Some(50)));
    assert_eq!(config.resource.service_name.as_deref(), Some("x"));
    assert_eq!(config.resource.attributes, [("deployment.environment.name".to_owned(), "prod".to_owned())]);
    assert_eq!(config.log_level, LevelFilter::Warn);
    assert!(config.disabled && config.http.older_rpc);
    let sizes = [("OTEL_BSP_MAX_QUEUE_SIZE", "10"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "11")];
    assert_eq!(bad("", &sizes).0.len(), 1);
}

#[test]
fn headers_in_both_spellings() {
    let http = good(
        "",
        &[
            ("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST", "X-Id, Authorization"),
            ("OTEL_INSTRUMENTATION_HTTP_SERVER_CAPTURE_REQUEST_HEADERS", "x-id,X-Other-Token"),
            ("OTEL_INSTRUMENTATION_HTTP_CLIENT_CAPTURE_RESPONSE_HEADERS", "Server"),
            ("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS", ".*token.*,authorization"),
            ("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "GET,PURGE"),
            ("OTEL_INSTRUMENTATION_HTTP_SERVER_EMIT_EXPERIMENTAL_TELEMETRY", "true"),
        ],
    )
    .http;
    assert_eq!(http.server_request_headers, ["x-id", "authorization", "x-other-token"]);
    assert_eq!(http.client_response_headers, ["server"]);
    assert_eq!(http.redacted_headers, ["authorization", "x-other-token"]);
    assert_eq!(http.known_methods.unwrap(), ["GET", "PURGE"]);
    assert!(http.server_body_sizes && !http.client_body_sizes);
}

const FILE: &str = r#"
file_format: "1.1"
log_level: debug2
resource:
  attributes:
    - {name: service.name, value: agent}
    - {name: deployment.environment.name, value: "${STAGE:-test}"}
  attributes_list: deployment.environment.name=no,team=shop%20crew
attribute_limits: {attribute_value_length_limit: 99}
tracer_provider:
  limits: {attribute_count_limit: 50, link_count_limit: 2}
  processors:
    - batch:
        schedule_delay: ${DELAY}
        max_queue_size: 1000
        exporter:
          otlp_grpc:
            endpoint: http://collector:4317
            compression: gzip
            timeout: 0
            headers: [{name: api-key, value: "${KEY}"}]
  sampler:
    parent_based: {root: {trace_id_ratio_based: {ratio: 0.25}}, remote_parent_sampled: {always_on: }}
instrumentation/development:
  general:
    http:
      server: {request_captured_headers: [X-Id], known_methods: [GET]}
distribution:
  spandrel:
    select: {port: [8080, "80"], exe: ["node*"]}
    listen: ":9464"
    profile: syscall
    body_sizes: true
"#;

#[test]
fn a_file_sets_what_the_variables_would() {
    let config = from_file(FILE, "", &[("DELAY", "250"), ("KEY", "k1")]).unwrap();
    let otlp = config.otlp.unwrap();
    assert_eq!(
        (otlp.endpoint.to_string().as_str(), otlp.protocol),
        ("http://collector:4317/", Protocol::Grpc)
    );
    assert_eq!((otlp.timeout, otlp.compression), (otlp::NO_LIMIT, Compression::Gzip));
    assert_eq!(otlp.headers[0].1, "k1");
    assert_eq!(config.sampler, SamplerConfig { root: Root::Ratio(0.25), parent_based: true });
    assert_eq!(config.batch.schedule_delay, Some(Duration::from_millis(250)));
    assert_eq!((config.batch.max_queue_size, config.batch.max_export_batch_size), (Some(1000), None));
    assert_eq!((config.limits.attribute_count, config.limits.link_count), (50, 2));
    assert_eq!(config.limits.attribute_value_length, Some(99));
    assert_eq!(config.resource.service_name.as_deref(), Some("agent"));
    let attributes = [("deployment.environment.name", "test"), ("team", "shop crew")];
    assert_eq!(config.resource.attributes, attributes.map(|(key, value)| (key.to_owned(), value.to_owned())));
    assert_eq!(config.http.server_request_headers, ["x-id"]);
    assert_eq!(config.http.known_methods.unwrap(), ["GET"]);
    assert!(config.http.client_body_sizes);
    assert!(config.selectors.ports.contains(&8080) && config.selectors.ports.contains(&80));
    assert!(config.selectors.exes.is_match("node18"));
    assert_eq!((config.profile, config.console), (Profile::Syscall, Console::Off));
    assert_eq!(config.listen, Some("127.0.0.1:9464".parse().unwrap()));
    assert_eq!(config.log_level, LevelFilter::Debug);
    assert_eq!(config.notes, Vec::<String>::new());
}

#[test]
fn flags_win_over_the_file_and_the_file_over_the_variables() {
    let variables = [("OTEL_TRACES_SAMPLER", "always_off"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://no")];
    let line = "--port 9 --listen 0.0.0.0:1 --otlp-endpoint http://flag:4318 --profile auto --console json";
    let config = from_file(FILE, line, &variables).unwrap();
    assert_eq!(config.sampler.root, Root::Ratio(0.25));
    assert_eq!(config.selectors.ports, [9].into());
    assert!(config.selectors.exes.is_empty());
    let otlp = config.otlp.unwrap();
    assert_eq!(otlp.endpoint.to_string(), "http://flag:4318/v1/traces");
    assert_eq!((otlp.protocol, otlp.compression), (Protocol::HttpProtobuf, Compression::Gzip));
    assert_eq!((config.profile, config.console), (Profile::Auto, Console::Json));
    assert!(
        config.notes.iter().any(|note| note.contains("OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_ENDPOINT"))
    );
}

#[test]
fn mistakes_in_a_file_come_at_once_with_their_lines() {
    let text = "file_format: \"2.0\"\n\
                unknown: 1\n\
                tracer_provider:\n  \
                  sampler: {sometimes: }\n  \
                  processors:\n    \
                    - batch: {max_queue_size: 0, exporter: {zipkin: }}\n\
                distribution:\n  \
                  spandrel:\n    \
                    selct: 1\n    \
                    select: {prot: 1, port: [99999]}\n";
    let mistakes = from_file(text, "", &[]).unwrap_err();
    let places: Vec<_> = mistakes.0.iter().filter_map(|mistake| mistake.place.split_once(".yaml:")).collect();
    let places: Vec<_> = places.into_iter().map(|(_, place)| place).collect();
    let expected = [
        "1 (file_format)",
        "4 (tracer_provider.sampler)",
        "6 (tracer_provider.processors.batch.max_queue_size)",
        "6 (tracer_provider.processors.batch.exporter.zipkin)",
        "10 (distribution.spandrel.select.prot)",
        "9 (distribution.spandrel.selct)",
        "2 (unknown)",
        "10 (distribution.spandrel.select.port 99999)",
    ];
    assert_eq!(places, expected, "{mistakes}");
    let broken = from_file("file_format: [\n", "", &[]).unwrap_err();
    assert_eq!(broken.code(), exit::CONFIG);
    assert_eq!(from_file("", "", &[]).unwrap_err().0.len(), 1);
}

/// What is below a key that says all by its name, or beside one that is read, is never passed over.
#[test]
fn nothing_in_a_sampler_or_an_exporter_is_ignored() {
    let exporter =
        |text: &str| format!("tracer_provider: {{processors: [{{batch: {{exporter: {text}}}}}]}}\n");
    let sampler = |text: &str| format!("tracer_provider: {{sampler: {text}}}\n");
    for (text, key) in [
        (sampler("{parent_based: {root: {trace_id_ratio_based: {ration: 0.01}}}}"), "ration"),
        (sampler("{parent_based: {rooot: {always_off: }}}"), "rooot"),
        (sampler("{always_on: {ratio: 0.1}}"), "always_on.ratio"),
        (exporter("{console: {foo: bar}}"), "console.foo"),
        (exporter("{otlp_http: {endpoint: \"http://h\", headers: [{name: a, valeu: b}]}}"), "valeu"),
        ("propagator: {composite: [{tracecontext: {a: 1}}]}\n".to_owned(), "tracecontext.a"),
    ] {
        let mistakes = from_file(&format!("file_format: \"1.1\"\n{text}"), "", &[]).unwrap_err();
        assert!(mistakes.0.iter().any(|mistake| mistake.place.contains(key)), "{text}: {mistakes}");
    }
}

proptest::proptest! {
    /// Nothing that variables or a file can hold stops the agent in another way than by a list of mistakes.
    #[test]
    fn any_variables_and_any_file_are_judged(
        values in proptest::collection::vec("([a-z0-9.:/%=,@ -]{0,20}|.{0,20})", variables::REPLACED.len()),
        text in "(file_format: \"1.1\"\n)?((resource|tracer_provider|distribution|sampler|[a-z ]{0,9}): ?[\\[{&*!$a-z}:\n -]{0,20}\n?){0,5}",
    ) {
        let pairs = variables::REPLACED.into_iter().zip(values.iter().map(String::as_str));
        let env = map(&pairs.collect::<Vec<_>>());
        drop(load(Run::default(), &env));
        let mut findings = Findings::default();
        let settings = file::parse(&text, "file", &env, &mut findings);
        proptest::prop_assert!(settings.is_some() || !findings.mistakes.is_empty());
    }
}

#[test]
fn what_is_given_and_not_supported_is_a_mistake_with_its_line() {
    let text = "file_format: \"1.0\"\n\
                logger_provider: {processors: []}\n\
                propagator: {composite: [b3: ]}\n\
                meter_provider:\n  \
                  views: []\n  \
                  readers: [{periodic: {exporter: {console: }}}]\n\
                instrumentation/development:\n  \
                  java: {}\n  \
                  general: {peer: {service_mapping: []}}\n\
                resource: {schema_url: x, attributes: [{name: a, value: [b]}]}\n";
    let mistakes = from_file(text, "", &[]).unwrap_err();
    let places: Vec<_> =
        mistakes.0.iter().filter_map(|m| m.place.split_once(".yaml:")).map(|(_, p)| p).collect();
    assert_eq!(
        places,
        [
            "10 (resource.attributes)",
            "10 (resource.schema_url)",
            "6 (meter_provider.readers.periodic.exporter.console)",
            "5 (meter_provider.views)",
            "3 (propagator)",
            "9 (instrumentation/development.general.peer)",
            "8 (instrumentation/development.java)",
            "2 (logger_provider)",
        ],
        "{mistakes}"
    );
    assert!(from_file("file_format: \"1.7\"\n", "", &[]).unwrap().notes[0].contains("newer"));
    let draft = from_file("file_format: \"1.0-rc.1\"\n", "", &[]).unwrap();
    assert!(draft.notes[0].contains("is a draft, and is read as 1.0"), "{:?}", draft.notes);
    assert!(from_file("file_format: \"1.0\"\n", "", &[]).unwrap().notes.is_empty());
    for unknown in
        ["0.4", "1", "1.", "1.0.0", "1.x", "1.0-", "1.01", "+1.0", "1.+0", "2.0-rc.1", "10.0", " 1.0"]
    {
        let text = format!("file_format: \"{unknown}\"\n");
        assert!(from_file(&text, "", &[]).is_err(), "{unknown}");
    }
    let both = "file_format: \"1.1\"\npropagator: {composite: [tracecontext: , baggage: ]}\n";
    assert!(from_file(both, "", &[]).is_ok());
    assert_eq!(bad("", &[("OTEL_PROPAGATORS", "b3,tracecontext")]).0.len(), 1);
    assert_eq!(bad("", &[("OTEL_PROPAGATORS", "b3")]).0.len(), 1);
}

#[test]
fn propagation_is_on_unless_the_propagators_lack_it() {
    for (value, expected) in [
        ("", Propagation::Auto),
        ("tracecontext,baggage", Propagation::Auto),
        ("none", Propagation::Off),
        ("baggage", Propagation::Off),
    ] {
        assert_eq!(good("", &[("OTEL_PROPAGATORS", value)]).propagation, expected, "{value}");
    }
    for (text, expected) in [
        ("{composite: []}", Propagation::Off),
        ("{composite: [{baggage: }]}", Propagation::Off),
        ("{composite: [{tracecontext: }, {baggage: }]}", Propagation::Auto),
        ("{composite_list: \"none\"}", Propagation::Off),
    ] {
        let file = format!("file_format: \"1.1\"\npropagator: {text}\n");
        assert_eq!(from_file(&file, "", &[]).unwrap().propagation, expected, "{text}");
    }
    for (value, expected) in [("auto", Propagation::Auto), ("on", Propagation::On), ("off", Propagation::Off)]
    {
        let config = good(&format!("--propagation {value}"), &[("OTEL_PROPAGATORS", "tracecontext")]);
        assert_eq!(config.propagation, expected);
    }
    assert!(bad("--propagation yes", &[]).to_string().contains("auto, on or off"));
}
