//! What people can choose about spans, and the OpenTelemetry variables that say it.

use super::{
    redact,
    semconv::{HTTP_REQUEST_HEADER, HTTP_RESPONSE_HEADER},
};
use crate::exchange::Role;

/// Attributes that a span may have unless a variable says otherwise (trace/sdk.md, "Span Limits").
pub const ATTRIBUTES: usize = 128;

/// Bounds on a span's attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub count: usize,
    /// In characters; `None` for no bound.
    pub value_length: Option<usize>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { count: ATTRIBUTES, value_length: None }
    }
}

/// A header field that is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// In lower case.
    pub name: Box<str>,
    /// The attribute that it goes into.
    pub key: Box<str>,
    /// Its value must not be shown.
    pub sanitize: bool,
}

/// What is recorded only on request, for one kind of span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OptIn {
    pub request_fields: Vec<Field>,
    pub response_fields: Vec<Field>,
    /// `http.request.body.size` and `http.response.body.size`.
    pub body_sizes: bool,
}

/// The choices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpanPolicy {
    /// The methods that are recorded as they are; `None` for [`super::semconv::METHODS`].
    pub known_methods: Option<Vec<Box<str>>>,
    /// What may not be shown.
    pub redaction: redact::Policy,
    pub server: OptIn,
    pub client: OptIn,
    pub limits: Limits,
    /// Calls have the attributes' names from before the RPC conventions were stable, too (`rpc/dup`).
    pub older_rpc: bool,
}

impl SpanPolicy {
    /// Reads the choices from variables. Gives every mistake, each with what to do about it.
    ///
    /// Header capture has two families of names, both taken, their lists joined: `..._SERVER_CAPTURE_REQUEST_HEADERS`
    /// (Java, Node) and `..._CAPTURE_HEADERS_SERVER_REQUEST` (Python). Body sizes follow the variable that
    /// the Java agent has for them.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Vec<String>> {
        let mut reader = Reader { lookup, mistakes: Vec::new() };
        let sanitize = reader.names(&["OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS"]);
        let methods = reader.list("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS");
        let policy = Self {
            known_methods: (!methods.is_empty()).then(|| methods.into_iter().map(Into::into).collect()),
            server: reader.opt_in("SERVER", &sanitize),
            client: reader.opt_in("CLIENT", &sanitize),
            limits: Limits {
                count: reader
                    .number(["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"])
                    .unwrap_or(ATTRIBUTES),
                value_length: reader
                    .number(["OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"]),
            },
            ..Self::default()
        };
        if reader.mistakes.is_empty() { Ok(policy) } else { Err(reader.mistakes) }
    }

    /// The opt-ins for one kind of span.
    pub(super) fn opt_in(&self, role: Role) -> &OptIn {
        match role {
            Role::Server => &self.server,
            Role::Client => &self.client,
        }
    }
}

/// Reads variables and remembers the mistakes.
struct Reader<F> {
    lookup: F,
    mistakes: Vec<String>,
}

impl<F: Fn(&str) -> Option<String>> Reader<F> {
    /// A value; an empty one is one that is not set.
    fn value(&self, variable: &str) -> Option<String> {
        (self.lookup)(variable).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn list(&self, variable: &str) -> Vec<String> {
        let value = self.value(variable).unwrap_or_default();
        value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    /// Names of header fields, in lower case, each once.
    fn names(&mut self, variables: &[&str]) -> Vec<String> {
        let mut names = Vec::new();
        for variable in variables {
            for name in self.list(variable) {
                let name = name.to_ascii_lowercase();
                let plain = name.bytes().all(|b| spandrel_common::http1::is_token(b) && b != b'*');
                if !plain {
                    self.mistakes.push(format!(
                        "{variable}: {name:?} is not the name of a header; write each name in full \
                         (patterns are not supported)"
                    ));
                } else if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    fn flag(&mut self, variable: &str) -> bool {
        let value = self.value(variable).unwrap_or_default().to_ascii_lowercase();
        if !matches!(value.as_str(), "" | "true" | "false") {
            self.mistakes.push(format!("{variable}={value:?}: use true or false"));
        }
        value == "true"
    }

    /// The first of two variables that is set.
    fn number(&mut self, [own, general]: [&str; 2]) -> Option<usize> {
        let (variable, value) = match (self.value(own), self.value(general)) {
            (Some(value), _) => (own, value),
            (None, Some(value)) => (general, value),
            (None, None) => return None,
        };
        let number = value.parse().ok();
        if number.is_none() {
            self.mistakes.push(format!("{variable}={value:?}: use a whole number, 0 or more"));
        }
        number
    }

    fn opt_in(&mut self, kind: &str, sanitize: &[String]) -> OptIn {
        let mut fields = |what: &str, prefix: &str| {
            let java = format!("OTEL_INSTRUMENTATION_HTTP_{kind}_CAPTURE_{what}_HEADERS");
            let python = format!("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_{kind}_{what}");
            let names = self.names(&[&java, &python]);
            let field = |name: String| Field {
                key: format!("{prefix}{name}").into(),
                sanitize: sanitize.contains(&name),
                name: name.into(),
            };
            names.into_iter().map(field).collect()
        };
        OptIn {
            request_fields: fields("REQUEST", HTTP_REQUEST_HEADER),
            response_fields: fields("RESPONSE", HTTP_RESPONSE_HEADER),
            body_sizes: self.flag(&format!("OTEL_INSTRUMENTATION_HTTP_{kind}_EMIT_EXPERIMENTAL_TELEMETRY")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<SpanPolicy, Vec<String>> {
        SpanPolicy::read(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn names(fields: &[Field]) -> Vec<&str> {
        fields.iter().map(|field| &*field.name).collect()
    }

    #[test]
    fn nothing_said() {
        assert_eq!(read(&[]), Ok(SpanPolicy::default()));
        assert_eq!(read(&[("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", " ")]), Ok(SpanPolicy::default()));
    }

    #[test]
    fn everything_said() {
        let policy = read(&[
            ("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "GET, purge"),
            ("OTEL_INSTRUMENTATION_HTTP_SERVER_CAPTURE_REQUEST_HEADERS", "X-Request-Id, Cookie,"),
            ("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST", "accept,cookie"),
            ("OTEL_INSTRUMENTATION_HTTP_SERVER_CAPTURE_RESPONSE_HEADERS", "ETag"),
            ("OTEL_INSTRUMENTATION_HTTP_CLIENT_CAPTURE_REQUEST_HEADERS", "a"),
            ("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_RESPONSE", "b"),
            ("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS", "Cookie"),
            ("OTEL_INSTRUMENTATION_HTTP_SERVER_EMIT_EXPERIMENTAL_TELEMETRY", "TRUE"),
            ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "10"),
            ("OTEL_ATTRIBUTE_COUNT_LIMIT", "20"),
            ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "30"),
        ])
        .expect("no mistakes");
        assert_eq!(policy.known_methods, Some(vec!["GET".into(), "purge".into()]));
        assert_eq!(names(&policy.server.request_fields), ["x-request-id", "cookie", "accept"]);
        let cookie = &policy.server.request_fields[1];
        assert!(cookie.sanitize && !policy.server.request_fields[0].sanitize);
        assert_eq!(&*cookie.key, "http.request.header.cookie");
        assert_eq!(&*policy.server.response_fields[0].key, "http.response.header.etag");
        assert_eq!(names(&policy.client.request_fields), ["a"]);
        assert_eq!(names(&policy.client.response_fields), ["b"]);
        assert!(policy.server.body_sizes && !policy.client.body_sizes);
        assert_eq!(policy.limits, Limits { count: 10, value_length: Some(30) });
    }

    #[test]
    fn every_mistake_is_told() {
        let mistakes = read(&[
            ("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST", "x-.*,ok,a b"),
            ("OTEL_INSTRUMENTATION_HTTP_CLIENT_EMIT_EXPERIMENTAL_TELEMETRY", "yes"),
            ("OTEL_ATTRIBUTE_COUNT_LIMIT", "-1"),
            ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "many"),
        ])
        .expect_err("has mistakes");
        assert_eq!(mistakes.len(), 5, "{mistakes:?}");
    }
}
