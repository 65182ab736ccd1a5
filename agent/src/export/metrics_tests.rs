//! What `/metrics` says, the page that describes it, and the dashboards and alerts that ask for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use super::*;
use crate::{
    export::{
        counters::{Code, Counters},
        room::Room,
        store::{dead::DeadLetters, spill::Spill},
        testing::Folder,
    },
    sample::{Rule, Rules},
    span::measure::{Limits, Measures},
};

/// A source in which every family has a sample.
fn source() -> Arc<Source> {
    let stats = Arc::new(Stats::default());
    let room = Room::new(10, 1000, Arc::clone(&stats));
    let counters = Arc::<Counters>::default();
    counters.request(Code::Http(503), Duration::from_millis(20), 100);
    // What is in it stays open, and the folder is gone at the end.
    let folder = Folder::new("metrics");
    let spill = Spill::open(&folder.path("q"), 1 << 20).unwrap().0;
    let dead = DeadLetters::open(&folder.path("d"), 1 << 20).unwrap();
    let watched = Watched {
        name: "otlp".into(),
        room,
        counters: Some(counters),
        queue: Some(Arc::default()),
        spill: Some(Arc::new(spill)),
        dead_letters: Some(Arc::new(dead)),
    };
    let source = Source::new(stats, vec![watched], || Snapshot {
        ready: true,
        kernel: vec![("events_lost", 7)],
        kernel_release: "6.1".to_owned(),
        profile: "socket",
        hooks: vec!["sys_enter".to_owned()],
    });
    source.set_rules(Rules::new(vec![Rule { name: "r".into(), ..Rule::default() }], false));
    let measures = Measures::new(Limits { max_series: 9, exponential: false, exemplars: true });
    crate::span::measure::example(&measures);
    source.set_measures(measures);
    source
}

/// Families: kind, help, and the labels of their samples.
fn families(text: &str) -> BTreeMap<String, (String, String, BTreeSet<String>)> {
    let mut all: BTreeMap<String, (String, String, BTreeSet<String>)> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            name.clone_into(&mut current);
            all.entry(current.clone()).or_default().1 = help.to_owned();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            assert_eq!(name, current);
            all.entry(current.clone()).or_default().0 = kind.to_owned();
        } else if let Some((_, labels)) = line.split_once('{') {
            let labels = labels.rsplit_once('}').unwrap().0;
            let names = labels.split(',').filter_map(|pair| Some(pair.split_once("=\"")?.0.to_owned()));
            all.get_mut(&current).unwrap().2.extend(names.filter(|name| name != "le"));
        }
    }
    all
}

/// What the tables do not say of the metrics of requests.
const DURATIONS: &str = "\
Durations count every request, sampled or not. Of one that the kernel side withholds because it is not sampled, one small
event tells how it went, with these limits:

- Labels that stand in the head are left out: `url_scheme` of servers, and `server_address` and `server_port` of clients
  whose `Host` is not their first field or is longer than 62 bytes. Sum over these labels, or compare like with like.
- Methods of more than 15 letters are `_OTHER`. There is no exemplar.
- Its end is that of the response by its framing. Where that is not clear (a head in several calls, content that was not
  seen to move), it is the last byte that moved before the next request began or the connection ended, and is told then.
- Not measured, but in `unmeasured_requests`: those whose status was not to be seen (the first bytes of the response came
  in pieces or by a call that is not followed), and those whose response had not begun when the client sent the next one.
  Of a Unix socket, what only the end of the connection would end is not measured and not counted. An event for which
  the ring has no room is in `events_lost`.
- The service graph counts withheld requests like others.
- It takes time in the hooks: a quarter to a third more for each end of a withheld request. Where nobody asks for metrics
  (`--listen`, `OTEL_METRICS_EXPORTER`), or `metrics.requests` is off, nothing is measured and it takes none.

";

/// The page about metrics is what the agent says.
#[test]
fn the_page_is_up_to_date() {
    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let mut page = "# Metrics\n\nWhat `/metrics` (`--listen`) serves, as Prometheus text or, to scrapers that accept it, as \
        OpenMetrics with\nexemplars. Written by a test from what the agent says; run it with `UPDATE_EXPECT=1` to write \
        it anew.\n\nThe same goes over OTLP with `OTEL_METRICS_EXPORTER=otlp`: names with dots (`spandrel.spans.dropped`), \
        and the\nconventions' names for requests (`http.server.request.duration`), each service with its own \
        resource.\n\n"
        .to_owned();
    page.push_str(DURATIONS);
    page.push_str("| name | kind | labels | meaning |\n|---|---|---|---|\n");
    for (name, (kind, help, labels)) in families(&prometheus(&source(), Format::Prometheus)) {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(page, "| `{name}` | {kind} | {} | {help} |", labels.join(", ")).unwrap();
    }
    for (title, values) in [
        (
            "`cause` of `spandrel_spans_dropped_total`",
            Cause::ALL.iter().map(|cause| cause.label()).collect::<Vec<_>>(),
        ),
        ("`state` of `spandrel_destination_state`", State::ALL.iter().map(|state| state.label()).collect()),
        ("`what` of `spandrel_capture_total`", Count::ALL.iter().map(|count| count.label()).collect()),
        ("`rule` of `spandrel_redactions_total`", Redaction::ALL.iter().map(|rule| rule.label()).collect()),
        (
            "`what` of `spandrel_kernel_total`",
            spandrel_common::stats::Counter::ALL.iter().map(|counter| counter.label()).collect(),
        ),
    ] {
        writeln!(page, "\n{title}: {}.", values.join(", ")).unwrap();
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(FILE, &page).unwrap();
    }
    let known = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(known == page, "run this test with UPDATE_EXPECT=1 to write {FILE} anew");
}

/// What dashboards and alerts ask for exists, and every alert is in the runbook.
#[test]
fn dashboards_and_alerts_ask_for_what_there_is() {
    let families = families(&prometheus(&source(), Format::Prometheus));
    let known = |name: &str| {
        let base =
            ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        families.contains_key(name) || families.contains_key(base)
    };
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/dashboards");
    let mut asked = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        if path.extension().is_some_and(|extension| extension == "json") {
            let board: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert!(
                board["uid"].is_string()
                    && board["panels"].as_array().is_some_and(|panels| !panels.is_empty())
            );
        }
        let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
        for word in words {
            let ours = ["spandrel_", "http_server_", "http_client_", "traces_service_", "process_"];
            if ours.iter().any(|start| word.starts_with(start)) {
                assert!(known(word), "{word} in {} is no metric", path.display());
                asked += 1;
            }
        }
    }
    assert!(asked > 50, "{asked}");
    let alerts = std::fs::read_to_string(format!("{folder}/alerts.yml")).unwrap();
    let runbook =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/runbook.md")).unwrap();
    for alert in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(runbook.contains(&format!("\n## {alert}\n")), "{alert} is not in the runbook");
        assert!(
            alerts.contains(&format!("docs/runbook.md#{}", alert.to_lowercase())),
            "{alert} names no entry"
        );
    }
    // Every cause is explained; those that are no loss raise no alarm.
    for cause in Cause::ALL {
        assert!(runbook.contains(&format!("`{}`", cause.label())), "{} is not in the runbook", cause.label());
    }
    let harmless = [Cause::Filtered, Cause::NotSelected, Cause::NoDestination, Cause::Spilled];
    let harmless = harmless.map(Cause::label).join("|");
    for (at, _) in alerts.match_indices("spandrel_spans_dropped_total") {
        let rest = &alerts[at..at + 100];
        assert!(rest.contains(&format!("{{cause!~\"{harmless}\"}}")), "{rest}");
    }
    // A file's writes and every success of HTTP and gRPC.
    assert!(alerts.contains("spandrel_export_requests_total{code!~\"2..|OK|written\"}"));
    for name in ["spill_bytes", "spill_errors_total", "spill_damaged_total", "dead_letters_lost_total"] {
        assert!(alerts.contains(&format!("spandrel_{name}")), "nothing watches {name}");
    }
}

#[test]
fn openmetrics_has_exemplars_and_an_end() {
    let text = prometheus(&source(), Format::OpenMetrics);
    assert!(text.ends_with("# EOF\n"));
    assert!(text.contains("# TYPE spandrel_build info\n") && text.contains("\nspandrel_build_info{"));
    assert!(
        text.contains("# TYPE spandrel_spans_dropped counter\n")
            && text.contains("\nspandrel_spans_dropped_total{")
    );
    let exemplar = text.lines().find(|line| line.contains(" # {trace_id=")).expect("an exemplar");
    assert!(exemplar.starts_with("http_server_request_duration_seconds_bucket{"), "{exemplar}");
    assert!(exemplar.contains("le=\"0.025\""), "{exemplar}");
    assert_eq!(Format::accepted("application/openmetrics-text;version=1.0.0,*/*;q=0.1"), Format::OpenMetrics);
    assert_eq!(Format::accepted("*/*"), Format::Prometheus);
}
