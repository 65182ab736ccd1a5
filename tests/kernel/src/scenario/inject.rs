//! What arrives is what was sent, or that and one `traceparent` line behind the request line. The program is both
//! ends, and compares by itself.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    time::Duration,
};

use crate::Stage;

/// `traceparent: 00-`, ids, flags, line end.
const LINE: usize = 70;
/// Loopback answers in microseconds; this is for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A generator of numbers (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % below.max(1) as u64) as usize
    }

    fn of<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts.get(self.roll(texts.len())).copied().unwrap_or_default()
    }

    /// What a client may send first, requests and others.
    fn bytes(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        match self.roll(12) {
            0 => out.extend((0..=self.roll(300)).map(|_| self.roll(256) as u8)),
            1 => out.extend(b"\x16\x03\x01\x02\x00GET / HTTP/1.1\r\n\r\n"),
            2 => out.extend(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
            // yamux: a window update.
            3 => out.extend([0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 0, 0]),
            _ => {
                for _ in 0..=self.roll(3) / 2 {
                    self.request(&mut out);
                }
            }
        }
        out
    }

    fn request(&mut self, out: &mut Vec<u8>) {
        let method = self.of(&["GET", "POST", "PUT", "DELETE", "M-SEARCH", "get", "CONNECT", "", "HTTP/1.1"]);
        let target = self.of(&["/", "/a?b=c", "*", "http://h/p", "", "/a b"]);
        let version = self.of(&["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "http/1.1"]);
        let end = self.of(&["\r\n", "\r\n", "\r\n", "\r\n", "\n"]);
        out.extend(format!("{method} {target} {version}{end}").as_bytes());
        if self.roll(20) == 0 {
            out.extend(b"X: ");
            out.extend(std::iter::repeat_n(b'x', self.roll(9000)));
            out.extend(b"\r\n");
        }
        for _ in 0..self.roll(6) {
            let field = self.of(&[
                "Host: a",
                "User-Agent: t",
                "Accept: */*",
                "X-Traceparent: 1",
                " folded",
                "Connection: close",
                "TraceParent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                "traceparent:",
                "Upgrade: websocket",
                "tracestate: a=b",
                "Upgrade-Insecure-Requests: 1",
                ":",
            ]);
            out.extend(format!("{field}{end}").as_bytes());
        }
        let body = self.roll(3) * self.roll(2000);
        if body > 0 {
            out.extend(format!("Content-Length: {body}{end}").as_bytes());
        }
        out.extend(end.as_bytes());
        // A body that looks like a request.
        out.extend(b"GET /body HTTP/1.1\r\nHost: b\r\n\r\n".iter().cycle().take(body));
    }
}

/// Sends in pieces, reads what arrives.
fn exchange(listener: &TcpListener, bytes: &[u8], dice: &mut Dice) -> io::Result<Vec<u8>> {
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    server.set_read_timeout(Some(PATIENCE))?;
    client.set_nodelay(dice.roll(2) == 0)?;
    let cuts = if dice.roll(2) == 0 { 0 } else { dice.roll(4) };
    let mut rest = bytes;
    for _ in 0..cuts {
        let (piece, more) = rest.split_at(dice.roll(rest.len() + 1));
        client.write_all(piece)?;
        rest = more;
    }
    client.write_all(rest)?;
    client.shutdown(std::net::Shutdown::Write)?;
    let mut arrived = Vec::with_capacity(bytes.len() + LINE);
    server.read_to_end(&mut arrived)?;
    Ok(arrived)
}

/// Whether it is the program's bytes with one line. How many lines there are, if it is right.
fn lines(sent: &[u8], arrived: &[u8]) -> Option<usize> {
    if sent == arrived {
        return Some(0);
    }
    let at = arrived.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let (head, rest) = arrived.split_at_checked(at)?;
    let (line, rest) = rest.split_at_checked(LINE)?;
    let request = head.ends_with(b" HTTP/1.1\r\n") || head.ends_with(b" HTTP/1.0\r\n");
    let right = line.starts_with(b"traceparent: 00-") && line.ends_with(b"\r\n");
    let own = sent.strip_prefix(head) == Some(rest);
    (request && right && own).then_some(1)
}

/// Generated messages, each on a connection of its own, in whole and in pieces. Arguments: how many, the first seed.
pub(super) fn injected(stage: &mut Stage) -> io::Result<()> {
    let (count, seed): (u64, u64) = (stage.arg(0)?, stage.arg(1)?);
    let mut put = 0;
    // Peers that speak another protocol are left alone from then on, so each case has its own.
    let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    for number in 0..count {
        let mut dice = Dice(seed.wrapping_add(number));
        let bytes = dice.bytes();
        let arrived = exchange(&listener, &bytes, &mut dice)?;
        let Some(lines) = lines(&bytes, &arrived) else {
            let (sent, arrived) = (bytes.escape_ascii(), arrived.escape_ascii());
            return Err(io::Error::other(format!("case {number}: sent\n{sent}\narrived\n{arrived}")));
        };
        if lines == 0 {
            listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        }
        put += lines;
    }
    #[expect(clippy::print_stdout, reason = "for the test that runs it")]
    {
        println!("{{\"cases\":{count},\"put\":{put}}}");
    }
    Ok(())
}

/// Requests on kept connections while agents come and go beside them: each arrives whole, with a line or without, and each
/// response, too. Arguments: how many.
pub(super) fn kept(stage: &mut Stage) -> io::Result<()> {
    let count: usize = stage.arg(0)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut put = 0;
    let mut done = 0;
    Stage::cue("ready")?;
    while done < count {
        let mut client = TcpStream::connect(listener.local_addr()?)?;
        let (mut server, _) = listener.accept()?;
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
        }
        for number in 0..20 {
            let body = "b".repeat(number * 7);
            let length = body.len();
            let sent = format!("POST /{done} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}");
            client.write_all(sent.as_bytes())?;
            let mut arrived = vec![0; sent.len()];
            server.read_exact(&mut arrived)?;
            if arrived != sent.as_bytes() {
                let mut more = [0; LINE];
                server.read_exact(&mut more)?;
                arrived.extend(more);
            }
            put += lines(sent.as_bytes(), &arrived)
                .ok_or_else(|| io::Error::other(format!("{} arrived", arrived.escape_ascii())))?;
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
            server.write_all(answer.as_bytes())?;
            let mut got = vec![0; answer.len()];
            client.read_exact(&mut got)?;
            if got != answer.as_bytes() {
                return Err(io::Error::other(format!("answered by {}", got.escape_ascii())));
            }
            done += 1;
        }
        client.set_nonblocking(true)?;
        let more = client.read(&mut [0]).map_err(|error| error.kind());
        if more != Err(io::ErrorKind::WouldBlock) {
            return Err(io::Error::other(format!("more came: {more:?}")));
        }
    }
    #[expect(clippy::print_stdout, reason = "for the test that runs it")]
    {
        println!("done {put}");
    }
    Ok(())
}
