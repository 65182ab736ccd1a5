//! Any bytes through the event decoder: no panic, and what is decoded is encoded to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spandrel::decode::{Event, Sequence, decode, encode};

fuzz_target!(|bytes: &[u8]| {
    let Some(event) = decode(bytes) else { return };
    Sequence::default().observe(event.header());
    let again = match &event {
        Event::Conn(conn) => encode::conn(conn),
        Event::Data(data, payload) => encode::data(data, payload),
        Event::Close(close) => encode::close(close),
        Event::Exit(header) => encode::exit(header),
        Event::Withheld(withheld) => encode::withheld(withheld),
        Event::Exec(_) | Event::Fork(_) | Event::Listen(_) | Event::Notice(_) => return,
    };
    // A payload where none belongs is not written.
    if !matches!(event, Event::Data(..)) && event.header().payload != 0 {
        return;
    }
    assert_eq!(bytes.get(..again.len()), Some(&again[..]));
});
