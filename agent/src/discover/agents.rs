//! Programs that carry telemetry themselves. Tracing what receives or forwards spans would make spans of
//! spans without end, so they are left alone unless a selector asks for them.

use super::facts::{Facts, base_name, extension};

const COLLECTOR: &str = "a telemetry collector";
const AGENT: &str = "a telemetry agent";
const BACKEND: &str = "a telemetry backend";

/// File names of executables; `*` at the end stands for anything.
const KNOWN: [(&str, &str); 51] = [
    ("otelcol*", COLLECTOR),
    ("otel-collector*", COLLECTOR),
    ("otelcontribcol*", COLLECTOR),
    ("opentelemetry-collector*", COLLECTOR),
    ("aws-otel-collector*", COLLECTOR),
    ("splunk-otel-collector*", COLLECTOR),
    ("bindplane*", COLLECTOR),
    ("fluent-bit*", COLLECTOR),
    ("fluentd", COLLECTOR),
    ("td-agent", COLLECTOR),
    ("vector", COLLECTOR),
    ("telegraf", COLLECTOR),
    ("grafana-agent*", COLLECTOR),
    ("alloy", COLLECTOR),
    ("promtail", COLLECTOR),
    ("vmagent*", COLLECTOR),
    ("vlagent*", COLLECTOR),
    ("filebeat", COLLECTOR),
    ("metricbeat", COLLECTOR),
    ("elastic-agent*", COLLECTOR),
    ("apm-server", COLLECTOR),
    ("beyla*", AGENT),
    ("ebpf-instrument*", AGENT),
    ("obi", AGENT),
    ("otel-ebpf-profiler*", AGENT),
    ("otel-go-instrumentation*", AGENT),
    ("datadog-agent*", AGENT),
    ("trace-agent", AGENT),
    ("system-probe", AGENT),
    ("process-agent", AGENT),
    ("newrelic-infra*", AGENT),
    ("oneagent*", AGENT),
    ("deepflow-agent*", AGENT),
    ("vizier-pem*", AGENT),
    ("pem", AGENT),
    ("coroot-node-agent*", AGENT),
    ("coroot-cluster-agent*", AGENT),
    ("odiglet*", AGENT),
    ("parca-agent*", AGENT),
    ("node_exporter*", AGENT),
    ("spandrel", AGENT),
    ("jaeger*", BACKEND),
    ("tempo", BACKEND),
    ("tempo-query", BACKEND),
    ("loki", BACKEND),
    ("mimir", BACKEND),
    ("prometheus", BACKEND),
    ("victoria-*", BACKEND),
    ("deepflow-server*", BACKEND),
    ("signoz*", BACKEND),
    ("coroot", BACKEND),
];

/// What a process is, if it is one of these. Zipkin is a Java archive and known by that.
pub fn known(facts: &Facts) -> Option<&'static str> {
    let name = facts.executable_name();
    let matches = |known: &str| match known.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == known,
    };
    let found = KNOWN.iter().find(|(known, _)| matches(known)).map(|(_, what)| *what);
    let zipkin = |arg: &String| base_name(arg).starts_with("zipkin") && extension(arg) == "jar";
    let archive = || (name == "java" && facts.args.iter().any(zipkin)).then_some(BACKEND);
    // Fluentd is a Ruby script.
    let script = || {
        let second = facts.args.get(1).map_or("", |arg| base_name(arg));
        (name.starts_with("ruby") && matches!(second, "fluentd" | "td-agent")).then_some(COLLECTOR)
    };
    found.or_else(archive).or_else(script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_known_and_what_sounds_like_them_is_not() {
        for (args, expected) in [
            (&["/usr/bin/otelcol-contrib"][..], true),
            (&["/jaeger-all-in-one-linux"], true),
            (&["java", "-jar", "/zipkin-server-2.24.jar"], true),
            (&["ruby3.1", "/usr/bin/fluentd"], true),
            (&["/bin/vector"], true),
            (&["/bin/vectorize"], false),
            (&["python3", "spandrel"], false),
            (&["/bin/tempora"], false),
            (&["java", "-jar", "shop.jar"], false),
        ] {
            let args: Vec<_> = args.iter().map(|arg| (*arg).to_owned()).collect();
            assert_eq!(
                known(&Facts { args: args.clone(), ..Facts::default() }).is_some(),
                expected,
                "{args:?}"
            );
        }
    }
}
