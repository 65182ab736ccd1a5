//! Servers and clients of languages with their own schedulers, each asking itself the same: Node (one thread,
//! epoll), Go (goroutines on epoll), Java (NIO and a pool of threads), Rust (tasks on tokio).

use std::{collections::BTreeMap, path::PathBuf, process::Command, time::Duration};

use spandrel_test_support::{
    Agent, Finished, Lab, Program, Span,
    process::{command, run, run_in},
    require, skip,
};

use crate::{
    cache::cached,
    common::{assert_counts, assert_whole, curl, encloses, profiles, script, traced},
};

profiles!(node, go, java, hyper, servlets);

/// Requests one after the other, and again so many at once.
const COUNT: usize = 25;

fn node(profile: &str) {
    require!("node");
    let lab = Lab::new();
    let mut agent = Agent::start(&traced(&lab, profile));
    let nodeshop = || script(&lab, "node", "nodeshop.js", include_str!("../../programs/nodeshop.js"));
    let server = Program::start(&mut nodeshop());
    run(nodeshop().args([server.port().to_string(), COUNT.to_string()])).success();
    let count = 3 * COUNT + 3;
    agent.wait_for("all spans", |spans| spans.len() >= 2 * count);
    let finished = agent.stop();
    assert_counts(&finished, count, count);
    assert_asked(&finished, "nodeshop", "fetch");
    assert_chunks(&finished);
    let sizes: Vec<_> = of(&finished.servers(), "/agent/").iter().map(|span| size(span, "request")).collect();
    assert_eq!(sizes, (0..COUNT as i64).map(Some).collect::<Vec<_>>());
}

/// A Go program, built in the test's folder.
pub(crate) fn go_program(lab: &Lab) -> Command {
    let folder = lab.path("go");
    lab.write("go/go.mod", "module goshop\n\ngo 1.19\n");
    lab.write("go/goshop.go", include_str!("../../programs/goshop.go"));
    let binary = lab.path("goshop");
    let mut build = command("go");
    build.args(["build", "-o"]).arg(&binary).current_dir(folder);
    run(build.env("GOTOOLCHAIN", "local").env("GOFLAGS", "-mod=mod -buildvcs=false")).success();
    command(binary)
}

fn go(profile: &str) {
    require!("go");
    let lab = Lab::new();
    let mut goshop = go_program(&lab);
    let mut agent = Agent::start(&traced(&lab, profile));
    let server = Program::start(&mut goshop);
    run(goshop.args([server.port().to_string(), COUNT.to_string()])).success();
    let count = 2 * COUNT + 3;
    agent.wait_for("all spans", |spans| spans.len() >= 2 * count);
    let finished = agent.stop();
    assert_counts(&finished, count, count);
    assert_asked(&finished, "goshop", "go");
    assert_chunks(&finished);
}

fn java(profile: &str) {
    require!("java");
    let lab = Lab::new();
    let mut agent = Agent::start(&traced(&lab, profile));
    let mut java = script(&lab, "java", "JavaShop.java", include_str!("../../programs/JavaShop.java"));
    let shop = Program::start(java.arg(COUNT.to_string()));
    shop.wait_stdout("not done", |line| (line == "DONE").then_some(()));
    let count = 2 * COUNT + 3;
    agent.wait_for("all spans", |spans| spans.len() >= 2 * count);
    drop(shop);
    let finished = agent.stop();
    assert_counts(&finished, count, count);
    assert_asked(&finished, "JavaShop", "java");
    assert_chunks(&finished);
}

fn hyper(profile: &str) {
    let lab = Lab::new();
    // A copy has the test's name in its command line.
    let program = lab.path("rustshop");
    std::fs::copy(env!("CARGO_BIN_EXE_rustshop"), &program).expect("a copy");
    let mut agent = Agent::start(&traced(&lab, profile));
    let server = Program::start(&mut command(&program));
    run(command(&program).args([server.port().to_string(), COUNT.to_string()])).success();
    let count = 2 * COUNT + 2;
    agent.wait_for("all spans", |spans| spans.len() >= 2 * count);
    let finished = agent.stop();
    assert_counts(&finished, count, count);
    assert_asked(&finished, "rustshop", "rust");
    assert_whole(&finished);
}

const TOMCAT: &str = "10.1.36";

/// Tomcat's jar, from Maven's central repository.
fn tomcat() -> Result<PathBuf, String> {
    cached(&format!("tomcat-{TOMCAT}"), |folder| {
        for artifact in ["tomcat-embed-core", "tomcat-annotations-api"] {
            let group =
                if artifact.contains("embed") { "org.apache.tomcat.embed" } else { "org.apache.tomcat" };
            let mut copy = command("mvn");
            copy.args(["-q", "-B", "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"]);
            copy.arg(format!("-Dartifact={group}:{artifact}:{TOMCAT}:jar"));
            copy.arg(format!("-DoutputDirectory={}", folder.display())).current_dir(folder);
            let output = run_in(&mut copy, Duration::from_secs(300));
            if !output.status.success() {
                return Err(format!("Tomcat cannot be had from Maven: {}", output.stdout.trim()));
            }
        }
        Ok(())
    })
}

fn servlets(profile: &str) {
    require!("java", "mvn", "curl");
    let jars = match tomcat() {
        Ok(jars) => jars,
        Err(why) => skip!("{why}"),
    };
    let lab = Lab::new();
    let mut agent = Agent::start(&traced(&lab, profile));
    let mut java = command("java");
    java.arg("-cp").arg(jars.join("*"));
    java.arg(lab.write("TomcatShop.java", include_str!("../../programs/TomcatShop.java")));
    let server = Program::start(java.arg(lab.path("tomcat")));
    let port = server.port();
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let paths = ["/bytes/[1-20]", "/chunks/100000", "/status/404", "/throws"].map(url);
    run(curl(&lab).args(["--parallel", "--parallel-max", "4"]).args(&paths)).success();
    run(curl(&lab).args(["--data-binary", &"u".repeat(50_000)]).arg(url("/up"))).success();
    agent.wait_for("48 spans", |spans| spans.len() >= 48);
    let finished = agent.stop();
    assert_counts(&finished, 24, 24);
    for spans in [finished.servers(), finished.clients()] {
        let status =
            |path: &str| of(&spans, path).iter().filter_map(|span| span.status()).collect::<Vec<_>>();
        assert_eq!(of(&spans, "/bytes/").len(), 20);
        assert_eq!((status("/status/404"), status("/throws")), (vec![404], vec![500]));
        assert_eq!(size(of(&spans, "/up")[0], "request"), Some(50_000));
    }
    assert!(
        finished.servers().iter().all(|span| span.service() == "TomcatShop"),
        "{:#?}",
        finished.servers()
    );
    assert_whole(&finished);
}

fn of<'a>(spans: &[&'a Span], path: &str) -> Vec<&'a Span> {
    spans.iter().copied().filter(|span| span.path().starts_with(path)).collect()
}

fn size(span: &Span, part: &str) -> Option<i64> {
    span.int(&format!("http.{part}.body.size"))
}

/// What all of them ask in the same way, seen from both ends.
#[track_caller]
fn assert_asked(finished: &Finished, service: &str, by: &str) {
    for spans in [finished.servers(), finished.clients()] {
        assert!(spans.iter().all(|span| span.service() == service), "{spans:#?}");
        let bytes = of(&spans, "/bytes/");
        assert_eq!(bytes.len(), COUNT);
        for (n, span) in bytes.iter().enumerate() {
            let number = span.path().trim_start_matches("/bytes/");
            assert!(number == n.to_string() || number == (n + 1).to_string(), "in order: {span:?}");
            assert_eq!(size(span, "response"), number.parse().ok());
            assert!(span.str("url.query").or(span.str("url.full")).is_some_and(|url| url.contains(by)));
        }
        let [post] = of(&spans, "/post")[..] else { panic!("{spans:#?}") };
        assert_eq!(post.name, "POST", "{post:?}");
        assert_eq!(size(post, "request"), Some(100_000), "{post:?}");
        let [failed] = of(&spans, "/status/")[..] else { panic!("{spans:#?}") };
        assert!(failed.error, "{failed:?}");
        failed.assert_has(&[("error.type", "500".into()), ("http.response.status_code", 500.into())]);
        let mut seen = BTreeMap::new();
        for span in of(&spans, "/at-once/") {
            *seen.entry(span.path()).or_insert(0) += 1;
        }
        assert_eq!((seen.len(), seen.values().max()), (COUNT, Some(&1)), "{seen:?}");
    }
    // Each server span has its own client span: the one of the same path, around it.
    for server in finished.servers() {
        let clients = of(&finished.clients(), server.path());
        let around = |client: &&&Span| client.path() == server.path() && encloses(client, server);
        assert_eq!(clients.iter().filter(around).count(), 1, "{server:?}\n{clients:#?}");
    }
}

/// What those ask that can answer in chunks.
#[track_caller]
fn assert_chunks(finished: &Finished) {
    for spans in [finished.servers(), finished.clients()] {
        let [chunks] = of(&spans, "/chunks/")[..] else { panic!("{spans:#?}") };
        assert!(
            size(chunks, "response").is_some_and(|size| (100_000..102_000).contains(&size)),
            "{chunks:?}"
        );
    }
    assert_whole(finished);
}
