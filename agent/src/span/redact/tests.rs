//! What is hidden, and what is not.

use proptest::prelude::*;

use super::*;

fn redactor() -> Redactor {
    Redactor::new(Policy { values: Values { emails: true, ..Values::default() }, ..Policy::default() })
}

#[track_caller]
pub(super) fn text(given: &str, expect: &str, rules: &[Redaction]) {
    let stats = Stats::default();
    assert_eq!(redactor().text(given, &stats), expect);
    let counted: Vec<_> =
        Redaction::ALL.iter().flat_map(|rule| (0..stats.redactions(*rule)).map(|_| *rule)).collect();
    assert_eq!(counted, rules, "{given}");
    // What is hidden once is not found again.
    let again = Stats::default();
    assert_eq!(redactor().text(expect, &again), expect);
    assert_eq!(again.counted(crate::stats::Count::Redacted), 0, "{expect}");
}

#[test]
fn credentials_behind_a_scheme_in_a_value() {
    use Redaction::{SecretName, UrlCredentials};
    for (given, expect) in [
        ("authorization=Bearer abc123", "authorization=REDACTED"),
        ("a=1&authorization=Bearer abc&b=2", "a=1&authorization=REDACTED&b=2"),
        ("access_token=Bearer abc; x", "access_token=REDACTED; x"),
        ("token=Token abc", "token=REDACTED"),
        ("authorization=Digest username=\"u\", response=\"abc\"", "authorization=REDACTED"),
        ("{\"headers\":[\"authorization=Bearer abc\"]}", "{\"headers\":[\"authorization=REDACTED\"]}"),
        ("token=bearer", "token=REDACTED"),
        ("token=abc more words", "token=REDACTED more words"),
    ] {
        text(given, expect, &[SecretName]);
    }
    let (given, expect) = (r#"{"u":"https:\/\/u:p@h\/x"}"#, r#"{"u":"https:\/\/REDACTED:REDACTED@h\/x"}"#);
    text(given, expect, &[UrlCredentials]);
    text(
        r#"{"a":"{\"u\":\"https:\\/\\/u:p@h\"}"}"#,
        r#"{"a":"{\"u\":\"https:\\/\\/REDACTED:REDACTED@h\"}"}"#,
        &[UrlCredentials],
    );
}

#[test]
fn queries_by_name() {
    let redactor = Redactor::new(Policy::off());
    for (query, expect, count) in [
        ("q=OpenTelemetry&sig=abc", "q=OpenTelemetry&sig=REDACTED", 1),
        ("sig=abc&color=blue", "sig=REDACTED&color=blue", 1),
        ("Signature=a=b==", "Signature=REDACTED", 1),
        ("AWSAccessKeyId=a&Signature=b&Expires=1", "AWSAccessKeyId=REDACTED&Signature=REDACTED&Expires=1", 2),
        ("X-Amz-Signature=a", "X-Amz-Signature=REDACTED", 1),
        ("X-Amz-Credential=a", "X-Amz-Credential=REDACTED", 1),
        ("X-Amz-Security-Token=a", "X-Amz-Security-Token=REDACTED", 1),
        ("X-Goog-Signature=a", "X-Goog-Signature=REDACTED", 1),
        ("X%2DGoog%2dSignature=a", "X%2DGoog%2dSignature=REDACTED", 1),
        ("%73%69%67=a&b=c", "%73%69%67=REDACTED&b=c", 1),
        ("a=1;sig=abc;b=2&c=3", "a=1;sig=REDACTED&c=3", 1),
        ("sig=a;b", "sig=REDACTED", 1),
        ("Sig=abc&SIG=abc", "Sig=abc&SIG=abc", 0),
        ("signal=1&xsig=2&si=3&sig", "signal=1&xsig=2&si=3&sig", 0),
        ("sig=&a=1", "sig=&a=1", 0),
        ("%7sig=1&%zzsig=2&%=3", "%7sig=1&%zzsig=2&%=3", 0),
        ("&&=&a", "&&=&a", 0),
        ("", "", 0),
    ] {
        let stats = Stats::default();
        assert_eq!(redactor.query(query, &stats), expect);
        assert_eq!(stats.redactions(Redaction::SecretName), count, "{query}");
    }
    let stats = Stats::default();
    let full = self::redactor();
    assert_eq!(
        full.query("SIG=abc&user[Password]=a;b&page=2", &stats),
        "SIG=REDACTED&user[Password]=REDACTED&page=2"
    );
    assert_eq!(full.query("page=2&next=a&access-token=x%20y", &stats), "page=2&next=a&access-token=REDACTED");
    let own = Redactor::new(Policy { sensitive_query: vec!["color".into()], ..Policy::off() });
    assert_eq!(own.query("color=1&sig=2", &stats), "color=REDACTED&sig=2");
}

#[test]
fn only_what_is_allowed() {
    let policy = Policy { allowed_query: Some(vec!["page".into(), "sort*".into()]), ..Policy::default() };
    let stats = Stats::default();
    let redactor = Redactor::new(policy);
    assert_eq!(
        redactor.query("page=1&sortBy=a&name=Ann&x", &stats),
        "page=1&sortBy=a&name=REDACTED&REDACTED"
    );
    assert_eq!(stats.redactions(Redaction::NotAllowed), 2);
    for (query, shown) in [
        // A signature or a token may be a whole query.
        ("canary", "REDACTED"),
        ("page=1&canary", "page=1&REDACTED"),
        ("x%3Dcanary", "REDACTED"),
        ("canary=&page=", "REDACTED&page="),
        ("page=1;canary&page", "page=1;REDACTED&page"),
        ("=canary", "=REDACTED"),
        ("&&page&", "&&page&"),
        ("", ""),
    ] {
        assert_eq!(redactor.query(query, &stats), shown);
        assert_eq!(redactor.query(shown, &stats), shown);
    }
    for (value, shown) in [
        ("http://h/?x=canary&y", "http://h/?x=REDACTED&REDACTED"),
        ("/next?canary#a=canary&page=2", "/next?REDACTED#a=REDACTED&page=2"),
        ("<http://h/a?page=2&c=canary>; rel=\"next\"", "<http://h/a?page=2&c=REDACTED>; rel=\"next\""),
        ("http://h/?page=2", "http://h/?page=2"),
        ("what? no url", "what? no url"),
    ] {
        assert_eq!(redactor.header("referer", false, vec![value.into()], &stats), [shown]);
        // Without a list nothing of it is judged.
        assert_eq!(
            Redactor::new(Policy::default()).header("referer", false, vec![value.into()], &stats),
            [value]
        );
    }
    let policy =
        Policy { allowed_attributes: Some(vec!["http.*".into(), "url.path".into()]), ..Policy::default() };
    let redactor = Redactor::new(policy);
    assert!(redactor.allows("http.request.method", &stats) && redactor.allows("url.path", &stats));
    assert!(!redactor.allows("url.full", &stats));
}

#[test]
fn by_name_and_place_in_any_text() {
    use Redaction::{SecretName, UrlCredentials};
    text("/a;jsessionid=AB12/b", "/a;jsessionid=REDACTED", &[SecretName]);
    text("/go?to=%2Fx%3Ftoken%3Dabc&b=1", "/go?to=%2Fx%3Ftoken%3DREDACTED&b=1", &[SecretName]);
    text("agent (api_key=abc) 1.0", "agent (api_key=REDACTED) 1.0", &[SecretName]);
    text(r#"{"password": "a b", "x": 1}"#, r#"{"password": "REDACTED", "x": 1}"#, &[SecretName]);
    text(r#"{"user":"a","secret":12}"#, r#"{"user":"a","secret":REDACTED}"#, &[SecretName]);
    text("password='a b' x", "password='REDACTED' x", &[SecretName]);
    text("https://u:p@h/x", "https://REDACTED:REDACTED@h/x", &[UrlCredentials]);
    text("<https://u:p@x:q@h>; rel=next", "<https://REDACTED:REDACTED@h>; rel=next", &[UrlCredentials]);
    text("https://h/x@y?a=b", "https://h/x@y?a=b", &[]);
    text(
        "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        &[],
    );
}

#[test]
fn by_form() {
    use Redaction::{AuthScheme, AwsKey, CardNumber, Email, IssuedToken, Jwt};
    let jwt = concat!("eyJhbGciOiJIUzI1NiJ9", ".eyJzdWIiOiIxIn0.", "c2lnbmF0dXJl");
    text("Bearer abcdefgh12", "Bearer REDACTED", &[AuthScheme]);
    text("/x?q=bearer%20abcdefgh12&r=1", "/x?q=bearer%20REDACTED&r=1", &[AuthScheme]);
    text("Basic dXNlcjpwYXNz", "Basic REDACTED", &[AuthScheme]);
    text("Basic dXNlcjpwYXNzdw==", "Basic REDACTED", &[AuthScheme]);
    text("basic knowledge of", "basic knowledge of", &[]);
    text("the bearer of it", "the bearer of it", &[]);
    text(&format!("/t/{jwt}/x"), "/t/REDACTED/x", &[Jwt]);
    text(&format!("a%3A{jwt}"), "a%3AREDACTED", &[Jwt]);
    text("eyJhbGciOiJIUzI1NiJ9.eyJzd", "REDACTED", &[Jwt]);
    text("/eyJab/x", "/eyJab/x", &[]);
    text("/k/AKIAIOSFODNN7EXAMPLE/", "/k/REDACTED/", &[AwsKey]);
    text(
        "k=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLE1KEY&x",
        "k=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLE1KEY&x",
        &[],
    );
    text("k=wJalrXUtnFEMI/K7MDENG/bPxRfiC9EXAMPLE22Y&x", "k=REDACTED&x", &[AwsKey]);
    text("da39a3ee5e6b4b0d3255bfef95601890afd80709", "da39a3ee5e6b4b0d3255bfef95601890afd80709", &[]);
    text(&format!("/{}{}", "ghp_", "a1".repeat(18)), "/REDACTED", &[IssuedToken]);
    text("/card/4111-1111-1111-1111/x", "/card/REDACTED/x", &[CardNumber]);
    text("n=4111%201111%201111%201111", "n=REDACTED", &[CardNumber]);
    text("/x4111111111111111/4111111111111111a", "/x4111111111111111/4111111111111111a", &[]);
    text("/u/ann.lee%40example.org/x?m=b@c.de", "/u/REDACTED/x?m=REDACTED", &[Email, Email]);
    text("@a a@ a@b a@b. a@.c x@y.z", "@a a@ a@b a@b. a@.c x@y.z", &[]);
}

#[test]
fn names_with_something_behind_them() {
    use Redaction::SecretName;
    for name in
        ["password ", "password+", "password%20", "password%00", "password\0", "%70assword", "pass%77ord%20"]
    {
        text(&format!("a {name}=x1 b"), &format!("a {name}=REDACTED b"), &[SecretName]);
        text(&format!("/p;{name}=x1/b"), &format!("/p;{name}=REDACTED"), &[SecretName]);
        let (given, expect) = (format!("a=1&{name}=x;1&b=2"), format!("a=1&{name}=REDACTED&b=2"));
        assert_eq!(redactor().query(&given, &Stats::default()), expect);
    }
    for name in ["%2570assword", "password%2520", "password%2500"] {
        let (given, expect) = (format!("a=1&{name}=x;1&b=2"), format!("a=1&{name}=REDACTED&b=2"));
        assert_eq!(redactor().query(&given, &Stats::default()), expect);
    }
    text("token = ab, c", "token = REDACTED, c", &[SecretName]);
    text("author = ab, page +=1, compass%20=1", "author = ab, page +=1, compass%20=1", &[]);
    text("/tokens/?author=a&keyboard=b", "/tokens/?author=a&keyboard=b", &[]);
}

#[test]
fn values_that_are_encoded() {
    use Redaction::{AuthScheme, IssuedToken, SecretName, UrlCredentials};
    text(
        "redirect=http%3A%2F%2Fu%3Apw%40h%2F",
        "redirect=http%3A%2F%2FREDACTED:REDACTED%40h%2F",
        &[UrlCredentials],
    );
    text(
        "a=http%253A%252F%252Fu%253Apw%2540h%252F&b=1",
        "a=http%253A%252F%252FREDACTED:REDACTED%2540h%252F&b=1",
        &[UrlCredentials],
    );
    text("json=%7B%22password%22%3A%22x%22%7D", "json=%7B%22password%22%3A%22REDACTED%22%7D", &[SecretName]);
    text(
        "json=%257B%2522password%2522%253A+%2522x%2520y%2522%257D&a=b",
        "json=%257B%2522password%2522%253A+%2522REDACTED%2522%257D&a=b",
        &[SecretName],
    );
    text("json={%22password%22:+%22x+y%22}&a=1", "json={%22password%22:+%22REDACTED%22}&a=1", &[SecretName]);
    text("to=%2Fx%253Ftoken%253Dabc%2526b%253D1", "to=%2Fx%253Ftoken%253DREDACTED", &[SecretName]);
    text("a=Bearer%2520abcdefgh12", "a=Bearer%2520REDACTED", &[AuthScheme]);
    text(&format!("a=%2F%67hp_{}%2F", "a1".repeat(18)), "a=%2FREDACTED%2F", &[IssuedToken]);
    text("q=100%25%20of%20%22a%22&u=%2Fb%2Fc", "q=100%25%20of%20%22a%22&u=%2Fb%2Fc", &[]);
}

#[test]
fn values_in_json() {
    use Redaction::SecretName;
    for (given, expect) in [
        (r#"{"token":["A","B"]}"#, r#"{"token":REDACTED}"#),
        (r#"{"token" : [ ["A"], "B]" ], "x":1}"#, r#"{"token" : REDACTED, "x":1}"#),
        (r#"{"credentials":{"user":"a","x":"b"},"y":2}"#, r#"{"credentials":REDACTED,"y":2}"#),
        (r#"{"password":"a\"b","x":1}"#, r#"{"password":"REDACTED","x":1}"#),
        (r#"{\"password\":\"a\\\"b\",\"x\":1}"#, r#"{\"password\":\"REDACTED\",\"x\":1}"#),
        (r#"{\"token\":[\"a]\",\"b\"]}"#, r#"{\"token\":REDACTED}"#),
        ("{\"password\"\n:\n\t\"a b\"}", "{\"password\"\n:\n\t\"REDACTED\"}"),
        (r#"token=["a","b"]&c"#, "token=REDACTED&c"),
        ("token=[a,b] c", "token=REDACTED c"),
        (r#"password=\"a b\" c"#, r#"password=\"REDACTED\" c"#),
        (r#"{"password":"a b"#, r#"{"password":"REDACTED"#),
    ] {
        text(given, expect, &[SecretName]);
    }
    let same = r#"{"tokens":["A","B"],"author":"x\"y","list":[1,2]}"#;
    text(same, same, &[]);
}

#[test]
fn escapes_in_json() {
    use Redaction::{AuthScheme, CardNumber, Jwt, SecretName};
    for (given, expect, rule) in [
        (r#"{"pass\u0077ord":"x y","a":1}"#, r#"{"pass\u0077ord":"REDACTED","a":1}"#, SecretName),
        (
            r#"{"\u0070\u0061\u0073\u0073":"a\u0022b","c":"d"}"#,
            r#"{"\u0070\u0061\u0073\u0073":"REDACTED","c":"d"}"#,
            SecretName,
        ),
        (r#"{"\u0050IN":4711}"#, r#"{"\u0050IN":REDACTED}"#, SecretName),
        // As writers of JSON escape JSON and URLs in their texts.
        (
            r#"{"body":"{\u0022password\u0022:\u0022x y\u0022,\u0022a\u0022:1}"}"#,
            r#"{"body":"{\u0022password\u0022:\u0022REDACTED\u0022,\u0022a\u0022:1}"}"#,
            SecretName,
        ),
        (
            r#"{"u":"/x?a=1\u0026pass=x\u0026b=2"}"#,
            r#"{"u":"/x?a=1\u0026pass=REDACTED\u0026b=2"}"#,
            SecretName,
        ),
        (r#"{"m":"password\u003dx y"}"#, r#"{"m":"password\u003dREDACTED y"}"#, SecretName),
        (
            r#"{"b":"{\"pass\\u0077ord\":\"x\\u0022y\",\"c\":1}"}"#,
            r#"{"b":"{\"pass\\u0077ord\":\"REDACTED\",\"c\":1}"}"#,
            SecretName,
        ),
        ("%7B%22pass%5Cu0077ord%22%3A%22x%22%7D", "%7B%22pass%5Cu0077ord%22%3A%22REDACTED%22%7D", SecretName),
        (r#"{"h":"Bearer\u0020abcdefgh12"}"#, r#"{"h":"Bearer\u0020REDACTED"}"#, AuthScheme),
        (r"eyJhbGciOiJIUzI1NiJ9\u002eeyJzdWIi", r"REDACTED\u002eREDACTED", Jwt),
        (r"\u0034111\u00201111\u00201111\u00201111", "REDACTED", CardNumber),
    ] {
        let stats = Stats::default();
        let shown = redactor().text(given, &stats).into_owned();
        if rule == Jwt {
            assert!(!shown.contains("eyJ"), "{shown}");
            continue;
        }
        text(given, expect, &[rule]);
    }
    for same in [r#"{"caf\u00e9":"\u0022x\u0022","path":"C:\users\u0041"}"#, r"\u", r"a\u00", r"\\\\\\u003d"]
    {
        text(same, same, &[]);
    }
}

#[test]
fn cards_in_groups() {
    text("card 4111.1111.1111.1111.", "card REDACTED.", &[Redaction::CardNumber]);
    text("n=4111.1111.1111.1111&x", "n=REDACTED&x", &[Redaction::CardNumber]);
    for same in ["4111.1111.1111.1112", "10.4111.1111.1111", "52.520008,13.404954", "4.111111111111111"] {
        text(same, same, &[]);
    }
}

#[test]
fn keys_of_aws_beside_their_ids() {
    use Redaction::{AwsKey, SecretName};
    let key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    text(&format!("AKIAIOSFODNN7EXAMPLE:{key}"), "REDACTED:REDACTED", &[AwsKey, AwsKey]);
    text(&format!("{key} ASIAIOSFODNN7EXAMPLE x"), "REDACTED REDACTED x", &[AwsKey, AwsKey]);
    text(&format!("/AKIAIOSFODNN7EXAMPLE/{key}/x"), "/REDACTED/REDACTED/x", &[AwsKey, AwsKey]);
    let encoded = key.replace('/', "%2F");
    text(&format!("a=AKIAIOSFODNN7EXAMPLE&b={encoded}"), "a=REDACTED&b=REDACTED", &[AwsKey, AwsKey]);
    let encoded = key.replacen('/', "%252F", 1).replace('/', "%252B");
    text(&format!("a=ASIAIOSFODNN7EXAMPLE%26b={encoded}"), "a=REDACTED%26b=REDACTED", &[AwsKey, AwsKey]);
    let stats = Stats::default();
    let query = format!("AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&b={key}&c=d");
    assert_eq!(redactor().query(&query, &stats), "AWSAccessKeyId=REDACTED&b=REDACTED&c=d");
    assert_eq!((stats.redactions(AwsKey), stats.redactions(SecretName)), (1, 1));
    text(&format!("k={key}"), &format!("k={key}"), &[]);
    text("k=wJalrXUtnFEMI%2FK7MDENG%2FbPxRfiC9EXAMPLE22Y", "k=REDACTED", &[AwsKey]);
}

#[test]
fn mail_stays_unless_asked() {
    let stats = Stats::default();
    assert_eq!(Redactor::new(Policy::default()).text("a@b.org", &stats), "a@b.org");
}

#[test]
fn headers() {
    let (redactor, stats) = (redactor(), Stats::default());
    for name in ["authorization", "cookie", "set-cookie", "x-api-key", "x-auth-token", "proxy-authorization"]
    {
        assert_eq!(redactor.header(name, false, vec!["v".into()], &stats), ["[REDACTED]"], "{name}");
    }
    let shown = |name, sanitize, lines: &[&'static str]| {
        redactor.header(name, sanitize, lines.iter().map(|line| (*line).into()).collect(), &stats)
    };
    assert_eq!(shown("x-id", true, &["v", "w"]), ["[REDACTED]", "[REDACTED]"]);
    assert_eq!(shown("x-id", false, &["v", "w"]), ["v", "w"]);
    assert_eq!(shown("referer", false, &["http://h/?sig=1"]), ["http://h/?sig=REDACTED"]);
    assert_eq!(stats.redactions(Redaction::SecretHeader), 8);
    // What is in several lines is one value.
    for (lines, expect) in [
        (&["{\"password\":", "\"X Y\"}"][..], &["{\"password\":", "\"REDACTED\"}"][..]),
        (
            &["{\"password\":\"X", "Y\",", "\"a\":1}"],
            &["{\"password\":\"REDACTED", "REDACTED\",", "\"a\":1}"],
        ),
        (&["token=", "X", "b"], &["token=", "REDACTED", "REDACTED"]),
        (&["a", "token=X", "Y", "b=c", "d"], &["a", "token=REDACTED", "REDACTED", "b=c", "d"]),
        (&["token=X", "Y more"], &["token=REDACTED", "REDACTED more"]),
        (&["token=X;", "y"], &["token=REDACTED;", "y"]),
        (&["token: X", "Y"], &["token: REDACTED", "REDACTED"]),
        (&["4111 1111", "1111 1111", "x"], &["REDACTED", "REDACTED", "x"]),
        (&["gzip", "br;q=1.0, *;q=0.5", "", "de"], &["gzip", "br;q=1.0, *;q=0.5", "", "de"]),
        (&["Bearer", "abcdefgh12"], &["Bearer", "REDACTED"]),
    ] {
        assert_eq!(shown("x-data", false, lines), expect);
    }
}

#[test]
fn paths() {
    let stats = Stats::default();
    let of = |paths, max_templates| Redactor::new(Policy { paths, max_templates, ..Policy::default() });
    let shown = |redactor: &Redactor, path: &str| {
        let ShownPath { path, template } = redactor.path(path, &stats);
        (path.into_owned(), template.map(String::from))
    };
    assert_eq!(shown(&of(Paths::AsTheyAre, 9), "/u/1"), ("/u/1".into(), None));
    assert_eq!(shown(&of(Paths::Named, 9), "/u/1"), ("/u/1".into(), Some("/u/{id}".into())));
    assert_eq!(shown(&of(Paths::Replaced, 9), "/u/1"), ("/u/{id}".into(), Some("/u/{id}".into())));
    assert_eq!(shown(&of(Paths::Replaced, 0), "/u/1"), ("/{*}".into(), None));
    assert_eq!(shown(&of(Paths::Named, 0), "/u/1"), ("/u/1".into(), None));
    assert_eq!(shown(&of(Paths::Replaced, 9), "*"), ("*".into(), None));
    assert_eq!(
        (stats.redactions(Redaction::PathTemplate), stats.redactions(Redaction::PathOverflow)),
        (1, 2)
    );
}

/// Text that is hard to judge takes no more time than other text: a megabyte of each in well under a second,
/// also in a debug build.
#[test]
fn no_text_takes_long() {
    for part in [
        "@",
        "/",
        "=",
        "%3D",
        "%40",
        "a%3D",
        "\":",
        "basic+",
        "bearer ",
        "eyJ",
        "4",
        "4 ",
        "AKIA",
        "://a@",
        "token=REDACTED;",
        "a.",
        "\"",
        "'\":",
        "token=[",
        "token=[\"",
        "\"token\":[",
        "\"token\":\"\",",
        "\\\"",
        "token=\\",
        "token =",
        "+=",
        "%25",
        "%2522token%2522:",
        "wJalrXUtnFEMI/K7MDENG",
        "\\",
        "\\u005c",
        "\\u0022token\\u0022:",
        "\\\\u003d",
        "4111.",
        "\"value\":[",
        "\"name\":\"password\",",
        "{\"value\":[\"name\":\"password\",",
        "token: ",
        "token: REDACTED,",
        "Cookie: REDACTED ",
        "token=a,",
        "token=REDACTED,x",
        "//a:b@",
        "bearer\\",
    ] {
        let hostile = part.repeat((1 << 20) / part.len());
        let stats = Stats::default();
        let shown = redactor().text(&hostile, &stats);
        assert!(shown.len() <= hostile.len() * 9 + 32, "{part}");
    }
}

/// What secrets begin with, what they are made of, and what stands around them.
static PIECES: [&str; 78] = [
    "token: ",
    "Cookie: ",
    "\"name\":",
    "\"value\":",
    "//u:p@",
    "\\t",
    ",",
    "\\u003d",
    "\\u0022",
    "\\u0020",
    "\\u0034",
    "4111.1111.1111.1111",
    "bearer",
    "Bearer",
    "BASIC",
    "basic",
    "dXNlcjpwYXNz",
    "abcdefgh12",
    "eyJ",
    "eyJhbGciOiJIUzI1NiJ9",
    "AKIA",
    "ASIA",
    "IOSFODNN7EXAMPLE",
    "IOSFODNN7EXAMPL",
    "ghp_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "sk_live_",
    "sk-",
    "whsec_",
    "AIza",
    "npm_",
    "hvs.",
    "dop_v1_",
    "a1a1a1a1a1a1a1a1",
    "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiC9EXAMPLE22Y",
    "wJalrXUtnFEMI/K7MDENG",
    "4111111111111111",
    "378282246310005",
    "4111",
    "1111",
    "411",
    "user",
    "password",
    "token",
    "example.org",
    "http",
    "REDACTED",
    " ",
    "+",
    "-",
    ":",
    "://",
    "/",
    ".",
    "_",
    "\t",
    "\n",
    "%20",
    "%3D",
    "%40",
    "=",
    "@",
    "\"",
    "'",
    "&",
    "é",
    "J",
    "[",
    "{",
    "\\",
    "%22",
    "%2F",
    "%252F",
    "%2540",
    "%00",
];

fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => proptest::sample::select(&PIECES[..]).prop_map(String::from),
        1 => "[0-9]{1,20}",
        1 => "[A-Za-z0-9_.+/-]{1,45}",
        1 => "[ -~]",
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// What a glance passes holds nothing that a scan finds.
    #[test]
    fn a_glance_misses_nothing(text in hostile()) {
        if !may_hold(text.as_bytes()) {
            prop_assert_eq!(find(&text, &redactor()), []);
        }
    }
}

proptest! {
    /// A secret that stands in any text by itself is hidden.
    #[test]
    fn secrets_are_found_anywhere(before in "[ -~]{0,30}", behind in "[ &/;,)\"][ -~]{0,30}") {
        let stats = Stats::default();
        for (secret, shown) in [
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "c2lnbmF0dXJl"),
            ("AKIAIOSFODNN7EXAMPLE", "IOSFODNN7EXAMPLE"),
            ("token=canary-4711", "canary-4711"),
            ("4111111111111111", "4111111111111111"),
        ] {
            let given = format!("{before} {secret}{behind}");
            let hidden = redactor().text(given.as_str(), &stats).into_owned();
            prop_assert!(!hidden.contains(shown), "{given} -> {hidden}");
        }
    }

    /// Whatever the text: no panic, and what is hidden stays hidden.
    #[test]
    fn twice_shows_no_more(given in ".{0,80}|[a-z=&;:/@%\"A-Z0-9. +-]{0,80}|([a-z=\"]|[\\\\]{1,3}u00[0-9a-f]{2}){0,30}") {
        let stats = Stats::default();
        let redactor = redactor();
        let once = redactor.text(given.as_str(), &stats).into_owned();
        prop_assert_eq!(redactor.query(&given, &stats).is_empty(), given.is_empty());
        let twice = redactor.text(once.as_str(), &stats).into_owned();
        let hidden = |text: &str| text.matches(REDACTED).count();
        prop_assert!(hidden(&twice) >= hidden(&once).min(1), "{once} -> {twice}");
    }
}
