//! Which HTTP headers spans show, and which of them without their value.

use globset::GlobBuilder;
use http::HeaderName;

use super::{
    mistake::{Findings, exit},
    settings::HttpConfig,
};

/// Adds header names in lower case, each once.
pub(super) fn add(place: &str, names: &[String], all: &mut Vec<String>, findings: &mut Findings) {
    for name in names {
        // A star may stand in a header's name, but nobody means that.
        let parsed = HeaderName::try_from(name.as_str()).ok().filter(|name| !name.as_str().contains('*'));
        match parsed {
            Some(name) if all.iter().any(|known| known == name.as_str()) => {}
            Some(name) => all.push(name.as_str().to_owned()),
            None => {
                let what = format!("{name:?} cannot be a header's name");
                findings.mistake(
                    exit::CONFIG,
                    place,
                    what,
                    "list whole header names; patterns do not work here",
                );
            }
        }
    }
}

/// Names of methods: tokens (RFC 9110, section 9.1).
pub(super) fn methods(place: &str, names: &[String], findings: &mut Findings) {
    for name in names.iter().filter(|name| http::Method::from_bytes(name.as_bytes()).is_err()) {
        let what = format!("{name:?} cannot be a method's name");
        findings.mistake(exit::CONFIG, place, what, "list methods like GET,POST,PURGE");
    }
}

/// Marks shown headers whose names match one of `fields` as redacted. A field is a name, or a pattern in
/// which `.*` stands for anything (the regular expressions of other agents, as far as people use them).
pub(super) fn redact(place: &str, fields: &[String], http: &mut HttpConfig, findings: &mut Findings) {
    for field in fields {
        let glob = field.replace(".*", "*");
        let plain = !glob.is_empty() && glob.chars().all(|c| c.is_ascii_alphanumeric() || "-_*".contains(c));
        let glob = GlobBuilder::new(&glob).case_insensitive(true).build();
        let (true, Ok(glob)) = (plain, glob) else {
            let what = format!("{field:?} is neither a header's name nor a pattern with .*");
            findings.mistake(
                exit::CONFIG,
                place,
                what,
                "write names like Authorization, or patterns like .*token.*",
            );
            continue;
        };
        let matcher = glob.compile_matcher();
        let HttpConfig {
            server_request_headers,
            server_response_headers,
            client_request_headers,
            client_response_headers,
            ..
        } = &*http;
        let shown = [
            server_request_headers,
            server_response_headers,
            client_request_headers,
            client_response_headers,
        ];
        let mut hidden: Vec<_> =
            shown.into_iter().flatten().filter(|name| matcher.is_match(name)).cloned().collect();
        http.redacted_headers.append(&mut hidden);
    }
    http.redacted_headers.sort_unstable();
    http.redacted_headers.dedup();
}
