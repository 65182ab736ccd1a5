//! `tracer_provider` of the configuration file: sampler, limits, processors and their exporters.

use super::{
    destination::{DestinationConfig, DestinationOptions, ToConfig},
    file::attribute_limits,
    otlp::{self, Compression, Given, OtlpConfig, OtlpOptions, Protocol, Signal},
    settings::{BatchConfig, Root, SamplerConfig, Settings},
    walk::{Table, Walk},
    yaml::{Kind, Node},
};

pub(super) fn read(walk: &mut Walk<'_>, table: &mut Table<'_>, settings: &mut Settings) {
    if let Some(mut limits) = walk.sub(table, "limits") {
        attribute_limits(walk, &mut limits, &mut settings.limits);
        for (key, limit) in [
            ("event_count_limit", &mut settings.limits.event_count),
            ("link_count_limit", &mut settings.limits.link_count),
            ("event_attribute_count_limit", &mut settings.limits.event_attribute_count),
            ("link_attribute_count_limit", &mut settings.limits.link_attribute_count),
        ] {
            if let Some(count) = walk.number(&mut limits, key) {
                *limit = usize::try_from(count).unwrap_or(usize::MAX);
            }
        }
        walk.unused(&limits);
    }
    if let Some(node) = table.take("sampler") {
        walk.given(table, "sampler", node);
        settings.sampler = sampler(walk, node, &table.at("sampler")).unwrap_or(settings.sampler);
    }
    let items = walk.list(table, "processors").unwrap_or_default();
    let first = items.iter().position(sends_otlp);
    for (at, item) in items.iter().enumerate() {
        let mut path = table.at("processors");
        if first.is_some_and(|first| first != at) {
            // Flags and variables speak of the first one that sends OTLP; the others are told apart by their place.
            path = format!("{path}[{}]", at + 1);
        }
        if let Some(mut processor) = walk.table(item, path) {
            read_processor(walk, &mut processor, settings);
        }
    }
}

/// Whether a processor has an OTLP exporter.
fn sends_otlp(processor: &Node) -> bool {
    fn at<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
        let Kind::Map(entries) = &node.kind else { return None };
        entries.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }
    let exporters = ["batch", "simple"].into_iter().filter_map(|kind| at(at(processor, kind)?, "exporter"));
    exporters.into_iter().any(|one| at(one, "otlp_http").or_else(|| at(one, "otlp_grpc")).is_some())
}

/// A sampler is a mapping with one key.
fn sampler(walk: &mut Walk<'_>, node: &Node, path: &str) -> Option<SamplerConfig> {
    const KNOWN: &str = "use parent_based, trace_id_ratio_based, always_on or always_off";
    let mut table = walk.table(node, path.to_owned())?;
    let alone = |root| Some(SamplerConfig { root, parent_based: false });
    let sampler = if walk.marker(&mut table, "always_on") {
        alone(Root::AlwaysOn)
    } else if walk.marker(&mut table, "always_off") {
        alone(Root::AlwaysOff)
    } else if let Some(mut ratio) = ratio_based(walk, &mut table) {
        let share = walk.value(&mut ratio, "ratio", "a share from 0 to 1", |text| {
            text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share))
        });
        walk.unused(&ratio);
        alone(Root::Ratio(share.unwrap_or(1.0)))
    } else if let Some(mut based) = walk.sub(&mut table, "parent_based") {
        let sampler = parent_based(walk, &mut based);
        walk.unused(&based);
        sampler
    } else {
        walk.wrong(path, node.line, "names no sampler that is known here", KNOWN);
        return None;
    };
    for (key, node) in table.rest() {
        walk.wrong(&table.at(key), node.line, "is a second sampler or none that is known here", KNOWN);
    }
    sampler
}

/// The two samplers by ratio. They are one here: the decision is the probability sampler's.
fn ratio_based<'n>(walk: &mut Walk<'_>, table: &mut Table<'n>) -> Option<Table<'n>> {
    let old = walk.sub(table, "trace_id_ratio_based");
    old.or_else(|| walk.sub(table, "probability/development"))
}

/// Only the root is free: what a parent decided is always honoured.
fn parent_based(walk: &mut Walk<'_>, table: &mut Table<'_>) -> Option<SamplerConfig> {
    let root = match table.take("root") {
        Some(node) => sampler(walk, node, &table.at("root"))?,
        None => SamplerConfig::default(),
    };
    for (key, expected) in [
        ("remote_parent_sampled", Root::AlwaysOn),
        ("remote_parent_not_sampled", Root::AlwaysOff),
        ("local_parent_sampled", Root::AlwaysOn),
        ("local_parent_not_sampled", Root::AlwaysOff),
    ] {
        let Some(node) = table.take(key) else { continue };
        let path = table.at(key);
        if sampler(walk, node, &path).is_some_and(|given| given.root != expected) {
            let what = "a parent's decision is always honoured by this agent";
            walk.wrong(
                &path,
                node.line,
                what,
                "take it out, or write always_on and always_off as by default",
            );
        }
    }
    Some(SamplerConfig { root: root.root, parent_based: true })
}

fn read_processor(walk: &mut Walk<'_>, processor: &mut Table<'_>, settings: &mut Settings) {
    walk.one_of(processor, &["batch", "simple"]);
    if let Some(mut batch) = walk.sub(processor, "batch") {
        let mut sizes = BatchConfig::default();
        batch_sizes(walk, &mut batch, &mut sizes);
        exporter(walk, &mut batch, &sizes, settings);
        walk.unused(&batch);
    }
    // Every destination has one queue; `simple` is a batch that is sent at once.
    if let Some(mut simple) = walk.sub(processor, "simple") {
        exporter(walk, &mut simple, &BatchConfig::default(), settings);
        walk.unused(&simple);
    }
    walk.unused(processor);
}

pub(super) fn batch_sizes(walk: &mut Walk<'_>, table: &mut Table<'_>, batch: &mut BatchConfig) {
    let above_zero = |text: &str| text.parse::<usize>().ok().filter(|number| *number > 0);
    if let Some(delay) = walk.number(table, "schedule_delay") {
        batch.schedule_delay = Some(otlp::delay(delay));
    }
    if let Some(timeout) = walk.number(table, "export_timeout") {
        batch.export_timeout = Some(otlp::limit(timeout));
    }
    for (key, size) in [
        ("max_queue_size", &mut batch.max_queue_size),
        ("max_export_batch_size", &mut batch.max_export_batch_size),
    ] {
        *size = walk.value(table, key, "a number from 1 on", above_zero).or(*size);
    }
    if let Some((size, queue)) = batch.oversize() {
        let what = format!("{size} is more than the queue's {queue}");
        let path = table.at("max_export_batch_size");
        walk.wrong(&path, table.line, what, "lower it, or raise max_queue_size");
    }
}

/// Each OTLP exporter is a destination with its own batches. The first one is the one that flags know.
fn exporter(walk: &mut Walk<'_>, processor: &mut Table<'_>, batch: &BatchConfig, settings: &mut Settings) {
    let Some(mut table) = walk.sub(processor, "exporter") else {
        let advice = "write exporter: with otlp_http, otlp_grpc or console below it";
        return walk.wrong(&processor.path, processor.line, "has no exporter: nothing is sent", advice);
    };
    walk.one_of(&table, &["otlp_http", "otlp_grpc", "console"]);
    if walk.marker(&mut table, "console") {
        settings.exporters.console = true;
        if *batch != BatchConfig::default() {
            let place = walk.place(&processor.path, processor.line);
            walk.findings.note(format!("{place}: the console has no batches, so their sizes have no effect"));
        }
    }
    for (key, protocol) in [("otlp_http", Protocol::HttpProtobuf), ("otlp_grpc", Protocol::Grpc)] {
        let Some(mut given) = walk.sub(&mut table, key) else { continue };
        let destination = destination(walk, &mut given, protocol, false);
        walk.unused(&given);
        if settings.exporters.otlp.is_none() {
            settings.exporters.otlp = destination;
            settings.batch = batch.clone();
        } else if let Some(otlp) = destination {
            let more = &mut settings.exporters.more;
            more.push(DestinationConfig {
                name: format!("otlp-{}", more.len() + 2),
                path: processor.path.clone(),
                to: ToConfig::Otlp(Box::new(otlp)),
                batch: batch.clone(),
                ours: DestinationOptions::default(),
            });
        }
    }
    for (key, node) in table.rest() {
        let path = table.at(key);
        walk.wrong(
            &path,
            node.line,
            "is no exporter that is known here",
            "use otlp_http, otlp_grpc or console",
        );
    }
}

/// An OTLP exporter. `extended`: with the keys that only this agent has.
pub(super) fn destination(
    walk: &mut Walk<'_>,
    table: &mut Table<'_>,
    protocol: Protocol,
    extended: bool,
) -> Option<OtlpConfig> {
    let place = walk.place(&table.path, table.line);
    let default = (protocol == Protocol::HttpProtobuf).then(|| "http://localhost:4318/v1/traces".to_owned());
    let endpoint = walk.text(table, "endpoint").or(default);
    if walk.text(table, "encoding").is_some_and(|encoding| encoding != "protobuf") {
        walk.wrong(&table.at("encoding"), table.line, "is not sent by this agent", "write protobuf");
    }
    let compression = walk.value(table, "compression", "gzip, zstd or none", |text| match text {
        "gzip" => Some(Compression::Gzip),
        "zstd" => Some(Compression::Zstd),
        "none" => Some(Compression::None),
        _ => None,
    });
    let timeout = walk.number(table, "timeout").map_or(otlp::DEFAULT_TIMEOUT, otlp::limit);
    let list = walk.text(table, "headers_list");
    let mut headers = list.map(|list| otlp::header_list(&place, &list, walk.findings)).unwrap_or_default();
    for item in walk.list(table, "headers").unwrap_or_default() {
        let Some(mut header) = walk.table(item, table.at("headers")) else { continue };
        let (name, value) = (walk.text(&mut header, "name"), walk.text(&mut header, "value"));
        walk.unused(&header);
        let new = otlp::header(&place, &name.unwrap_or_default(), &value.unwrap_or_default(), walk.findings);
        if let Some(new) = new {
            headers.retain(|(known, _)| *known != new.0);
            headers.push(new);
        }
    }
    let mut insecure = false;
    let mut files = [None, None, None];
    let mut ours = OtlpOptions::default();
    if extended {
        for (key, file) in [("headers_file", &mut ours.headers_file), ("token_file", &mut ours.token_file)] {
            let place = walk.place(&table.at(key), table.line);
            *file = walk.text(table, key).and_then(|path| otlp::readable(&place, &path, walk.findings));
        }
    }
    if let Some(mut tls) = walk.sub(table, "tls") {
        for (file, key) in files.iter_mut().zip(["ca_file", "key_file", "cert_file"]) {
            let place = walk.place(&tls.at(key), tls.line);
            *file = walk.text(&mut tls, key).and_then(|path| otlp::readable(&place, &path, walk.findings));
        }
        insecure = walk.boolean(&mut tls, "insecure").unwrap_or(false);
        if extended {
            ours.server_name = walk.text(&mut tls, "server_name");
        }
        walk.unused(&tls);
    }
    let [certificate, key, cert] = files;
    let client = otlp::client(&place, cert, key, walk.findings);
    let given = (Signal::Traces, Given::Verbatim);
    let address = otlp::endpoint(&place, given, endpoint.as_deref(), Some(protocol), insecure, walk.findings);
    let (endpoint, protocol) = address?;
    let compression = compression.unwrap_or(Compression::None);
    let config = OtlpConfig { endpoint, protocol, headers, timeout, compression, certificate, client, ours };
    otlp::check(&place, &config, walk.findings);
    Some(config)
}
