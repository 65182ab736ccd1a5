//! What the agent adds to the file, where metrics go, how it all is shown, and how mistakes in it are told.

use super::*;

const OURS: &str = r#"
file_format: "1.1"
meter_provider:
  exemplar_filter: always_off
  readers:
    - periodic:
        interval: 5000
        exporter:
          otlp_http:
            temporality_preference: delta
            default_histogram_aggregation: base2_exponential_bucket_histogram
            headers: [{name: authorization, value: hunter2}]
    - pull: {exporter: {prometheus/development: {host: 127.0.0.1, port: 9999}}}
distribution:
  spandrel:
    redaction:
      names: [color]
      also_names: [shape]
      values: {jwt: false, emails: true}
      allowed_query: [page]
      paths: named
      max_templates: 7
    sampling:
      rules:
        - {name: health, path: /health*, ratio: 0}
        - {service: shop-*, method: POST, header: {name: X-Debug}, per_second: 5}
    metrics: {max_series: 10}
"#;

#[test]
fn what_is_this_agent_s_own() {
    let config = from_file(OURS, "", &[]).unwrap();
    assert_eq!(config.metrics.as_ref().unwrap().endpoint.to_string(), "http://localhost:4318/v1/metrics");
    let measures = &config.measures;
    assert_eq!(measures.temporality, settings::Temporality::Delta);
    assert!(measures.exponential && !measures.exemplars && measures.requests);
    assert_eq!((measures.interval, measures.max_series), (Some(Duration::from_secs(5)), 10));
    assert_eq!(config.listen, Some("127.0.0.1:9999".parse().unwrap()));
    let redaction = &config.redaction;
    assert_eq!(redaction.names, [Box::from("color"), Box::from("shape")]);
    assert!(redaction.values.emails && !redaction.values.jwt && redaction.values.cards);
    assert_eq!((redaction.paths, redaction.max_templates), (redact::Paths::Named, 7));
    assert_eq!(redaction.allowed_query.as_deref(), Some(&[Box::from("page")][..]));
    let rules = &config.sampling.rules;
    assert_eq!(
        (rules[0].name.as_str(), rules[0].path.as_deref(), rules[0].ratio),
        ("health", Some("/health*"), 0.0)
    );
    assert_eq!((rules[1].name.as_str(), rules[1].per_second), ("2", Some(5)));
    assert_eq!(rules[1].header, Some(("x-debug".to_owned(), "*".to_owned())));
    let wrong = OURS.replace("ratio: 0", "ratio: 2").replace("max_series: 10", "max_series: 0");
    assert_eq!(from_file(&wrong, "", &[]).unwrap_err().0.len(), 2);
    let own = [("OTEL_METRICS_EXPORTER", "prometheus"), ("OTEL_EXPORTER_PROMETHEUS_PORT", "1234")];
    assert_eq!(good("", &own).listen, Some("127.0.0.1:1234".parse().unwrap()));
}

/// What a template leaves empty is not taken as what is not said, where that would show more than was meant.
#[test]
fn nothing_is_selected_or_allowed_by_an_empty_value() {
    let read = |text: &str| {
        let text = format!("file_format: \"1.1\"\ndistribution: {{spandrel: {{{text}}}}}\n");
        from_file(&text, "", &[])
    };
    for bad in [
        "select: {exe: []}",
        "select: {exe: , port: []}",
        "select: {}",
        "select: ",
        "redaction: {allowed_query: }",
        "redaction: {allowed_attributes: }",
    ] {
        let mistakes = read(bad).err().unwrap_or_else(|| panic!("{bad} is accepted"));
        assert_eq!(mistakes.0.len(), 1, "{bad}: {mistakes}");
        assert!(mistakes.to_string().contains(".yaml:2 (distribution.spandrel."), "{mistakes}");
    }
    for good in ["select: {exe: [], port: [80]}", "redaction: {allowed_query: []}", "redaction: {names: }"] {
        assert!(read(good).is_ok(), "{good}");
    }
}

/// Metrics that are sent without a pause would take a core.
#[test]
fn there_is_a_pause_between_metrics() {
    let file = |interval: &str| OURS.replace("interval: 5000", &format!("interval: {interval}"));
    let variables = |interval| [("OTEL_METRICS_EXPORTER", "otlp"), ("OTEL_METRIC_EXPORT_INTERVAL", interval)];
    for bad_one in ["0", "99"] {
        assert_eq!(from_file(&file(bad_one), "", &[]).unwrap_err().0.len(), 1, "{bad_one}");
        assert_eq!(bad("", &variables(bad_one)).0.len(), 1, "{bad_one}");
    }
    let interval = Some(Duration::from_millis(100));
    assert_eq!(from_file(&file("100"), "", &[]).unwrap().measures.interval, interval);
    assert_eq!(good("", &variables("100")).measures.interval, interval);
}

#[test]
fn shown_is_where_each_value_comes_from_and_no_secret() {
    let config = from_file(OURS, "--port 80 --console json", &[]).unwrap();
    let text = show::text(&config);
    assert!(!text.contains("hunter2"), "{text}");
    let line = |key: &str| {
        text.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key}: {text}"))
    };
    assert!(line("distribution.spandrel.select").ends_with("# --port"), "{text}");
    assert!(line("distribution.spandrel.console").ends_with("# --console"), "{text}");
    assert!(line("distribution.spandrel.redaction.paths").ends_with(".yaml:21"), "{text}");
    assert!(line("meter_provider.readers.periodic.interval").ends_with(".yaml:7"), "{text}");
    assert!(line("meter_provider exporter").contains("authorization=(hidden)"), "{text}");
    assert!(line("tracer_provider.sampler").ends_with("# default"), "{text}");
    let variables = [("OTEL_TRACES_SAMPLER", "always_off"), ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "7")];
    let text = show::text(&good("", &variables));
    assert!(
        text.lines().any(
            |line| line.starts_with("tracer_provider.sampler") && line.ends_with("# OTEL_TRACES_SAMPLER")
        )
    );
    // An argument that has no effect is not where the sampler comes from.
    let source = |variables: &[(&str, &str)]| {
        let text = show::text(&good("", variables));
        let line = text.lines().find(|line| line.starts_with("tracer_provider.sampler")).unwrap().to_owned();
        line.rsplit("# ").next().unwrap().to_owned()
    };
    let argument = ("OTEL_TRACES_SAMPLER_ARG", "0.5");
    assert_eq!(source(&[argument]), "default");
    assert_eq!(source(&[("OTEL_TRACES_SAMPLER", "always_on"), argument]), "OTEL_TRACES_SAMPLER");
    assert!(source(&[("OTEL_TRACES_SAMPLER", "traceidratio"), argument]).starts_with("OTEL_TRACES_SAMPLER"));
    assert!(
        text.lines().any(|line| line.contains("attribute_count_limit ")
            && line.ends_with("# OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"))
    );
}

#[test]
fn listening_beyond_loopback_is_said() {
    assert!(good("--listen 0.0.0.0:9464", &[]).notes[0].contains("others can reach"));
    assert!(good("--listen 9464", &[]).notes.is_empty());
    assert!(good("--listen [::1]:9464", &[]).notes.is_empty());
}

/// A pipe that nobody writes to would be waited for, for ever.
#[test]
fn a_file_is_a_file() {
    let folder = crate::export::testing::Folder::new("config");
    let pipe = folder.pipe("pipe").display().to_string();
    for path in [pipe.as_str(), "/dev/zero", "/tmp"] {
        let mistakes = bad(&format!("--config {path}"), &[]);
        assert_eq!((mistakes.code(), mistakes.0.len()), (exit::NOINPUT, 1), "{mistakes}");
        assert!(mistakes.to_string().contains("regular file"), "{mistakes}");
    }
}

/// A variable that several values come from is told once.
#[test]
fn one_mistake_is_told_once() {
    let mistakes = bad("", &[("OTEL_ATTRIBUTE_COUNT_LIMIT", "many")]);
    assert_eq!(mistakes.0.len(), 1, "{mistakes}");
}

#[test]
fn rules_say_what_their_patterns_cannot() {
    let rule = |rule: &str| {
        let text =
            format!("file_format: \"1.1\"\ndistribution: {{spandrel: {{sampling: {{rules: [{rule}]}}}}}}\n");
        from_file(&text, "", &[])
    };
    let long = format!("{{path: \"{}\"}}", "a".repeat(300));
    for bad in ["{path: \"/{a,b}*\"}", "{path: \"/[xy]*\"}", "{service: 'a\\*'}", "{method: get}", &long] {
        assert_eq!(rule(bad).unwrap_err().0.len(), 1, "{bad}");
    }
    for good in ["{path: \"/a?b*\"}", "{method: GET}", "{method: purge}"] {
        assert!(rule(good).is_ok(), "{good}");
    }
}

#[test]
fn what_variables_hold_is_in_no_mistake() {
    let text = "file_format: \"1.1\"\ntracer_provider: {processors: [{batch: {schedule_delay: \"${TOKEN}\", \
                exporter: {otlp_http: {endpoint: \"${TOKEN}\", compression: \"${TOKEN}\"}}}}]}\n\
                distribution: {spandrel: {listen: \"${TOKEN}\", profile: \"x${TOKEN}\"}}\n";
    let mistakes = from_file(text, "", &[("TOKEN", "can\"ary\t99")]).unwrap_err().to_string();
    assert!(!mistakes.contains("ary") && mistakes.contains("${TOKEN}"), "{mistakes}");
    assert!(mistakes.contains(".yaml:3 (distribution.spandrel.listen)"), "{mistakes}");
}
