//! A real Collector that asks for certificates, and gets an authority of its own and another one while requests come: every
//! span is acknowledged once.

use std::{fs, path::Path};

use spandrel_test_support::{
    Agent, Lab, Program, http,
    process::{command, run},
    require, skip,
};

use crate::{
    cache::cached,
    chaos::{COUNT, configured, requests},
    chaos_collector::assert_received,
    collector::{VERSION, build},
    common::{PYTHON, echo, text},
};

/// What openssl makes keys of.
const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

/// An authority, with a certificate for the Collector and one for the agent, all by their names in a folder.
fn issue(folder: &Path) {
    let openssl = |args: &str| {
        let mut command = command("openssl");
        command.current_dir(folder).args(args.split(' '));
        run(&mut command).success();
    };
    fs::create_dir(folder).expect("a folder");
    fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1").expect("a file");
    openssl(&format!("req -x509 {KEY} -keyout ca.key -out ca.pem -subj /CN=authority -days 2"));
    for who in ["server", "client"] {
        openssl(&format!("req {KEY} -keyout {who}.key -out {who}.csr -subj /CN={who}"));
        openssl(&format!(
            "x509 -req -in {who}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {who}.pem -days 2 -extfile names"
        ));
    }
}

/// A Collector on this port that adds to one file, with the certificates of a folder.
fn collector(lab: &Lab, built: &Path, port: u16, certificates: &Path) -> Program {
    let at = |name: &str| certificates.join(name).display().to_string();
    let config = format!(
        "receivers:
  otlp:
    protocols:
      grpc:
        endpoint: \"127.0.0.1:{port}\"
        tls: {{cert_file: {}, key_file: {}, client_ca_file: {}}}
exporters: {{file: {{path: {}, append: true, flush_interval: 50ms}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [file]}}}}
",
        at("server.pem"),
        at("server.key"),
        at("ca.pem"),
        lab.text("received.jsonl")
    );
    let home = lab.write("collector.yaml", config);
    let mut otelcol = command(built.join("otelcol"));
    otelcol.current_dir(home.parent().expect("a folder")).args(["--config", "collector.yaml"]);
    let program = Program::start(&mut otelcol);
    program.wait_stderr("not ready", |line| line.contains("Everything is ready").then_some(()));
    program
}

/// Authority, certificate and key change on both sides, the agent's files one after the other, without a restart of it.
#[test]
fn an_authority_is_replaced() {
    require!("go", PYTHON, "curl", "openssl");
    let built = match cached(&format!("otelcol-{VERSION}"), build) {
        Ok(folder) => folder,
        Err(why) => skip!("{why}"),
    };
    let lab = Lab::new();
    let [before, after, used] = ["before", "after", "used"].map(|name| lab.path(name));
    issue(&before);
    issue(&after);
    fs::create_dir(&used).expect("a folder");
    let renew = |from: &Path, name: &str| {
        // As a tool for it does: nobody sees half of a file.
        fs::copy(from.join(name), used.join("new")).expect("a copy");
        fs::rename(used.join("new"), used.join(name)).expect("renamed");
    };
    for name in ["client.pem", "client.key", "ca.pem"] {
        renew(&before, name);
    }
    let at = http::listener().1;
    let config = format!(
        "distribution:\n  spandrel:\n    destinations:\n      - name: main
        exporter:
          otlp_grpc:
            endpoint: \"https://127.0.0.1:{at}\"
            timeout: 1000
            tls: {{ca_file: {used}/ca.pem, cert_file: {used}/client.pem, key_file: {used}/client.key}}
        schedule_delay: 20\n        max_export_batch_size: 16\n",
        used = text(&used)
    );
    let first = collector(&lab, &built, at, &before);
    let agent = Agent::start(&configured(&lab, &config));
    let (_server, port) = echo(&lab);
    requests(&lab, port);
    first.terminate();
    let second = collector(&lab, &built, at, &after);
    requests(&lab, port);
    agent.wait_stderr("no word of the failure", |line| line.contains("main (https://").then_some(()));
    for name in ["client.pem", "client.key", "ca.pem"] {
        requests(&lab, port);
        renew(&after, name);
    }
    requests(&lab, port);
    agent.wait_stderr("no word of the recovery", |line| line.contains("works again").then_some(()));
    requests(&lab, port);
    let finished = agent.stop();
    second.terminate();
    let ledger = &finished.report.ledger;
    ledger.assert_closed();
    assert_eq!((ledger.exported, ledger.lost()), (14 * COUNT as u64, 0), "{ledger:?}\n{}", finished.stderr);
    assert!(finished.stderr.contains("its certificates or credentials changed"), "{}", finished.stderr);
    assert_received(&lab, ledger.exported);
}
