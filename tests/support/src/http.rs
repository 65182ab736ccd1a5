//! A client that sends what it is told and nothing else: for what real clients do not do.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
};

use crate::patience;

/// A listening socket on a free port of the loopback address, to be handed to a program as its standard input.
/// Nobody else can get the port, and who connects before the program runs waits in the queue.
#[track_caller]
pub fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    (listener, port)
}

/// Connects, with a deadline on everything that follows.
#[track_caller]
pub fn connect(address: impl Into<SocketAddr>) -> TcpStream {
    let address = address.into();
    let stream = TcpStream::connect_timeout(&address, patience())
        .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
    stream.set_read_timeout(Some(patience())).expect("a deadline");
    stream.set_write_timeout(Some(patience())).expect("a deadline");
    stream
}

/// Loopback at this port.
pub fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// Sends these bytes.
#[track_caller]
pub fn send(mut stream: impl Write, bytes: &[u8]) {
    stream.write_all(bytes).expect("bytes sent");
}

/// Reads one response that has `Content-Length` or no body: head and body.
#[track_caller]
pub fn receive(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).expect("a response"), 1, "the response ends in its head");
        bytes.extend(byte);
    }
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).expect("the response's body");
    head + &String::from_utf8_lossy(&body)
}

/// One request by GET on a connection of its own; the whole response.
#[track_caller]
pub fn get(port: u16, path: &str) -> String {
    let mut stream = connect(local(port));
    send(
        &stream,
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n").as_bytes(),
    );
    let mut response = Vec::new();
    stream.read_to_end(&mut response).expect("a response");
    String::from_utf8_lossy(&response).into_owned()
}
