//! W3C Trace Context: what is read is what is written, and nothing that is not valid comes through.

use spandrel_common::w3c::{Extract, format, parse};

/// Lines of header fields, `name: value`; a line without a colon is taken as a `traceparent` value.
pub fn w3c(data: &[u8]) {
    let mut extract = Extract::default();
    for line in data.split(|byte| *byte == b'\n') {
        if let Some(parent) = parse(line) {
            assert!(parent.trace_id != [0; 16] && parent.parent_id != [0; 8], "ids of zeros");
            let written = format(parent.trace_id, parent.parent_id, parent.flags);
            let Some(again) = parse(&written) else { panic!("what was written cannot be read: {written:?}") };
            assert_eq!((again.trace_id, again.parent_id), (parent.trace_id, parent.parent_id));
        }
        match line.iter().position(|byte| *byte == b':') {
            Some(colon) => extract.field(&line[..colon], &line[colon + 1..]),
            None => extract.traceparent(line),
        }
    }
    let context = extract.finish();
    assert!(!(context.bad_parent && context.parent.is_some()), "a parent that is good and bad");
    assert!(context.parent.is_some() || context.state.is_none(), "a state without a parent");
    if let Some(state) = context.state {
        for member in state.members() {
            assert!(member.contains(&b'='), "a member without a value");
            assert!(member.iter().all(u8::is_ascii), "a member that is not ASCII");
        }
    }
}
