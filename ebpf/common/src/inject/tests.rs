//! What is put in, where, and into what.

use super::*;

#[test]
fn the_line_goes_behind_the_request_line() {
    for (text, at) in [
        ("GET / HTTP/1.1\r\n\r\n", 16),
        ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", 16),
        ("POST /a?b=c HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 22),
        ("OPTIONS * HTTP/1.1\r\nhost:\r\n\r\n", 20),
        ("M-SEARCH http://h/ HTTP/1.1\r\na: tracepar\r\nx-traceparent: 1\r\n\r\n", 29),
        ("GET / HTTP/1.1\r\nUpgrade-Insecure-Requests: 1\r\n\r\n", 16),
        ("GET / HTTP/1.1\r\nupgrad: 1\r\nupgrade\r\n\r\n", 0),
    ] {
        let expected = if at == 0 { Err(Aside::Upgrade as u32) } else { Ok(at) };
        assert_eq!(place(text.as_bytes()), expected, "{text:?}");
    }
}

#[test]
fn everything_else_is_left_as_it_is() {
    let own = ["TraceState: a=b", "traceparent: x", "TRACEPARENT:x", "TraceParent : y", "traceparent"];
    for name in own {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{name}\r\n\r\n");
        assert_eq!(place(text.as_bytes()), Err(Aside::OwnContext as u32), "{text:?}");
    }
    for (text, why) in [
        ("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", Aside::Upgrade),
        ("CONNECT a:1 HTTP/1.1\r\n\r\n", Aside::Upgrade),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Aside::NotRequest),
        ("HTTP/1.1 200 OK\r\n\r\n", Aside::NotRequest),
        ("get / HTTP/1.1\r\n\r\n", Aside::NotRequest),
        ("GET  / HTTP/1.1\r\n\r\n", Aside::NotRequest),
        (" GET / HTTP/1.1\r\n\r\n", Aside::NotRequest),
        ("\r\nGET / HTTP/1.1\r\n\r\n", Aside::NotRequest),
        ("GET / HTTP/1.2\r\n\r\n", Aside::NotRequest),
        ("GET /HTTP/1.1\r\n\r\n", Aside::NotRequest),
        ("OPTIONS HTTP/1.1\r\n\r\n", Aside::NotRequest),
        ("GET / HTTP/1.1\n\n", Aside::Unusual),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", Aside::Unusual),
        ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", Aside::Unusual),
        ("GET / HTTP/1.1\r\n: a\r\n\r\n", Aside::Unusual),
    ] {
        assert_eq!(place(text.as_bytes()), Err(why as u32), "{text:?}");
    }
}

#[test]
fn no_prefix_of_a_head_is_one() {
    let text = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    for len in 0..=text.len() {
        let expected = len >= text.len() - 3;
        assert_eq!(place(&text[..len]).is_ok(), expected, "{len}");
    }
}

#[test]
fn heads_as_long_as_the_search_are_judged_and_longer_ones_not() {
    for extra in 0..64 {
        let filler = "a".repeat(INJECT_SCAN - 64 + extra);
        let text = format!("GET / HTTP/1.1\r\nh: {filler}\r\n\r\n");
        let expected = if text.len() <= INJECT_SCAN { Ok(16) } else { Err(Aside::Unfinished as u32) };
        assert_eq!(place(text.as_bytes()), expected, "{extra}");
    }
}

#[test]
fn the_line_is_the_one_that_the_parser_reads() {
    for seed in 0..1000_u64 {
        let trace_id = crate::ids::trace_id([seed, !seed], seed * 7);
        let span_id = crate::ids::span_id([seed, !seed], seed * 7);
        for flags in 0..=255_u8 {
            let words = line(trace_id, span_id, flags);
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).take(LINE).collect();
            let hex = |id: &[u8]| id.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
            let expected = format!("traceparent: 00-{}-{}-0{}\r\n", hex(&trace_id), hex(&span_id), flags & 3);
            assert_eq!(String::from_utf8_lossy(&bytes), expected);
        }
    }
}
