//! What is hidden because of what stands around it: names beside values, fields in texts, commas in values.

use super::{tests::text, *};

#[test]
fn urls_without_a_scheme() {
    for (given, expect) in [
        ("//u:p@h/x", "//REDACTED:REDACTED@h/x"),
        ("/x?next=//u:p@h&a=b", "/x?next=//REDACTED:REDACTED@h&a=b"),
        ("/x?next=%2F%2Fu:p@h", "/x?next=%2F%2FREDACTED:REDACTED@h"),
        ("<//u:p@h/x>; rel=next", "<//REDACTED:REDACTED@h/x>; rel=next"),
        (r#"{"u":"\/\/u:p@h\/x"}"#, r#"{"u":"\/\/REDACTED:REDACTED@h\/x"}"#),
        ("https://u:p,w@h/", "https://REDACTED:REDACTED@h/"),
    ] {
        text(given, expect, &[Redaction::UrlCredentials]);
    }
    for same in ["//cdn/@scope/a:b", "//me@h", "/a//b:c@d", "//h:80/x@y", "/@a:b/c@d"] {
        assert_eq!(Redactor::new(Policy::default()).text(same, &Stats::default()), same);
    }
}

#[test]
fn schemes_with_any_blank_behind_them() {
    let plain = ["%09", "%0A", "%0d", "%C2%A0", "%c2%a0", "\\u0020", "\\u0009", "\\t", "\\\\t"];
    for blank in plain.into_iter().chain(["%20%20", "+", "\t ", ": ", ":", "%2509", "%2520"]) {
        let (given, expect) = (format!("Bearer{blank}abcdefgh12"), format!("Bearer{blank}REDACTED"));
        text(&given, &expect, &[Redaction::AuthScheme]);
        let (given, expect) = (format!("Basic{blank}dXNlcjpwYXNz"), format!("Basic{blank}REDACTED"));
        text(&given, &expect, &[Redaction::AuthScheme]);
    }
}

#[test]
fn values_go_on_behind_their_commas() {
    use Redaction::SecretName;
    for (given, expect) in [
        ("password=A,B", "password=REDACTED"),
        ("token=a,b,c d", "token=REDACTED d"),
        ("password=A;B==", "password=REDACTED"),
        ("password=A,B==&c=d", "password=REDACTED&c=d"),
        ("token=a,b=1", "token=REDACTED,b=1"),
        ("token=a;b=1", "token=REDACTED;b=1"),
        ("token=a, b", "token=REDACTED, b"),
        ("token=a,", "token=REDACTED,"),
        (r#"{"pin":4711,"x":1}"#, r#"{"pin":REDACTED,"x":1}"#),
    ] {
        text(given, expect, &[SecretName]);
    }
    let two = "token=a,b,max-age=5,sid=c,d";
    text(two, "token=REDACTED,max-age=5,sid=REDACTED", &[SecretName, SecretName]);
}

#[test]
fn names_and_values_in_pairs() {
    use Redaction::SecretName;
    for (given, expect) in [
        (r#"{"name":"password","value":"X Y"}"#, r#"{"name":"password","value":"REDACTED"}"#),
        (r#"{"value":"X","name":"Cookie"}"#, r#"{"value":"REDACTED","name":"Cookie"}"#),
        (
            r#"[{"key": "api_key", "type": {"a":1}, "value": 12}]"#,
            r#"[{"key": "api_key", "type": {"a":1}, "value": REDACTED}]"#,
        ),
        (r#"{\"name\":\"password\",\"value\":\"X\"}"#, r#"{\"name\":\"password\",\"value\":\"REDACTED\"}"#),
        (
            "%7B%22name%22:%22password%22,%22value%22:%22X%22%7D",
            "%7B%22name%22:%22password%22,%22value%22:%22REDACTED%22%7D",
        ),
        (
            r#"[{"value":"a","name":"b"},{"value":"X","k":1,"name":"pin"}]"#,
            r#"[{"value":"a","name":"b"},{"value":"REDACTED","k":1,"name":"pin"}]"#,
        ),
    ] {
        text(given, expect, &[SecretName]);
    }
    let both = r#"{"name":"password","token":"X","value":"Y"}"#;
    text(both, r#"{"name":"password","token":"REDACTED","value":"REDACTED"}"#, &[SecretName, SecretName]);
    for same in [
        r#"{"name":"color","value":"blue"}"#,
        r#"{"name":"password"},{"value":"blue"}"#,
        r#"{"value":"blue"},{"name":"password"}"#,
        r#"{"name":{"value":1},"password":""}"#,
    ] {
        text(same, same, &[]);
    }
}

#[test]
fn fields_in_a_text() {
    use Redaction::SecretName;
    for (given, expect) in [
        ("token: X", "token: REDACTED"),
        ("X-Api-Key:\tX, b", "X-Api-Key:\tREDACTED, b"),
        ("Authorization: Digest x=\"X\", y=Z", "Authorization: REDACTED"),
        ("Authorization: SharedKey account:X", "Authorization: REDACTED"),
        ("'Cookie: a=X; b=Y'", "'Cookie: REDACTED'"),
        ("q=token:+X&b=c", "q=token:+REDACTED&b=c"),
        ("q=token:%20X&b=c", "q=token:%20REDACTED&b=c"),
        ("{password: X, user: y}", "{password: REDACTED, user: y}"),
        ("a: b\r\nset-cookie: a=X; b\r\nc: d", "a: b\r\nset-cookie: REDACTED\r\nc: d"),
    ] {
        text(given, expect, &[SecretName]);
    }
    for same in [
        "/v1/token:refresh",
        "/secrets/a:access?b=c",
        "http://session:80/x",
        "author: me",
        "a=b: c",
        "12: 34",
    ] {
        text(same, same, &[]);
    }
}
