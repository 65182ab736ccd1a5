//! gRPC calls, by the RPC conventions (docs/rpc/rpc-spans.md, docs/rpc/grpc.md).
//!
//! A call that was cut short has no `grpc-status` on the wire. Then its status is the one that gRPC's own libraries make
//! of what happened (grpc's doc/PROTOCOL-HTTP2.md and doc/http-grpc-status-mapping.md).

use std::borrow::Cow;

use super::{Builder, Request, endpoint, peer};
use crate::{
    exchange::{Exchange, Outcome, Protocol, Role},
    protocol::message::Head,
    span::{
        Status, Value,
        address::authority,
        attributes::Attributes,
        http::{Lines, text},
        outcome::{Verdict, judge},
        semconv as attr,
    },
};

/// The names of the status codes, in the order of their numbers.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

const OK: &str = "OK";
const CANCELLED: &str = "CANCELLED";
const UNKNOWN: &str = "UNKNOWN";
const DEADLINE_EXCEEDED: &str = "DEADLINE_EXCEEDED";
const PERMISSION_DENIED: &str = "PERMISSION_DENIED";
const RESOURCE_EXHAUSTED: &str = "RESOURCE_EXHAUSTED";
const UNIMPLEMENTED: &str = "UNIMPLEMENTED";
const INTERNAL: &str = "INTERNAL";
const UNAVAILABLE: &str = "UNAVAILABLE";
const DATA_LOSS: &str = "DATA_LOSS";
const UNAUTHENTICATED: &str = "UNAUTHENTICATED";

/// How much shorter than its timeout a call may have been that was broken off because of it, seen from where the request
/// moved: nanoseconds. A timer of the client started a little before that.
const EARLY_NS: u64 = 5_000_000;

/// Whether a request is a gRPC call.
pub(super) fn is_call(exchange: &Exchange, request: &Request<'_>) -> bool {
    let kind = request.content_type.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    exchange.protocol == Protocol::Http2 && matches!(kind, Some([] | [b'+' | b';' | b' ', ..]))
}

impl Builder {
    /// Adds what the conventions ask for; gives the span's name and how the call went.
    pub(super) fn call(
        &self,
        out: &mut Attributes<'_>,
        exchange: &Exchange,
        request: &Request<'_>,
    ) -> (Cow<'static, str>, Verdict) {
        let role = exchange.connection.role;
        let status = status(exchange, request);
        out.push(attr::RPC_SYSTEM_NAME, Value::Static(attr::RPC_GRPC));
        if self.policy.older_rpc {
            older(out, status.as_deref());
        }
        let target = request.line.target;
        let method = target.strip_prefix(b"/").unwrap_or(target);
        let mut name = Cow::Borrowed(attr::RPC_GRPC);
        if !method.is_empty() {
            let method = self.redactor.text(text(method), &self.stats);
            // A server that does not implement it may have been asked for anything.
            if role == Role::Server && status.as_deref() == Some(UNIMPLEMENTED) {
                out.push(attr::RPC_METHOD, Value::Static(attr::OTHER));
                out.clean(attr::RPC_METHOD_ORIGINAL, method);
            } else {
                name = Cow::Owned(method.clone().into_owned());
                if self.policy.older_rpc
                    && let Some((service, _)) = method.rsplit_once('/')
                {
                    out.clean(attr::RPC_SERVICE, service.to_owned());
                }
                out.clean(attr::RPC_METHOD, method);
            }
        }
        let named = request.host.map(authority).filter(|named| !named.host.is_empty());
        match role {
            Role::Server => {
                if let Some(named) = named {
                    out.text(attr::SERVER_ADDRESS, text(named.host));
                    if let Some(port) = named.port {
                        out.int(attr::SERVER_PORT, port);
                    }
                }
            }
            Role::Client => endpoint(out, named, "http", exchange.connection.peer),
        }
        peer(out, exchange.connection.peer);
        let verdict = verdict(role, status.as_deref(), exchange.outcome);
        if let Some(status) = status {
            out.push(
                attr::RPC_STATUS_CODE,
                match status {
                    Cow::Borrowed(status) => Value::Static(status),
                    Cow::Owned(status) => Value::Str(status.into()),
                },
            );
        }
        (name, verdict)
    }
}

/// The names before 1.45 that no newer one took over. (`rpc.method` was the method's alone.)
fn older(out: &mut Attributes<'_>, status: Option<&str>) {
    out.push(attr::RPC_SYSTEM, Value::Static(attr::RPC_GRPC));
    let number = status.and_then(|status| CODES.iter().position(|code| *code == status));
    if let Some(number) = number.and_then(|number| i64::try_from(number).ok()) {
        out.int(attr::RPC_GRPC_STATUS_CODE, number);
    }
}

/// How a call with this status went.
fn verdict(role: Role, status: Option<&str>, outcome: Outcome) -> Verdict {
    let ended = judge(role, None, 0, outcome);
    let error = match (status, role) {
        (None, _) => return ended,
        (Some(OK), _) => None,
        (Some(status), Role::Client) => Some(status),
        (Some(status), Role::Server) => {
            matches!(status, UNKNOWN | DEADLINE_EXCEEDED | UNIMPLEMENTED | INTERNAL | UNAVAILABLE | DATA_LOSS)
                .then_some(status)
        }
    };
    let known = |error: &str| CODES.iter().find(|code| **code == error);
    Verdict {
        status: if error.is_some() { Status::Error } else { Status::Unset },
        error: error.map(|error| match known(error) {
            Some(error) => Value::Static(error),
            None => Value::Str(error.into()),
        }),
        ..ended
    }
}

/// The call's status, as far as it can be told.
fn status(exchange: &Exchange, request: &Request<'_>) -> Option<Cow<'static, str>> {
    let said = |head: &Head, start: bool| {
        let mut lines = Lines::of(head);
        if start {
            lines.start();
        }
        let (_, value) = lines.find(|(name, _)| name == b"grpc-status")?;
        let value = text(value);
        let name = value.parse().ok().and_then(|number: usize| CODES.get(number));
        Some(name.map_or_else(|| Cow::Owned(value.into_owned()), |name| Cow::Borrowed(*name)))
    };
    let behind = exchange.trailers.as_ref().and_then(|head| said(head, false));
    let status = behind.or_else(|| exchange.response.as_ref().and_then(|(_, head)| said(head, true)));
    if status.is_some() {
        return status;
    }
    let made = match exchange.outcome {
        Outcome::Unseen => return None,
        Outcome::Complete => match exchange.response.as_ref().map(|(code, _)| *code) {
            // It may be among the fields that are not known.
            _ if exchange.gap => return None,
            Some(400) => INTERNAL,
            Some(401) => UNAUTHENTICATED,
            Some(403) => PERMISSION_DENIED,
            Some(404) => UNIMPLEMENTED,
            Some(429 | 502 | 503 | 504) => UNAVAILABLE,
            _ => UNKNOWN,
        },
        // RFC 9113, section 7. A server whose own clock ends a call cancels it, too, and its client knows the reason.
        Outcome::Reset { code, .. } => match code {
            7 => UNAVAILABLE,
            8 if timed_out(exchange, request) => DEADLINE_EXCEEDED,
            8 => CANCELLED,
            11 => RESOURCE_EXHAUSTED,
            12 => PERMISSION_DENIED,
            _ => INTERNAL,
        },
        Outcome::PeerClosed if exchange.connection.role == Role::Server => CANCELLED,
        Outcome::LocalClosed if exchange.connection.role == Role::Client => CANCELLED,
        Outcome::PeerClosed | Outcome::LocalClosed | Outcome::Failed(_) | Outcome::ProcessExit => UNAVAILABLE,
    };
    Some(Cow::Borrowed(made))
}

/// Whether a call took as long as its client was willing to wait.
fn timed_out(exchange: &Exchange, request: &Request<'_>) -> bool {
    let Some((digits, unit)) =
        request.timeout.and_then(|value| value.split_at_checked(value.len().wrapping_sub(1)))
    else {
        return false;
    };
    let unit_ns = match unit {
        b"H" => 3_600_000_000_000,
        b"M" => 60_000_000_000,
        b"S" => 1_000_000_000,
        b"m" => 1_000_000,
        b"u" => 1_000,
        b"n" => 1,
        _ => return false,
    };
    let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u64>().ok());
    let took = exchange.end_ns.saturating_sub(exchange.start_ns);
    number.is_some_and(|number| took.saturating_add(EARLY_NS) >= number.saturating_mul(unit_ns))
}
