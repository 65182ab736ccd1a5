//! What this agent adds to the declarative file under `distribution.spandrel`, as a table: the reader asks it
//! for the names that exist, `spandrel config schema` prints it as a JSON Schema, and a test holds the two and
//! the code together.

use serde_json::{Map, Value, json};

use super::causality;

/// The kind of a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    /// An absolute path.
    Folder,
    /// What names a destination.
    Name,
    /// One of some words.
    Word(&'static [&'static str]),
    Boolean,
    /// A whole number from .. to.
    Number(u64, u64),
    /// A number from 0 to 1.
    Share,
    /// A list of some words.
    Words(&'static [&'static str]),
    /// A list of texts; numbers are taken for texts.
    Texts,
    Map(&'static [Key]),
    /// A mapping with one of these keys.
    One(&'static [Key]),
    /// A mapping that the specification has, too.
    Standard(&'static [Key]),
    /// A list of mappings.
    List(&'static [Key]),
}

/// A key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// For people.
    pub(super) about: &'static str,
    /// It has to be there.
    pub(super) required: bool,
}

const fn key(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key { name, kind, about, required: false }
}

const fn required(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key { name, kind, about, required: true }
}

/// Series of one metric at most: a thousand services with several methods and status codes each.
pub(super) const LARGEST_SERIES: u64 = 100_000;
/// Path templates at most: what one backend can group by.
pub(super) const LARGEST_TEMPLATES: u64 = 10_000;
/// Requests a second that a rule can be limited to: above it there is no limit.
pub(super) const LARGEST_RATE: u64 = 1_000_000;

/// Names of destinations: each is that of a folder, as it is. Names of folders may have 255 bytes; nobody reads as much in
/// a log.
const NAME: &str = "[A-Za-z0-9._-]{1,100}";
const BOOLEAN: &str = "[Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]";
/// What stands for a value that an editor does not know.
const VARIABLE: &str = "[$][{].+[}]";
/// Names that are those of other destinations.
pub(super) const TAKEN: &[&str] = &["otlp", "console"];

/// Bytes of all queues at least: with less, no batch of the usual size is ever full.
pub(super) const SMALLEST_QUEUES: u64 = 1 << 20;

/// Requests that one destination may have under way. Each has a task and a batch of its own; no backend is faster with more.
pub(super) const MOST_REQUESTS: u64 = 256;
/// Renamed files that one destination may keep: each rotation renames them all.
pub(super) const MOST_FILES: u64 = 1000;
/// What JSON can hold exactly (RFC 8259, section 6); the machine has less of everything.
pub(super) const LARGEST: u64 = (1 << 53) - 1;

/// `distribution.spandrel`.
pub(super) const OURS: &[Key] = &[
    key("select", Kind::Map(SELECT), "Which processes are traced; all if nothing is said. Flags replace it."),
    key("console", Kind::Word(&["text", "json", "off"]), "Print traces to standard output (--console)."),
    key("listen", Kind::Text, "Serve /metrics, /healthz and /readyz here (--listen)."),
    key("report", Kind::Text, "Write a JSON report here at exit (--report)."),
    key("profile", Kind::Word(&["auto", "socket", "syscall"]), "Which kernel hooks to use (--profile)."),
    key(
        "causality",
        Kind::Word(&["default", "strict", "off"]),
        "How much evidence makes a request the child of an inbound one (--causality).",
    ),
    key("causality_without", Kind::Words(causality::NAMES), "Rules that are off."),
    key("body_sizes", Kind::Boolean, "Show http.request.body.size and http.response.body.size."),
    key(
        "redacted_headers",
        Kind::Texts,
        "Captured headers that show [REDACTED], beside those of redaction.headers.",
    ),
    key("command_args", Kind::Boolean, "Show process.command_args. Arguments can hold secrets."),
    key("redaction", Kind::Map(REDACTION), "What spans may not show."),
    key("sampling", Kind::Map(SAMPLING), "Rules for the roots of traces, before the sampler."),
    key("destinations", Kind::List(DESTINATION), "Where spans go, besides the standard's exporters."),
    key("spill", Kind::Map(STORE), "Queues on disk, for what no longer fits into memory."),
    key("dead_letters", Kind::Map(STORE), "Where batches are kept that cannot be delivered."),
    key("resource_caps", Kind::Map(RESOURCE_CAPS), "What the destinations together may take of the machine."),
    key(
        "shutdown_timeout",
        Kind::Number(0, LARGEST),
        "Milliseconds that spans may take to leave at the end; 10000.",
    ),
    key("metrics", Kind::Map(METRICS), "Metrics about the traced services."),
];

pub(super) const STORE: &[Key] = &[
    required("path", Kind::Folder, "A folder, by its absolute path."),
    key(
        "max_bytes",
        Kind::Number(4 << 20, LARGEST),
        "What may lie there: 4 MiB at least, 256 MiB by default.",
    ),
];

pub(super) const RESOURCE_CAPS: &[Key] = &[key(
    "queue_bytes",
    Kind::Number(SMALLEST_QUEUES, LARGEST),
    "Bytes that all queues together hold in memory; 48 MiB by default.",
)];

pub(super) const DESTINATION: &[Key] = &[
    required("name", Kind::Name, "In metrics and reports."),
    required("exporter", Kind::One(EXPORTER), "One of them."),
    key("filter", Kind::Map(FILTER), "Which spans it wants; all if nothing is said."),
    key("drop", Kind::Word(&["newest", "oldest", "traces"]), "What is dropped when the queue is full."),
    key("schedule_delay", Kind::Number(0, LARGEST), "Milliseconds that the first span of a batch waits."),
    key("export_timeout", Kind::Number(0, LARGEST), "Milliseconds that one batch may take with its retries."),
    key("max_queue_size", Kind::Number(1, LARGEST), "Spans."),
    key("max_queue_bytes", Kind::Number(1, LARGEST), "Bytes of memory."),
    key("max_export_batch_size", Kind::Number(1, LARGEST), "Spans."),
    key("max_export_batch_bytes", Kind::Number(1, 64 << 20), "Encoded bytes."),
    key("requests_in_flight", Kind::Number(1, MOST_REQUESTS), "Requests at a time."),
];

pub(super) const EXPORTER: &[Key] = &[
    key("otlp_http", Kind::Standard(OTLP), "As in tracer_provider, with headers_file and token_file."),
    key("otlp_grpc", Kind::Standard(OTLP), "As in tracer_provider, with headers_file and token_file."),
    key("file", Kind::Map(FILE), "A file of OTLP/JSON lines."),
];

const OTLP: &[Key] = &[
    key("endpoint", Kind::Text, "The URL: with its path over HTTP."),
    key("encoding", Kind::Word(&["protobuf"]), "Of messages."),
    key("compression", Kind::Word(&["gzip", "zstd", "none"]), "None by default."),
    key("timeout", Kind::Number(0, LARGEST), "Milliseconds that one request may take; 0 is no limit."),
    key("headers", Kind::List(FIELD), "Of each request."),
    key("headers_list", Kind::Text, "The same as NAME=VALUE,NAME=VALUE."),
    key("headers_file", Kind::Text, "More of them, one NAME: VALUE a line; read again when it changes."),
    key("token_file", Kind::Text, "The token for Authorization: Bearer; read again when it changes."),
    key("tls", Kind::Standard(TLS), "What is trusted, and how the agent shows who it is."),
];

const FIELD: &[Key] = &[required("name", Kind::Text, "Its name."), key("value", Kind::Text, "Its value.")];

const TLS: &[Key] = &[
    key("ca_file", Kind::Text, "Authorities, instead of the system's."),
    key("key_file", Kind::Text, "The agent's key; with cert_file."),
    key("cert_file", Kind::Text, "The agent's certificate; with key_file."),
    key("insecure", Kind::Boolean, "Without TLS, where the endpoint has no scheme."),
    key("server_name", Kind::Text, "The name in the backend's certificate, instead of the endpoint's."),
];

pub(super) const FILE: &[Key] = &[
    required("path", Kind::Text, "The file."),
    key(
        "max_bytes",
        Kind::Number(1 << 20, LARGEST),
        "Size at which it is renamed and begun anew: 1 MiB at least, 64 MiB by default.",
    ),
    key("max_files", Kind::Number(1, MOST_FILES), "Renamed files that are kept; 4 by default."),
];

pub(super) const FILTER: &[Key] = &[
    key("services", Kind::Texts, "service.name, as globs."),
    key("kind", Kind::Word(&["server", "client", "producer"]), "Only spans of this kind."),
    key("errors", Kind::Boolean, "Only spans with an error."),
    key("min_duration", Kind::Number(0, LARGEST), "Only spans of so many milliseconds or more."),
];

pub(super) const SELECT: &[Key] = &[
    key("pid", Kind::Texts, "Processes with these ids."),
    key("exe", Kind::Texts, "Executables, as globs, by full path or by file name."),
    key("cmd", Kind::Texts, "Command lines, as globs."),
    key("port", Kind::Texts, "Processes that listen on these ports."),
    key("cgroup", Kind::Texts, "Control groups, and what is below them."),
];

pub(super) const REDACTION: &[Key] = &[
    key("enabled", Kind::Boolean, "False leaves only what the semantic conventions want. True by default."),
    key("names", Kind::Texts, "Names of parameters whose values are secrets, instead of the built-in list."),
    key("also_names", Kind::Texts, "More of them, beside the list."),
    key("headers", Kind::Texts, "Names of headers whose values are secrets, instead of the built-in list."),
    key("also_headers", Kind::Texts, "More of them, beside the list."),
    key("values", Kind::Map(VALUES), "Which values are recognised by their form."),
    key("allowed_query", Kind::Texts, "Show only these query parameters' values."),
    key("allowed_attributes", Kind::Texts, "Give spans only these attributes."),
    key(
        "paths",
        Kind::Word(&["as_they_are", "named", "replaced"]),
        "Templates for paths: not at all, in name and url.template, or instead of the path.",
    ),
    key("max_templates", Kind::Number(0, LARGEST_TEMPLATES), "Templates at most; 500 by default."),
];

pub(super) const VALUES: &[Key] = &[
    key("schemes", Kind::Boolean, "Credentials behind Bearer and Basic. True by default."),
    key("jwt", Kind::Boolean, "JSON Web Tokens. True by default."),
    key("aws_keys", Kind::Boolean, "Keys of Amazon Web Services. True by default."),
    key("issued", Kind::Boolean, "Tokens with a prefix of their issuer, like ghp_. True by default."),
    key("cards", Kind::Boolean, "Card numbers with the right check digit. True by default."),
    key("emails", Kind::Boolean, "E-mail addresses. False by default."),
];

pub(super) const SAMPLING: &[Key] = &[
    key("dry_run", Kind::Boolean, "Count what the rules would do, and do not apply them."),
    key("rules", Kind::List(RULE), "The first rule that matches decides; without one the sampler does."),
];

pub(super) const RULE: &[Key] = &[
    key("name", Kind::Text, "For metrics; the rule's number if it has none."),
    key("service", Kind::Text, "service.name, as a glob."),
    key("method", Kind::Text, "The request's method."),
    key("path", Kind::Text, "The request's path without its query, as a glob."),
    key(
        "header",
        Kind::Map(HEADER),
        "A header of the request. Outsiders can set headers: limit the rate, too.",
    ),
    key("ratio", Kind::Share, "The share of traces that is kept; 1 by default."),
    key("per_second", Kind::Number(0, LARGEST_RATE), "Traces kept a second at most, for each service."),
];

pub(super) const HEADER: &[Key] = &[
    required("name", Kind::Text, "Its name."),
    key("value", Kind::Text, "Its value, as a glob; any if none is given."),
];

pub(super) const METRICS: &[Key] = &[
    key(
        "requests",
        Kind::Boolean,
        "http.server.request.duration, http.client.request.duration and the service graph. True by default.",
    ),
    key(
        "max_series",
        Kind::Number(1, LARGEST_SERIES),
        "Series of each metric at most; 2000 by default. Others go to the series with otel.metric.overflow.",
    ),
];

/// The JSON Schema (draft 2020-12) of `distribution.spandrel`.
pub fn json_schema() -> Value {
    let mut schema = object(OURS);
    if let Value::Object(schema) = &mut schema {
        schema.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
        schema.insert("title".into(), json!("distribution.spandrel of an OpenTelemetry configuration file"));
    }
    schema
}

fn object(keys: &[Key]) -> Value {
    let properties: Map<String, Value> =
        keys.iter().map(|key| (key.name.to_owned(), described(key))).collect();
    let required: Vec<_> = keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let object = json!({"additionalProperties": false, "properties": properties});
    // Nothing is an empty mapping, where that is enough.
    let more = if required.is_empty() {
        json!({"type": ["object", "null"]})
    } else {
        json!({"type": "object", "required": required})
    };
    merged(object, more)
}

fn merged(mut one: Value, other: Value) -> Value {
    if let (Value::Object(one), Value::Object(other)) = (&mut one, other) {
        one.extend(other);
    }
    one
}

fn described(key: &Key) -> Value {
    let mut value = match key.kind {
        Kind::Text => json!({"type": ["string", "number", "boolean"]}),
        Kind::Word(words) => word(words),
        Kind::Boolean => json!({"type": ["boolean", "string"], "pattern": or_variable(BOOLEAN)}),
        Kind::Number(from, to) => {
            let pattern = or_variable("[0-9]+");
            json!({"type": ["integer", "string"], "minimum": from, "maximum": to, "pattern": pattern})
        }
        Kind::Share => {
            let pattern = or_variable("[0-9]*[.]?[0-9]+([eE][-+]?[0-9]+)?");
            json!({"type": ["number", "string"], "minimum": 0, "maximum": 1, "pattern": pattern})
        }
        Kind::Folder => json!({"type": ["string"], "pattern": or_variable("/.*")}),
        Kind::Name => {
            json!({"type": ["string", "number"], "pattern": or_variable(NAME), "not": {"enum": TAKEN}})
        }
        Kind::Texts => json!({"type": ["array"], "items": {"type": ["string", "number", "boolean"]}}),
        Kind::Words(words) => json!({"type": ["array"], "items": word(words)}),
        Kind::List(keys) => json!({"type": ["array"], "items": object(keys)}),
        Kind::Map(keys) | Kind::Standard(keys) => object(keys),
        Kind::One(keys) => {
            merged(object(keys), json!({"type": "object", "minProperties": 1, "maxProperties": 1}))
        }
    };
    if !key.required {
        or_nothing(&mut value);
    }
    if let Value::Object(value) = &mut value {
        value.insert("description".into(), json!(key.about));
    }
    value
}

/// One of some words, or what a variable gives.
fn word(words: &[&str]) -> Value {
    json!({"anyOf": [{"enum": words}, {"type": "string", "pattern": VARIABLE}]})
}

/// A pattern, or what a variable gives.
fn or_variable(pattern: &str) -> String {
    format!("^({pattern}|.*{VARIABLE}.*)$")
}

/// What is empty is not given. Mappings say for themselves whether they may be.
fn or_nothing(value: &mut Value) {
    if let Some(Value::Array(kinds)) = value.get_mut("type")
        && !kinds.contains(&json!("null"))
    {
        kinds.push(json!("null"));
    } else if let Some(Value::Array(kinds)) = value.get_mut("anyOf") {
        kinds.push(json!({"type": "null"}));
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, fmt::Write as _};

    use super::*;
    use crate::config::{file, mistake::Findings};

    /// Where the schema is for editors.
    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/config/spandrel.schema.json");

    /// A file that gives every key of a table once; where one is to be chosen, that of this number.
    fn everything(out: &mut String, keys: &[Key], indent: usize, choice: usize) {
        for key in keys {
            write!(out, "{:indent$}{}:", "", key.name).unwrap();
            match key.kind {
                // No two of them are one place.
                Kind::Folder => writeln!(out, " /tmp/x{}", out.len()).unwrap(),
                Kind::Name => out.push_str(" x\n"),
                Kind::Text => out.push_str(match key.name {
                    "listen" => " 127.0.0.1:9464\n",
                    "path" => " /tmp/file\n",
                    "report" => " /tmp/report.json\n",
                    _ => " x\n",
                }),
                Kind::Words(words) => writeln!(out, " [{}]", words.join(", ")).unwrap(),
                Kind::One(keys) => {
                    out.push('\n');
                    everything(out, &keys[choice..=choice], indent + 2, choice);
                }
                Kind::Word(words) => writeln!(out, " {}", words[0]).unwrap(),
                Kind::Boolean => out.push_str(" true\n"),
                Kind::Number(_, to) => writeln!(out, " {to}").unwrap(),
                Kind::Share => out.push_str(" 0.5\n"),
                Kind::Texts => out.push_str(" [\"80\"]\n"),
                // Its values depend on each other and on files; what is empty is not given.
                Kind::Standard(keys) => {
                    let names = keys.iter().filter(|key| key.name != "endpoint").map(|key| key.name);
                    let empty = names.collect::<Vec<_>>().join(": , ");
                    writeln!(out, " {{endpoint: \"http://h:4318\", {empty}: }}").unwrap();
                }
                Kind::Map(keys) => {
                    out.push('\n');
                    everything(out, keys, indent + 2, choice);
                }
                Kind::List(keys) => {
                    out.push('\n');
                    let mut item = String::new();
                    everything(&mut item, keys, indent + 4, choice);
                    out.push_str(&item.replacen(
                        &" ".repeat(indent + 4),
                        &format!("{:1$}- ", "", indent + 2),
                        1,
                    ));
                }
            }
        }
    }

    #[test]
    fn the_code_reads_every_key_of_the_table() {
        for choice in 0..EXPORTER.len() {
            let mut text = "file_format: \"1.1\"\ndistribution:\n  spandrel:\n".to_owned();
            everything(&mut text, OURS, 4, choice);
            let mut findings = Findings::default();
            let env = HashMap::<String, String>::new();
            assert!(file::parse(&text, "all.yaml", &env, &mut findings).is_some(), "{text}");
            assert_eq!(findings.mistakes, [], "{text}");
        }
    }

    /// What the table calls required, and one of several, is.
    #[test]
    fn the_code_wants_what_the_schema_wants() {
        let mistakes = |text: &str| {
            let text = format!("file_format: \"1.1\"\ndistribution: {{spandrel: {text}}}\n");
            let mut findings = Findings::default();
            drop(file::parse(&text, "f.yaml", &HashMap::<String, String>::new(), &mut findings));
            findings.mistakes
        };
        for text in [
            "{destinations: [{name: a}]}",
            "{destinations: [{exporter: {otlp_http: }}]}",
            "{destinations: [{name: a, exporter: {}}]}",
            "{destinations: [{name: a, exporter: {otlp_http: , otlp_grpc: }}]}",
            "{destinations: [{name: a, exporter: {file: {}}}]}",
            "{spill: {max_bytes: 5000000}}",
            "{spill: {path: relative}}",
            "{destinations: [{name: console, exporter: {otlp_http: }}]}",
            "{destinations: [{name: a/b, exporter: {otlp_http: }}]}",
            "{destinations: [{name: a, exporter: {otlp_http: {bogus: 1}}}]}",
            "{destinations: [{name: a, exporter: {otlp_http: {tls: {bogus: 1}}}}]}",
            "{destinations: [{name: a, exporter: {otlp_http: {compression: lz4}}}]}",
            "{resource_caps: {queue_bytes: 1048575}}",
            "{resource_caps: {cpu: 1}}",
            "{sampling: {rules: [{header: {value: x}}]}}",
        ] {
            assert!(!mistakes(text).is_empty(), "{text}");
        }
        assert!(mistakes("{spill: , destinations: [{name: a, exporter: {otlp_http: }}]}").len() == 1);
    }

    #[test]
    fn the_schema_in_the_repository_is_the_code_s() {
        let schema = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(FILE, &schema).unwrap();
        }
        let known = std::fs::read_to_string(FILE).unwrap_or_default();
        assert!(known == schema, "run this test with UPDATE_EXPECT=1 to write {FILE} anew");
    }
}
