//! Hosts, ports and who stood in front: authorities (RFC 3986, section 3.2), the `Forwarded` header
//! (RFC 7239) and its older relatives, and addresses as text.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use memchr::{memchr, memrchr};

/// An authority in its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Authority<'a> {
    /// Without the brackets of an IPv6 literal.
    pub(super) host: &'a [u8],
    pub(super) port: Option<u16>,
    /// A user name, with or without a password, stood in front of it.
    pub(super) user: bool,
    /// Host and port as they were written.
    pub(super) written: &'a [u8],
}

/// Takes an authority apart. What is no port number gives no port.
pub(super) fn authority(value: &[u8]) -> Authority<'_> {
    let (user, written) = match memrchr(b'@', value) {
        Some(at) => (true, value.get(at + 1..).unwrap_or(&[])),
        None => (false, value),
    };
    let (host, rest) = host_and_rest(written);
    let port = rest.strip_prefix(b":").and_then(port_number);
    Authority { host, port, user, written }
}

/// The host, and what follows it from its colon on. An IPv6 address without brackets is all host.
fn host_and_rest(written: &[u8]) -> (&[u8], &[u8]) {
    if let Some(inner) = written.strip_prefix(b"[") {
        let end = inner.iter().position(|byte| *byte == b']').unwrap_or(inner.len());
        let (host, rest) = inner.split_at_checked(end).unwrap_or((inner, &[]));
        return (host, rest.get(1..).unwrap_or(&[]));
    }
    match memrchr(b':', written).and_then(|colon| written.split_at_checked(colon)) {
        Some((host, rest)) if memchr(b':', host).is_none() => (host, rest),
        _ => (written, &[]),
    }
}

fn port_number(digits: &[u8]) -> Option<u16> {
    // `parse` would take a sign.
    let digits = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok().filter(|port| *port != 0)
}

/// The port that a scheme means when none is said.
pub(super) fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

/// The first element of a list, without the whitespace around it.
pub(super) fn first_of_list(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == b',').next().unwrap_or(value).trim_ascii()
}

/// The value of the first parameter of this name in a `Forwarded` header, unquoted. Of the elements of the
/// list, the first one is the nearest to the client.
pub(super) fn forwarded<'a>(value: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut rest = value;
    while !rest.is_empty() {
        let (pair, tail) = split_pair(rest);
        rest = tail;
        let Some(equals) = pair.iter().position(|byte| *byte == b'=') else { continue };
        let (key, value) = pair.split_at_checked(equals)?;
        if key.trim_ascii().eq_ignore_ascii_case(name.as_bytes()) {
            let value = value.get(1..)?.trim_ascii();
            let value = value.strip_prefix(b"\"").map_or(value, |v| v.strip_suffix(b"\"").unwrap_or(v));
            return Some(value).filter(|value| !value.is_empty());
        }
    }
    None
}

/// Up to the next `;` or `,` that is not inside quotes, and what is behind it.
fn split_pair(value: &[u8]) -> (&[u8], &[u8]) {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in value.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b';' | b',' if !quoted => {
                return (value.get(..at).unwrap_or(value), value.get(at + 1..).unwrap_or(&[]));
            }
            _ => {}
        }
    }
    (value, &[])
}

/// The address in a node of `Forwarded` or an element of `X-Forwarded-For`: no port, no brackets, and
/// neither `unknown` nor an obfuscated name (RFC 7239, section 6), which are no addresses.
pub(super) fn node(value: &[u8]) -> Option<&[u8]> {
    let (host, _) = host_and_rest(value.trim_ascii());
    let nameless = host.is_empty() || host.starts_with(b"_") || host.eq_ignore_ascii_case(b"unknown");
    // Addresses (with a zone), names of hosts, and what RFC 7239 has for nodes without either.
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".:-_%".contains(byte);
    (!nameless && host.iter().all(plain)).then_some(host)
}

/// An address as the conventions want it: v4-mapped IPv6 addresses as the IPv4 addresses that they are.
pub(super) fn ip_text(addr: IpAddr) -> Box<str> {
    match addr.to_canonical() {
        IpAddr::V4(addr) => ipv4_text(addr),
        IpAddr::V6(addr) => addr.to_string().into(),
    }
}

/// The formatter of the standard library costs more than the rest of the attribute.
fn ipv4_text(addr: Ipv4Addr) -> Box<str> {
    let mut digits = [0_u8; 15];
    let mut len = 0;
    let mut push = |byte| {
        if let Some(place) = digits.get_mut(len) {
            *place = byte;
            len += 1;
        }
    };
    for (i, octet) in addr.octets().into_iter().enumerate() {
        if i > 0 {
            push(b'.');
        }
        if octet >= 100 {
            push(b'0' + octet / 100);
        }
        if octet >= 10 {
            push(b'0' + octet / 10 % 10);
        }
        push(b'0' + octet % 10);
    }
    std::str::from_utf8(digits.get(..len).unwrap_or_default()).unwrap_or_default().into()
}

/// A socket's address as the authority of an `http` URL.
pub(super) fn push_socket(url: &mut String, addr: SocketAddr) {
    let text = ip_text(addr.ip());
    if text.contains(':') {
        url.extend(["[", &text, "]"]);
    } else {
        url.push_str(&text);
    }
    if addr.port() != 80 {
        url.extend([":", &addr.port().to_string()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        for (value, host, port, user) in [
            ("example.com", "example.com", None, false),
            ("example.com:8080", "example.com", Some(8080), false),
            ("example.com:", "example.com", None, false),
            ("example.com:0", "example.com", None, false),
            ("example.com:+80", "example.com", None, false),
            ("example.com:65536", "example.com", None, false),
            ("example.com:80x", "example.com", None, false),
            ("127.0.0.1:5000", "127.0.0.1", Some(5000), false),
            ("[::1]", "::1", None, false),
            ("[::1]:8080", "::1", Some(8080), false),
            ("[::1", "::1", None, false),
            ("[fe80::1%25eth0]:1", "fe80::1%25eth0", Some(1), false),
            ("2001:db8::1", "2001:db8::1", None, false),
            ("user:pass@example.com:81", "example.com", Some(81), true),
            ("user@[::1]:81", "::1", Some(81), true),
            ("a@b@c", "c", None, true),
            ("@", "", None, true),
            (":80", "", Some(80), false),
            ("", "", None, false),
        ] {
            let found = authority(value.as_bytes());
            assert_eq!((found.host, found.port, found.user), (host.as_bytes(), port, user), "{value}");
        }
    }

    #[test]
    fn forwarded_parameters() {
        for (value, name, expect) in [
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "for", Some("192.0.2.60")),
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "proto", Some("http")),
            ("For=\"[2001:db8:cafe::17]:4711\"", "for", Some("[2001:db8:cafe::17]:4711")),
            ("for=192.0.2.43, for=198.51.100.17", "for", Some("192.0.2.43")),
            ("by=a;for=192.0.2.43 , for=b", "for", Some("192.0.2.43")),
            ("by=\"x;for=no,for=no\\\";for=no\";FOR=yes", "for", Some("yes")),
            ("proto=https;host=\"a.example:8443\"", "host", Some("a.example:8443")),
            ("proto=https", "host", None),
            ("for=", "for", None),
            ("for=\"", "for", None),
            ("for", "for", None),
            (";;,,=", "for", None),
            ("", "for", None),
        ] {
            assert_eq!(forwarded(value.as_bytes(), name), expect.map(str::as_bytes), "{value}");
        }
    }

    #[test]
    fn nodes() {
        for (value, expect) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.1:4711", Some("192.0.2.1")),
            ("[2001:db8::1]:4711", Some("2001:db8::1")),
            ("2001:db8::1", Some("2001:db8::1")),
            (" host.example ", Some("host.example")),
            ("unknown", None),
            ("Unknown:80", None),
            ("_hidden", None),
            ("_gazonk:80", None),
            ("a b", None),
            ("<script>", None),
            ("", None),
        ] {
            assert_eq!(node(value.as_bytes()), expect.map(str::as_bytes), "{value}");
        }
    }

    #[test]
    fn addresses_as_text() {
        for text in ["0.0.0.0", "127.0.0.1", "10.20.30.40", "192.168.100.209", "255.255.255.255", "::1"] {
            assert_eq!(&*ip_text(text.parse().unwrap()), text);
        }
        assert_eq!(&*ip_text("::ffff:10.0.0.1".parse().unwrap()), "10.0.0.1");
        for (addr, expect) in [
            ("10.0.0.1:80", "10.0.0.1"),
            ("10.0.0.1:81", "10.0.0.1:81"),
            ("[::1]:80", "[::1]"),
            ("[::1]:443", "[::1]:443"),
            ("[::ffff:10.0.0.1]:8080", "10.0.0.1:8080"),
        ] {
            let mut url = String::new();
            push_socket(&mut url, addr.parse().unwrap());
            assert_eq!(url, expect);
        }
    }
}
