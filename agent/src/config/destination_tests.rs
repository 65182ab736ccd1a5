//! Destinations as the configuration file has them.

use std::{collections::HashMap, time::Duration};

use super::{
    Config, Console, Mistakes,
    destination::{FileConfig, PolicyConfig, StoreConfig, ToConfig},
    otlp::{Compression, Protocol},
    settings::BatchConfig,
    tests::from_file,
};
use crate::{
    export::testing::{Authority, Folder},
    span::Kind,
};

fn read(text: &str) -> Result<Config, Mistakes> {
    from_file(&format!("file_format: \"1.1\"\n{text}"), "", &[])
}

#[test]
fn everything_that_can_be_said_of_a_destination() {
    let folder = Folder::new("everything");
    let file = |name, text| folder.file(name, text).display().to_string();
    let config = read(
        &"distribution:
  spandrel:
    spill: {path: /var/lib/spandrel/queue, max_bytes: 8388608}
    dead_letters: {path: /var/lib/spandrel/dead}
    shutdown_timeout: 2500
    destinations:
      - name: backup
        exporter:
          otlp_grpc:
            endpoint: https://backup:4317
            compression: zstd
            headers_file: HEADERS
            token_file: TOKEN
            tls: {server_name: otlp.example.com}
        filter: {services: [shop, 'cart-*'], kind: server, errors: true, min_duration: 250}
        drop: traces
        schedule_delay: 100
        export_timeout: 7000
        max_queue_size: 1000
        max_export_batch_size: 100
        max_queue_bytes: 1000000
        max_export_batch_bytes: 500000
        requests_in_flight: 2
      - name: file
        exporter: {file: {path: /tmp/traces.json, max_bytes: 1048576, max_files: 3}}
"
        .replace("HEADERS", &file("headers", "x-tenant: a\n"))
        .replace("TOKEN", &file("token", "abc\n")),
    )
    .unwrap();
    assert!(config.otlp.is_none());
    // They are destinations as good as any: the console need not be one.
    assert_eq!(config.console, Console::Off);
    let queue = StoreConfig { folder: "/var/lib/spandrel/queue".into(), max_bytes: 8 << 20 };
    assert_eq!(config.spill, Some(queue));
    assert_eq!(config.dead_letters.unwrap().max_bytes, 256 << 20);
    assert_eq!(config.shutdown_timeout, Duration::from_millis(2500));
    let [backup, file] = &config.more[..] else { panic!("{:?}", config.more) };
    assert_eq!((backup.name.as_str(), file.name.as_str()), ("backup", "file"));
    let ToConfig::Otlp(otlp) = &backup.to else { panic!("{backup:?}") };
    assert_eq!((otlp.protocol, otlp.compression), (Protocol::Grpc, Compression::Zstd));
    assert_eq!(otlp.ours.server_name.as_deref(), Some("otlp.example.com"));
    assert!(otlp.ours.headers_file.is_some() && otlp.ours.token_file.is_some());
    let filter = &backup.ours.filter;
    assert!(filter.services.as_ref().unwrap().is_match("cart-eu"));
    assert_eq!((filter.kind, filter.errors), (Some(Kind::Server), true));
    assert_eq!(filter.min_duration, Duration::from_millis(250));
    assert_eq!(backup.ours.policy, Some(PolicyConfig::Traces));
    assert_eq!((backup.ours.queue_bytes, backup.ours.batch_bytes), (Some(1_000_000), Some(500_000)));
    assert_eq!(backup.ours.requests_in_flight, Some(2));
    assert_eq!((backup.batch.max_queue_size, backup.batch.max_export_batch_size), (Some(1000), Some(100)));
    assert_eq!(backup.batch.export_timeout, Some(Duration::from_secs(7)));
    let ToConfig::File(file) = &file.to else { panic!("{file:?}") };
    let expected =
        FileConfig { path: "/tmp/traces.json".into(), max_bytes: Some(1 << 20), max_files: Some(3) };
    assert_eq!(*file, expected);
}

#[test]
fn each_exporter_of_the_standard_is_a_destination() {
    let config = read(
        "tracer_provider:
  processors:
    - batch: {schedule_delay: 10, exporter: {otlp_grpc: {endpoint: 'http://one:4317'}}}
    - batch: {schedule_delay: 20, exporter: {otlp_http: {endpoint: 'http://two:4318/v1/traces'}}}
",
    )
    .unwrap();
    assert_eq!(config.otlp.unwrap().endpoint.host(), Some("one"));
    assert_eq!(config.batch.schedule_delay, Some(Duration::from_millis(10)));
    assert_eq!(config.more[0].name, "otlp-2");
    assert_eq!(config.more[0].batch.schedule_delay, Some(Duration::from_millis(20)));
}

/// The sizes of another exporter's batches are not those of the first destination.
#[test]
fn a_console_s_batch_is_its_own() {
    let config = read(
        "tracer_provider:
  processors:
    - batch: {schedule_delay: 20, max_queue_size: 100, max_export_batch_size: 10, exporter: {console: }}
    - batch: {max_export_batch_size: 7, exporter: {otlp_http: {endpoint: 'http://one:4318/v1/traces'}}}
",
    )
    .unwrap();
    assert_eq!(config.batch, BatchConfig { max_export_batch_size: Some(7), ..BatchConfig::default() });
    assert!(config.notes.iter().any(|note| note.contains("console")), "{:?}", config.notes);
}

#[test]
fn mistakes_in_destinations_have_their_places() {
    let mistakes = read(
        "distribution:
  spandrel:
    spill: {path: relative, max_bytes: 5}
    destinations:
      - exporter: {file: {path: /tmp/x, rotate: 1}}
      - name: otlp
        exporter: {otlp_grpc: {endpoint: 'http://h:4317', compression: lz4}}
        drop: all
      - name: none
",
    )
    .unwrap_err();
    let text = mistakes.to_string();
    for said in [
        "spill.path",
        "spill.max_bytes",
        "no name",
        "file.rotate",
        "name of another",
        "lz4",
        "newest, oldest",
        "no exporter",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert_eq!(mistakes.0.len(), 8, "{text}");
}

/// The mistakes of a file's `distribution.spandrel`, each with its line.
fn mistakes(text: &str) -> Vec<String> {
    let found = read(&format!("distribution:\n  spandrel:\n{text}")).unwrap_err().0;
    found.iter().map(|mistake| format!("{}: {}", mistake.place, mistake.what)).collect()
}

#[test]
fn names_are_those_of_folders() {
    for name in ["a/b", "'a\\n'", "a b", "größe", "\"x\\ny\"", "'\"'"] {
        let text =
            format!("    destinations:\n    - name: {name}\n      exporter: {{file: {{path: /t/x}}}}\n");
        let found = mistakes(&text);
        assert!(found.len() == 1 && found[0].contains("cannot be a folder"), "{name}: {found:?}");
    }
    let long = "x".repeat(101);
    let text = format!("    destinations: [{{name: {long}, exporter: {{file: {{path: /t/x}}}}}}]\n");
    assert_eq!(mistakes(&text).len(), 1);
}

#[test]
fn no_place_is_written_for_two_purposes() {
    let found = mistakes("    spill: {path: /t/x}\n    dead_letters: {path: /t/./x/}\n");
    assert!(
        found.len() == 1 && found[0].contains("5 (distribution.spandrel.dead_letters.path)"),
        "{found:?}"
    );
    let two = |first: &str, second: &str| {
        let one = |name: &str, path: &str| {
            format!("    - {{name: {name}, exporter: {{file: {{path: {path}, max_files: 2}}}}}}\n")
        };
        format!("    destinations:\n{}{}", one("a", first), one("b", second))
    };
    for (first, second) in [("/t/x", "/t/x"), ("/t/x", "/t/y/../x"), ("/t/x", "/t/x.2"), ("/t/x.1", "/t/x")] {
        let found = mistakes(&two(first, second));
        assert!(found.len() == 1 && found[0].contains("\"b\" writes a file that \"a\""), "{found:?}");
    }
    for (first, second) in [("/t/x", "/t/y"), ("/t/x", "/t/x.3"), ("/t/x", "/t/x.json")] {
        assert!(read(&format!("distribution:\n  spandrel:\n{}", two(first, second))).is_ok());
    }
}

#[test]
fn what_the_schema_wants_once_is_there_once() {
    for (text, said) in [
        ("tracer_provider: {processors: [{}]}", "is empty"),
        ("tracer_provider: {processors: [{batch: }]}", "has no exporter"),
        ("tracer_provider: {processors: [{batch: {}}]}", "has no exporter"),
        ("tracer_provider: {processors: [{simple: {}}]}", "has no exporter"),
        ("tracer_provider: {processors: [{batch: {exporter: {}}}]}", "is empty"),
        ("tracer_provider: {processors: [{batch: {exporter: {otlp_grpc: , otlp_http: }}}]}", "second"),
        ("tracer_provider: {processors: [{batch: {exporter: {console: , otlp_http: }}}]}", "second"),
        (
            "tracer_provider: {processors: [{batch: {exporter: {console: }}, simple: {exporter: {console: }}}]}",
            "simple is a second one",
        ),
        ("meter_provider: {readers: [{}]}", "is empty"),
        ("meter_provider: {readers: [{periodic: {}}]}", "has no exporter"),
        ("meter_provider: {readers: [{pull: {}}]}", "has no exporter"),
        (
            "distribution: {spandrel: {destinations: [{name: a, exporter: {otlp_http: , file: {path: /t/x}}}]}}",
            "file is a second one",
        ),
        (
            "distribution: {spandrel: {sampling: {rules: [{name: a}, {name: a}]}}}",
            "\"a\" is the name of another rule",
        ),
        ("distribution: {spandrel: {sampling: {rules: [{path: /a}, {name: '1'}]}}}", "name of another rule"),
        ("---\nbogus: 1", "second document"),
    ] {
        let found = read(text).unwrap_err();
        assert!(found.0.len() == 1 && found.to_string().contains(said), "{text}: {found}");
    }
}

#[test]
fn all_that_a_destination_was_given_is_shown_with_its_line() {
    let config = read(
        "resource: {attributes_list: 'a=b,deployment.secret_token=hunter2'}
tracer_provider:
  processors:
    - batch: {exporter: {otlp_grpc: {endpoint: 'http://one:4317'}}}
    - batch:
        max_queue_size: 1234
        exporter: {otlp_http: {endpoint: 'http://two:4318/v1/traces'}}
distribution:
  spandrel:
    select: {cmd: ['*shop*']}
    destinations:
      - name: d2
        exporter:
          otlp_grpc:
            endpoint: https://h:4317
            token_file: /etc/hostname
            headers: [{name: x-key, value: hunter2}]
        filter: {services: [shop, 'cart-*'], errors: true}
        drop: oldest
        max_queue_size: 77
      - name: f
        exporter: {file: {path: /t/x}}
",
    )
    .unwrap();
    let text = super::show::text(&config);
    assert!(!text.contains("hunter2"), "{text}");
    let ours = "distribution.spandrel.destinations";
    for (key, value, line) in [
        ("resource.attributes", "a=b,deployment.secret_token=(hidden)", Some(2)),
        ("distribution.spandrel.select", "cmd=*shop*", Some(11)),
        ("tracer_provider.processors[2].batch.max_queue_size", "1234", Some(7)),
        (
            "tracer_provider.processors[2].batch.exporter.otlp_http.endpoint",
            "http://two:4318/v1/traces",
            Some(8),
        ),
        (&format!("{ours}.d2.name"), "d2", Some(13)),
        (&format!("{ours}.d2.exporter.otlp_grpc.endpoint"), "https://h:4317/", Some(16)),
        (&format!("{ours}.d2.exporter.otlp_grpc.token_file"), "/etc/hostname", Some(17)),
        (&format!("{ours}.d2.exporter.otlp_grpc.headers"), "x-key=(hidden)", Some(18)),
        (&format!("{ours}.d2.filter.services"), "shop,cart-*", Some(19)),
        (&format!("{ours}.d2.filter.errors"), "true", Some(19)),
        (&format!("{ours}.d2.drop"), "oldest", Some(20)),
        (&format!("{ours}.d2.max_queue_size"), "77", Some(21)),
        (&format!("{ours}.d2.max_export_batch_size"), "77", None),
        (&format!("{ours}.d2.requests_in_flight"), "4", None),
        (&format!("{ours}.f.exporter.file.path"), "/t/x", Some(23)),
        (&format!("{ours}.f.exporter.file.max_files"), "4", None),
        ("tracer_provider.processors.batch.max_queue_size", "65536", None),
    ] {
        let words = |row: &str| row.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let row =
            text.lines().map(words).find(|row| row[0] == key).unwrap_or_else(|| panic!("{key}: {text}"));
        assert_eq!(row[1], value, "{key}");
        let origin = row.last().unwrap();
        match line {
            Some(line) => assert!(origin.ends_with(&format!(".yaml:{line}")), "{key}: {origin}"),
            None => assert_eq!(origin, "default", "{key}"),
        }
    }
}

#[test]
fn all_queues_together_have_a_cap() {
    let given = |caps: &str, queue: u64| {
        read(&format!(
            "distribution:
  spandrel:
    {caps}
    destinations:
      - {{name: a, max_queue_bytes: {queue}, exporter: {{otlp_http: }}}}
"
        ))
    };
    let config = given("resource_caps: {queue_bytes: 100000000}", 60_000_000).unwrap();
    assert_eq!(config.caps.queue_bytes, 100_000_000);
    let text = super::show::text(&config);
    let row = text.lines().find(|line| line.contains("resource_caps.queue_bytes")).unwrap();
    assert!(row.contains("100000000") && row.ends_with(".yaml:4"), "{row}");
    // What can never be reached is a mistake.
    let mistakes = given("", 60_000_000).unwrap_err().to_string();
    assert!(mistakes.contains(":6 ") && mistakes.contains("a.max_queue_bytes"), "{mistakes}");
    assert!(mistakes.contains("resource_caps.queue_bytes larger"), "{mistakes}");
    let mistakes = given("resource_caps: {queue_bytes: 1000, cpus: 1}", 500).unwrap_err().to_string();
    for said in ["resource_caps.queue_bytes", "from 1048576", "resource_caps.cpus"] {
        assert!(mistakes.contains(said), "{said}: {mistakes}");
    }
}

#[test]
fn who_disabled_the_agent_is_named() {
    let config = read("disabled: true").unwrap();
    assert!(config.disabled && config.disabled_by().contains("file"));
    let variables = HashMap::from([("OTEL_SDK_DISABLED".to_owned(), "true".to_owned())]);
    let run = super::args::Run::default();
    let config = super::load(run, &variables).unwrap();
    assert!(config.disabled && config.disabled_by().contains("OTEL_SDK_DISABLED"));
}

#[test]
fn what_is_wrong_in_the_files_of_destinations_is_told_at_once() {
    let (authority, folder) = (Authority::new(), Folder::new("check"));
    let ((cert, _), (_, key)) = (authority.issue("one"), authority.issue("two"));
    let path = |path: std::path::PathBuf| path.display().to_string();
    let (plain, headers, token) =
        (folder.file("plain", "no PEM"), folder.file("headers", "a: b\nsecret"), folder.file("token", " \n"));
    let below = path(plain.join("queue"));
    let text = format!(
        "distribution:
  spandrel:
    spill: {{path: {below}}}
    dead_letters: {{path: {}}}
    destinations:
      - name: one
        exporter:
          otlp_http:
            endpoint: https://h:4318/v1/traces
            headers_file: {}
            token_file: {}
            tls: {{ca_file: {}, server_name: \"a b\"}}
      - name: two
        exporter:
          otlp_grpc:
            endpoint: https://h:4317
            tls: {{cert_file: {}, key_file: {}, ca_file: {}}}
",
        path(folder.path("not/yet/there")),
        path(headers),
        path(token),
        path(plain),
        path(cert),
        path(key),
        path(authority.certificate()),
    );
    let Err(mistakes) = read(&text) else { panic!("nothing is wrong") };
    let told: Vec<_> = mistakes.0.iter().map(ToString::to_string).collect();
    for words in [
        [":4 ", "spill", "is no folder"],
        ["one", "plain", "no certificate"],
        ["one", "a b", "name of a server"],
        ["one", "headers", "line 2"],
        ["one", "token", "one token"],
        ["two", "TLS", "does not hold together"],
    ] {
        assert!(told.iter().any(|line| words.iter().all(|word| line.contains(word))), "{words:?}: {told:#?}");
    }
    assert!(told.iter().all(|line| line.contains(".yaml:") && !line.contains("secret")), "{told:#?}");
    assert_eq!(told.len(), 6, "{told:#?}");
    assert!(!folder.path("not").exists());
}

#[test]
fn sizes_that_are_too_small_are_told_with_the_least() {
    let mistakes = read(
        "distribution:
  spandrel:
    spill: {path: /tmp/q, max_bytes: 4194303}
    destinations:
      - {name: a, exporter: {file: {path: /tmp/a.json, max_files: 0}}}
      - {name: b, exporter: {file: {path: /tmp/b.json, max_bytes: 1048575, max_files: 1001}}}
",
    );
    let mistakes = mistakes.unwrap_err().to_string();
    for said in ["4194304 (4 MiB)", "1048576 (1 MiB)", "a.exporter.file.max_files", "from 1 to 1000"] {
        assert!(mistakes.contains(said), "{said}: {mistakes}");
    }
}

#[test]
fn each_setting_is_on_a_line() {
    let config = read(
        "distribution:
  spandrel:
    destinations:
      - {name: a, exporter: {file: {path: \"/tmp/a\\nb\\e[31m\\u2028.json\"}}}
",
    );
    let text = super::show::text(&config.unwrap());
    let row = text.lines().find(|line| line.contains("/tmp/a")).unwrap();
    assert!(row.contains("/tmp/a\\nb\\u001b[31m\\u2028.json"), "{row}");
}
