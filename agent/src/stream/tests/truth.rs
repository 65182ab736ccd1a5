//! Whatever is lost, cut or late: a response is never told of a request that it does not answer.

use proptest::prelude::*;
use spandrel_common::event::{DATA_BODY, DATA_END, DATA_PIPELINED, DATA_START, ROLE_CLIENT, ROLE_SERVER};

use super::wire::Wire;
use crate::{
    exchange::Exchange,
    protocol::Side::{self, Request, Response},
};

/// What the capture does to one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Whole,
    /// The ring has no room.
    Lost,
    /// So many bytes captured, the rest unseen.
    Cut(usize),
    /// Written behind the next event.
    Late,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        8 => Just(Fate::Whole),
        2 => Just(Fate::Lost),
        2 => (0..60_usize).prop_map(Fate::Cut),
        1 => Just(Fate::Late),
    ]
}

/// One exchange: how it looks, and the fates of its request and of the pieces of its response.
#[derive(Clone, Debug)]
struct Plan {
    method: usize,
    shape: usize,
    /// Where the response is split, in bytes.
    splits: Vec<usize>,
    fates: Vec<Fate>,
    /// The next request is sent after so many pieces of this response, if the client pipelines.
    early: usize,
    marked: bool,
    /// Bodies are told and not captured.
    headed: bool,
}

const BODY: &[u8] = &[b'b'; 100];

fn plan() -> impl Strategy<Value = Plan> {
    let splits = prop::collection::vec(1..120_usize, 0..4);
    (0..4_usize, 0..4_usize, splits, prop::collection::vec(fate(), 6), 0..4_usize, any::<[bool; 2]>())
        .prop_map(|(method, shape, splits, fates, early, [marked, headed])| Plan {
            method,
            shape,
            splits,
            fates,
            early,
            marked,
            headed,
        })
}

fn request(number: usize, plan: &Plan) -> Vec<u8> {
    match plan.method {
        0 => format!("HEAD /{number} HTTP/1.1\r\nHost: x\r\n\r\n"),
        1 => format!("POST /{number} HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"),
        _ => format!("GET /{number} HTTP/1.1\r\nHost: x\r\n\r\n"),
    }
    .into_bytes()
}

fn response(number: usize, plan: &Plan) -> Vec<u8> {
    let status = 210 + number;
    let (head, body) = match plan.shape {
        0 => (format!("HTTP/1.1 {status} OK\r\nContent-Length: 0\r\n\r\n"), String::new()),
        1 => (format!("HTTP/1.1 {status} OK\r\nTransfer-Encoding: chunked\r\n\r\n"), {
            "5;ext=1\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n".into()
        }),
        _ => (
            format!("HTTP/1.1 {status} OK\r\nServer: t\r\nContent-Length: 100\r\n\r\n"),
            String::from_utf8_lossy(BODY).into_owned(),
        ),
    };
    if plan.method == 0 { head } else { head + &body }.into_bytes()
}

/// What moves, in the order in which it does: exchange, side, bytes.
fn moves(plans: &[Plan], depth: usize) -> Vec<(usize, Side, Vec<u8>, u16)> {
    let (mut out, mut sent, mut pipelined, mut awaiting) = (Vec::new(), 0, false, false);
    for (number, plan) in plans.iter().enumerate() {
        let bytes = response(number, plan);
        let mut pieces = Vec::new();
        let mut rest = &bytes[..];
        for split in &plan.splits {
            let (piece, more) = rest.split_at((*split).min(rest.len()));
            pieces.push(piece);
            rest = more;
        }
        pieces.push(rest);
        pieces.retain(|piece| !piece.is_empty());
        let count = pieces.len();
        for (place, piece) in pieces.into_iter().enumerate() {
            while sent < plans.len()
                && (sent <= number || (sent < number + depth && place >= plan.early.min(count - 1)))
            {
                // As the kernel side sees it, where it follows the framing.
                pipelined |= awaiting || (place > 0 && sent > number);
                awaiting = true;
                let flag = if pipelined { DATA_PIPELINED } else { 0 };
                out.push((sent, Request, request(sent, &plans[sent]), flag | DATA_START));
                sent += 1;
            }
            awaiting = false;
            let start = if place == 0 && plan.marked { DATA_START } else { 0 };
            let flag = if pipelined { DATA_PIPELINED } else { start };
            out.push((number, Response, piece.to_vec(), flag));
        }
    }
    out
}

fn check(out: &[Exchange]) -> Result<(), TestCaseError> {
    for exchange in out {
        let text = String::from_utf8_lossy(exchange.request.bytes());
        let number: Option<usize> =
            text.split(' ').nth(1).and_then(|path| path.strip_prefix('/')).and_then(|path| path.parse().ok());
        if let (Some(number), Some((status, _)), false) =
            (number, &exchange.response, exchange.request.truncated)
        {
            prop_assert_eq!(usize::from(*status), 210 + number, "{:?}", exchange);
        }
    }
    Ok(())
}

/// Plays the moves; gives how many exchanges came out with their responses.
fn play(role: u8, depth: usize, plans: &[Plan], harm: bool) -> Result<usize, TestCaseError> {
    let mut wire = Wire::new(role, 9);
    wire.open(1);
    let mut late: Option<Vec<u8>> = None;
    let mut used = vec![0; plans.len()];
    for (number, side, bytes, flags) in moves(plans, depth) {
        let fate = if harm { plans[number].fates[used[number] % 6] } else { Fate::Whole };
        used[number] += 1;
        let held = late.take();
        match fate {
            // As the kernel side tells of a message that it understands: its head, and how much body.
            Fate::Whole if side == Response && plans[number].headed && bytes.ends_with(BODY) => {
                let head = bytes.len() - BODY.len();
                let wire = wire.data(side, &bytes[..head]).more(BODY.len() as u64);
                wire.flags(flags | DATA_BODY | if head > 0 { DATA_END } else { 0 }).send();
            }
            Fate::Whole => wire.data(side, &bytes).flags(flags).send(),
            Fate::Lost => wire.data(side, &bytes).flags(flags).lose(),
            Fate::Cut(at) => {
                let at = at.min(bytes.len());
                let flags = if side == Response { flags & !DATA_START } else { flags };
                wire.data(side, &bytes[..at]).more((bytes.len() - at) as u64).flags(flags).send();
            }
            Fate::Late => late = Some(wire.data(side, &bytes).flags(flags).record()),
        }
        if let Some(record) = held {
            wire.bytes(&record);
        }
    }
    if let Some(record) = late {
        wire.bytes(&record);
    }
    wire.table.flush(wire.now, &mut wire.out);
    check(&wire.out)?;
    Ok(wire.out.iter().filter(|exchange| exchange.response.is_some()).count())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn no_response_is_told_of_another_request(
        client: bool,
        depth in 1..4_usize,
        plans in prop::collection::vec(plan(), 1..9),
    ) {
        let role = if client { ROLE_CLIENT } else { ROLE_SERVER };
        play(role, depth, &plans, true)?;
    }

    #[test]
    fn without_harm_every_response_is_told(
        client: bool,
        depth in 1..4_usize,
        plans in prop::collection::vec(plan(), 1..9),
    ) {
        let role = if client { ROLE_CLIENT } else { ROLE_SERVER };
        prop_assert_eq!(play(role, depth, &plans, false)?, plans.len());
    }
}
