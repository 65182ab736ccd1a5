//! The declarative configuration file (specification, configuration/data-model.md; schema 1.1): what of it
//! concerns spans and the agent's own metrics, and what is this agent's own under `distribution.spandrel`.
//! A key that has no effect here is a mistake, whether the schema knows it or not.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use super::{
    env::Env,
    file_http, file_metrics, file_ours, file_traces,
    mistake::{Findings, exit},
    pairs,
    settings::{LimitsConfig, Propagation, ResourceConfig, Settings},
    walk::{Table, Walk},
    yaml,
};

/// Bytes of a configuration file at most. A hundred times the longest example of the schema.
const MAX_FILE: u64 = 1024 * 1024;

/// Reads a file. `None` if nothing of it could be read.
pub(super) fn read(path: &Path, place: &str, env: &dyn Env, findings: &mut Findings) -> Option<Settings> {
    let mut text = String::new();
    let read = open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text));
    match read {
        Ok(length) if length as u64 > MAX_FILE => {
            let what = format!("{} has more than {MAX_FILE} bytes", path.display());
            findings.mistake(
                exit::DATAERR,
                place,
                what,
                "name a configuration file; they have 1 MiB at most",
            );
            None
        }
        Ok(_) => parse(&text, &path.display().to_string(), env, findings),
        Err(error) => {
            let what = format!("cannot read {}: {error}", path.display());
            findings.mistake(exit::NOINPUT, place, what, "name a file that this user can read");
            None
        }
    }
}

/// Opens a file. What is none, like a pipe that nobody writes to or a device without an end, is not waited for; a
/// reload could not read it again, either.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = File::options().read(true).custom_flags(nonblocking).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
}

pub(super) fn parse(text: &str, file: &str, env: &dyn Env, findings: &mut Findings) -> Option<Settings> {
    let mut walk = Walk { file, findings };
    let document = match yaml::parse(text, env) {
        Ok((document, filled)) => {
            walk.findings.filled = filled;
            document
        }
        Err(problems) => {
            for problem in problems {
                walk.wrong("", problem.line, problem.what, "correct the YAML there");
            }
            return None;
        }
    };
    let mut root = walk.table(&document, String::new())?;
    version(&mut walk, &mut root);
    let mut settings = Settings {
        disabled: walk.boolean(&mut root, "disabled").unwrap_or(false),
        log_level: walk.value(&mut root, "log_level", "a log level such as info", |text| {
            // The schema's numbered levels (debug2, info3) are as loud as their first.
            let name = text.trim_end_matches(['2', '3', '4']);
            let levels = super::variables::LEVELS.iter();
            levels.filter(|(word, _)| word.eq_ignore_ascii_case(name)).map(|(_, level)| *level).next()
        }),
        ..Settings::default()
    };
    if let Some(mut limits) = walk.sub(&mut root, "attribute_limits") {
        attribute_limits(&mut walk, &mut limits, &mut settings.limits);
        walk.unused(&limits);
    }
    if let Some(mut resource) = walk.sub(&mut root, "resource") {
        settings.resource = resource_of(&mut walk, &mut resource);
        walk.unused(&resource);
    }
    if let Some(mut traces) = walk.sub(&mut root, "tracer_provider") {
        file_traces::read(&mut walk, &mut traces, &mut settings);
        walk.unused(&traces);
    }
    if let Some(mut metrics) = walk.sub(&mut root, "meter_provider") {
        file_metrics::read(&mut walk, &mut metrics, &mut settings);
        walk.unused(&metrics);
    }
    if let Some(mut propagator) = walk.sub(&mut root, "propagator") {
        settings.propagation = propagators(&mut walk, &mut propagator);
        walk.unused(&propagator);
    }
    for key in ["instrumentation", "instrumentation/development"] {
        if let Some(mut instrumentation) = walk.sub(&mut root, key) {
            file_http::read(&mut walk, &mut instrumentation, &mut settings.http);
            walk.unused(&instrumentation);
        }
    }
    if let Some(mut distribution) = walk.sub(&mut root, "distribution") {
        if let Some(mut ours) = walk.sub(&mut distribution, "spandrel") {
            file_ours::read(&mut walk, &mut ours, &mut settings);
        }
        walk.unused(&distribution);
    }
    walk.unused(&root);
    Some(settings)
}

/// `file_format`: another major version means something else; a newer minor one only adds; a draft may differ from what it
/// became.
fn version(walk: &mut Walk<'_>, root: &mut Table<'_>) {
    let line = root.line;
    let Some(version) = walk.text(root, "file_format") else {
        walk.wrong("file_format", line, "is missing", "write file_format: \"1.1\" as the first line");
        return;
    };
    let (number, draft) =
        version.split_once('-').map_or((&*version, None), |(number, tag)| (number, Some(tag)));
    // Signs and zeros in front are for numbers, not for versions.
    let plain = |text: &&str| {
        text.bytes().all(|byte| byte.is_ascii_digit()) && (*text == "0" || !text.starts_with('0'))
    };
    let minor = number.strip_prefix("1.").filter(plain).and_then(|minor| minor.parse::<u32>().ok());
    match minor.filter(|_| draft != Some("")) {
        Some(0 | 1) if draft.is_none() => {}
        Some(0 | 1) => {
            walk.findings.note(format!(
                "{}: file_format {version} is a draft, and is read as {number}: what changed since is not seen; write \
                 {number:?}",
                walk.file
            ));
        }
        Some(_) => {
            walk.findings.note(format!(
                "{}: file_format {version} is newer than 1.1, the newest that this agent knows",
                walk.file
            ));
        }
        _ => walk.wrong("file_format", line, format!("{version:?} is not known"), "write \"1.1\" or \"1.0\""),
    }
}

/// The limits that stand in two places of the schema.
pub(super) fn attribute_limits(walk: &mut Walk<'_>, table: &mut Table<'_>, limits: &mut LimitsConfig) {
    if let Some(length) = walk.number(table, "attribute_value_length_limit") {
        limits.attribute_value_length = Some(usize::try_from(length).unwrap_or(usize::MAX));
    }
    if let Some(count) = walk.number(table, "attribute_count_limit") {
        limits.attribute_count = usize::try_from(count).unwrap_or(usize::MAX);
    }
}

/// `resource`: `attributes` wins over `attributes_list`.
fn resource_of(walk: &mut Walk<'_>, table: &mut Table<'_>) -> ResourceConfig {
    let mut attributes = Vec::new();
    for item in walk.list(table, "attributes").unwrap_or_default() {
        let Some(mut attribute) = walk.table(item, table.at("attributes")) else { continue };
        let name = walk.text(&mut attribute, "name");
        let _type = attribute.take("type");
        if matches!(attribute.take("value").map(|value| &value.kind), Some(yaml::Kind::List(_))) {
            walk.wrong(&attribute.path, item.line, "is a list", "write one value; lists are not supported");
            continue;
        }
        match (name, walk.text(&mut attribute, "value")) {
            (Some(name), Some(value)) => attributes.push((name, value)),
            _ => walk.wrong(&attribute.path, item.line, "has no name or no value", "write both"),
        }
        walk.unused(&attribute);
    }
    let line = table.line;
    if let Some(list) = walk.text(table, "attributes_list") {
        match pairs::parse(&list) {
            Ok(pairs) => {
                let new = |key: &str| !attributes.iter().any(|(known, _): &(String, String)| known == key);
                let pairs: Vec<_> = pairs.into_iter().filter(|(key, _)| new(key)).collect();
                attributes.extend(pairs);
            }
            Err(what) => {
                let path = table.at("attributes_list");
                walk.wrong(&path, line, what, "write key=value,key=value, values percent-encoded");
            }
        }
    }
    let service_name =
        attributes.iter().find(|(key, _)| key == "service.name").map(|(_, value)| value.clone());
    attributes.retain(|(key, _)| key != "service.name");
    ResourceConfig { service_name, attributes, command_args: false }
}

/// `propagator`: `composite` has a mapping for each, `composite_list` their names with commas between them.
fn propagators(walk: &mut Walk<'_>, table: &mut Table<'_>) -> Propagation {
    let mut named = Vec::new();
    for item in walk.list(table, "composite").unwrap_or_default() {
        let Some(mut propagator) = walk.table(item, table.at("composite")) else { continue };
        let names: Vec<_> = propagator.rest().map(|(name, node)| (name.to_owned(), node.line)).collect();
        for (name, _) in &names {
            walk.marker(&mut propagator, name);
        }
        named.extend(names);
    }
    let line = table.line;
    if let Some(list) = walk.text(table, "composite_list") {
        named.extend(list.split(',').map(|name| (name.trim().to_owned(), line)));
    }
    for (name, line) in &named {
        if !name.is_empty() && !Propagation::KNOWN.contains(&name.as_str()) {
            let what = format!("{name:?} is not supported by this agent");
            walk.wrong(&table.path, *line, what, "use tracecontext and baggage, or none");
        }
    }
    Propagation::of(named.iter().map(|(name, _)| name.as_str()))
}
