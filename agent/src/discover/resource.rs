//! What an OTLP Resource says about a service instance.
//!
//! An instance is a process: workers that a server forks are instances of one service, each with its own
//! `process.pid` and `service.instance.id`, as their SDKs would report them.
//!
//! `telemetry.sdk.*` names this agent and the language that it is written in, as the conventions define
//! them; what the service is written in is `process.runtime.*`.
//!
//! What a process says of itself, in its variables and arguments, may hold secrets. It is redacted here, where every
//! exporter, the metrics and the console have it from.

use std::{borrow::Cow, sync::Arc};

use uuid::{Uuid, uuid};

use super::{container, facts::Facts, files::Files, host::Host, name, runtime};
use crate::{
    config::settings::ResourceConfig,
    span::{
        Attribute, Value,
        redact::{Policy, Redactor},
    },
    stats::Stats,
};

/// The resource of one process.
#[derive(Debug, Default)]
pub struct Resource {
    /// Unique for each resource while the agent runs; spans are grouped by it.
    pub id: u64,
    /// `service.name`, for the console.
    pub service: Box<str>,
    /// All attributes, `service.name` included.
    pub attributes: Vec<Attribute>,
}

/// The namespace of instance ids (resource conventions, `service.instance.id`).
const INSTANCES: Uuid = uuid!("4d63009a-8d0f-11ee-aad7-4c796ed8e320");
/// Attributes that a process may declare for itself. The specification's limit for spans, too.
const MAX_DECLARED: usize = 128;

/// Makes resources from facts.
#[derive(Debug)]
pub(super) struct Describer {
    host: Host,
    /// Where the agent runs and so do the services: its own declared attributes but `service.*`.
    common: Vec<(String, String)>,
    command_args: bool,
    redactor: Redactor,
    stats: Arc<Stats>,
    last: u64,
}

impl Describer {
    /// What is redacted is counted in `stats`.
    pub(super) fn new(host: Host, config: &ResourceConfig, redaction: Policy, stats: Arc<Stats>) -> Self {
        let ResourceConfig { service_name: _, attributes, command_args } = config;
        let mut common = attributes.clone();
        common.retain(|(key, _)| !key.starts_with("service."));
        Self { host, common, command_args: *command_args, redactor: Redactor::new(redaction), stats, last: 0 }
    }

    /// Redacts by other choices from now on. Gives whether they are others.
    pub(super) fn redact(&mut self, redaction: &Policy) -> bool {
        let changed = self.redactor.policy() != redaction;
        if changed {
            self.redactor = Redactor::new(redaction.clone());
        }
        changed
    }

    /// The resource of a process. `go` is the version of Go that its executable was built with.
    pub(super) fn describe(&mut self, facts: &Facts, files: &dyn Files, go: Option<String>) -> Resource {
        self.last += 1;
        let Self { host, common, command_args, redactor, stats, last } = self;
        let safe = |text: &str| redactor.text(text, stats).into_owned();
        let service = safe(&service_name(facts, files, redactor));
        let mut all = Attributes::default();
        all.text("service.name", &service);
        all.known("telemetry.sdk.name", "spandrel");
        all.known("telemetry.sdk.language", "rust");
        all.known("telemetry.sdk.version", env!("CARGO_PKG_VERSION"));
        all.known("telemetry.distro.name", "spandrel");
        all.known("telemetry.distro.version", env!("CARGO_PKG_VERSION"));
        for (key, value) in name::declared_attributes(facts).into_iter().take(MAX_DECLARED) {
            let value = redactor.attribute(&key, &value, stats).into();
            all.add(Cow::Owned(safe(&key)), Value::Str(value));
        }
        // Without a start time the process is gone; then the resource's number tells it apart.
        let start = facts.start_ticks.map_or_else(|| format!("#{last}"), |ticks| ticks.to_string());
        let instance = format!("{}/{}/{}/{start}", host.id, host.boot_id, facts.pid);
        all.text("service.instance.id", &Uuid::new_v5(&INSTANCES, instance.as_bytes()).to_string());

        all.add(Cow::Borrowed("process.pid"), Value::Int(i64::from(facts.pid)));
        if let Some(started) = facts.start_ticks.and_then(|ticks| host.started(ticks)) {
            let time = humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + started);
            all.text("process.creation.time", &time.to_string());
        }
        all.text("process.executable.name", &safe(facts.executable_name()));
        if facts.exe.starts_with('/') {
            all.text("process.executable.path", &safe(&facts.exe));
        }
        all.text("process.command", &safe(facts.args.first().map_or("", String::as_str)));
        if *command_args && !facts.args.is_empty() {
            all.add(Cow::Borrowed("process.command_args"), Value::Strs(shown(&facts.args, redactor, stats)));
        }
        if let Some(uid) = facts.uid {
            all.text("process.owner", &owner(uid, files).unwrap_or_default());
        }
        let runtime = runtime::runtime(facts, files).or_else(|| go.map(|version| ("go", Some(version))));
        if let Some((name, version)) = runtime {
            all.known("process.runtime.name", name);
            all.text("process.runtime.version", &version.unwrap_or_default());
        }
        all.text("container.id", container::container_id(&facts.cgroups).unwrap_or_default());
        all.text("host.name", &host.name);
        all.text("host.id", &host.id);
        all.known("host.arch", host.arch);
        all.known("os.type", "linux");
        for (key, value) in common {
            let value = redactor.attribute(key, value, stats).into();
            all.add(Cow::Owned(safe(key)), Value::Str(value));
        }
        Resource { id: *last, service: service.into(), attributes: all.0 }
    }
}

/// The name of a process's service, guessed from arguments that show no secrets: cut out of its argument a secret may
/// not look like one any more.
fn service_name(facts: &Facts, files: &dyn Files, redactor: &Redactor) -> String {
    // Arguments that are not shown themselves are not counted.
    let args = shown(&facts.args, redactor, &Stats::default());
    if args.iter().zip(&facts.args).all(|(shown, arg)| **shown == **arg) {
        return name::service_name(facts, files);
    }
    let args = args.into_iter().map(String::from).collect();
    name::service_name(&Facts { args, ..facts.clone() }, files)
}

/// Arguments without what looks like a secret: the values of options with such names, and what shows it by its form.
fn shown(args: &[String], redactor: &Redactor, stats: &Stats) -> Box<[Box<str>]> {
    let mut name = "";
    args.iter()
        .map(|arg| {
            let option = arg.starts_with('-') && !arg.contains('=');
            let of = std::mem::replace(&mut name, if option { arg } else { "" });
            redactor.attribute(if option { "" } else { of }, arg, stats).into()
        })
        .collect()
}

/// Attributes by rank: the first value of a key stays.
#[derive(Default)]
struct Attributes(Vec<Attribute>);

impl Attributes {
    fn add(&mut self, key: Cow<'static, str>, value: Value) {
        if !self.0.iter().any(|known| known.key == key) {
            self.0.push(Attribute { key, value });
        }
    }

    fn known(&mut self, key: &'static str, value: &'static str) {
        if !value.is_empty() {
            self.add(Cow::Borrowed(key), Value::Static(value));
        }
    }

    fn text(&mut self, key: &'static str, value: &str) {
        if !value.is_empty() {
            self.add(Cow::Borrowed(key), Value::Str(value.into()));
        }
    }
}

/// A user's name as the process's own system knows it, or the number if it has no name. Of a process that is
/// gone that system cannot be asked: user 0 is `root` everywhere, others are left out.
fn owner(uid: u32, files: &dyn Files) -> Option<String> {
    let Some(passwd) = files.read("/etc/passwd") else { return (uid == 0).then(|| "root".to_owned()) };
    let passwd = String::from_utf8_lossy(&passwd);
    let number = uid.to_string();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _password, id) = (fields.next()?, fields.next()?, fields.next()?);
        (id == number).then(|| name.to_owned())
    });
    Some(name.unwrap_or(number))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::stats::Redaction;

    #[test]
    fn arguments_show_no_secrets() {
        let args = ["app", "--password", "a", "--token=b", "-v", "--api-key", "--x", "c", "http://u:d@h/"];
        let args: Vec<_> = args.map(str::to_owned).into();
        let expect = [
            "app",
            "--password",
            "REDACTED",
            "--token=REDACTED",
            "-v",
            "--api-key",
            "--x",
            "c",
            "http://REDACTED:REDACTED@h/",
        ];
        let (redactor, stats) = (Redactor::new(Policy::default()), Stats::default());
        assert_eq!(shown(&args, &redactor, &stats).iter().map(|arg| &**arg).collect::<Vec<_>>(), expect);
        assert_eq!(stats.redactions(Redaction::SecretName), 2);
        assert_eq!(stats.redactions(Redaction::UrlCredentials), 1);
    }

    #[test]
    fn what_a_process_says_of_itself_shows_no_secrets() {
        let declared = "api_key=canary-1,team%20token=canary-2,db.url=postgres://u:canary-3@h/d,\
                        note=AKIAIOSFODNN7CANARY4,team=blue,x.AKIAIOSFODNN7CANARY4=1,deep=%2574oken%253Dcanary-5,\
                        service.namespace=token%3Dcanary-6";
        let mut facts = Facts {
            args: ["ruby", "--token", "canary-7", "redis://u:canary-8@h/", "-Dsecret=canary-9"]
                .map(str::to_owned)
                .into(),
            variables: vec![
                ("OTEL_RESOURCE_ATTRIBUTES", declared.to_owned()),
                ("OTEL_SERVICE_NAME", "shop password=canary-10".to_owned()),
            ],
            ..shop()
        };
        let config = ResourceConfig {
            service_name: None,
            attributes: vec![("my.secret".to_owned(), "canary-11".to_owned())],
            command_args: true,
        };
        let files = HashMap::<&str, &str>::new();
        let stats = Arc::<Stats>::default();
        let mut describer = Describer::new(host(), &config, Policy::default(), Arc::clone(&stats));
        let resource = describer.describe(&facts, &files, None);
        let all = format!("{resource:?}");
        assert!(!all.contains("canary") && !all.contains("CANARY"), "{all}");
        assert_eq!(&*resource.service, "shop password=REDACTED");
        for (key, value) in [
            ("service.name", "shop password=REDACTED"),
            ("api_key", "REDACTED"),
            ("db.url", "postgres://REDACTED:REDACTED@h/d"),
            ("note", "REDACTED"),
            ("team", "blue"),
            ("my.secret", "REDACTED"),
        ] {
            assert_eq!(text(&resource, key), Some(value), "{key}");
        }
        assert_eq!(stats.redactions(Redaction::AwsKey), 2);
        assert_eq!(stats.redactions(Redaction::UrlCredentials), 2);
        assert!(stats.redactions(Redaction::SecretName) >= 7);

        // A name that is guessed from arguments.
        facts.variables.clear();
        for script in ["AKIAIOSFODNN7CANARY4.rb", "https://u:canary-1@h", "/x/token=canary-2.rb"] {
            facts.args = vec!["ruby".to_owned(), script.to_owned()];
            let facts = Facts { exe: "/usr/bin/ruby".to_owned(), ..facts.clone() };
            let service = describer.describe(&facts, &files, None).service;
            assert!(!service.contains("canary") && !service.contains("CANARY"), "{service}");
        }

        assert!(!describer.redact(&Policy::default()));
        assert!(describer.redact(&Policy { names: vec!["team".into()], ..Policy::default() }));
        facts.variables = vec![("OTEL_RESOURCE_ATTRIBUTES", "team=blue".to_owned())];
        assert_eq!(text(&describer.describe(&facts, &files, None), "team"), Some("REDACTED"));
    }

    fn host() -> Host {
        Host {
            name: "box".to_owned(),
            id: "0123456789abcdef".to_owned(),
            arch: "amd64",
            boot_id: "boot".to_owned(),
            boot_seconds: 1_700_000_000,
            ticks_per_second: 100,
        }
    }

    fn describer(config: &ResourceConfig) -> Describer {
        Describer::new(host(), config, Policy::default(), Arc::default())
    }

    fn text<'a>(resource: &'a Resource, key: &str) -> Option<&'a str> {
        let mut found = resource.attributes.iter().filter(|attribute| attribute.key == key);
        let value = match &found.next()?.value {
            Value::Str(text) => text,
            Value::Static(text) => *text,
            other => panic!("{key} is {other:?}"),
        };
        assert!(found.next().is_none(), "{key} is there twice");
        Some(value)
    }

    fn shop() -> Facts {
        Facts {
            pid: 42,
            exe: "/usr/bin/python3.11".to_owned(),
            args: ["python3", "/srv/shop/main.py"].map(str::to_owned).into(),
            uid: Some(33),
            start_ticks: Some(12_345),
            ..Facts::default()
        }
    }

    #[test]
    fn a_process_is_described() {
        let files = HashMap::from([("/etc/passwd", "root:x:0:0::/:\nwww-data:x:33:33::/:\n")]);
        let resource = describer(&ResourceConfig::default()).describe(&shop(), &files, None);
        for (key, value) in [
            ("service.name", "shop"),
            ("process.creation.time", "2023-11-14T22:15:23Z"),
            ("process.executable.name", "python3.11"),
            ("process.executable.path", "/usr/bin/python3.11"),
            ("process.command", "python3"),
            ("process.owner", "www-data"),
            ("process.runtime.name", "cpython"),
            ("process.runtime.version", "3.11"),
            ("host.name", "box"),
            ("os.type", "linux"),
            ("telemetry.distro.name", "spandrel"),
        ] {
            assert_eq!(text(&resource, key), Some(value), "{key}");
        }
        assert_eq!(&*resource.service, "shop");
        assert!(!resource.attributes.iter().any(|attribute| attribute.key == "process.command_args"));
        assert_eq!(text(&resource, "container.id"), None);
    }

    #[test]
    fn an_instance_keeps_its_id_and_shares_it_with_no_other() {
        let files = HashMap::<&str, &str>::new();
        let id = |facts: &Facts| {
            let resource = describer(&ResourceConfig::default()).describe(facts, &files, None);
            text(&resource, "service.instance.id").unwrap().to_owned()
        };
        let first = id(&shop());
        assert_eq!(first, id(&shop()));
        assert_eq!(Uuid::parse_str(&first).unwrap().get_version_num(), 5);
        assert_ne!(first, id(&Facts { pid: 43, ..shop() }));
        assert_ne!(first, id(&Facts { start_ticks: Some(12_346), ..shop() }));
    }

    #[test]
    fn what_a_process_declares_wins_and_what_the_agent_declares_fills_in() {
        let config = ResourceConfig {
            service_name: Some("agent".to_owned()),
            attributes: [
                ("deployment.environment.name", "prod"),
                ("service.version", "9"),
                ("k8s.cluster.name", "blue"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
            command_args: true,
        };
        let declared =
            "service.name=cart,service.instance.id=a-1,deployment.environment.name=test,telemetry.sdk.name=x";
        let facts = Facts { variables: vec![("OTEL_RESOURCE_ATTRIBUTES", declared.to_owned())], ..shop() };
        let files = HashMap::<&str, &str>::new();
        let resource = describer(&config).describe(&facts, &files, Some("1.22".to_owned()));
        assert_eq!(text(&resource, "service.name"), Some("cart"));
        assert_eq!(text(&resource, "service.instance.id"), Some("a-1"));
        assert_eq!(text(&resource, "deployment.environment.name"), Some("test"));
        assert_eq!(text(&resource, "k8s.cluster.name"), Some("blue"));
        assert_eq!(text(&resource, "service.version"), None);
        assert_eq!(text(&resource, "telemetry.sdk.name"), Some("spandrel"));
        assert_eq!(text(&resource, "process.owner"), None, "whose name nobody can tell");
        assert_eq!(text(&resource, "process.runtime.name"), Some("cpython"));
        let args = resource.attributes.iter().find(|a| a.key == "process.command_args").unwrap();
        assert!(matches!(&args.value, Value::Strs(args) if args.len() == 2));
    }
}
