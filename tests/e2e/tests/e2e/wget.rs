//! wget: blocking reads and writes, one request after the other.

use spandrel_test_support::{
    Agent, Lab,
    process::{command, run},
    require,
};

use crate::common::{PYTHON, assert_counts, assert_enclosed, echo, profiles, traced};

profiles!(several);

fn several(profile: &str) {
    require!(PYTHON, "wget");
    let lab = Lab::new();
    let mut agent = Agent::start(&traced(&lab, profile));
    let (_server, port) = echo(&lab);
    let mut wget = command("wget");
    wget.args(["--quiet", "--no-proxy", "--tries=1", "--output-document"]).arg(lab.path("out"));
    let urls: Vec<_> = (1..=20).map(|n| format!("http://127.0.0.1:{port}/bytes/{n}")).collect();
    run(wget.args(urls)).success();
    let mut wget = command("wget");
    wget.args(["--quiet", "--no-proxy", "--tries=1", "--output-document"]).arg(lab.path("out"));
    let output = run(wget.arg(format!("http://127.0.0.1:{port}/status/404")));
    assert_eq!(output.code(), 8, "{output:?}");
    agent.wait_for("42 spans", |spans| spans.len() >= 42);
    let finished = agent.stop();
    assert_counts(&finished, 21, 21);
    assert_enclosed(&finished);
    for (n, span) in finished.servers().iter().take(20).enumerate() {
        assert_eq!((span.path(), span.status()), (&*format!("/bytes/{}", n + 1), Some(200)));
        assert!(span.str("user_agent.original").is_some_and(|name| name.starts_with("Wget/")));
    }
    assert_eq!(finished.clients()[20].service(), "wget");
    finished.clients()[20].assert_has(&[("error.type", "404".into())]);
}
