//! An OTLP/HTTP backend on loopback that answers as a test tells it, and knows every span that it took.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use crate::patience;

/// Bytes of a request's body; the specification allows no more.
const MAX_BODY: usize = 64 << 20;

/// What to answer.
#[derive(Clone, Debug)]
pub enum Reply {
    /// 200: the backend has the spans.
    Ok,
    /// 200, but so many spans are rejected.
    Partial(u64),
    /// This status, with these headers.
    Status(u16, Vec<(&'static str, String)>),
    /// Nothing: the connection stays open until the client or the backend ends.
    Hang,
    /// Half a status line, and a reset.
    Reset,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// How many came before.
    pub number: usize,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The ids of its spans, in hex.
    pub spans: Vec<String>,
    /// The body.
    pub bytes: Vec<u8>,
}

impl Request {
    /// A header's value, empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

type Script = Box<dyn FnMut(&Request) -> Reply + Send>;

struct State {
    script: Script,
    requests: usize,
    accepted: Vec<String>,
    seen: Vec<Vec<u8>>,
    open: Vec<TcpStream>,
    stopped: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The backend. It ends when it is dropped.
pub struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backend").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Backend {
    /// On a free port.
    #[track_caller]
    pub fn start(script: impl FnMut(&Request) -> Reply + Send + 'static) -> Self {
        Self::serve(TcpListener::bind(("127.0.0.1", 0)).expect("a free port"), script)
    }

    /// On a socket that has listened before anybody answered.
    #[track_caller]
    pub fn serve(listener: TcpListener, script: impl FnMut(&Request) -> Reply + Send + 'static) -> Self {
        let address = listener.local_addr().expect("its address");
        let state = State {
            script: Box::new(script),
            requests: 0,
            accepted: Vec::new(),
            seen: Vec::new(),
            open: Vec::new(),
            stopped: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let theirs = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                let mut state = theirs.lock();
                if state.stopped {
                    return;
                }
                state.open.extend(stream.try_clone());
                drop(state);
                let theirs = Arc::clone(&theirs);
                // It ends with its connection; what goes wrong on it is the client's to see.
                thread::spawn(move || conversation(&stream, &theirs).ok());
            }
        });
        Self { address, shared }
    }

    /// What `--otlp-endpoint` takes.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers otherwise from now on.
    pub fn script(&self, script: impl FnMut(&Request) -> Reply + Send + 'static) {
        self.shared.lock().script = Box::new(script);
    }

    /// The ids of the spans that were acknowledged, in the order in which they came.
    pub fn accepted(&self) -> Vec<String> {
        self.shared.lock().accepted.clone()
    }

    /// All bytes of all bodies, whatever the answer was.
    pub fn bodies(&self) -> Vec<Vec<u8>> {
        self.shared.lock().seen.clone()
    }

    /// Waits for so many requests.
    #[track_caller]
    pub fn wait_requests(&self, count: usize) {
        self.wait(&format!("{count} requests"), |state| state.requests >= count);
    }

    /// Waits until so many spans are acknowledged.
    #[track_caller]
    pub fn wait_accepted(&self, count: usize) {
        self.wait(&format!("{count} spans"), |state| state.accepted.len() >= count);
    }

    #[track_caller]
    fn wait(&self, what: &str, done: impl Fn(&State) -> bool) {
        let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), 2 * patience(), |s| !done(s));
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let (requests, spans) = (state.requests, state.accepted.len());
        assert!(done(&state), "no {what}: {requests} requests, {spans} spans acknowledged");
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.stopped = true;
        for stream in state.open.drain(..) {
            // A connection that is closed already is as good.
            stream.shutdown(Shutdown::Both).ok();
        }
        drop(state);
        // The thread that accepts looks up.
        TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).ok();
    }
}

fn conversation(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some((headers, bytes)) = request(&mut reader)? {
        let mut state = shared.lock();
        let request = Request { number: state.requests, headers, spans: span_ids(&bytes), bytes };
        let reply = (state.script)(&request);
        state.requests += 1;
        state.seen.push(request.bytes.clone());
        if let Reply::Ok = reply {
            state.accepted.extend(request.spans.iter().cloned());
        }
        drop(state);
        let mut stream = stream;
        match &reply {
            Reply::Ok => answer(stream, 200, &[], &[])?,
            // partial_success { rejected_spans }
            Reply::Partial(spans) => {
                let mut inner = vec![0x08];
                varint(&mut inner, *spans);
                let mut body = vec![0x0a, inner.len() as u8];
                body.append(&mut inner);
                answer(stream, 200, &[], &body)?;
            }
            Reply::Status(status, headers) => answer(stream, *status, headers, b"no")?,
            Reply::Hang => {}
            Reply::Reset => {
                stream.write_all(b"HTTP/1.1 2")?;
                stream.shutdown(Shutdown::Both)?;
            }
        }
        shared.changed.notify_all();
    }
    Ok(())
}

fn answer(mut to: &TcpStream, status: u16, headers: &[(&str, String)], body: &[u8]) -> std::io::Result<()> {
    let kind = if status == 200 { "application/x-protobuf" } else { "text/plain" };
    let mut answer = Vec::new();
    write!(answer, "HTTP/1.1 {status} x\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n", body.len())?;
    for (name, value) in headers {
        write!(answer, "{name}: {value}\r\n")?;
    }
    answer.extend_from_slice(b"\r\n");
    answer.extend_from_slice(body);
    to.write_all(&answer)
}

type Parsed = (Vec<(String, String)>, Vec<u8>);

/// One request with `Content-Length`; none at the end of the connection.
fn request(reader: &mut BufReader<&TcpStream>) -> std::io::Result<Option<Parsed>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => break,
        }
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
    let mut body = vec![0; usize::min(length, MAX_BODY)];
    reader.read_exact(&mut body)?;
    Ok(Some((headers, body)))
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The ids of the spans of an `ExportTraceServiceRequest`: `resource_spans` 1, `scope_spans` 2, `spans` 2,
/// `span_id` 2.
pub fn span_ids(request: &[u8]) -> Vec<String> {
    let mut ids = Vec::new();
    for resource in fields(request, 1) {
        for scope in fields(resource, 2) {
            for span in fields(scope, 2) {
                let id = fields(span, 2).first().copied().unwrap_or_default();
                let digits = id.iter().flat_map(|byte| [byte >> 4, byte & 15]);
                ids.push(digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect());
            }
        }
    }
    ids
}

/// The contents of a message's length-delimited fields with a number.
fn fields(mut message: &[u8], number: u64) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let Some((tag, rest)) = number_of(message) else { break };
        let len = match tag & 7 {
            0 => {
                let Some((_, rest)) = number_of(rest) else { break };
                message = rest;
                continue;
            }
            1 => 8,
            5 => 4,
            _ => {
                let Some((len, rest)) = number_of(rest) else { break };
                let Some((content, rest)) = rest.split_at_checked(len as usize) else { break };
                if tag >> 3 == number {
                    found.push(content);
                }
                message = rest;
                continue;
            }
        };
        let Some((_, rest)) = rest.split_at_checked(len) else { break };
        message = rest;
    }
    found
}

fn number_of(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(at + 1..)?));
        }
    }
    None
}
