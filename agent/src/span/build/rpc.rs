//! Calls of gRPC, gRPC-Web and Connect, by the RPC conventions (docs/rpc/rpc-spans.md, docs/rpc/grpc.md,
//! docs/rpc/connect-rpc.md).
//!
//! A call that was cut short has no `grpc-status` on the wire. Then its status is the one that gRPC's own libraries make
//! of what happened (grpc's doc/PROTOCOL-HTTP2.md and doc/http-grpc-status-mapping.md).
//!
//! gRPC-Web (grpc's doc/PROTOCOL-WEB.md) says the status behind the messages, in the content, which is not looked at, unless
//! the answer has no messages. Connect (connectrpc.com/docs/protocol) says it in the content, too; but of a unary call
//! HTTP's status code tells whether it failed, and that is what the span has. A status that was not seen is left out.

use std::borrow::Cow;

use super::{Builder, Request, endpoint, peer};
use crate::{
    exchange::{Exchange, Outcome, Protocol, Role},
    protocol::message::Head,
    span::{
        Status, Value,
        address::authority,
        attributes::Attributes,
        http::{Lines, is_name, text},
        outcome::{Verdict, judge},
        semconv as attr,
        target::Target,
    },
};

/// The names of gRPC's status codes, in the order of their numbers.
pub(crate) const CODES: [&str; 17] = [
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

/// The protocol of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Grpc,
    GrpcWeb,
    Connect,
}

/// The protocol of which a request is a call. Connect's calls by GET, and its unary ones that do not name the protocol's
/// version, look like any other request.
pub(super) fn form(exchange: &Exchange, request: &Request<'_>) -> Option<Form> {
    let kind = request.content_type.and_then(|kind| kind.strip_prefix(b"application/"));
    let is = |kind: &[u8]| matches!(kind, [] | [b'+' | b';' | b' ', ..]);
    if let Some(kind) = kind {
        if let Some(kind) = kind.strip_prefix(b"grpc-web") {
            return is(kind.strip_prefix(b"-text").unwrap_or(kind)).then_some(Form::GrpcWeb);
        }
        if let Some(kind) = kind.strip_prefix(b"grpc") {
            return (is(kind) && exchange.protocol == Protocol::Http2).then_some(Form::Grpc);
        }
        if kind.starts_with(b"connect+") {
            return Some(Form::Connect);
        }
    }
    (request.connect && request.line.method == b"POST").then_some(Form::Connect)
}

impl Form {
    /// `rpc.system.name`.
    const fn system(self) -> &'static str {
        match self {
            Self::Grpc | Self::GrpcWeb => attr::RPC_GRPC,
            Self::Connect => attr::RPC_CONNECT,
        }
    }

    /// The full name of the method in a target. What routes lead to a service is no part of it; gRPC has none.
    fn method(self, target: &str) -> &str {
        if self == Self::Grpc {
            return target.strip_prefix('/').unwrap_or(target);
        }
        let path = Target::of(target, false).path;
        let before = path.rmatch_indices('/').nth(1).map_or(0, |(at, _)| at + 1);
        path.get(before..).unwrap_or(path)
    }
}

impl Builder {
    /// Adds what the conventions ask for; gives the span's name and how the call went.
    pub(super) fn call(
        &self,
        out: &mut Attributes<'_>,
        exchange: &Exchange,
        request: &Request<'_>,
        form: Form,
    ) -> (Cow<'static, str>, Verdict) {
        let role = exchange.connection.role;
        let code = exchange.response.as_ref().map(|(code, _)| *code);
        let status = if form == Form::Connect { None } else { status(exchange, request, form) };
        out.push(attr::RPC_SYSTEM_NAME, Value::Static(form.system()));
        if self.policy.older_rpc {
            older(out, form, status.as_deref());
        }
        let target = text(request.line.target);
        let method = form.method(&target);
        let mut name = Cow::Borrowed(form.system());
        if !method.is_empty() {
            let method = self.redactor.text(Cow::Borrowed(method), &self.stats);
            // A server that does not implement it may have been asked for anything.
            let unknown = match form {
                Form::Connect => is_unknown(exchange),
                Form::Grpc | Form::GrpcWeb => status.as_deref() == Some(UNIMPLEMENTED),
            };
            if role == Role::Server && unknown {
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
        let verdict = if form == Form::Connect {
            if let Some(code) = code {
                out.int(attr::HTTP_RESPONSE_STATUS_CODE, code);
            }
            judge(role, code, exchange.response_body, exchange.outcome)
        } else {
            verdict(role, status.as_deref(), exchange.outcome)
        };
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

/// Whether a server has no such method of Connect, or does not say so in the protocol's own form of an error, which is JSON.
fn is_unknown(exchange: &Exchange) -> bool {
    let Some((code, head)) = &exchange.response else { return false };
    let mut lines = Lines::of(head);
    lines.start();
    let kind = lines.find(|(name, _)| is_name(name, b"Content-Type")).map(|(_, value)| value);
    *code == 501 || *code == 404 && !kind.is_some_and(|kind| kind.starts_with(b"application/json"))
}

/// The names before 1.45 that no newer one took over. (`rpc.method` was the method's alone.)
fn older(out: &mut Attributes<'_>, form: Form, status: Option<&str>) {
    let system = if form == Form::Connect { attr::RPC_CONNECT_OLDER } else { attr::RPC_GRPC };
    out.push(attr::RPC_SYSTEM, Value::Static(system));
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
fn status(exchange: &Exchange, request: &Request<'_>, form: Form) -> Option<Cow<'static, str>> {
    let said = |head: &Head, start: bool| {
        let mut lines = Lines::of(head);
        if start {
            lines.start();
        }
        let (_, value) = lines.find(|(name, _)| is_name(name, b"grpc-status"))?;
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
            Some(200) if form == Form::GrpcWeb => return None,
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
