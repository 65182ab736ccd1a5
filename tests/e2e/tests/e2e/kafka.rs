//! A real Kafka broker and clients of others: each request that carries messages is a span with what Kafka says of it, and
//! links to the contexts in its messages.

use std::{collections::BTreeSet, path::PathBuf, process::Command, time::Duration};

use spandrel_test_support::{
    Agent, Finished, Kind, Lab, Program, Span,
    namespace::Namespace,
    process::{command, run_in},
    require, skip, slow,
};

use crate::{cache::cached, common::traced};

/// Apache Kafka, the broker and its client.
const KAFKA: &str = "4.3.1";
/// confluent-kafka, with librdkafka in it.
const LIBRDKAFKA: &str = "2.16.1";
/// Messages, each by a request of its own, and again as many in one batch.
const COUNT: usize = 20;
/// How long a package may take to come.
const FETCH: Duration = Duration::from_secs(300);
/// In a network namespace of the test's own.
const BROKER: &str = "127.0.0.1:19092";

fn jars() -> Result<PathBuf, String> {
    let folder = cached(&format!("kafka-{KAFKA}"), |folder| {
        let dependency = |group: &str, name: &str, version: &str| {
            format!(
                "<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version>\
                 </dependency>"
            )
        };
        let pom = format!(
            "<project><modelVersion>4.0.0</modelVersion><groupId>broker</groupId><artifactId>broker</artifactId>\
             <version>1</version><dependencies>{}{}</dependencies></project>",
            dependency("org.apache.kafka", "kafka_2.13", KAFKA),
            dependency("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.4"),
        );
        std::fs::write(folder.join("pom.xml"), pom).map_err(|error| error.to_string())?;
        let mut mvn = command("mvn");
        mvn.args(["-q", "-B", "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"]);
        mvn.arg("-DincludeScope=runtime").arg(format!("-DoutputDirectory={}", folder.display()));
        let output = run_in(mvn.current_dir(folder), FETCH);
        let why = || format!("Kafka cannot be had from Maven: {}", output.stdout.trim());
        output.status.success().then_some(()).ok_or_else(why)
    })?;
    Ok(folder.join("*"))
}

/// A broker that listens at [`BROKER`].
fn broker(lab: &Lab, namespace: &Namespace, jars: &PathBuf) -> Program {
    let settings = format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:19093\n\
         listeners=PLAINTEXT://{BROKER},CONTROLLER://127.0.0.1:19093\nadvertised.listeners=PLAINTEXT://{BROKER}\n\
         controller.listener.names=CONTROLLER\ninter.broker.listener.name=PLAINTEXT\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\nlog.dirs={}\n\
         offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
         transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=1\nshare.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\nshare.coordinator.state.topic.num.partitions=1\n\
         group.initial.rebalance.delay.ms=0\nnum.network.threads=1\nnum.io.threads=2\nlog.cleaner.enable=false\n",
        lab.text("log")
    );
    let settings = lab.write("server.properties", settings);
    let log = lab.write(
        "log4j2.yaml",
        "Configuration:\n  Appenders:\n    Console: {name: out, PatternLayout: {pattern: '%p %m%n'}}\n  Loggers:\n    \
         Root: {level: info, AppenderRef: {ref: out}}\n",
    );
    let java = |main: &str| {
        let mut java = namespace.command("java");
        java.args(["-Xms64m", "-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]).arg(jars);
        java.arg(format!("-Dlog4j2.configurationFile={}", log.display())).arg(main);
        java
    };
    let mut format = java("kafka.tools.StorageTool");
    // Any 16 bytes in base64.
    format.args(["format", "-t", "c3BhbmRyZWwtdGVzdC1icg", "-c"]).arg(&settings);
    run_in(&mut format, FETCH).success();
    let broker = Program::start(java("kafka.Kafka").arg(settings));
    broker.wait_stdout("the broker", |line| line.contains("Kafka Server started").then_some(()));
    broker
}

/// Traces the broker and what `client` starts for a mode, by both profiles.
fn check(client: impl Fn(&Lab, &Namespace) -> Result<Command, String>) {
    require!("java", "mvn", "ip");
    let Some(namespace) = Namespace::new() else { skip!("network namespaces are not allowed here") };
    let jars = match jars() {
        Ok(jars) => jars,
        Err(why) => skip!("{why}"),
    };
    let home = Lab::new();
    let _broker = broker(&home, &namespace, &jars);
    for profile in spandrel_test_support::profiles() {
        let lab = Lab::new();
        let agent = traced(&lab, profile).arg("--cmd").arg(home.pattern());
        let mut agent = Agent::start(&agent);
        let topic = format!("orders-{profile}");
        for mode in ["produce", "consume"] {
            let mut program = match client(&lab, &namespace) {
                Ok(program) => program,
                Err(why) => skip!("{why}"),
            };
            program.args([BROKER, mode, &topic, &COUNT.to_string()]);
            assert!(run_in(&mut program, Duration::from_secs(120)).success().contains("done"));
        }
        let messages = |spans: &[Span], name: &str| {
            let of = spans.iter().filter(|span| span.name.starts_with(name));
            of.map(|span| span.int("messaging.batch.message_count").unwrap_or(1)).sum::<i64>()
        };
        agent.wait_for("all messages", |spans| {
            ["send ", "poll "].iter().all(|name| messages(spans, name) >= 2 * COUNT as i64)
        });
        let finished = agent.stop();
        finished.assert_complete();
        assert_sent(&finished, &topic);
        assert_fetched(&finished, &topic);
    }
}

/// Each message that was sent alone has a span with its offset; those of the batch have one together, if the client's library
/// made one batch of them.
#[track_caller]
fn assert_sent(finished: &Finished, topic: &str) {
    let name = format!("send {topic}");
    let sent: Vec<_> = finished.spans.iter().filter(|span| span.name == name).collect();
    let mut next = 0;
    for span in &sent {
        span.assert_has(&[
            ("messaging.system.name", "kafka".into()),
            ("messaging.operation.name", "send".into()),
            ("messaging.operation.type", "send".into()),
            ("messaging.destination.name", topic.into()),
            ("messaging.destination.partition.id", "0".into()),
            ("messaging.client.id", "till".into()),
            ("server.address", "127.0.0.1".into()),
            ("server.port", 19092.into()),
        ]);
        span.assert_lacks(&["error.type", "spandrel.gap", "spandrel.outcome"]);
        assert!(!span.error && span.start_ns < span.end_ns, "{span:#?}");
        let count = span.int("messaging.batch.message_count").unwrap_or(1);
        let first = span.int("kafka.offset").or(span.int("spandrel.kafka.first_offset"));
        assert_eq!(first, Some(next), "{span:#?}");
        // Whose messages have contexts of their own has created none.
        let linked = next < COUNT as i64 && next % 2 == 1;
        assert_eq!(span.kind, if linked { Kind::Client } else { Kind::Producer }, "{span:#?}");
        let expected = if linked { vec![context(next)] } else { Vec::new() };
        assert_eq!(span.links, expected, "{span:#?}");
        next += count;
    }
    assert_eq!(next, 2 * COUNT as i64, "{sent:#?}");
    assert!((COUNT + 1..=COUNT + 3).contains(&sent.len()), "{sent:#?}");
}

/// Each message was fetched once, and each context is linked to once.
#[track_caller]
fn assert_fetched(finished: &Finished, topic: &str) {
    let name = format!("poll {topic}");
    let polls: Vec<_> = finished.spans.iter().filter(|span| span.name == name).collect();
    let mut links = BTreeSet::new();
    for span in &polls {
        span.assert_has(&[
            ("messaging.system.name", "kafka".into()),
            ("messaging.operation.type", "receive".into()),
            ("messaging.destination.name", topic.into()),
            ("messaging.client.id", "stock".into()),
            ("messaging.consumer.group.name", "stock-keepers".into()),
        ]);
        span.assert_lacks(&["error.type", "spandrel.gap", "spandrel.outcome", "spandrel.kafka.topic_id"]);
        assert_eq!(span.kind, Kind::Client, "{span:#?}");
        for link in &span.links {
            assert!(links.insert(link.clone()), "{link:?} twice: {polls:#?}");
        }
    }
    let expected: BTreeSet<_> = (0..COUNT as i64).filter(|number| number % 2 == 1).map(context).collect();
    assert_eq!(links, expected, "{polls:#?}");
}

/// The context that the clients give a message: trace and span.
fn context(number: i64) -> (String, String) {
    (format!("{:032x}", number + 1), format!("{:016x}", number + 1))
}

/// A package of Python's index, in a folder of its own.
fn python(package: &str, source: &str, lab: &Lab, namespace: &Namespace) -> Result<Command, String> {
    let library = cached(&package.replace("==", "-"), |folder| {
        let mut pip = command("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--target"]).arg(folder);
        let output = run_in(pip.arg(package), FETCH);
        let why = || format!("{package} cannot be had: {}", output.stderr.trim());
        output.status.success().then_some(()).ok_or_else(why)
    })?;
    let mut python = namespace.command("python3");
    python.arg(lab.write("client_of_kafka.py", source)).env("PYTHONPATH", library);
    Ok(python)
}

/// C, from Python.
#[test]
fn librdkafka() {
    require!("python3");
    let package = format!("confluent-kafka=={LIBRDKAFKA}");
    check(|lab, namespace| python(&package, include_str!("../../programs/kafka.py"), lab, namespace));
}

/// Python without C, blocking.
#[test]
fn kafka_python() {
    slow!();
    require!("python3");
    let source = include_str!("../../programs/kafka_python_client.py");
    check(|lab, namespace| python("kafka-python==3.0.12", source, lab, namespace));
}

/// Python without C, by an event loop.
#[test]
fn aiokafka() {
    slow!();
    require!("python3");
    let source = include_str!("../../programs/aiokafka_client.py");
    check(|lab, namespace| python("aiokafka==0.14.0", source, lab, namespace));
}

/// Node.js.
#[test]
fn kafkajs() {
    slow!();
    require!("node", "npm");
    check(|lab, namespace| {
        let library = cached("kafkajs-2.2.4", |folder| {
            let mut npm = command("npm");
            npm.args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(folder);
            let output = run_in(npm.arg("kafkajs@2.2.4"), FETCH);
            let why = || format!("kafkajs cannot be had: {}", output.stderr.trim());
            output.status.success().then_some(()).ok_or_else(why)
        })?;
        let mut node = namespace.command("node");
        node.arg(lab.write("client_of_kafka.js", include_str!("../../programs/kafkajs.js")));
        node.env("NODE_PATH", library.join("node_modules"));
        Ok(node)
    });
}

/// Kafka's own client.
#[test]
fn java() {
    check(|lab, namespace| {
        let mut java = namespace.command("java");
        java.args(["-XX:TieredStopAtLevel=1", "-cp"]).arg(jars()?);
        java.arg(lab.write("Kafka.java", include_str!("../../programs/Kafka.java")));
        Ok(java)
    });
}
