//! Spans as a backend receives them: OTLP/JSON, typed.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde_json::Value as Json;

/// A span's kind, of those that the agent makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Server,
    Client,
    Producer,
}

/// The value of an attribute. Compares with `&str`, integers and `bool`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Str(String),
    Int(i64),
    Double(f64),
    Bool(bool),
    List(Vec<Self>),
}

impl PartialEq<&str> for Value {
    fn eq(&self, other: &&str) -> bool {
        matches!(self, Self::Str(text) if text == other)
    }
}

impl PartialEq<i64> for Value {
    fn eq(&self, other: &i64) -> bool {
        matches!(self, Self::Int(number) if number == other)
    }
}

impl PartialEq<bool> for Value {
    fn eq(&self, other: &bool) -> bool {
        matches!(self, Self::Bool(flag) if flag == other)
    }
}

/// Attributes by their names.
pub type Attributes = BTreeMap<String, Value>;

/// One span with its resource. `{:?}` leaves the resource out, but for the service and the process.
#[derive(Clone)]
pub struct Span {
    /// 32 lower-case hex digits.
    pub trace_id: String,
    /// 16 lower-case hex digits.
    pub span_id: String,
    /// The same; `None` for a root.
    pub parent_id: Option<String>,
    pub trace_state: String,
    /// W3C flags in the low byte; 0x100: it is known whether the parent is remote; 0x200: it is.
    pub flags: u32,
    pub name: String,
    pub kind: Kind,
    /// Nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// Nanoseconds since the Unix epoch.
    pub end_ns: u64,
    /// Whether the status is Error.
    pub error: bool,
    pub attributes: Attributes,
    /// Trace and span that it links to.
    pub links: Vec<(String, String)>,
    pub resource: Arc<Attributes>,
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace_id, span_id, flags, name, kind, error, .. } = self;
        let parent = self.parent_id.as_deref().unwrap_or("none");
        write!(f, "{kind:?} {name} of {} ({}), ", self.service(), self.pid())?;
        write!(f, "trace {trace_id} span {span_id} parent {parent} flags {flags:#x} ")?;
        write!(
            f,
            "state {:?} start {} took {} ns",
            self.trace_state,
            self.start_ns,
            self.end_ns.wrapping_sub(self.start_ns)
        )?;
        if *error {
            write!(f, ", error")?;
        }
        for (key, value) in &self.attributes {
            write!(f, ", {key}={value}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Str(text) => write!(f, "{text:?}"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Double(number) => write!(f, "{number}"),
            Self::Bool(flag) => write!(f, "{flag}"),
            Self::List(values) => f.debug_list().entries(values).finish(),
        }
    }
}

impl Span {
    /// An attribute, if it is there.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.attributes.get(key)
    }

    /// An attribute that is text.
    pub fn str(&self, key: &str) -> Option<&str> {
        text(self.attributes.get(key))
    }

    /// An attribute that is an integer.
    pub fn int(&self, key: &str) -> Option<i64> {
        match self.attributes.get(key) {
            Some(Value::Int(number)) => Some(*number),
            _ => None,
        }
    }

    /// `service.name`.
    pub fn service(&self) -> &str {
        text(self.resource.get("service.name")).unwrap_or("")
    }

    /// `process.pid`, 0 if it is not told.
    pub fn pid(&self) -> u32 {
        match self.resource.get("process.pid") {
            Some(Value::Int(pid)) => *pid as u32,
            _ => 0,
        }
    }

    /// `http.response.status_code`.
    pub fn status(&self) -> Option<i64> {
        self.int("http.response.status_code")
    }

    /// `url.path` of a server span, the path in `url.full` of a client span.
    pub fn path(&self) -> &str {
        if let Some(path) = self.str("url.path") {
            return path;
        }
        let url = self.str("url.full").unwrap_or("");
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("");
        path.split(['?', '#']).next().unwrap_or("")
    }

    /// Fails the test unless each of these attributes is there with this value.
    #[track_caller]
    pub fn assert_has(&self, expected: &[(&str, Value)]) {
        for (key, value) in expected {
            assert_eq!(self.attributes.get(*key), Some(value), "{key} of {self:#?}");
        }
    }

    /// Fails the test if any of these attributes is there.
    #[track_caller]
    pub fn assert_lacks(&self, keys: &[&str]) {
        for key in keys {
            assert_eq!(self.attributes.get(*key), None, "{key} of {self:#?}");
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Int(number.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Int(number.into())
    }
}

fn text(value: Option<&Value>) -> Option<&str> {
    match value {
        Some(Value::Str(text)) => Some(text),
        _ => None,
    }
}

/// Reads one line: an object with `resourceSpans`, as the agent's console and the Collector's file exporter
/// write them. Whatever is not as OTLP/JSON has it fails the test.
#[track_caller]
pub fn parse(line: &str) -> Vec<Span> {
    let json: Json = serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON: {error}: {line}"));
    let mut spans = Vec::new();
    for group in list(&json, "resourceSpans") {
        let resource = Arc::new(group.get("resource").map(attributes).unwrap_or_default());
        for scope in list(group, "scopeSpans") {
            for span in list(scope, "spans") {
                spans.push(read(span, Arc::clone(&resource)).unwrap_or_else(|| panic!("no span: {span:#}")));
            }
        }
    }
    spans
}

fn list<'a>(json: &'a Json, key: &str) -> &'a [Json] {
    json.get(key).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

fn read(span: &Json, resource: Arc<Attributes>) -> Option<Span> {
    let id = |key: &str, digits: usize| {
        let id = span.get(key)?.as_str()?;
        let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        (id.len() == digits && id.bytes().all(hex)).then(|| id.to_owned())
    };
    let moment = |key: &str| span.get(key)?.as_str()?.parse().ok();
    let parent = span.get("parentSpanId").and_then(Json::as_str).unwrap_or("");
    Some(Span {
        trace_id: id("traceId", 32)?,
        span_id: id("spanId", 16)?,
        parent_id: if parent.is_empty() { None } else { Some(id("parentSpanId", 16)?) },
        trace_state: span.get("traceState").and_then(Json::as_str).unwrap_or("").to_owned(),
        flags: span.get("flags").and_then(Json::as_u64).unwrap_or(0) as u32,
        name: span.get("name")?.as_str()?.to_owned(),
        kind: match span.get("kind")?.as_u64()? {
            2 => Kind::Server,
            3 => Kind::Client,
            4 => Kind::Producer,
            _ => return None,
        },
        start_ns: moment("startTimeUnixNano")?,
        end_ns: moment("endTimeUnixNano")?,
        error: span.get("status").and_then(|status| status.get("code")?.as_u64()) == Some(2),
        attributes: attributes(span),
        links: list(span, "links")
            .iter()
            .map(|link| {
                Some((link.get("traceId")?.as_str()?.to_owned(), link.get("spanId")?.as_str()?.to_owned()))
            })
            .collect::<Option<_>>()?,
        resource,
    })
}

#[track_caller]
fn attributes(json: &Json) -> Attributes {
    let mut attributes = Attributes::new();
    for attribute in list(json, "attributes") {
        let key = attribute.get("key").and_then(Json::as_str).expect("an attribute's name");
        let value = attribute.get("value").and_then(value);
        let value = value.unwrap_or_else(|| panic!("no value: {attribute}"));
        assert!(attributes.insert(key.to_owned(), value).is_none(), "{key} is there twice: {json:#}");
    }
    attributes
}

fn value(json: &Json) -> Option<Value> {
    let (kind, value) = json.as_object()?.iter().next()?;
    Some(match kind.as_str() {
        "stringValue" => Value::Str(value.as_str()?.to_owned()),
        "intValue" => Value::Int(value.as_str()?.parse().ok()?),
        "doubleValue" => Value::Double(value.as_f64()?),
        "boolValue" => Value::Bool(value.as_bool()?),
        "arrayValue" => Value::List(list(value, "values").iter().map(self::value).collect::<Option<_>>()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"resourceSpans":[{"resource":{"attributes":[
        {"key":"service.name","value":{"stringValue":"shop"}},{"key":"process.pid","value":{"intValue":"7"}}]},
        "scopeSpans":[{"scope":{"name":"s"},"spans":[{"traceId":"0123456789abcdef0123456789abcdef",
        "spanId":"0123456789abcdef","flags":257,"name":"GET","kind":3,"startTimeUnixNano":"1",
        "endTimeUnixNano":"2","status":{"code":2},"attributes":[
        {"key":"url.full","value":{"stringValue":"http://h:1/a/b?c=d"}},
        {"key":"l","value":{"arrayValue":{"values":[{"boolValue":true}]}}}]}]}]}]}"#;

    #[test]
    fn a_span_is_read() {
        let spans = parse(LINE);
        let [span] = spans.as_slice() else { panic!("{spans:?}") };
        assert_eq!((span.service(), span.pid(), span.path()), ("shop", 7, "/a/b"));
        assert_eq!((span.kind, span.error, span.parent_id.as_deref()), (Kind::Client, true, None));
        assert_eq!(span.get("l"), Some(&Value::List(vec![Value::Bool(true)])));
        assert_eq!((span.start_ns, span.end_ns, span.flags), (1, 2, 257));
    }

    #[test]
    #[should_panic(expected = "no span")]
    fn an_id_that_is_no_id_fails() {
        crate::told::expect_failure();
        parse(&LINE.replace("\"0123456789abcdef\"", "\"0123456789ABCDEF\""));
    }
}
