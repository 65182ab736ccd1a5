//! Secrets in every field of a request come out nowhere: not as OTLP, not as JSON, not in metrics, not in the report.
#![cfg(test)]

use std::{net::SocketAddr, sync::Arc};

use spandrel::{
    discover::resource::Resource,
    exchange::{Addr, Connection, Exchange, Outcome, Protocol, Role},
    export::{
        json,
        metrics::{Snapshot, Source, prometheus},
        otlp,
        report::Report,
        text::Format,
    },
    protocol::message::Head,
    span::{
        Attribute, Builder, ClockAnchor, SpanPolicy, Value,
        measure::{Limits, Measures},
        policy::{Field, OptIn},
    },
    stats::{Redaction, Stats},
};
use spandrel_common::sample::Policy;

/// What must not come out. Each secret holds one of them.
const CANARIES: [&str; 10] = [
    "canary-password",
    "canary-token",
    "canary-cookie",
    "canary-user",
    "Y2FuYXJ5",
    "IOSFODNN7CANARY0",
    "411111111111",
    "canarybearer1",
    "canaryAAAAAAAAAAAAAAAAAAAAAAAAA",
    "CANARYFEMI",
];

/// Secrets as they stand in texts.
const SECRETS: [&str; 17] = [
    "password=canary-password",
    "access_token=canary-token;x",
    "Bearer canarybearer1",
    "eyJhbGciOiJIUzI1NiJ9.Y2FuYXJ5.Y2FuYXJ5",
    "AKIAIOSFODNN7CANARY0",
    "4111111111111111",
    "http://canary-user:canary-password@h/",
    "ghp_canaryAAAAAAAAAAAAAAAAAAAAAAAAA",
    "client_assertion=canary-token",
    "code_verifier%20=canary-token",
    "%2570assword%2500=canary-password",
    "to=http%3A%2F%2Fcanary-user%3Acanary-password%40h%2F",
    "to=http%253A%252F%252Fcanary-user%253Acanary-password%2540h%252F",
    "j=%7B%22password%22%3A%22canary-password%22%7D",
    "j=%7B%22token%22%3A%5B%22A%22,%22canary-token%22%5D%7D",
    "j=%7B%5C%22password%5C%22%3A%5C%22a%5C%5C%5C%22canary-password%5C%22%7D",
    "AKIAIOSFODNN7CANARY0:wJalrXUtCANARYFEMI%2FMDENG%2BbPxRfiCYKEYSXYZ",
];

fn field(name: &str) -> Field {
    Field { name: name.into(), key: format!("http.request.header.{name}").into(), sanitize: false }
}

fn exchange(role: Role, head: &str) -> Exchange {
    let [client, server] =
        ["10.0.0.1:40000", "10.0.0.2:8080"].map(|text| Addr::Ip(text.parse::<SocketAddr>().unwrap()));
    let (local, peer) = if role == Role::Server { (server, client) } else { (client, server) };
    let response =
        "HTTP/1.1 302 Found\r\nLocation: /next?token=canary-token\r\nSet-Cookie: s=canary-cookie\r\n\r\n";
    Exchange {
        connection: Arc::new(Connection { id: 1, seed: [1, 2], role, local, peer, netns: 0 }),
        cause: spandrel_common::context::Cause::NONE,
        protocol: Protocol::Http1,
        tgid: 7,
        tid: 8,
        pos: 0,
        start_ns: 2_000,
        end_ns: 5_000,
        wait_ns: 0,
        request: Head::copy(head.as_bytes(), false),
        request_body: 0,
        response: Some((302, Head::copy(response.as_bytes(), false))),
        response_body: 0,
        trailers: None,
        outcome: Outcome::Complete,
        gap: false,
        sampled: None,
    }
}

#[test]
fn secrets_come_out_nowhere() {
    let names =
        ["authorization", "cookie", "x-api-key", "referer", "x-any", "x-json", "x-forwarded-client-cert"];
    let opt_in = OptIn {
        request_fields: names.map(field).into(),
        response_fields: ["location", "set-cookie"].map(field).into(),
        body_sizes: true,
    };
    let policy = SpanPolicy { server: opt_in.clone(), client: opt_in, ..SpanPolicy::default() };
    let stats = Arc::<Stats>::default();
    let mut builder = Builder::new(policy, Policy::DEFAULT, ClockAnchor::default(), Arc::clone(&stats));
    let measures = Measures::new(Limits { max_series: 1000, exponential: true, exemplars: true });
    builder.measure(Some(Arc::clone(&measures)));
    let name = Attribute { key: "service.name".into(), value: Value::Str("shop".into()) };
    let resource = Arc::new(Resource { id: 1, service: "shop".into(), attributes: vec![name] });

    let mut spans = Vec::new();
    for secret in SECRETS {
        let plain = secret.replace(' ', "%20");
        let value = secret.rsplit(['=', ' ']).next().unwrap();
        for role in [Role::Server, Role::Client] {
            let lines = [
                format!("GET /p/{plain}/x?q={plain}&{plain}&r=1 HTTP/1.1"),
                format!(
                    "GET http://canary-user:canary-password@h:1/p?api_key=canary-token&to={plain} HTTP/1.1"
                ),
                "CONNECT canary-user:canary-password@h:443 HTTP/1.1".to_owned(),
                // Slashes are no part of a method.
                format!("{} / HTTP/1.1", if plain.contains('/') { "GET" } else { &plain }),
            ];
            for line in lines {
                let head = format!(
                    "{line}\r\nHost: {plain}\r\nUser-Agent: agent/1 ({secret})\r\n\
                     Authorization: Bearer canary-token\r\nCookie: a={value}; b=canary-cookie\r\n\
                     X-Api-Key: canary-token\r\nReferer: http://h/?next={plain}&sid=canary-token\r\n\
                     X-Any: before {secret} behind\r\nX-Json: {{\"password\": \"canary-password\"}}\r\n\
                     X-Forwarded-Client-Cert: canary-token\r\nX-Forwarded-For: {secret}\r\n\
                     X-Forwarded-Host: {plain}\r\nX-Forwarded-Proto: {plain}\r\nForwarded: host=\"{plain}\"\r\n\
                     traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\
                     tracestate: a={}\r\n\r\n",
                    if plain.contains('=') { "1" } else { &plain },
                );
                spans.extend(builder.build(&exchange(role, &head), Arc::clone(&resource)));
            }
        }
    }
    assert_eq!(spans.len(), SECRETS.len() * 8);

    let source = Source::new(Arc::clone(&stats), Vec::new(), Snapshot::default);
    source.set_measures(measures);
    let report = serde_json::to_string(&Report::read(&source)).unwrap();
    let outputs = [
        ("OTLP", String::from_utf8_lossy(&otlp::encode(&spans)).into_owned()),
        ("JSON", String::from_utf8(json::line(&spans)).unwrap()),
        ("Prometheus", prometheus(&source, Format::Prometheus)),
        ("OpenMetrics", prometheus(&source, Format::OpenMetrics)),
        ("the report", report),
        ("debugging", format!("{spans:?}")),
    ];
    for (name, output) in outputs {
        for canary in CANARIES {
            if let Some(at) = output.find(canary) {
                let from = output.floor_char_boundary(at.saturating_sub(200));
                panic!("{canary} is in {name}: {}", &output[from..at + canary.len()]);
            }
        }
    }
    for rule in [
        Redaction::UrlCredentials,
        Redaction::SecretName,
        Redaction::SecretHeader,
        Redaction::AuthScheme,
        Redaction::Jwt,
        Redaction::AwsKey,
        Redaction::CardNumber,
        Redaction::IssuedToken,
    ] {
        assert!(stats.redactions(rule) > 0, "{rule:?} was never needed");
    }
}
