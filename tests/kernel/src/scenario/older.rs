//! Connections that are older than the agent: idle, inside a request, inside a response.

use std::{io, os::fd::AsFd as _};

use crate::{
    Stage, http,
    sock::Family,
    sys,
    talk::{Talk, Ways, pass},
    truth::{End, Look},
    way::{Rx, Tx, all, fill},
};

/// Where a conversation stands when the agent comes.
#[derive(Clone, Copy)]
enum At {
    Idle,
    RequestBody,
    RequestHead,
    /// All of the request is sent, and nothing of it read.
    Unread,
    /// Request read, no answer yet.
    Answer,
    ResponseHead,
    ResponseBody,
    ResponseChunks,
}

const PLACES: [(&str, At); 8] = [
    ("idle", At::Idle),
    ("request-body", At::RequestBody),
    ("request-head", At::RequestHead),
    ("unread", At::Unread),
    ("answer", At::Answer),
    ("response-head", At::ResponseHead),
    ("response-body", At::ResponseBody),
    ("response-chunks", At::ResponseChunks),
];

/// Bytes of the bodies that are cut.
const BODY: usize = 900;

/// Opens a conversation at every place over every family, waits for the agent, and goes on. What had begun is
/// nobody's to tell; what comes after it is.
pub(crate) fn older(stage: &mut Stage) -> io::Result<()> {
    let mut all_of_them = Vec::new();
    for family in Family::ALL {
        for (name, at) in PLACES {
            let mut talk = Talk::new(&stage.truth, &format!("older-{name}-{}", family.word()), family)?;
            // Before the agent: not written down.
            let (path, status) = talk.next();
            let request = http::request(&path, BODY, "");
            let mut response = http::response(status, BODY, "");
            if matches!(at, At::ResponseChunks) {
                response =
                    format!("HTTP/1.1 {status} Told\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
                response.extend(http::chunked(&[300, 300, 300], ""));
            }
            let (sent, answered) = match at {
                At::Idle => (request.len(), response.len()),
                At::RequestBody => (request.len() - 500, 0),
                At::RequestHead => (20, 0),
                At::Unread | At::Answer => (request.len(), 0),
                At::ResponseHead => (request.len(), 20),
                At::ResponseBody | At::ResponseChunks => (request.len(), response.len() - 500),
            };
            let (client, server) = talk.pair.ends();
            if matches!(at, At::Unread) {
                Tx::Write.send(client, 0, &request)?;
            } else {
                pass(client, server, Tx::Write, Rx::Read, &request[..sent])?;
                pass(server, client, Tx::Write, Rx::Read, &response[..answered])?;
            }
            all_of_them.push((talk, at, (path, status), request, response, sent, answered));
        }
    }
    Stage::cue("ready")?;
    for (talk, at, (path, status), request, response, sent, answered) in &mut all_of_them {
        let (client, server) = (talk.pair.client.as_fd(), talk.pair.server.as_fd());
        all(&request[*sent..], |bytes| sys::write(client, bytes))?;
        let from = if matches!(at, At::Unread) { 0 } else { *sent };
        let mut buf = vec![0; request.len() - from];
        fill(&mut buf, |buf| sys::read(server, buf))?;
        pass(server, client, Tx::Write, Rx::Read, &response[*answered..])?;
        if matches!(at, At::Unread) {
            // The server has met all of it.
            talk.told_end(End::Server, (path.as_str(), Some(*status)), (BODY, BODY), Look::Exact)?;
        }
        for (request, response) in [(0, 10), (300, 0), (20, 30)] {
            talk.exchange(Ways::PLAIN, request, response)?;
        }
    }
    Stage::cue("done")
}
