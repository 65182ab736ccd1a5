//! A header block becomes a head: a start line and field lines, as an intermediary would write them for HTTP/1.1
//! (RFC 9113, section 8.3), so that nobody behind here has to know two forms.

use zeroize::Zeroizing;

use crate::protocol::{message::Head, streams::Fields};

/// Bytes of a head's text; what would go beyond is left out, and told as truncated. Peers refuse header lists above 8 to
/// 64 KiB.
const HEAD: usize = 64 * 1024;

/// Gathers the fields of one block.
#[derive(Debug, Default)]
pub(super) struct Lines {
    text: Zeroizing<Vec<u8>>,
    method: Option<Zeroizing<Vec<u8>>>,
    path: Option<Zeroizing<Vec<u8>>>,
    scheme: Option<Zeroizing<Vec<u8>>>,
    authority: Option<Zeroizing<Vec<u8>>>,
    status: Option<u16>,
    /// `:protocol` (RFC 8441): the path is a CONNECT's, too.
    extended: bool,
    truncated: bool,
    count: u32,
    unknown: u32,
}

impl Lines {
    /// Adds a field, as far as it is known.
    pub(super) fn field(&mut self, name: Option<&[u8]>, value: Option<&[u8]>) {
        self.count += 1;
        let (Some(name), Some(value)) = (name, value) else {
            self.unknown += 1;
            return;
        };
        let slot = match name {
            b":method" => &mut self.method,
            b":path" => &mut self.path,
            b":scheme" => &mut self.scheme,
            b":authority" => &mut self.authority,
            b":status" => {
                let number = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
                self.status = self.status.or(number).or(Some(0));
                return;
            }
            [b':', ..] => {
                self.extended |= name == b":protocol";
                return;
            }
            _ => return self.line(name, value),
        };
        if value.len() > HEAD {
            self.truncated = true;
        } else if slot.is_none() {
            *slot = Some(Zeroizing::new(value.to_vec()));
        }
    }

    fn line(&mut self, name: &[u8], value: &[u8]) {
        if self.text.len() + name.len() + value.len() + 4 > HEAD {
            self.truncated = true;
            return;
        }
        add(&mut self.text, name);
        self.text.extend_from_slice(b": ");
        add(&mut self.text, value);
        self.text.extend_from_slice(b"\r\n");
    }

    /// The block is over. `truncated`: it was too long to be read.
    pub(super) fn finish(self, truncated: bool) -> Fields {
        let truncated = truncated || self.truncated;
        let requested = [&self.method, &self.path, &self.scheme, &self.authority];
        let request = requested.iter().any(|part| part.is_some());
        let mut text = Zeroizing::new(Vec::with_capacity(self.text.len() + 64));
        if request {
            self.request_line(&mut text);
        } else if let Some(status) = self.status {
            text.extend_from_slice(format!("{status}\r\n").as_bytes());
        }
        text.extend_from_slice(&self.text);
        Fields {
            request,
            status: self.status.filter(|_| !request),
            count: self.count,
            unknown: self.unknown,
            head: Head::copy(&text, truncated),
        }
    }

    /// Method, space, target; then the authority as a `Host` field.
    fn request_line(&self, text: &mut Zeroizing<Vec<u8>>) {
        let part = |part: &Option<Zeroizing<Vec<u8>>>| part.as_ref().map_or(0, |part| part.len());
        text.reserve(part(&self.method) + part(&self.path) + part(&self.scheme) + 2 * part(&self.authority));
        let method = self.method.as_deref().map_or(&[][..], Vec::as_slice);
        add(text, method);
        text.push(b' ');
        let authority = self.authority.as_deref().map(Vec::as_slice);
        let path = self.path.as_deref().map(Vec::as_slice);
        let scheme = self.scheme.as_deref().map(Vec::as_slice).filter(|scheme| *scheme != b"http");
        if method == b"CONNECT" && !self.extended {
            add(text, authority.unwrap_or_default());
        } else {
            // The absolute form alone can say what scheme was asked for.
            if let (Some(scheme), Some(authority), Some([b'/', ..])) = (scheme, authority, path) {
                add(text, scheme);
                text.extend_from_slice(b"://");
                add(text, authority);
            }
            add(text, path.unwrap_or_default());
        }
        text.extend_from_slice(b"\r\n");
        if let Some(authority) = authority {
            text.extend_from_slice(b"host: ");
            add(text, authority);
            text.extend_from_slice(b"\r\n");
        }
    }
}

/// Adds text. What would end a line is not allowed in a field (RFC 9113, section 8.2.1), and becomes a space here.
fn add(to: &mut Zeroizing<Vec<u8>>, text: &[u8]) {
    to.extend(text.iter().map(|byte| if matches!(byte, b'\r' | b'\n' | 0) { b' ' } else { *byte }));
}
