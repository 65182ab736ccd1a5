//! `distribution.spandrel` of the configuration file, as far as it says where spans go: destinations besides the
//! standard's, queues on disk, dead letters.

use std::{path::PathBuf, time::Duration};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::{
    destination::{
        DestinationConfig, DestinationOptions, FileConfig, FilterConfig, PolicyConfig, StoreConfig, ToConfig,
    },
    file_traces, otlp,
    otlp::Protocol,
    places,
    schema::{
        DESTINATION, EXPORTER, FILE, FILTER, LARGEST, MOST_FILES, MOST_REQUESTS, RESOURCE_CAPS,
        SMALLEST_QUEUES, STORE, TAKEN,
    },
    settings::{BatchConfig, Exporters},
    walk::{Table, Walk},
};
use crate::{export::config::Caps, span::Kind};

/// Where nothing is said: an hour of 1,000 spans a second takes some 200 MB compressed.
const STORE_BYTES: u64 = 256 << 20;
/// A store that is smaller cannot hold the largest batch.
const SMALLEST_STORE: u64 = 4 << 20;
/// The specification's bound of a request.
const LARGEST_BATCH: usize = 64 << 20;
/// Names of folders may have 255 bytes; nobody reads as much in a log.
const LONGEST_NAME: usize = 100;
/// A smaller file is full with its first batch.
const SMALLEST_FILE: u64 = 1 << 20;

pub(super) fn read(walk: &mut Walk<'_>, table: &mut Table<'_>, exporters: &mut Exporters) {
    exporters.spill = store(walk, table, "spill");
    exporters.dead_letters = store(walk, table, "dead_letters");
    exporters.shutdown_timeout = walk.number(table, "shutdown_timeout").map(Duration::from_millis);
    for item in walk.list(table, "destinations").unwrap_or_default() {
        let Some(mut given) = walk.table(item, table.at("destinations")) else { continue };
        let line = given.line;
        let Some(destination) = destination(walk, &mut given) else { continue };
        let taken = TAKEN.contains(&destination.name.as_str())
            || exporters.more.iter().any(|known| known.name == destination.name);
        if taken {
            let what = format!("{:?} is the name of another destination", destination.name);
            walk.wrong(&given.path, line, what, "give each a name of its own, other than otlp and console");
        }
        exporters.more.push(destination);
    }
    places::check(walk, table, exporters);
    if let Some(mut given) = walk.sub(table, "resource_caps") {
        caps(walk, &mut given, &mut exporters.caps);
    }
    check_queues(walk, exporters);
}

fn caps(walk: &mut Walk<'_>, table: &mut Table<'_>, caps: &mut Caps) {
    let bytes = walk.number_to(table, "queue_bytes", SMALLEST_QUEUES, LARGEST);
    caps.queue_bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(caps.queue_bytes);
    walk.unknown(table, RESOURCE_CAPS);
}

/// Reports queues that could never be as large as they are said to be.
fn check_queues(walk: &mut Walk<'_>, exporters: &Exporters) {
    let cap = exporters.caps.queue_bytes;
    for one in &exporters.more {
        if let Some(bytes) = one.ours.queue_bytes.filter(|bytes| *bytes > cap) {
            let path = format!("{}.max_queue_bytes", one.path);
            let line = walk.findings.given.get(&path).copied().unwrap_or(1);
            let what = format!("{bytes} is more than all queues together may hold, {cap}");
            walk.wrong(&path, line, what, "make it smaller, or resource_caps.queue_bytes larger");
        }
    }
}

fn store(walk: &mut Walk<'_>, table: &mut Table<'_>, key: &str) -> Option<StoreConfig> {
    let mut given = walk.sub(table, key)?;
    let size = |text: &str| text.parse().ok().filter(|size| *size >= SMALLEST_STORE);
    let max_bytes = walk.value(&mut given, "max_bytes", "a number of bytes from 4194304 (4 MiB) on", size);
    let folder = walk.text(&mut given, "path").filter(|path| !path.is_empty()).map(PathBuf::from);
    if folder.as_ref().is_none_or(|folder| folder.is_relative()) {
        walk.wrong(
            &given.at("path"),
            given.line,
            "is no absolute path",
            "name a folder, like /var/lib/spandrel",
        );
    } else if let Some(Err(what)) = folder.as_deref().map(otlp::can_be_made) {
        let advice = "name a folder that this user can make, on a disk with room";
        walk.wrong(&given.at("path"), given.line, what, advice);
    }
    walk.unknown(&given, STORE);
    Some(StoreConfig { folder: folder?, max_bytes: max_bytes.unwrap_or(STORE_BYTES) })
}

fn destination(walk: &mut Walk<'_>, table: &mut Table<'_>) -> Option<DestinationConfig> {
    let name = walk.text(table, "name").filter(|name| !name.is_empty());
    match &name {
        None => {
            let advice = "write name: and a word for metrics and reports";
            walk.wrong(&table.path, table.line, "has no name", advice);
        }
        Some(name) if !is_plain(name) => {
            let advice = format!("use up to {LONGEST_NAME} letters, digits, dots, dashes and underscores");
            walk.wrong(&table.at("name"), table.line, format!("{name:?} cannot be a folder"), &advice);
        }
        Some(_) => {}
    }
    if let Some(name) = &name {
        // What is said of it is found by its name.
        table.path = table.at(name);
        walk.findings.given.insert(table.at("name"), table.line);
    }
    let mut batch = BatchConfig::default();
    file_traces::batch_sizes(walk, table, &mut batch);
    let above_zero = |text: &str| text.parse::<usize>().ok().filter(|number| *number > 0);
    let mut size = |key| walk.value(table, key, "a number from 1 on", above_zero);
    let queue_bytes = size("max_queue_bytes");
    let requests_in_flight = walk.number_to(table, "requests_in_flight", 1, MOST_REQUESTS);
    let requests_in_flight = requests_in_flight.map(|number| number as usize);
    let message = |text: &str| text.parse::<usize>().ok().filter(|size| (1..=LARGEST_BATCH).contains(size));
    let batch_bytes = walk.value(table, "max_export_batch_bytes", "a number from 1 to 67108864", message);
    let policy = walk.value(table, "drop", "newest, oldest or traces", |text| match text {
        "newest" => Some(PolicyConfig::Newest),
        "oldest" => Some(PolicyConfig::Oldest),
        "traces" => Some(PolicyConfig::Traces),
        _ => None,
    });
    let filter = walk.sub(table, "filter").map(|mut given| filter(walk, &mut given)).unwrap_or_default();
    let to = walk.sub(table, "exporter").and_then(|mut given| exporter(walk, &mut given));
    walk.unknown(table, DESTINATION);
    if to.is_none() {
        let advice = "write exporter: with otlp_http, otlp_grpc or file below it";
        walk.wrong(&table.path, table.line, "has no exporter that can be used", advice);
    }
    let ours = DestinationOptions { filter, policy, queue_bytes, batch_bytes, requests_in_flight };
    Some(DestinationConfig { name: name?, path: table.path.clone(), to: to?, batch, ours })
}

/// Whether a name is that of one folder, as it is.
fn is_plain(name: &str) -> bool {
    name.len() <= LONGEST_NAME && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn exporter(walk: &mut Walk<'_>, table: &mut Table<'_>) -> Option<ToConfig> {
    let mut found = None;
    if !table.is_empty() {
        walk.one_of(table, &["otlp_http", "otlp_grpc", "file"]);
    }
    for (key, protocol) in [("otlp_http", Protocol::HttpProtobuf), ("otlp_grpc", Protocol::Grpc)] {
        let Some(mut given) = walk.sub(table, key) else { continue };
        let otlp = file_traces::destination(walk, &mut given, protocol, true);
        walk.unused(&given);
        found = otlp.map(|otlp| ToConfig::Otlp(Box::new(otlp))).or(found);
    }
    if let Some(mut given) = walk.sub(table, "file") {
        found = file(walk, &mut given).map(ToConfig::File).or(found);
    }
    walk.unknown(table, EXPORTER);
    found
}

fn file(walk: &mut Walk<'_>, table: &mut Table<'_>) -> Option<FileConfig> {
    let size = |text: &str| text.parse().ok().filter(|size| *size >= SMALLEST_FILE);
    let max_bytes = walk.value(table, "max_bytes", "a number of bytes from 1048576 (1 MiB) on", size);
    let max_files = walk.number_to(table, "max_files", 1, MOST_FILES).map(|number| number as usize);
    let path = walk.text(table, "path").filter(|path| !path.is_empty()).map(PathBuf::from);
    if path.is_none() {
        walk.wrong(&table.at("path"), table.line, "is missing", "name the file to write");
    }
    walk.unknown(table, FILE);
    Some(FileConfig { path: path?, max_bytes, max_files })
}

fn filter(walk: &mut Walk<'_>, table: &mut Table<'_>) -> FilterConfig {
    let line = table.line;
    let names = walk.texts(table, "services").unwrap_or_default();
    let services = globs(&names);
    if services.is_none() && !names.is_empty() {
        walk.wrong(&table.at("services"), line, "has an item that is no pattern", "write names, or * and ?");
    }
    let kind = walk.value(table, "kind", "server, client or producer", |text| match text {
        "server" => Some(Kind::Server),
        "client" => Some(Kind::Client),
        "producer" => Some(Kind::Producer),
        _ => None,
    });
    let errors = walk.boolean(table, "errors").unwrap_or(false);
    let min_duration = walk.number(table, "min_duration").map(Duration::from_millis).unwrap_or_default();
    walk.unknown(table, FILTER);
    FilterConfig {
        services,
        service_names: names,
        kind,
        errors,
        min_duration: min_duration.min(otlp::NO_LIMIT),
    }
}

fn globs(names: &[String]) -> Option<GlobSet> {
    if names.is_empty() {
        return None;
    }
    let mut set = GlobSetBuilder::new();
    for name in names {
        set.add(GlobBuilder::new(name).build().ok()?);
    }
    set.build().ok()
}
