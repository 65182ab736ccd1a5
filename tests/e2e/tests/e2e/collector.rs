//! A real OpenTelemetry Collector: what it received is what was shown, span for span.
//!
//! It is built here by its own builder (Go; some two minutes and 35 MB, once), with one receiver and one exporter.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use spandrel_test_support::{
    Agent, Lab, Program, Span,
    process::{command, run, run_in},
    require, skip, span,
};

use crate::{
    cache::cached,
    common::{PYTHON, assert_counts, curl, echo, traced},
};

/// Of all its parts; the providers have a version of their own.
pub(crate) const VERSION: &str = "0.161.0";
const PROVIDERS: &str = "1.67.0";
/// Fetching and compiling on two busy cores.
const BUILD: Duration = Duration::from_secs(14 * 60);

/// What the Collector asks for.
const GO: &str = "1.26.8";

/// The folder of a `go` that can build the Collector. Since 1.21 it fetches a newer one by itself; of older ones (Debian 12 has
/// 1.19) it is asked for what the newer ones would fetch, a module that holds a toolchain.
fn go(folder: &Path) -> Result<PathBuf, String> {
    let go = || {
        let mut go = command("go");
        go.current_dir(folder).env("GOFLAGS", "-mod=mod");
        go
    };
    let version = run(go().args(["env", "GOVERSION"])).success();
    let minor = version.trim().strip_prefix("go1.").and_then(|rest| rest.split('.').next()?.parse().ok());
    if minor.is_some_and(|minor: u32| minor >= 21) {
        let root = run(go().args(["env", "GOROOT"])).success();
        return Ok(Path::new(root.trim()).join("bin"));
    }
    let wrong = |error: std::io::Error| error.to_string();
    fs::write(folder.join("go.mod"), "module fetch\n").map_err(wrong)?;
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let module = format!("golang.org/toolchain@v0.0.1-go{GO}.linux-{machine}");
    let fetched = run_in(go().args(["mod", "download", &module]), BUILD);
    fs::remove_file(folder.join("go.mod")).map_err(wrong)?;
    if !fetched.status.success() {
        return Err(format!("Go {GO} cannot be had: {}", fetched.stderr.trim()));
    }
    let root = Path::new(run(go().args(["env", "GOMODCACHE"])).success().trim()).join(module);
    // Modules hold no programs: nothing in them may be executed.
    for programs in ["bin".to_owned(), format!("pkg/tool/linux_{machine}")] {
        for program in fs::read_dir(root.join(programs)).map_err(wrong)?.flatten() {
            fs::set_permissions(program.path(), Permissions::from_mode(0o755)).map_err(wrong)?;
        }
    }
    Ok(root.join("bin"))
}

pub(crate) fn build(folder: &Path) -> Result<(), String> {
    let manifest = format!(
        "dist:
  module: spandrel.test/otelcol
  name: otelcol
  output_path: ./sources
conf_resolver:
  default_uri_scheme: file
receivers:
  - gomod: go.opentelemetry.io/collector/receiver/otlpreceiver v{VERSION}
processors:
  - gomod: go.opentelemetry.io/collector/processor/batchprocessor v{VERSION}
exporters:
  - gomod: go.opentelemetry.io/collector/exporter/debugexporter v{VERSION}
  - gomod: github.com/open-telemetry/opentelemetry-collector-contrib/exporter/fileexporter v{VERSION}
providers:
  - gomod: go.opentelemetry.io/collector/confmap/provider/fileprovider v{PROVIDERS}
"
    );
    let wrong = |error: std::io::Error| error.to_string();
    fs::write(folder.join("manifest.yaml"), manifest).map_err(wrong)?;
    let builder = format!("go.opentelemetry.io/collector/cmd/builder@v{VERSION}");
    let go = go(folder)?;
    let path = format!("{}:{}", go.display(), std::env::var("PATH").unwrap_or_default());
    let mut install = command(go.join("go"));
    install
        .env("PATH", &path)
        .args(["install", &builder])
        .env("GOBIN", folder)
        .env("GOFLAGS", "-buildvcs=false");
    let mut compile = command(folder.join("builder"));
    compile.arg("--config=manifest.yaml").current_dir(folder).env("CGO_ENABLED", "0").env("PATH", &path);
    for step in [&mut install, &mut compile] {
        let output = run_in(step, BUILD);
        if !output.status.success() {
            let last = output.stderr.lines().last().unwrap_or("it does not say why").to_owned();
            return Err(format!("the Collector cannot be built: {last}"));
        }
    }
    fs::rename(folder.join("sources/otelcol"), folder.join("otelcol")).map_err(wrong)?;
    fs::remove_dir_all(folder.join("sources")).map_err(wrong)?;
    fs::remove_file(folder.join("builder")).map_err(wrong)
}

/// A running Collector and its ports for gRPC and HTTP.
fn collector(lab: &Lab, folder: &Path) -> (Program, String, String) {
    let config = format!(
        "receivers:
  otlp:
    protocols:
      grpc: {{endpoint: \"127.0.0.1:0\"}}
      http: {{endpoint: \"127.0.0.1:0\"}}
processors:
  batch: {{timeout: 50ms}}
exporters:
  debug: {{}}
  file: {{path: {out}, flush_interval: 50ms}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], processors: [batch], exporters: [debug, file]}}
",
        out = lab.text("received.jsonl")
    );
    // Its name is not this test's, so that it is not traced: it would be selected like everything else here.
    let home = lab.write("collector.yaml", config);
    let mut otelcol = command(folder.join("otelcol"));
    otelcol.current_dir(home.parent().expect("a folder")).args(["--config", "collector.yaml"]);
    let program = Program::start(&mut otelcol);
    let endpoint = |what: &str| {
        program.wait_stderr("no receiver", |line| {
            let rest = line.contains(what).then_some(line)?.split_once("\"endpoint\": \"")?.1;
            rest.split('"').next().map(|address| format!("http://{address}"))
        })
    };
    let (grpc, http) = (endpoint("Starting GRPC server"), endpoint("Starting HTTP server"));
    program.wait_stderr("not ready", |line| line.contains("Everything is ready").then_some(()));
    (program, grpc, http)
}

#[test]
fn grpc() {
    require!("go", PYTHON, "curl");
    match cached(&format!("otelcol-{VERSION}"), build) {
        Ok(folder) => receives(&folder, "grpc"),
        Err(why) => skip!("{why}"),
    }
}

#[test]
fn http_protobuf() {
    require!("go", PYTHON, "curl");
    match cached(&format!("otelcol-{VERSION}"), build) {
        Ok(folder) => receives(&folder, "http/protobuf"),
        Err(why) => skip!("{why}"),
    }
}

/// Requests of curl to Python: twice as many spans.
const COUNT: usize = 300;

#[track_caller]
fn receives(folder: &Path, protocol: &str) {
    let lab = Lab::new();
    let (collector, grpc, http) = collector(&lab, folder);
    let endpoint = if protocol == "grpc" { grpc } else { http };
    let options = traced(&lab, "auto")
        .args(["--otlp-endpoint", &endpoint])
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        .env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=secret");
    let mut agent = Agent::start(&options);
    let (_server, port) = echo(&lab);
    run(curl(&lab).arg(format!("http://127.0.0.1:{port}/bytes/[1-{COUNT}]"))).success();
    run(curl(&lab).arg(format!("http://127.0.0.1:{port}/status/503"))).success();
    agent.wait_for("all spans", |spans| spans.len() >= 2 * COUNT + 2);
    let finished = agent.stop();
    assert_counts(&finished, COUNT + 1, COUNT + 1);
    // It writes what it has when it ends.
    collector.terminate();
    let mut received: Vec<Span> = lab.read("received.jsonl").lines().flat_map(span::parse).collect();
    let mut shown = finished.spans;
    for spans in [&mut received, &mut shown] {
        spans.sort_by(|a, b| a.span_id.cmp(&b.span_id));
    }
    assert_eq!(received.len(), shown.len());
    for (received, shown) in received.iter().zip(&shown) {
        assert_eq!(format!("{received:?}"), format!("{shown:?}"));
        assert_eq!(received.resource, shown.resource);
    }
}
