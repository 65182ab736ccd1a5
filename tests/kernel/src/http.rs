//! Messages, and a way to take one of known shape from a stream.

/// Makes heads longer than what is looked at of them where a part is to be hidden.
const SERVER: &str = "Server: ktest, of the kernel tests; says what it did and not what it saw\r\n";

/// A request with a body of `body` bytes.
pub(crate) fn request(path: &str, body: usize, fields: &str) -> Vec<u8> {
    let mut out =
        format!("POST {path} HTTP/1.1\r\nHost: ktest\r\nUser-Agent: ktest\r\nAccept: */*\r\n{fields}Content-Length: {body}\r\n\r\n").into_bytes();
    fill(&mut out, body);
    out
}

/// A response with a body of `body` bytes.
pub(crate) fn response(status: u16, body: usize, fields: &str) -> Vec<u8> {
    let mut out =
        format!("HTTP/1.1 {status} Told\r\n{SERVER}{fields}Content-Length: {body}\r\n\r\n").into_bytes();
    fill(&mut out, body);
    out
}

/// Appends `len` bytes that look like requests and responses, and are none.
pub(crate) fn fill(out: &mut Vec<u8>, len: usize) {
    const BAIT: &[u8] =
        b"\r\n\r\nGET /bait/299 HTTP/1.1\r\nHost: bait\r\n\r\nHTTP/1.1 599 Bait\r\nContent-Length: 0\r\n\r\n0\r\n\r\n";
    out.extend(BAIT.iter().cycle().take(len));
}

/// Where the head ends: behind its empty line.
pub(crate) fn head_len(message: &[u8]) -> usize {
    message.windows(4).position(|four| four == b"\r\n\r\n").map_or(message.len(), |at| at + 4)
}

/// A chunked body: these chunks, an extension on every third, and trailer fields.
pub(crate) fn chunked(chunks: &[usize], trailers: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, len) in chunks.iter().enumerate() {
        let extension = if index % 3 == 2 { ";k=v" } else { "" };
        out.extend(format!("{len:x}{extension}\r\n").into_bytes());
        fill(&mut out, *len);
        out.extend(b"\r\n");
    }
    out.extend(format!("0\r\n{trailers}\r\n").into_bytes());
    out
}
