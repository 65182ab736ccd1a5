//! Bytes that were not seen.

use super::{
    conversation::{Step, run},
    frames::{request, response},
};
use crate::protocol::Side;

#[test]
fn the_rest_of_a_message_that_was_not_captured() {
    let steps = [
        request(18, 0, 1, None, &[]),
        response(1, &[]),
        request(3, 0, 2, None, &[1; 4]),
        Step::Bytes(Side::Response, [&108_u32.to_be_bytes()[..], &2_i32.to_be_bytes(), &[0; 4]].concat()),
        Step::Body(Side::Response, 100, true),
        request(18, 0, 3, None, &[]),
        response(3, &[]),
    ];
    let told = run(&steps, usize::MAX);
    assert!(told.contains("< end #2 112 bytes partly"), "{told}");
    assert!(told.ends_with("< end #3 8 bytes\n"), "{told}");
}

#[test]
fn what_follows_a_gap_is_found_where_a_call_begins() {
    let ask = |number| request(18, 0, number, None, &[]);
    for lost in [1, 13, 14, 15, 40] {
        let steps = [
            ask(1),
            response(1, &[]),
            Step::Gap(Side::Request, lost),
            Step::Gap(Side::Response, lost),
            ask(5),
            response(5, &[]),
        ];
        let told = run(&steps, usize::MAX);
        assert!(
            told.contains("Resync { side: Request }") && told.contains("Resync { side: Response }"),
            "{told}"
        );
        assert!(told.contains("ApiVersions v0 #5") && told.contains("< end #5"), "{told}");
    }
}

#[test]
fn a_gap_that_ends_with_a_message_loses_nothing_else() {
    let steps = [
        request(18, 0, 1, None, &[]),
        response(1, &[]),
        Step::Bytes(
            Side::Request,
            [&30_u32.to_be_bytes()[..], &[0, 10, 0, 1, 0, 0, 0, 2, 0xff, 0xff]].concat(),
        ),
        Step::Gap(Side::Request, 20),
        request(18, 0, 3, None, &[]),
        response(2, &[]),
        response(3, &[]),
    ];
    let told = run(&steps, usize::MAX);
    assert!(
        !told.contains("Resync") && told.contains("FindCoordinator v1 #2") && told.contains("< end #3"),
        "{told}"
    );
}

#[test]
fn a_start_ends_what_was_open() {
    let steps = [
        request(18, 0, 1, None, &[]),
        response(1, &[]),
        Step::Bytes(
            Side::Request,
            [&300_u32.to_be_bytes()[..], &[0, 3, 0, 1, 0, 0, 0, 2, 0xff, 0xff]].concat(),
        ),
        Step::Start(Side::Request),
        request(18, 0, 3, None, &[]),
        response(3, &[]),
    ];
    let told = run(&steps, usize::MAX);
    assert!(told.contains("Lost { side: Request }") && told.contains("Missed { correlation: 2 }"), "{told}");
    assert!(told.ends_with("< end #3 8 bytes\n"), "{told}");
}
