//! The cases of the W3C's own test harness (w3c/trace-context, test/test.py), by their names there, seen
//! from the side that reads the headers; then what the harness leaves out.

use super::*;

const TRACE: &str = "12345678901234567890123456789012";
const VALID: &str = "00-12345678901234567890123456789012-1234567890123456-01";
const VALID_00: &str = "00-12345678901234567890123456789012-1234567890123456-00";

/// What headers lead to: the trace id that goes on, if any, and the `tracestate` with it.
fn read(headers: &[(&str, &str)]) -> (Option<String>, String) {
    let mut extract = Extract::default();
    for (name, value) in headers {
        extract.field(name.as_bytes(), value.as_bytes());
    }
    let context = extract.finish();
    let id = context.parent.map(|parent| {
        let value = format(parent.trace_id, parent.parent_id, parent.flags);
        String::from_utf8(value[3..35].to_vec()).unwrap()
    });
    let members = context.state.iter().flat_map(|state| state.members().to_vec());
    let members: Vec<_> = members.map(|member| std::str::from_utf8(member).unwrap().to_owned()).collect();
    (id, members.join(","))
}

#[track_caller]
fn goes_on(headers: &[(&str, &str)]) {
    assert_eq!(read(headers).0.as_deref(), Some(TRACE), "{headers:?}");
}

#[track_caller]
fn starts_anew(headers: &[(&str, &str)]) {
    assert_eq!(read(headers), (None, String::new()), "{headers:?}");
}

/// A `traceparent` alone.
#[track_caller]
fn valid(value: &str) {
    goes_on(&[("traceparent", value)]);
}

#[track_caller]
fn invalid(value: &str) {
    starts_anew(&[("traceparent", value)]);
}

/// The `tracestate` that is left of headers beside a valid `traceparent`, which must go on in any case.
#[track_caller]
fn state(values: &[&str]) -> String {
    let mut headers = vec![("traceparent", VALID_00)];
    headers.extend(values.iter().map(|value| ("tracestate", *value)));
    goes_on(&headers);
    read(&headers).1
}

#[test]
fn both_traceparent_and_tracestate_missing() {
    starts_anew(&[]);
    assert!(!Extract::default().finish().bad_parent);
}

#[test]
fn traceparent_included_tracestate_missing() {
    valid(VALID);
    assert_eq!(state(&[]), "");
}

#[test]
fn traceparent_duplicated() {
    let other = VALID.replace("9012-", "9011-");
    starts_anew(&[("traceparent", &other), ("traceparent", VALID)]);
    starts_anew(&[("traceparent", VALID), ("TraceParent", VALID)]);
    starts_anew(&[("traceparent", VALID), ("traceparent", VALID), ("traceparent", VALID)]);
}

#[test]
fn traceparent_header_name() {
    starts_anew(&[("trace-parent", VALID)]);
    starts_anew(&[("trace.parent", VALID)]);
}

#[test]
fn traceparent_header_name_valid_casing() {
    for name in ["TraceParent", "TrAcEpArEnT", "TRACEPARENT"] {
        goes_on(&[(name, VALID)]);
    }
}

#[test]
fn traceparent_version_0x00() {
    invalid("00-12345678901234567890123456789012-1234567890123456-01.");
    invalid("00-12345678901234567890123456789012-1234567890123456-01-what-the-future-will-be-like");
    invalid("00-12345678901234567890123456789012-1234567890123456-01-");
}

#[test]
fn traceparent_version_0xcc() {
    valid("cc-12345678901234567890123456789012-1234567890123456-01");
    valid("cc-12345678901234567890123456789012-1234567890123456-01-what-the-future-will-be-like");
    valid("cc-12345678901234567890123456789012-1234567890123456-01-");
    invalid("cc-12345678901234567890123456789012-1234567890123456-01.what-the-future-will-be-like");
    invalid("CC-12345678901234567890123456789012-1234567890123456-01");
}

#[test]
fn traceparent_version_0xff() {
    invalid("ff-12345678901234567890123456789012-1234567890123456-01");
}

#[test]
fn traceparent_version_illegal_characters() {
    invalid(".0-12345678901234567890123456789012-1234567890123456-01");
    invalid("0.-12345678901234567890123456789012-1234567890123456-01");
}

#[test]
fn traceparent_version_too_long() {
    invalid("000-12345678901234567890123456789012-1234567890123456-01");
    invalid("0000-12345678901234567890123456789012-1234567890123456-01");
}

#[test]
fn traceparent_version_too_short() {
    invalid("0-12345678901234567890123456789012-1234567890123456-01");
}

#[test]
fn traceparent_trace_id_all_zero() {
    invalid("00-00000000000000000000000000000000-1234567890123456-01");
}

#[test]
fn traceparent_trace_id_illegal_characters() {
    invalid("00-.2345678901234567890123456789012-1234567890123456-01");
    invalid("00-1234567890123456789012345678901.-1234567890123456-01");
    invalid("00-+2345678901234567890123456789012-1234567890123456-01");
}

#[test]
fn traceparent_trace_id_too_long() {
    invalid("00-123456789012345678901234567890123-1234567890123456-01");
}

#[test]
fn traceparent_trace_id_too_short() {
    invalid("00-1234567890123456789012345678901-1234567890123456-01");
}

#[test]
fn traceparent_parent_id_all_zero() {
    invalid("00-12345678901234567890123456789012-0000000000000000-01");
}

#[test]
fn traceparent_parent_id_illegal_characters() {
    invalid("00-12345678901234567890123456789012-.234567890123456-01");
    invalid("00-12345678901234567890123456789012-123456789012345.-01");
}

#[test]
fn traceparent_parent_id_too_long() {
    invalid("00-12345678901234567890123456789012-12345678901234567-01");
}

#[test]
fn traceparent_parent_id_too_short() {
    invalid("00-12345678901234567890123456789012-123456789012345-01");
}

#[test]
fn traceparent_trace_flags_illegal_characters() {
    invalid("00-12345678901234567890123456789012-1234567890123456-.0");
    invalid("00-12345678901234567890123456789012-1234567890123456-0.");
}

#[test]
fn traceparent_trace_flags_too_long() {
    invalid("00-12345678901234567890123456789012-1234567890123456-001");
}

#[test]
fn traceparent_trace_flags_too_short() {
    invalid("00-12345678901234567890123456789012-1234567890123456-1");
}

#[test]
fn traceparent_ows_handling() {
    for (before, after) in [(" ", ""), ("\t", ""), ("", " "), ("", "\t"), ("\t ", " \t")] {
        valid(&format!("{before}{VALID}{after}"));
    }
}

#[test]
fn tracestate_included_traceparent_missing() {
    starts_anew(&[("tracestate", "foo=1")]);
    starts_anew(&[("tracestate", "foo=1,bar=2")]);
    starts_anew(&[("tracestate", "foo=1,bar=2"), ("traceparent", "00-zz")]);
}

#[test]
fn tracestate_included_traceparent_included() {
    assert_eq!(state(&["foo=1,bar=2"]), "foo=1,bar=2");
    assert_eq!(read(&[("tracestate", "foo=1,bar=2"), ("traceparent", VALID)]).1, "foo=1,bar=2");
}

#[test]
fn tracestate_header_name() {
    for name in ["trace-state", "trace.state"] {
        assert_eq!(read(&[("traceparent", VALID_00), (name, "foo=1")]).1, "");
    }
}

#[test]
fn tracestate_header_name_valid_casing() {
    for name in ["TraceState", "TrAcEsTaTe", "TRACESTATE"] {
        assert_eq!(read(&[("traceparent", VALID_00), (name, "foo=1")]).1, "foo=1");
    }
}

#[test]
fn tracestate_empty_header() {
    assert_eq!(state(&[""]), "");
    assert_eq!(state(&["foo=1", ""]), "foo=1");
    assert_eq!(state(&["", "foo=1"]), "foo=1");
    assert_eq!(state(&[",foo=1, ,\t,bar=2,"]), "foo=1,bar=2");
}

#[test]
fn tracestate_multiple_headers_different_keys() {
    let all = state(&["foo=1,bar=2", "rojo=1,congo=2", "baz=3"]);
    assert_eq!(all, "foo=1,bar=2,rojo=1,congo=2,baz=3");
}

#[test]
fn tracestate_duplicated_keys() {
    assert_eq!(state(&["foo=1,foo=1"]), "");
    assert_eq!(state(&["foo=1,foo=2"]), "");
    assert_eq!(state(&["foo=1", "foo=1"]), "");
    assert_eq!(state(&["foo=1", "foo=2"]), "");
    assert_eq!(state(&["foo=1", "foo=2", "bar=3"]), "");
}

#[test]
fn tracestate_all_allowed_characters() {
    let key = "abcdefghijklmnopqrstuvwxyz0123456789_-*/";
    let value: String = (' '..='~').filter(|c| !matches!(c, ',' | '=')).collect();
    for key in [key.to_owned(), format!("{key}@a-z0-9_-*/")] {
        let member = format!("{key}={value}");
        assert_eq!(state(&[&member]), member);
    }
}

#[test]
fn tracestate_ows_handling() {
    assert_eq!(state(&["foo=1 \t , \t bar=2, \t baz=3"]), "foo=1,bar=2,baz=3");
    assert_eq!(state(&["foo=1\t \t,\t \tbar=2,\t \tbaz=3"]), "foo=1,bar=2,baz=3");
    for value in [" foo=1", "\tfoo=1", "foo=1 ", "foo=1\t", "\t foo=1 \t"] {
        assert_eq!(state(&[value]), "foo=1");
    }
}

#[test]
fn tracestate_key_illegal_characters() {
    for value in ["foo =1", "FOO=1", "foo.bar=1", "bar=2,föö=1", "=1", "-foo=1", "_foo=1", "bar"] {
        assert_eq!(state(&[value]), "", "{value}");
    }
}

#[test]
fn tracestate_key_illegal_vendor_format() {
    // Level 1 split a key at its `@`; Level 2 only asks what a key starts with.
    assert_eq!(state(&["@foo=1,bar=2"]), "");
    for value in ["foo@=1,bar=2", "foo@@bar=1,bar=2", "foo@bar@baz=1,bar=2"] {
        assert_eq!(state(&[value]), value);
    }
}

#[test]
fn tracestate_member_count_limit() {
    let members: Vec<_> = (1..=33).map(|i| format!("bar{i:02}={i:02}")).collect();
    assert_eq!(state(&[&members[..10].join(","), &members[10..32].join(",")]), members[..32].join(","));
    assert_eq!(state(&[&members[..10].join(","), &members[10..].join(",")]), "");
}

#[test]
fn tracestate_key_length_limit() {
    for (key, kept) in [
        ("z".repeat(256), true),
        ("z".repeat(257), false),
        (format!("{}@{}", "t".repeat(241), "v".repeat(14)), true),
        (format!("{}@v", "t".repeat(242)), true),
        (format!("t@{}", "v".repeat(15)), true),
        (format!("{}@v", "t".repeat(255)), false),
    ] {
        let member = format!("{key}=1");
        let expect = if kept { format!("foo=1,{member}") } else { String::new() };
        assert_eq!(state(&["foo=1", &member]), expect);
    }
}

#[test]
fn tracestate_value_illegal_characters() {
    for value in ["foo=bar=baz", "foo=,bar=3", "foo=b\u{7f}r", "foo=b\tr", "foo=b\u{e9}r", "foo=b\0r"] {
        assert_eq!(state(&[value]), "", "{value:?}");
    }
    let (fits, long) = ("v".repeat(256), "v".repeat(257));
    assert_eq!(state(&[&format!("foo={fits}")]), format!("foo={fits}"));
    assert_eq!(state(&[&format!("foo={long}")]), "");
    assert_eq!(state(&["foo= bar"]), "foo= bar");
}

#[test]
fn multiple_requests_with_valid_traceparent() {
    // Each reading is its own: nothing is kept from one to the next.
    for _ in 0..3 {
        valid(VALID);
    }
}

#[test]
fn multiple_requests_without_traceparent() {
    for _ in 0..3 {
        starts_anew(&[]);
    }
}

#[test]
fn multiple_requests_with_illegal_traceparent() {
    for _ in 0..3 {
        invalid("00-00000000000000000000000000000000-1234567890123456-01");
    }
}

#[test]
fn propagates_random_flag() {
    for (sent, kept) in [("00", 0), ("01", 1), ("02", 2), ("03", 3), ("ff", 3), ("fc", 0), ("06", 2)] {
        let value = format!("{}{sent}", &VALID[..53]);
        let parent = parse(value.as_bytes()).unwrap();
        assert_eq!(parent.flags, kept, "{sent}");
        assert_eq!(parent.sampled(), kept & FLAG_SAMPLED != 0);
        let out = format(parent.trace_id, parent.parent_id, parent.flags);
        assert_eq!(&out[..53], &VALID.as_bytes()[..53]);
        assert_eq!(out[53..], [b'0', b'0' + kept]);
    }
}

#[test]
fn every_prefix_of_a_traceparent() {
    for len in 0..VALID.len() {
        assert_eq!(parse(&VALID.as_bytes()[..len]), None, "{len}");
    }
    let future = "42-12345678901234567890123456789012-1234567890123456-01-what-the-future-will-be-like";
    for len in 0..=future.len() {
        assert_eq!(parse(&future.as_bytes()[..len]).is_some(), len >= TRACEPARENT_LEN, "{len}");
    }
}

#[test]
fn every_prefix_of_a_tracestate() {
    let whole = "foo=1, bar@x=2 ,,baz= 3\t,";
    for len in 0..=whole.len() {
        let left = state(&[&whole[..len]]);
        assert!(left.is_empty() || "foo=1,bar@x=2,baz= 3".starts_with(&left), "{len}: {left}");
    }
    assert_eq!(state(&[whole]), "foo=1,bar@x=2,baz= 3");
}

#[test]
fn every_single_byte_of_a_traceparent_matters() {
    // Whatever byte stands at any place, the value is read as the grammar says.
    for place in 0..TRACEPARENT_LEN {
        for byte in 0..=255_u8 {
            let mut value: [u8; TRACEPARENT_LEN] = VALID.as_bytes().try_into().unwrap();
            value[place] = byte;
            let hex = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            let valid = if matches!(place, 2 | 35 | 52) { byte == b'-' } else { hex };
            assert_eq!(parse55(&value).is_some(), valid, "{place} {byte}");
            assert_eq!(parse(&value).is_some(), valid, "{place} {byte}");
        }
    }
}

#[test]
fn what_is_written_is_read_again() {
    for i in 0..1000_u64 {
        let (trace_id, span_id) = (crate::ids::trace_id([i, 7], i), crate::ids::span_id([i, 7], i));
        let flags = (i % 4) as u8;
        let read = parse(&format(trace_id, span_id, flags)).unwrap();
        assert_eq!(read, TraceParent { trace_id, parent_id: span_id, flags, version: 0 });
        assert_eq!(format(trace_id, span_id, 0xfc | flags), format(trace_id, span_id, flags));
    }
}

#[test]
fn a_bad_parent_is_told_from_none() {
    let mut extract = Extract::default();
    extract.field(b"traceparent", b"");
    assert!(extract.finish().bad_parent);
    extract = Extract::default();
    extract.field(b"TRACEPARENT", VALID.as_bytes());
    extract.field(b"tracestate", b"FOO=1");
    let context = extract.finish();
    assert!(!context.bad_parent);
    assert!(context.state.is_some_and(|state| state.bad() && state.members().is_empty()));
}
