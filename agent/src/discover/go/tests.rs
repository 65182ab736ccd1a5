//! Releases, their offsets, and addresses in processes.

use std::path::Path;

use super::*;

#[test]
fn only_releases_that_were_looked_at_are_known() {
    for minor in 18..=27 {
        assert_eq!(release(&format!("1.{minor}.1")).map(|(found, _)| found), Some(minor));
        assert_eq!(release(&format!("1.{minor}")).map(|(found, _)| found), Some(minor));
    }
    for other in [
        "1.17.13",
        "1.28",
        "1.22rc1",
        "1.22.1-custom",
        "1.22.1 X:boringcrypto",
        "devel",
        "2.1",
        "1.",
        "1.22.",
    ] {
        assert_eq!(release(other), None, "{other}");
    }
}

#[test]
fn members_are_where_the_releases_have_them() {
    let layout = |minor| table::layout(minor).unwrap();
    assert_eq!((layout(18).g_goid, layout(18).g_parent), (152, spandrel_common::go::ABSENT));
    assert_eq!((layout(21).g_goid, layout(21).g_parent), (152, 272));
    assert_eq!((layout(23).g_goid, layout(23).g_parent), (160, 280));
    assert_eq!((layout(26).g_goid, layout(26).pc_is_client), (152, 162));
}

#[test]
fn addresses_move_with_the_program() {
    let layout = table::layout(26).unwrap();
    let program = Program { goidgen: 0x50_0000, text: 0x1000, text_end: 0x2000, layout };
    let mut executable =
        Executable { minor: 26, round_trip: None, serve: None, program, movable: true, headers: 0x40 };
    let moved = executable.program(0x5555_0000_0040);
    assert_eq!((moved.text, moved.text_end), (0x5555_0000_1000, 0x5555_0000_2000));
    assert_eq!(moved.goidgen, 0x5555_0050_0000);
    executable.program.goidgen = 0;
    assert_eq!(executable.program(0x5555_0000_0040).goidgen, 0);
    executable.movable = false;
    assert_eq!(executable.program(0x40_0040), executable.program);
}

#[test]
fn other_executables_are_none() {
    for path in ["/proc/self/exe", "/etc/passwd", "/nowhere", "/dev/null"] {
        assert!(Executable::read(Path::new(path)).is_none(), "{path}");
    }
}

#[test]
fn what_is_not_known_is_named() {
    assert_eq!(releases(), "Go 1.18 to 1.27");
    let told = Unknown::Release(format!("1.99.1\n{}", "x".repeat(100))).to_string();
    assert!(told.starts_with("Go 1.99.1x") && told.contains("Go 1.18 to 1.27"), "{told}");
    assert!(told.len() < 120 && !told.contains('\n'), "{told}");
}

#[test]
fn contexts_have_hashes() {
    for minor in 18..=27 {
        let layout = table::layout(minor).unwrap();
        assert!(layout.cancel_hash != 0 && layout.value_hash != 0, "{minor}");
        // A pointer stands where the search goes on.
        assert_eq!(layout.timer_hash == 0, minor == 20, "{minor}");
        assert_eq!(layout.without_hash == 0, minor < 21, "{minor}");
        assert!(layout.req_ctx > 0 && layout.g_startpc > layout.g_goid, "{minor}");
    }
}
