//! How an exchange went: the span's status, `error.type`, and our word for an end without a complete
//! response (http-spans.md, "Status"; recording-errors.md).
//!
//! A status code that is an error by itself names the error: 400 and above for a client, 500 and above for
//! a server, and what is no status code at all for both. Otherwise what happened to the connection does:
//!
//! | what happened                      | client                | server             | `spandrel.outcome` |
//! |------------------------------------|-----------------------|--------------------|--------------------|
//! | the response is complete           |                       |                    |                    |
//! | the connection failed              | name of the `errno`   | name of the `errno`| `failed`           |
//! | the peer closed it                 | `connection_closed`   | `client_closed`    | `peer_closed`      |
//! | this end closed it                 | `cancelled`           | `connection_closed`| `cancelled`, `local_closed` |
//! | one side reset the stream          | name of the code      | name of the code   | `reset`            |
//! | the process ended                  | `process_exit`        | `process_exit`     | `process_exit`     |
//! | the end was not seen               | no error              | no error           | `unseen`           |
//!
//! A client that closes its own connection before the response is complete has cancelled, or ran into its own
//! timeout, which looks the same from the kernel: either way its caller got no response. One that has read the head and
//! nothing of the content wanted no more (nginx's `auth_request` does so each time): no error. A server whose client went
//! away could not send its response, which is one of the errors of the conventions' examples.

use super::{Status, Value, semconv::OTHER};
use crate::exchange::{Outcome, Role};

/// What a span says about how its exchange went.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub status: Status,
    /// `error.type`.
    pub error: Option<Value>,
    /// `spandrel.outcome`.
    pub outcome: Option<&'static str>,
    /// `spandrel.errno`: only where the error has no name.
    pub errno: Option<u32>,
}

/// Judges an exchange by the final response's status code, if one came, how much of its content moved, and how it ended.
pub fn judge(role: Role, code: Option<u16>, content: u64, outcome: Outcome) -> Verdict {
    let (mut errno, mut cause) = (None, None);
    let word = match (outcome, role) {
        (Outcome::Complete, _) => None,
        (Outcome::Failed(number), _) => {
            cause = errno_name(number);
            errno = cause.is_none().then_some(number);
            cause = cause.or(Some(OTHER));
            Some("failed")
        }
        (Outcome::PeerClosed, Role::Client) => {
            cause = Some("connection_closed");
            Some("peer_closed")
        }
        (Outcome::PeerClosed, Role::Server) => {
            cause = Some("client_closed");
            Some("peer_closed")
        }
        (Outcome::LocalClosed, Role::Client) => {
            cause = (code.is_none() || content > 0).then_some("cancelled");
            Some("cancelled")
        }
        (Outcome::LocalClosed, Role::Server) => {
            cause = Some("connection_closed");
            Some("local_closed")
        }
        (Outcome::Reset { code, .. }, _) => {
            cause = Some(reset_name(code));
            Some("reset")
        }
        (Outcome::ProcessExit, _) => {
            cause = Some("process_exit");
            Some("process_exit")
        }
        (Outcome::Unseen, _) => Some("unseen"),
    };
    let error = match code {
        Some(code) if is_error(role, code) => Some(code_text(code)),
        _ => cause.map(Value::Static),
    };
    let status = if error.is_some() { Status::Error } else { Status::Unset };
    Verdict { status, error, outcome: word, errno }
}

fn is_error(role: Role, code: u16) -> bool {
    let from = match role {
        Role::Client => 400,
        Role::Server => 500,
    };
    code >= from || code < 100
}

fn code_text(code: u16) -> Value {
    match code {
        404 => Value::Static("404"),
        500 => Value::Static("500"),
        502 => Value::Static("502"),
        503 => Value::Static("503"),
        504 => Value::Static("504"),
        code => Value::Str(code.to_string().into()),
    }
}

/// The name of an error code of HTTP/2 (RFC 9113, section 7).
fn reset_name(code: u32) -> &'static str {
    match code {
        0 => "no_error",
        1 => "protocol_error",
        2 => "internal_error",
        3 => "flow_control_error",
        4 => "settings_timeout",
        5 => "stream_closed",
        6 => "frame_size_error",
        7 => "refused_stream",
        8 => "cancelled",
        9 => "compression_error",
        10 => "connect_error",
        11 => "enhance_your_calm",
        12 => "inadequate_security",
        13 => "http_1_1_required",
        _ => OTHER,
    }
}

/// The low-cardinality name of what made a connection fail.
fn errno_name(errno: u32) -> Option<&'static str> {
    Some(match i32::try_from(errno).ok()? {
        libc::ECONNRESET => "connection_reset",
        libc::EPIPE => "broken_pipe",
        libc::ETIMEDOUT => "timeout",
        libc::ECONNREFUSED => "connection_refused",
        libc::ECONNABORTED => "connection_aborted",
        libc::EHOSTUNREACH | libc::EHOSTDOWN => "host_unreachable",
        libc::ENETUNREACH | libc::ENETDOWN | libc::ENETRESET => "network_unreachable",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(role: Role, code: Option<u16>, outcome: Outcome, error: Option<&str>, word: Option<&str>) {
        let verdict = judge(role, code, 1, outcome);
        let found = verdict.error.as_ref().map(|value| match value {
            Value::Static(text) => *text,
            Value::Str(text) => text,
            other => panic!("{other:?} is no text"),
        });
        assert_eq!((found, verdict.outcome), (error, word), "{role:?} {code:?} {outcome:?}");
        assert_eq!(verdict.status == Status::Error, error.is_some());
    }

    #[test]
    fn status_codes() {
        use Outcome::Complete;
        use Role::{Client, Server};
        for code in [100, 101, 199, 200, 204, 299, 304, 399] {
            check(Client, Some(code), Complete, None, None);
            check(Server, Some(code), Complete, None, None);
        }
        for code in [400, 401, 404, 418, 429, 499] {
            check(Client, Some(code), Complete, Some(&code.to_string()), None);
            check(Server, Some(code), Complete, None, None);
        }
        for code in [500, 502, 503, 504, 599, 600, 999, 99, 0] {
            check(Client, Some(code), Complete, Some(&code.to_string()), None);
            check(Server, Some(code), Complete, Some(&code.to_string()), None);
        }
    }

    #[test]
    fn ends_without_a_response() {
        use Role::{Client, Server};
        let reset = Outcome::Failed(libc::ECONNRESET as u32);
        check(Client, None, reset, Some("connection_reset"), Some("failed"));
        check(Server, Some(200), reset, Some("connection_reset"), Some("failed"));
        check(Client, None, Outcome::Failed(libc::ETIMEDOUT as u32), Some("timeout"), Some("failed"));
        check(Server, None, Outcome::Failed(libc::EPIPE as u32), Some("broken_pipe"), Some("failed"));
        check(Client, None, Outcome::PeerClosed, Some("connection_closed"), Some("peer_closed"));
        check(Client, Some(200), Outcome::PeerClosed, Some("connection_closed"), Some("peer_closed"));
        check(Server, Some(201), Outcome::PeerClosed, Some("client_closed"), Some("peer_closed"));
        check(Client, None, Outcome::LocalClosed, Some("cancelled"), Some("cancelled"));
        check(Client, Some(200), Outcome::LocalClosed, Some("cancelled"), Some("cancelled"));
        check(Server, None, Outcome::LocalClosed, Some("connection_closed"), Some("local_closed"));
        check(Client, None, Outcome::ProcessExit, Some("process_exit"), Some("process_exit"));
        check(Server, None, Outcome::ProcessExit, Some("process_exit"), Some("process_exit"));
        check(Client, None, Outcome::Unseen, None, Some("unseen"));
        check(Server, Some(200), Outcome::Unseen, None, Some("unseen"));
    }

    #[test]
    fn a_status_code_that_is_an_error_names_it() {
        use Role::{Client, Server};
        for outcome in [Outcome::PeerClosed, Outcome::Failed(libc::ECONNRESET as u32), Outcome::Unseen] {
            assert_eq!(judge(Server, Some(500), 1, outcome).error, Some(Value::Static("500")));
            assert_eq!(judge(Client, Some(404), 1, outcome).error, Some(Value::Static("404")));
        }
        check(Client, Some(404), Outcome::LocalClosed, Some("404"), Some("cancelled"));
        check(Server, Some(404), Outcome::PeerClosed, Some("client_closed"), Some("peer_closed"));
    }

    #[test]
    fn a_nameless_errno_is_given_as_it_is() {
        let verdict = judge(Role::Client, None, 1, Outcome::Failed(libc::EIO as u32));
        assert_eq!((verdict.error, verdict.errno), (Some(Value::Static(OTHER)), Some(libc::EIO as u32)));
        assert_eq!(judge(Role::Client, None, 1, Outcome::Failed(u32::MAX)).errno, Some(u32::MAX));
        assert_eq!(judge(Role::Client, None, 1, Outcome::Failed(libc::EPIPE as u32)).errno, None);
    }
}
