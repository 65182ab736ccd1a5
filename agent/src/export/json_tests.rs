//! The JSON writer against the generated types' own reader, and against text.

use opentelemetry_proto::tonic::trace::v1::TracesData;
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::export::testing;

fn decode(line: &[u8]) -> TracesData {
    serde_json::from_slice(line).unwrap()
}

#[test]
fn a_line_in_full() {
    let mut spans = testing::spans(1);
    spans[0].parent_id = [0xab; 8];
    spans[0].status = Status::Error;
    spans[0].attributes = vec![
        testing::text("url.path", "/a\"b\\\u{7}\u{1f600}</script>"),
        testing::attribute("n", Value::Int(i64::MIN)),
        testing::attribute("ok", Value::Bool(false)),
        testing::attribute("ratio", Value::Double(0.25)),
        testing::attribute("nan", Value::Double(f64::NAN)),
        testing::attribute("inf", Value::Double(f64::NEG_INFINITY)),
        testing::attribute("list", Value::Strs(Box::new(["x".into(), "".into()]))),
    ];
    spans[0].resource = testing::resource(7, "shop");
    let line = String::from_utf8(line(&spans)).unwrap();
    let version = VERSION;
    assert_eq!(
        line,
        [
            r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}},"#,
            r#"{"key":"service.instance.id","value":{"stringValue":"0d6f5c4e-1111-4a4a-8888-6a1f2b3c4d5e"}},"#,
            r#"{"key":"host.name","value":{"stringValue":"node-1"}},"#,
            r#"{"key":"process.pid","value":{"intValue":"4242"}},"#,
            r#"{"key":"telemetry.sdk.language","value":{"stringValue":"rust"}}]},"#,
            &format!(r#""scopeSpans":[{{"scope":{{"name":"spandrel","version":"{version}"}},"#),
            r#""spans":[{"traceId":"0000000000000000123456789abcdef0","spanId":"0000000000000001","#,
            r#""parentSpanId":"abababababababab","flags":259,"name":"GET","kind":2,"#,
            r#""startTimeUnixNano":"1790000000000000000","endTimeUnixNano":"1790000000012000000","#,
            r#""attributes":[{"key":"url.path","value":{"stringValue":"/a\"b\\\u0007😀</script>"}},"#,
            r#"{"key":"n","value":{"intValue":"-9223372036854775808"}},"#,
            r#"{"key":"ok","value":{"boolValue":false}},"#,
            r#"{"key":"ratio","value":{"doubleValue":0.25}},"#,
            r#"{"key":"nan","value":{"doubleValue":"NaN"}},"#,
            r#"{"key":"inf","value":{"doubleValue":"-Infinity"}},"#,
            r#"{"key":"list","value":{"arrayValue":{"values":[{"stringValue":"x"},{"stringValue":""}]}}}],"#,
            r#""status":{"code":2}}],"schemaUrl":"https://opentelemetry.io/schemas/1.45.0"}],"#,
            r#""schemaUrl":"https://opentelemetry.io/schemas/1.45.0"}]}"#,
            "\n",
        ]
        .concat()
    );
}

/// JSON has no difference between an absent status and an empty one.
fn normal(mut data: TracesData) -> TracesData {
    let scopes = data.resource_spans.iter_mut().flat_map(|r| &mut r.scope_spans);
    for span in scopes.flat_map(|s| &mut s.spans) {
        span.status.get_or_insert_default();
    }
    data
}

fn has_odd_double(spans: &[Span]) -> bool {
    let links = |s: &Span| s.links.iter().flat_map(|link| link.attributes.clone()).collect::<Vec<_>>();
    let all =
        spans.iter().flat_map(|s| [s.attributes.clone(), s.resource.attributes.clone(), links(s)].concat());
    all.into_iter().any(|a| matches!(a.value, Value::Double(value) if !value.is_finite()))
}

proptest! {
    #[test]
    fn any_spans_arrive(spans in testing::any_spans()) {
        let line = line(&spans);
        prop_assert_eq!(line.split(|b| *b == b'\n').count(), 2);
        prop_assert!(line.iter().all(|b| *b >= b' ' || *b == b'\n'));
        // The generated reader does not know OTLP's names for doubles that are no numbers.
        if has_odd_double(&spans) {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&line).is_ok());
        } else {
            let expected = normal(testing::expected(&spans)).encode_to_vec();
            prop_assert_eq!(normal(decode(&line)).encode_to_vec(), expected);
        }
    }

    #[test]
    fn doubles_are_exact(value in any::<f64>()) {
        let mut out = Vec::new();
        double(&mut out, value);
        let text = std::str::from_utf8(&out).unwrap().trim_matches('"').to_owned();
        let read: f64 = text.parse().unwrap();
        prop_assert!(read.to_bits() == value.to_bits() || value.is_nan());
    }
}
