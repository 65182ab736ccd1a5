//! The alert rules and the dashboards load, and ask for metrics and labels that exist: every expression goes through a
//! parser of PromQL, the rules through one of YAML, as `promtool check rules` and Grafana would do it. What exists is
//! in docs/metrics.md, which a test of the agent writes.
#![cfg(test)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use promql_parser::{
    label::Matchers,
    parser::{self, Expr},
    util::{ExprVisitor, parse_duration, walk_expr},
};
use saphyr::{LoadableYamlNode as _, YamlOwned};

/// What Prometheus itself adds to every target.
const OF_PROMETHEUS: [&str; 2] = ["instance", "job"];

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// Metrics as they can be asked for, with their labels.
struct Known(BTreeMap<String, BTreeSet<String>>);

impl Known {
    fn read() -> Self {
        let page = fs::read_to_string(file("docs/metrics.md")).unwrap();
        let mut all = BTreeMap::from([("up".to_owned(), BTreeSet::new())]);
        for line in page.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let [_, name, kind, labels, ..] = cells[..] else { panic!("{line}") };
            let name = name.trim_matches('`');
            let mut labels: BTreeSet<_> =
                labels.split(", ").map(|label| label.trim_matches('`').to_owned()).collect();
            if kind == "histogram" {
                for end in ["_sum", "_count"] {
                    all.insert(format!("{name}{end}"), labels.clone());
                }
                labels.insert("le".to_owned());
                all.insert(format!("{name}_bucket"), labels);
            } else {
                all.insert(name.to_owned(), labels);
            }
        }
        assert!(all.len() > 50, "{all:?}");
        Self(all)
    }

    /// Judges an expression. `Err` says what is wrong with it.
    fn judge(&self, query: &str) -> Result<(), String> {
        // Grafana's variables that stand where a duration does.
        let query = query.replace("$__rate_interval", "5m").replace("$__range", "1h");
        let expression = parser::parse(&query).map_err(|error| format!("{query}: {error}"))?;
        let mut asked = Asked { known: self, labels: BTreeSet::new(), metrics: 0 };
        walk_expr(&mut asked, &expression)?;
        if asked.metrics == 0 {
            return Err(format!("{query} asks for no metric"));
        }
        let mut grouped = Grouped { labels: BTreeSet::new() };
        walk_expr(&mut grouped, &expression)?;
        let nowhere =
            |label: &&String| !asked.labels.contains(*label) && !OF_PROMETHEUS.contains(&label.as_str());
        match grouped.labels.iter().find(nowhere) {
            Some(label) => Err(format!("{query}: none of its metrics has the label {label}")),
            None => Ok(()),
        }
    }
}

/// The metrics of an expression, and all their labels.
struct Asked<'a> {
    known: &'a Known,
    labels: BTreeSet<String>,
    metrics: usize,
}

impl Asked<'_> {
    fn selector(&mut self, name: Option<&String>, matchers: &Matchers) -> Result<(), String> {
        let name = name.ok_or("a selector without a name")?;
        let labels = self.known.0.get(name).ok_or_else(|| format!("{name} is no metric"))?;
        for matcher in matchers.matchers.iter().chain(matchers.or_matchers.iter().flatten()) {
            if !labels.contains(&matcher.name) && !OF_PROMETHEUS.contains(&matcher.name.as_str()) {
                return Err(format!("{name} has no label {}", matcher.name));
            }
        }
        self.labels.extend(labels.iter().cloned());
        self.metrics += 1;
        Ok(())
    }
}

impl ExprVisitor for Asked<'_> {
    type Error = String;

    fn pre_visit(&mut self, expression: &Expr) -> Result<bool, String> {
        match expression {
            Expr::VectorSelector(vector) => self.selector(vector.name.as_ref(), &vector.matchers)?,
            Expr::MatrixSelector(matrix) => self.selector(matrix.vs.name.as_ref(), &matrix.vs.matchers)?,
            _ => {}
        }
        Ok(true)
    }
}

/// The labels by which an expression groups and joins.
struct Grouped {
    labels: BTreeSet<String>,
}

impl ExprVisitor for Grouped {
    type Error = String;

    fn pre_visit(&mut self, expression: &Expr) -> Result<bool, String> {
        let labels = match expression {
            Expr::Aggregate(aggregate) => aggregate.modifier.as_ref(),
            Expr::Binary(binary) => binary.modifier.as_ref().and_then(|modifier| modifier.matching.as_ref()),
            _ => None,
        };
        self.labels.extend(labels.into_iter().flat_map(|labels| labels.labels().labels.iter().cloned()));
        Ok(true)
    }
}

/// The entries of a mapping, whose keys must be among these.
fn entries<'a>(node: &'a YamlOwned, known: &[&str]) -> Result<Vec<(&'a str, &'a YamlOwned)>, String> {
    let map = node.as_mapping().ok_or_else(|| format!("{node:?} is no mapping"))?;
    map.iter()
        .map(|(key, value)| match key.as_str() {
            Some(key) if known.is_empty() || known.contains(&key) => Ok((key, value)),
            _ => Err(format!("{key:?} is no key here; there are {known:?}")),
        })
        .collect()
}

fn text(node: &YamlOwned) -> Result<&str, String> {
    node.as_str().ok_or_else(|| format!("{node:?} is no text"))
}

/// Judges a file of rules as Prometheus loads it: no key that it does not know, no name twice. Gives the alerts.
fn rules(file: &str, known: &Known) -> Result<Vec<String>, String> {
    let documents = YamlOwned::load_from_str(file).map_err(|error| error.to_string())?;
    let [document] = &documents[..] else { return Err("it is not one document".to_owned()) };
    let mut names = Vec::new();
    for (_, groups) in entries(document, &["groups"])? {
        for group in groups.as_sequence().ok_or("groups is no list")? {
            for (key, value) in entries(group, &["name", "interval", "limit", "labels", "rules"])? {
                if key == "rules" {
                    for one in value.as_sequence().ok_or("rules is no list")? {
                        names.push(rule(one, known)?);
                    }
                }
            }
        }
    }
    let unique: BTreeSet<_> = names.iter().collect();
    if unique.len() < names.len() {
        return Err("an alert is there twice".to_owned());
    }
    Ok(names)
}

/// One rule; its name.
fn rule(rule: &YamlOwned, known: &Known) -> Result<String, String> {
    let (mut name, mut asks) = (None, false);
    for (key, value) in entries(rule, &["alert", "expr", "for", "keep_firing_for", "labels", "annotations"])?
    {
        match key {
            "alert" => name = Some(text(value)?.to_owned()),
            "expr" => {
                known.judge(text(value)?)?;
                asks = true;
            }
            "for" | "keep_firing_for" => {
                parse_duration(text(value)?)?;
            }
            _ => {
                for (_, value) in entries(value, &[])? {
                    let value = text(value)?;
                    if value.matches("{{").count() != value.matches("}}").count() {
                        return Err(format!("{value:?} is no template"));
                    }
                }
            }
        }
    }
    match (name, asks) {
        (Some(name), true) => Ok(name),
        (name, _) => Err(format!("{name:?} has no name or no expression")),
    }
}

/// All texts behind a key, anywhere below.
fn collect<'a>(value: &'a serde_json::Value, wanted: &str, found: &mut Vec<&'a str>) {
    match value {
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                found.extend(value.as_str().filter(|_| key == wanted));
                collect(value, wanted, found);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, wanted, found)),
        _ => {}
    }
}

/// Judges a dashboard; gives how many expressions it has.
fn dashboard(text: &str, known: &Known) -> Result<usize, String> {
    let board: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let (mut expressions, mut queries) = (Vec::new(), Vec::new());
    collect(&board, "expr", &mut expressions);
    expressions.iter().try_for_each(|expression| known.judge(expression))?;
    // What variables are filled from: `label_values(METRIC, LABEL)` is Grafana's, not PromQL.
    collect(&board, "query", &mut queries);
    for query in queries.into_iter().filter(|query| query.contains('(')) {
        let inner = query.strip_prefix("label_values(").and_then(|query| query.strip_suffix(')'));
        let (metric, label) = inner.and_then(|inner| inner.split_once(", ")).ok_or(query)?;
        known.judge(&format!("sum by ({label}) ({metric})"))?;
    }
    Ok(expressions.len())
}

#[test]
fn alert_rules_load() {
    let known = Known::read();
    let text = fs::read_to_string(file("deploy/dashboards/alerts.yml")).unwrap();
    let alerts = rules(&text, &known).unwrap();
    assert_eq!(alerts.len(), text.matches("- alert: ").count());
    assert!(alerts.len() > 10, "{alerts:?}");
}

#[test]
fn dashboards_ask_what_can_be_answered() {
    let known = Known::read();
    let mut boards = 0;
    for entry in fs::read_dir(file("deploy/dashboards")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let expressions = dashboard(&fs::read_to_string(&path).unwrap(), &known);
            let expressions = expressions.unwrap_or_else(|wrong| panic!("{}: {wrong}", path.display()));
            assert!(expressions > 5, "{}", path.display());
            boards += 1;
        }
    }
    assert!(boards > 1);
}

/// The check finds what it is there for.
#[test]
fn what_is_wrong_is_found() {
    let known = Known::read();
    for good in
        ["up == 0", "sum by (destination) (rate(spandrel_export_requests_total{code!~\"2..\"}[5m])) > 0"]
    {
        known.judge(good).unwrap();
    }
    for bad in [
        "1",
        "sum by (destination (spandrel_queue_spans)",
        "rate(spandrel_queue_spans[5 minutes])",
        "spandrel_queue_span",
        "http_server_request_duration_seconds",
        "spandrel_queue_spans{cod=\"1\"}",
        "sum by (desination) (spandrel_queue_spans)",
        "rate(spandrel_queue_spans)",
        "no_such_function(spandrel_queue_spans)",
    ] {
        assert!(known.judge(bad).is_err(), "{bad}");
    }
    let file = |rule: &str| format!("groups: [{{name: g, rules: [{rule}]}}]");
    let fine = "{alert: A, expr: up == 0, for: 5m, labels: {severity: info}, annotations: {summary: '{{ $value }}'}}";
    assert_eq!(rules(&file(fine), &known).unwrap(), ["A"]);
    for (from, to) in [
        ("for: 5m", "for: 5 minutes"),
        ("for: 5m", "four: 5m"),
        ("expr: up == 0, ", ""),
        ("alert: A, ", ""),
        ("up == 0", "up =="),
        ("severity: info", "severity: 1"),
        ("{{ $value }}", "{{ $value }"),
        ("{alert", "alert"),
    ] {
        let text = file(&fine.replacen(from, to, 1));
        assert!(rules(&text, &known).is_err(), "{text}");
    }
    assert!(rules(&file(&format!("{fine}, {fine}")), &known).is_err());
}
