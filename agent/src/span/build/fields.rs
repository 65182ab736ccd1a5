//! What was asked for by variables: header fields, and sizes of content.

use super::{Attributes, Exchange, Field, Head, Lines, OptIn, Outcome, Value, attr, text};

/// Fields on request: their places in the policy's list, and their values, in the order of the head.
pub(super) type Captured<'a> = Vec<(usize, &'a [u8])>;

/// Takes a field that was asked for.
pub(super) fn capture<'a>(captured: &mut Captured<'a>, fields: &[Field], name: &[u8], value: &'a [u8]) {
    if let Some(at) = fields.iter().position(|field| name.eq_ignore_ascii_case(field.name.as_bytes())) {
        captured.push((at, value));
    }
}

/// Whether a head announces content.
fn announces(head: &Head) -> bool {
    let mut lines = Lines::of(head);
    lines.start();
    lines.into_iter().any(|(name, value)| {
        name.eq_ignore_ascii_case(b"transfer-encoding")
            || name.eq_ignore_ascii_case(b"content-length")
                && value.iter().any(|byte| (b'1'..=b'9').contains(byte))
    })
}

/// What was asked for by variables. Sizes behind a gap would be wrong and are left out; so is one of content that was
/// announced and broken off, as the kernel side tells of it where it ends.
pub(super) fn on_request(
    out: &mut Attributes<'_>,
    exchange: &Exchange,
    opt_in: &OptIn,
    captured: Captured<'_>,
) {
    if opt_in.body_sizes && !exchange.gap {
        if exchange.request_body > 0 || !announces(&exchange.request) {
            out.int(attr::HTTP_REQUEST_BODY_SIZE, i64::try_from(exchange.request_body).unwrap_or(i64::MAX));
        }
        if let Some((_, head)) = &exchange.response
            && (exchange.response_body > 0 || exchange.outcome == Outcome::Complete || !announces(head))
        {
            out.int(attr::HTTP_RESPONSE_BODY_SIZE, i64::try_from(exchange.response_body).unwrap_or(i64::MAX));
        }
    }
    push_fields(out, &opt_in.request_fields, captured);
    if let (Some((_, head)), false) = (&exchange.response, opt_in.response_fields.is_empty()) {
        let mut lines = Lines::of(head);
        lines.start();
        let mut captured = Vec::new();
        for (name, value) in lines {
            capture(&mut captured, &opt_in.response_fields, name, value);
        }
        push_fields(out, &opt_in.response_fields, captured);
    }
}

/// One attribute for each field that came, with the values of all its lines.
fn push_fields(out: &mut Attributes<'_>, fields: &[Field], mut captured: Captured<'_>) {
    // Stable: the lines of one field stay in order.
    captured.sort_by_key(|(at, _)| *at);
    for same in captured.chunk_by(|a, b| a.0 == b.0) {
        let Some(field) = same.first().and_then(|(at, _)| fields.get(*at)) else { continue };
        let (redactor, stats) = out.redactor();
        let values = same.iter().map(|(_, value)| text(value)).collect();
        let values = redactor.header(&field.name, field.sanitize, values, stats);
        let values = values.into_iter().map(Box::from).collect();
        out.push(field.key.to_string(), Value::Strs(values));
    }
}
