//! `distribution.spandrel` of the configuration file.

use super::{
    file_destinations,
    schema::{
        HEADER, LARGEST_RATE, LARGEST_SERIES, LARGEST_TEMPLATES, METRICS, OURS, REDACTION, RULE, SAMPLING,
        SELECT, VALUES,
    },
    settings::{Distribution, MetricsConfig, RuleConfig, SamplingConfig, Settings},
    walk::{Table, Walk},
};
use spandrel_common::rules::PATTERN_MAX;

use crate::span::{
    redact::{Paths, Policy},
    semconv::METHODS,
};

pub(super) fn read(walk: &mut Walk<'_>, table: &mut Table<'_>, settings: &mut Settings) {
    let mut ours = Distribution {
        place: format!("{}: {}.", walk.file, table.path),
        console: walk.text(table, "console"),
        listen: walk.text(table, "listen"),
        report: walk.text(table, "report"),
        profile: walk.text(table, "profile"),
        causality: walk.text(table, "causality"),
        causality_without: walk.texts(table, "causality_without").unwrap_or_default(),
        ..Distribution::default()
    };
    if let Some(mut select) = walk.sub(table, "select") {
        let mut list = |key| walk.texts(&mut select, key).unwrap_or_default();
        (ours.pid, ours.exe, ours.cmd) = (list("pid"), list("exe"), list("cmd"));
        (ours.port, ours.cgroup) = (list("port"), list("cgroup"));
        if select.says_nothing() {
            let advice = "name what is to be traced; to trace every process, take select out";
            walk.wrong(&select.path, select.line, "selects nothing", advice);
        }
        walk.unknown(&select, SELECT);
    }
    settings.distribution = ours;
    if let Some(sizes) = walk.boolean(table, "body_sizes") {
        settings.http.server_body_sizes = sizes;
        settings.http.client_body_sizes = sizes;
    }
    if let Some(fields) = walk.texts(table, "redacted_headers") {
        let place = walk.place(&table.at("redacted_headers"), table.line);
        super::headers::redact(&place, &fields, &mut settings.http, walk.findings);
    }
    settings.resource.command_args = walk.boolean(table, "command_args").unwrap_or(false);
    if let Some(mut given) = walk.sub(table, "redaction") {
        settings.redaction = redaction(walk, &mut given);
    }
    if let Some(mut given) = walk.sub(table, "sampling") {
        settings.sampling = sampling(walk, &mut given);
    }
    if let Some(mut given) = walk.sub(table, "metrics") {
        metrics(walk, &mut given, &mut settings.metrics);
    }
    file_destinations::read(walk, table, &mut settings.exporters);
    walk.unknown(table, OURS);
}

fn redaction(walk: &mut Walk<'_>, table: &mut Table<'_>) -> Policy {
    let on = walk.boolean(table, "enabled").unwrap_or(true);
    let mut policy = if on { Policy::default() } else { Policy::off() };
    let mut list = |key| names(walk, table, key);
    policy.names = list("names").unwrap_or(policy.names);
    policy.names.extend(list("also_names").unwrap_or_default());
    policy.headers = list("headers").unwrap_or(policy.headers);
    policy.headers.extend(list("also_headers").unwrap_or_default());
    policy.allowed_query = list("allowed_query");
    policy.allowed_attributes = list("allowed_attributes");
    // No list at all allows everything, which is not what an empty place for one means.
    for key in ["allowed_query", "allowed_attributes"].into_iter().filter(|key| table.is_null(key)) {
        let line = table.line_of(key).unwrap_or(table.line);
        let advice = "write [] to show none of them; to show all, take it out";
        walk.wrong(&table.at(key), line, "has no value", advice);
    }
    if let Some(mut values) = walk.sub(table, "values") {
        let known = &mut policy.values;
        for (key, value) in [
            ("schemes", &mut known.schemes),
            ("jwt", &mut known.jwt),
            ("aws_keys", &mut known.aws_keys),
            ("issued", &mut known.issued),
            ("cards", &mut known.cards),
            ("emails", &mut known.emails),
        ] {
            *value = walk.boolean(&mut values, key).unwrap_or(*value);
        }
        walk.unknown(&values, VALUES);
    }
    let paths = walk.value(table, "paths", "as_they_are, named or replaced", |text| {
        Some(match text {
            "as_they_are" => Paths::AsTheyAre,
            "named" => Paths::Named,
            "replaced" => Paths::Replaced,
            _ => return None,
        })
    });
    policy.paths = paths.unwrap_or_default();
    if let Some(max) = walk.number_to(table, "max_templates", 0, LARGEST_TEMPLATES) {
        policy.max_templates = max as usize;
    }
    walk.unknown(table, REDACTION);
    policy
}

fn sampling(walk: &mut Walk<'_>, table: &mut Table<'_>) -> SamplingConfig {
    let dry_run = walk.boolean(table, "dry_run").unwrap_or(false);
    let mut rules = Vec::new();
    for item in walk.list(table, "rules").unwrap_or_default() {
        if let Some(mut given) = walk.table(item, table.at("rules")) {
            let new = rule(walk, &mut given, rules.len() + 1);
            // Its counts would be those of both, or none.
            if rules.iter().any(|known: &RuleConfig| known.name == new.name) {
                let what = format!("{:?} is the name of another rule", new.name);
                let advice = "give each a name of its own; without one, a rule is named by its number";
                walk.wrong(&given.at("name"), given.line, what, advice);
            }
            rules.push(new);
        }
    }
    if rules.len() > SamplingConfig::MAX_RULES {
        let what = format!("{} rules", rules.len());
        let advice =
            format!("keep {} at most; a glob can stand for several paths", SamplingConfig::MAX_RULES);
        walk.wrong(&table.at("rules"), table.line, what, &advice);
    }
    walk.unknown(table, SAMPLING);
    SamplingConfig { dry_run, rules }
}

fn rule(walk: &mut Walk<'_>, table: &mut Table<'_>, number: usize) -> RuleConfig {
    let service = pattern(walk, table, "service");
    let path = pattern(walk, table, "path");
    let mut header = None;
    if let Some(mut given) = walk.sub(table, "header") {
        let value = pattern(walk, &mut given, "value").unwrap_or_else(|| "*".to_owned());
        match walk.text(&mut given, "name") {
            Some(name) => header = Some((name.to_ascii_lowercase(), value)),
            None => walk.wrong(&given.path, given.line, "has no name", "write the header's name"),
        }
        walk.unknown(&given, HEADER);
    }
    let method = walk.text(table, "method");
    if let Some(method) = &method
        && let Some(known) = METHODS.into_iter().find(|known| known.eq_ignore_ascii_case(method))
        && known != method
    {
        let what = format!("{method:?} is another method than {known}");
        walk.wrong(&table.at("method"), table.line, what, "write methods as they are sent, in capitals");
    }
    let share = |text: &str| text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    let rule = RuleConfig {
        name: walk.text(table, "name").unwrap_or_else(|| number.to_string()),
        service,
        method,
        path,
        header,
        ratio: walk.value(table, "ratio", "a share from 0 to 1", share).unwrap_or(1.0),
        per_second: walk.number_to(table, "per_second", 0, LARGEST_RATE).map(|rate| rate as u32),
    };
    walk.unknown(table, RULE);
    rule
}

/// A pattern as rules have them: only `*` and `?` are special, which is less than what globs elsewhere can say.
fn pattern(walk: &mut Walk<'_>, table: &mut Table<'_>, key: &str) -> Option<String> {
    let text = walk.text(table, key)?;
    let what = if text.len() > PATTERN_MAX {
        format!("it has {} bytes, more than {PATTERN_MAX}", text.len())
    } else if text.contains(['[', ']', '{', '}', '\\']) {
        format!("{text:?} has brackets, braces or a backslash, which rules do not understand")
    } else {
        return Some(text);
    };
    let advice =
        "use * for any text and ? for one character (for a bracket, too), and a rule for each alternative";
    walk.wrong(&table.at(key), table.line, what, advice);
    None
}

/// The items of a list of names, each with a star in front or behind or both, or none.
fn names(walk: &mut Walk<'_>, table: &mut Table<'_>, key: &str) -> Option<Vec<Box<str>>> {
    let line = table.line_of(key).unwrap_or(table.line);
    let names = walk.texts(table, key)?;
    for name in &names {
        let inner = name.strip_prefix('*').unwrap_or(name);
        let inner = inner.strip_suffix('*').unwrap_or(inner);
        if name.is_empty() || inner.contains('*') {
            let what = format!("{name:?} is no name that can be looked for");
            walk.wrong(&table.at(key), line, what, "write name, *name, name* or *name*");
        }
    }
    Some(names.into_iter().map(Box::from).collect())
}

fn metrics(walk: &mut Walk<'_>, table: &mut Table<'_>, metrics: &mut MetricsConfig) {
    metrics.requests = walk.boolean(table, "requests").unwrap_or(metrics.requests);
    if let Some(max) = walk.number_to(table, "max_series", 1, LARGEST_SERIES) {
        metrics.max_series = max as usize;
    }
    walk.unknown(table, METRICS);
}
