//! What runs beside a measurement as processes of its own, started by hidden options of this verb: a backend
//! that takes every span, and a client that only holds connections.

use std::{
    io::{self, BufRead, BufReader, Read, Write as _},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::{
    lab::Lab,
    process::{Launch, Process},
};

/// The line by which the backend tells its port.
const LISTENING: &str = "listening on port ";
/// The line by which the client tells that it holds all connections.
const HOLDING: &str = "holding";
/// A server answers at once, or something is wrong; a busy machine gets some grace.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Longer request lines and fields do not come from an exporter.
const LINE_LIMIT: u64 = 64 * 1024;

/// An OTLP backend over HTTP that throws everything away.
pub(super) struct Sink {
    _process: Process,
    port: u16,
}

impl Sink {
    pub(super) fn start(lab: &Lab) -> Result<Self> {
        let launch = Launch::new("backend", &lab.this).args(["bench", "--sink"]).on(lab.cores.load);
        let mut process = launch.start(lab.folder())?;
        let line = process.says(LISTENING)?;
        let port = line.trim_start_matches(LISTENING).parse().context("the backend told no port")?;
        Ok(Self { _process: process, port })
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Requests and bytes of their bodies so far.
    pub(super) fn received(&self) -> Result<[u64; 2]> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: sink\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let counts = text.rsplit("\r\n\r\n").next().unwrap_or_default();
        let mut counts = counts.split_whitespace().map(str::parse);
        match (counts.next(), counts.next()) {
            (Some(Ok(requests)), Some(Ok(bytes))) => Ok([requests, bytes]),
            _ => bail!("the backend answered `{text}`"),
        }
    }
}

/// The backend's process.
pub(super) fn sink() -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{LISTENING}{}", listener.local_addr()?.port());
    let counts = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    for stream in listener.incoming() {
        let (stream, counts) = (stream?, Arc::clone(&counts));
        // A connection that breaks is the client's to mend.
        thread::spawn(move || serve(&stream, &counts).ok());
    }
    Ok(())
}

/// Answers the requests of a connection. A body's length has to be told: exporters know it.
fn serve(stream: &TcpStream, counts: &[AtomicU64; 2]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(1 << 18, stream);
    loop {
        let Some(head) = Head::read(&mut reader)? else { return Ok(()) };
        io::copy(&mut Read::by_ref(&mut reader).take(head.length), &mut io::sink())?;
        let body = if head.asks {
            format!("{} {}", counts[0].load(Relaxed), counts[1].load(Relaxed))
        } else {
            counts[0].fetch_add(1, Relaxed);
            counts[1].fetch_add(head.length, Relaxed);
            String::new()
        };
        let kind = if head.asks { "text/plain" } else { "application/x-protobuf" };
        let close = if head.close { "Connection: close\r\n" } else { "" };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{close}Content-Length: {length}\r\n\r\n{body}"
        );
        { stream }.write_all(answer.as_bytes())?;
        if head.close {
            return Ok(());
        }
    }
}

/// What the backend needs to know of a request.
#[derive(Debug, Default, PartialEq, Eq)]
struct Head {
    asks: bool,
    close: bool,
    length: u64,
}

impl Head {
    /// `None` at the orderly end of the connection.
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut head = Self::default();
        let mut first = true;
        loop {
            let mut line = String::new();
            if Read::by_ref(reader).take(LINE_LIMIT).read_line(&mut line)? == 0 {
                return if first { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            let line = line.trim_end();
            if first {
                head.asks = line.starts_with("GET ");
                first = false;
            } else if line.is_empty() {
                return Ok(Some(head));
            } else if let Some((name, value)) = line.split_once(':') {
                if name.eq_ignore_ascii_case("content-length") {
                    let bad = |_| io::Error::from(io::ErrorKind::InvalidData);
                    head.length = value.trim().parse().map_err(bad)?;
                }
                head.close |=
                    name.eq_ignore_ascii_case("connection") && value.trim().eq_ignore_ascii_case("close");
            }
        }
    }
}

/// Connections that have made a request and are kept open.
pub(super) struct Held {
    _process: Process,
}

impl Held {
    pub(super) fn open(lab: &Lab, port: u16, connections: u32) -> Result<Self> {
        let hold = [port.to_string(), connections.to_string()];
        let launch = Launch::new("client", &lab.this).args(["bench", "--hold"]).args(hold);
        let mut process = launch.on(lab.cores.load).files(super::FILES).start(lab.folder())?;
        process.says(HOLDING)?;
        Ok(Self { _process: process })
    }
}

/// The client's process: ends when it is killed.
pub(super) fn hold(port: u32, connections: u32) -> Result<()> {
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, u16::try_from(port).context("no port")?);
    let mut held = Vec::new();
    for number in 0..connections {
        let mut stream = TcpStream::connect(address).with_context(|| format!("connection {number}"))?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: held\r\n\r\n")?;
        let mut answer = [0; 1024];
        if stream.read(&mut answer)? == 0 {
            bail!("connection {number} was closed");
        }
        held.push(stream);
    }
    println!("{HOLDING}");
    // Held until the end of standard input, which never comes before this process is killed.
    io::copy(&mut io::stdin(), &mut io::sink())?;
    drop(held);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_requests() {
        let read = |text: &str| Head::read(&mut text.as_bytes()).unwrap();
        let post = read("POST /v1/traces HTTP/1.1\r\nHost: a\r\ncontent-length: 12\r\n\r\n");
        assert_eq!(post, Some(Head { asks: false, close: false, length: 12 }));
        let get = read("GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
        assert_eq!(get, Some(Head { asks: true, close: true, length: 0 }));
        assert_eq!(read(""), None);
    }

    #[test]
    fn a_backend_counts_what_it_takes() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let counts = [AtomicU64::new(0), AtomicU64::new(0)];
        thread::scope(|scope| {
            scope.spawn(|| serve(&listener.accept().unwrap().0, &counts).unwrap());
            let mut stream = TcpStream::connect(address).unwrap();
            let post = b"POST /v1/traces HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
            stream.write_all(post).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            assert!(text.ends_with("\r\n\r\n1 3"), "{text}");
        });
    }
}
