//! Lists of `key=value` with commas between them, as `OTEL_RESOURCE_ATTRIBUTES` and the OTLP headers write
//! them: W3C Baggage without properties, values percent-encoded (specification, resource/sdk.md,
//! "Specifying resource information via an environment variable").

use percent_encoding::percent_decode_str;

/// The pairs of a list, or what is wrong with it. The error never shows a value: it may be a secret.
pub fn parse(list: &str) -> Result<Vec<(String, String)>, String> {
    let members = list.split(',').map(str::trim).filter(|member| !member.is_empty());
    members.enumerate().map(|(index, member)| pair(index + 1, member)).collect()
}

fn pair(number: usize, member: &str) -> Result<(String, String), String> {
    let (key, value) = member.split_once('=').ok_or_else(|| format!("member {number} has no '='"))?;
    let key = decode(key).filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| format!("member {number} has no usable key"))?;
    match decode(value) {
        Some(value) => Ok((key, value)),
        None => Err(format!("the value of {key:?} is not valid percent-encoding")),
    }
}

/// Percent-decoding that refuses what the lenient decoder would pass through: a `%` without two
/// hexadecimal digits, and bytes that are not UTF-8.
fn decode(text: &str) -> Option<String> {
    let text = text.trim();
    let escapes = text.split('%').skip(1);
    for escape in escapes {
        let digits = escape.as_bytes().get(..2)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
    }
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_decoded() {
        let pairs = parse("service.name=shop%2Cfront, a = b%3Dc ,,empty=").unwrap();
        let expected = [("service.name", "shop,front"), ("a", "b=c"), ("empty", "")];
        assert_eq!(pairs, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!(parse("").unwrap(), []);
        assert_eq!(parse("auth=Basic%20dXNlcjpwYXNz==").unwrap()[0].1, "Basic dXNlcjpwYXNz==");
    }

    #[test]
    fn one_bad_member_spoils_the_list_and_no_value_is_shown() {
        for list in ["a=1,secret", "a=1,=secret", "a=secret%zz", "a=secret%2", "a=secret%ff"] {
            let error = parse(list).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
