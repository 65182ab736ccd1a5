//! Go: by goroutine. What a child did before its parent read the request, and what it does after the response, has no
//! parent; what cannot be told has none either.

use super::{Load, REQUESTS, Score, assert_right, leaf, load};
use crate::common::{nginx, traced};
use spandrel_test_support::{
    Agent, Kind, Lab, Program,
    process::{command, run},
    require,
};

/// Ways to build: as usual, and as distributions do it.
const PLAIN: &[&str] = &[];
const STRIPPED: &[&str] = &["-buildmode=pie", "-ldflags=-s -w"];

/// The service, built in the test's folder.
fn build(lab: &Lab, flags: &[&str]) -> std::path::PathBuf {
    lab.write("go/go.mod", "module truth\n\ngo 1.18\n");
    lab.write("go/goroutines.go", include_str!("../../../../truth/goroutines.go"));
    lab.write("go/detached_go121.go", include_str!("../../../../truth/detached_go121.go"));
    lab.write("go/detached_before.go", include_str!("../../../../truth/detached_before.go"));
    let binary = lab.path("goroutines");
    let mut build = command("go");
    build.arg("build").args(flags).arg("-o").arg(&binary).current_dir(lab.path("go"));
    run(build.env("GOTOOLCHAIN", "local").env("GOFLAGS", "-mod=mod -buildvcs=false")).success();
    binary
}

/// Runs it. The agent has looked into the process before the first request.
fn go(profile: &str, causality: &str, load: Load, flags: &[&str], more: &[&str]) -> Score {
    let lab = Lab::new();
    let mut service = command(build(&lab, flags));
    service.arg(leaf().to_string()).args(more);
    let options = traced(&lab, profile).arg("--causality").arg(causality).arg("--log-level").arg("debug");
    let mut agent = Agent::start(&options);
    let service = Program::start(&mut service);
    agent.wait_stderr("not recognised", |line| line.contains(": Go 1.").then_some(()));
    let port = service.port();
    super::finish(&mut agent, load, port);
    let score = super::end(agent, load, causality);
    drop(service);
    score
}

#[test]
fn goroutines() {
    require!("go");
    for profile in ["socket", "syscall"] {
        for at_once in [1, 8, 64] {
            assert_right(&go(profile, "strict", load(at_once, 2, "kept"), PLAIN, &[]), 0.95);
        }
    }
    for mode in ["new", "raw"] {
        assert_right(&go("socket", "strict", load(64, 3, mode), PLAIN, &[]), 0.95);
    }
}

/// What the children of the first requests call is nobody's until their function has stood its trial; with 64 at once
/// the first of them are many.
#[test]
fn children_of_goroutines() {
    require!("go");
    for (at_once, share) in [(1, 0.9), (8, 0.9), (64, 0.5)] {
        for mode in ["gather", "few"] {
            assert_right(&go("socket", "default", load(at_once, 3, mode), PLAIN, &[]), share);
        }
    }
    assert_right(&go("socket", "strict", load(64, 3, "gather"), PLAIN, &[]), 0.0);
}

#[test]
fn contexts_of_go() {
    require!("go");
    for profile in ["socket", "syscall"] {
        for at_once in [1, 8, 64] {
            for mode in ["channel", "pool", "group"] {
                assert_right(&go(profile, "strict", load(at_once, 3, mode), PLAIN, &[]), 0.95);
            }
        }
    }
    for mode in ["pool", "group"] {
        assert_right(&go("socket", "default", load(64, 3, mode), PLAIN, &["poll"]), 0.5);
    }
    assert_right(&go("socket", "strict", load(64, 2, "detached"), PLAIN, &[]), 0.0);
}

#[test]
fn goroutines_of_a_stripped_program() {
    require!("go");
    assert_right(&go("socket", "strict", load(64, 2, "kept"), STRIPPED, &[]), 0.95);
    assert_right(&go("socket", "strict", load(64, 2, "channel"), STRIPPED, &[]), 0.95);
    assert_right(&go("socket", "default", load(64, 2, "gather"), STRIPPED, &["poll"]), 0.0);
}

#[test]
fn goroutines_with_work_that_belongs_to_nobody() {
    require!("go");
    for at_once in [1, 8, 64] {
        assert_right(&go("socket", "strict", load(at_once, 2, "kept"), PLAIN, &["poll"]), 0.0);
        for mode in ["late", "worker", "lazy", "detached"] {
            assert_right(&go("socket", "strict", load(at_once, 2, mode), PLAIN, &[]), 0.0);
        }
    }
}

/// One goroutine reads from all connections.
#[test]
fn loops_of_go() {
    require!("go");
    for at_once in [1, 8, 64] {
        assert_right(&go("socket", "strict", load(at_once, 2, "gather"), PLAIN, &["loop"]), 0.0);
    }
}

/// What a child that keeps on working for others does is not its parent's, also where less evidence is taken.
#[test]
fn children_that_work_for_others() {
    require!("go");
    for at_once in [1, 8, 64] {
        for mode in ["lazy", "worker", "late", "detached"] {
            assert_right(&go("socket", "default", load(at_once, 2, mode), PLAIN, &[]), 0.0);
        }
        for mode in ["gather", "lazy"] {
            assert_right(&go("socket", "default", load(at_once, 2, mode), PLAIN, &["loop"]), 0.0);
        }
    }
}

/// nginx before a service that calls two others: both hops of every request.
#[test]
fn goroutines_behind_nginx() {
    require!("go", "nginx");
    for (at_once, mode, causality, share) in [
        (8, "group", "default", 0.95),
        (64, "group", "default", 0.95),
        (64, "channel", "default", 0.95),
        (64, "pool", "default", 0.95),
        (64, "gather", "default", 0.5),
        (64, "lazy", "default", 0.0),
        (64, "channel", "strict", 0.7),
    ] {
        let lab = Lab::new();
        let mut service = command(build(&lab, PLAIN));
        service.arg(format!("{},{}", leaf(), leaf()));
        let options =
            traced(&lab, "socket").arg("--causality").arg(causality).arg("--log-level").arg("debug");
        let mut agent = Agent::start(&options);
        let service = Program::start(&mut service);
        agent.wait_stderr("not recognised", |line| line.contains(": Go 1.").then_some(()));
        let (proxy, port) = nginx(
            &lab,
            &format!(
                "upstream service {{ server 127.0.0.1:{}; keepalive 8; }}\nserver {{ listen LISTEN; location / {{ \
                 proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }}",
                service.port()
            ),
        );
        let load = load(at_once, 3, mode);
        load.run(port);
        agent.wait_for("all spans", |spans| {
            let of = |kind| spans.iter().filter(|span| span.kind == kind).count();
            of(Kind::Server) >= 2 * REQUESTS && of(Kind::Client) >= (1 + load.calls) * REQUESTS
        });
        let score = super::end(agent, load, causality);
        drop((service, proxy));
        assert_right(&score, share);
    }
}
