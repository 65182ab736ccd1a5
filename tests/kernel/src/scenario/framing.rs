//! Messages whose framing has a rule of its own (RFC 9112, section 6.3), sampled and unsampled in turn: the kernel
//! side has to follow both, or it loses the next message.

use std::io;

use crate::{
    Stage, http,
    sock::Family,
    talk::{Talk, Ways, pass},
    truth::{ANY, End, Look},
    way::{Rx, Tx},
};

/// Which end sends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sender {
    Client,
    Server,
}
use Sender::{Client, Server};

/// An exchange: the status, lengths of both bodies, and what is sent in which order. `{path}` and `{trace}` stand
/// for the target and a traceparent field, `{body}` for 300 bytes that look like messages.
struct Shape {
    name: &'static str,
    status: u16,
    bodies: (usize, usize),
    steps: &'static [(Sender, &'static str)],
}

/// Bytes of `{body}`.
const BODY: usize = 300;

const fn shape(
    name: &'static str,
    status: u16,
    bodies: (usize, usize),
    steps: &'static [(Sender, &'static str)],
) -> Shape {
    Shape { name, status, bodies, steps }
}

const GET: &str = "GET {path} HTTP/1.1\r\nHost: k\r\n{trace}\r\n";
const POST: &str = "POST {path} HTTP/1.1\r\nHost: k\r\nContent-Length: 300\r\n{trace}\r\n{body}";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n{body}";

const SHAPES: &[Shape] = &[
    shape("get", 200, (0, BODY), &[(Client, GET), (Server, OK)]),
    shape(
        "head",
        200,
        (0, 0),
        &[
            (Client, "HEAD {path} HTTP/1.1\r\nHost: k\r\n{trace}\r\n"),
            (Server, "HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n"),
        ],
    ),
    shape(
        "head-chunked",
        200,
        (0, 0),
        &[
            (Client, "HEAD {path} HTTP/1.1\r\nHost: k\r\n{trace}\r\n"),
            (Server, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ],
    ),
    shape("no-content", 204, (BODY, 0), &[(Client, POST), (Server, "HTTP/1.1 204 No Content\r\n\r\n")]),
    shape(
        "not-modified",
        304,
        (0, 0),
        &[(Client, GET), (Server, "HTTP/1.1 304 Not Modified\r\nContent-Length: 300\r\nETag: a\r\n\r\n")],
    ),
    shape(
        "continue",
        200,
        (BODY, BODY),
        &[
            (
                Client,
                "POST {path} HTTP/1.1\r\nHost: k\r\nExpect: 100-continue\r\nContent-Length: 300\r\n{trace}\r\n",
            ),
            (Server, "HTTP/1.1 100 Continue\r\n\r\n"),
            (Client, "{body}"),
            (Server, OK),
        ],
    ),
    shape(
        "hints",
        200,
        (0, BODY),
        &[
            (Client, GET),
            (Server, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
            (Server, "HTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n"),
            (Server, OK),
        ],
    ),
    shape(
        "hints-together",
        200,
        (0, BODY),
        &[
            (Client, GET),
            (
                Server,
                "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n{body}",
            ),
        ],
    ),
    shape(
        "early",
        200,
        (ANY, BODY),
        &[
            (Client, "POST {path} HTTP/1.1\r\nHost: k\r\nContent-Length: 600\r\n{trace}\r\n{body}"),
            (Server, OK),
            (Client, "{body}"),
        ],
    ),
    shape(
        "http-1.0",
        200,
        (0, BODY),
        &[
            (Client, "GET {path} HTTP/1.0\r\nConnection: keep-alive\r\n{trace}\r\n"),
            (Server, "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 300\r\n\r\n{body}"),
        ],
    ),
    shape(
        "upgrade-refused",
        200,
        (0, BODY),
        &[
            (Client, "GET {path} HTTP/1.1\r\nHost: k\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n{trace}\r\n"),
            (Server, OK),
        ],
    ),
    shape(
        "connect-refused",
        407,
        (0, BODY),
        &[
            (Client, "CONNECT k:443 HTTP/1.1\r\nHost: k\r\n{trace}\r\n"),
            (Server, "HTTP/1.1 407 No\r\nContent-Length: 300\r\n\r\n{body}"),
        ],
    ),
    shape(
        "odd-case",
        200,
        (BODY, BODY),
        &[
            (Client, "POST {path} HTTP/1.1\r\nhost:k\r\ncONTENT-lENGTH:300\r\n{trace}\r\n{body}"),
            (Server, "HTTP/1.1 200 OK\r\nCONTENT-LENGTH:  \t300 \r\n\r\n{body}"),
        ],
    ),
    shape(
        "odd-chunks",
        200,
        (BODY, BODY),
        &[
            (
                Client,
                "POST {path} HTTP/1.1\r\nHost: k\r\nTRANSFER-ENCODING:CHUNKED\r\n{trace}\r\n\
                 0000012C ; a=\"b\"\r\n{body}\r\n000\r\n\r\n",
            ),
            (
                Server,
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n12c\r\n{body}\r\n0;last\r\nA: b\r\n\r\n",
            ),
        ],
    ),
    shape(
        "no-reason",
        200,
        (0, BODY),
        &[(Client, GET), (Server, "HTTP/1.1 200\r\nContent-Length: 300\r\n\r\n{body}")],
    ),
    shape(
        "line-feeds",
        200,
        (BODY, BODY),
        &[
            (Client, "POST {path} HTTP/1.1\nHost: k\nContent-Length: 300\n{trace}\n{body}"),
            (Server, "HTTP/1.1 200 OK\nContent-Length: 300\n\n{body}"),
        ],
    ),
    shape(
        "empty-lines",
        200,
        (0, BODY),
        &[(Client, "\r\nGET {path} HTTP/1.1\r\nHost: k\r\n{trace}\r\n"), (Server, OK)],
    ),
    shape(
        "folded",
        200,
        (BODY, BODY),
        &[
            (
                Client,
                "POST {path} HTTP/1.1\r\nHost: k\r\nX-Long: a\r\n b\r\nContent-Length: 300\r\n{trace}\r\n{body}",
            ),
            (Server, OK),
        ],
    ),
    shape(
        "two-equal-lengths",
        200,
        (0, BODY),
        &[
            (Client, GET),
            (Server, "HTTP/1.1 200 OK\r\nContent-Length: 300\r\nContent-Length: 300\r\n\r\n{body}"),
        ],
    ),
];

/// Every shape on connections of its own and all of them on one; each sampled and unsampled in every order.
pub(crate) fn framing(stage: &mut Stage) -> io::Result<()> {
    for family in [Family::V4, Family::UnixPair] {
        let mut all = Talk::new(&stage.truth, &format!("framing-all-{}", family.word()), family)?;
        for shape in SHAPES.iter().filter(|shape| stage.wants(shape.name)) {
            let name = format!("framing-{}-{}", shape.name, family.word());
            let mut talk = Talk::new(&stage.truth, &name, family)?;
            for sampled in [true, true, false, false, true, false, true] {
                play(&mut talk, shape, sampled)?;
            }
            talk.plain()?;
            for sampled in [false, true] {
                play(&mut all, shape, sampled)?;
            }
        }
        all.plain()?;
    }
    Ok(())
}

fn play(talk: &mut Talk<'_>, shape: &Shape, sampled: bool) -> io::Result<()> {
    let (path, told) = talk.next();
    let path = path.replace(&format!("/{told}"), &format!("/{}", shape.status));
    let trace = format!("traceparent: 00-{:032x}-0123456789abcdef-0{}\r\n", 1, u8::from(sampled));
    let mut body = Vec::new();
    http::fill(&mut body, BODY);
    let (client, server) = talk.pair.ends();
    for (from, text) in shape.steps {
        let mut text = text.replace("{path}", &path).replace("{trace}", &trace);
        if shape.name == "line-feeds" {
            text = text.replace("\r\n", "\n");
        }
        let mut message = Vec::new();
        for (index, part) in text.split("{body}").enumerate() {
            if index > 0 {
                message.extend(&body);
            }
            message.extend(part.as_bytes());
        }
        let (from, to) = if *from == Client { (client, server) } else { (server, client) };
        pass(from, to, Tx::Write, Rx::Read, &message)?;
    }
    let look = if sampled { Look::Exact } else { Look::Unsampled };
    // A refusal is the client's error.
    let client_look = if sampled && shape.status >= 400 { Look::Refused } else { look };
    // The target of CONNECT is no path.
    let path = if shape.name.starts_with("connect") { "CONNECT" } else { &path };
    let (status, bodies) = (Some(shape.status), shape.bodies);
    talk.told_end(End::Client, (path, status), bodies, client_look)?;
    talk.told_end(End::Server, (path, status), bodies, look)
}

/// What follows an accepted upgrade or CONNECT is nobody's business, whatever it looks like.
pub(crate) fn tunnels(stage: &mut Stage) -> io::Result<()> {
    let frames = [
        (Client, "\u{1}GET /bait/299 HTTP/1.1\r\n\r\n"),
        (Server, "\u{1}HTTP/1.1 200 OK\r\n\r\n"),
        (Client, "GET /bait/1/299 HTTP/1.1\r\nHost: k\r\n\r\n"),
        (Server, "HTTP/1.1 299 OK\r\nContent-Length: 0\r\n\r\n"),
        (Client, "GET /bait/2/299 HTTP/1.1\r\nHost: k\r\n\r\n"),
        (Server, "HTTP/1.1 299 OK\r\nContent-Length: 0\r\n\r\n"),
    ];
    for family in [Family::V4, Family::UnixPair] {
        for (name, status, request, response) in [
            (
                "websocket",
                101,
                "GET {path} HTTP/1.1\r\nHost: k\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            ),
            ("connect", 200, "CONNECT k:80 HTTP/1.1\r\nHost: k:80\r\n\r\n", "HTTP/1.1 200 Connected\r\n\r\n"),
        ] {
            let mut talk = Talk::new(&stage.truth, &format!("tunnel-{name}-{}", family.word()), family)?;
            talk.exchange(Ways::PLAIN, 3, 4)?;
            let (path, told) = talk.next();
            let path = path.replace(&format!("/{told}"), &format!("/{status}"));
            let (client, server) = talk.pair.ends();
            pass(client, server, Tx::Write, Rx::Read, request.replace("{path}", &path).as_bytes())?;
            pass(server, client, Tx::Write, Rx::Read, response.as_bytes())?;
            for (from, text) in frames {
                let (from, to) = if from == Client { (client, server) } else { (server, client) };
                pass(from, to, Tx::Write, Rx::Read, text.as_bytes())?;
            }
            let path = if name == "connect" { "CONNECT" } else { &path };
            talk.told(path, status, 0, 0, (Look::Exact, Look::Exact))?;
        }
    }
    Ok(())
}
