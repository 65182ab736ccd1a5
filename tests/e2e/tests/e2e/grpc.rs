//! gRPC without TLS by the libraries of six languages: every kind of call, and every way in which one ends, is the span
//! that the conventions ask for, on both ends.

use std::{collections::BTreeMap, path::PathBuf, process::Command, time::Duration};

use spandrel_test_support::{
    Agent, Finished, Lab, Program, Span,
    process::{command, run, run_in},
    require, skip, slow,
};

use crate::{
    cache::cached,
    common::{nginx, profiles, script, traced},
};

profiles!(go, node, python, java, rust, cpp, proxied, web);

/// Calls at once, behind one of each kind.
const COUNT: usize = 30;

/// Spans on each end.
const CALLS: usize = COUNT + 12;

/// How long a package may take to come.
const FETCH: Duration = Duration::from_secs(300);

/// What each of the programs asks for, and what becomes of it.
const EXPECTED: [(&str, &str); 12] = [
    ("Unary", "OK"),
    ("Large", "OK"),
    ("Empty", "OK"),
    ("Collect", "OK"),
    ("List", "OK"),
    ("Chat", "OK"),
    ("Missing", "NOT_FOUND"),
    ("Broken", "INTERNAL"),
    ("Gone", "UNIMPLEMENTED"),
    ("Never", "DEADLINE_EXCEEDED"),
    ("Cancel", "CANCELLED"),
    ("Early", "CANCELLED"),
];

/// What of these is an error for a server.
const SERVER_ERRORS: [&str; 4] = ["INTERNAL", "UNIMPLEMENTED", "DEADLINE_EXCEEDED", "UNAVAILABLE"];

/// What a call is that took longer than its client was willing to wait, by the client's clock.
const LATE: &[&str] = &["DEADLINE_EXCEEDED"];

/// Traces a server and a client, which both are the program that `cart` starts. `late`: what its client is told of a call
/// that took too long.
fn check(lab: &Lab, profile: &str, late: &[&str], cart: impl Fn() -> Command) {
    let mut agent = Agent::start(&traced(lab, profile));
    let server = Program::start(&mut cart());
    run_in(cart().args([server.port().to_string(), COUNT.to_string()]), Duration::from_secs(60)).success();
    agent.wait_for("all spans", |spans| spans.len() >= 2 * CALLS);
    let finished = agent.stop();
    finished.assert_complete();
    for span in &finished.spans {
        span.assert_lacks(&["spandrel.gap"]);
    }
    assert_calls(&finished.clients(), false, late, false);
    assert_calls(&finished.servers(), true, HEARS, false);
    for span in finished.clients() {
        span.assert_has(&[("server.address", "127.0.0.1".into()), ("server.port", server.port().into())]);
    }
    assert_same_streams(&finished);
}

/// The same on an end that is told that the client has given up, if that comes before its own clock says so.
const HEARS: &[&str] = &["DEADLINE_EXCEEDED", "CANCELLED"];

/// The same by a proxy, for which a third clock runs: what one of them ends is a broken connection for others.
const PROXIED: &[&str] = &["DEADLINE_EXCEEDED", "CANCELLED", "UNAVAILABLE"];

/// Each call once, as [`EXPECTED`] says, but for those that took too long, which are `late`. `hears`: a client's library may
/// end its messages before it breaks a stream off, and this end sees only that.
#[track_caller]
fn assert_calls(spans: &[&Span], served: bool, late: &[&str], hears: bool) {
    assert_eq!(spans.len(), CALLS, "{spans:#?}");
    let mut found: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
    for span in spans {
        span.assert_has(&[("rpc.system.name", "grpc".into())]);
        let key =
            if span.str("rpc.method_original").is_some() { "rpc.method_original" } else { "rpc.method" };
        let method = span.str(key).and_then(|method| method.strip_prefix("shop.Cart/")).expect("a method");
        // A method that a server does not have is no name for a span.
        let known = !(served && method == "Gone");
        assert_eq!(span.name, if known { format!("shop.Cart/{method}") } else { "grpc".to_owned() });
        found.entry(method).or_default().push(span);
    }
    for (method, expected) in EXPECTED {
        let found = found.remove(method).unwrap_or_default();
        assert_eq!(found.len(), if method == "Unary" { 1 + COUNT } else { 1 }, "{method}");
        for span in found {
            let status = span.str("rpc.status_code").expect("a status");
            let allowed: &[&str] = match method {
                "Never" => late,
                "Early" if served || hears => &[expected, "OK"],
                _ => &[expected],
            };
            assert!(allowed.contains(&status), "{span:#?}");
            let error = if served { SERVER_ERRORS.contains(&status) } else { status != "OK" };
            assert_eq!((span.error, span.str("error.type")), (error, error.then_some(status)), "{span:#?}");
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// What a client asks for is what its server is asked: the call on the wire takes as long, within what both ends need.
#[track_caller]
fn assert_same_streams(finished: &Finished) {
    let times = |spans: Vec<&Span>, method: &str| {
        let name = format!("shop.Cart/{method}");
        let span = spans.into_iter().find(|span| span.name == name).expect("a span");
        (span.start_ns, span.end_ns)
    };
    for method in ["Large", "Collect", "List", "Chat"] {
        let (client, server) = (times(finished.clients(), method), times(finished.servers(), method));
        assert!(client.0 <= server.0 && server.0 <= client.1, "{method}: {client:?} {server:?}");
    }
}

/// grpc-go.
const GO: &str = "google.golang.org/grpc v1.85.0";

/// Builds a program that needs a module.
fn go_program(lab: &Lab, module: &str, source: &str) -> Result<PathBuf, String> {
    lab.write("go/go.mod", format!("module cart\n\ngo 1.24\n\nrequire {module}\n"));
    lab.write("go/cart.go", source);
    let binary = lab.path("cart");
    let build = ["build".into(), "-o".into(), binary.as_os_str().to_owned()];
    for arguments in [&["mod".into(), "tidy".into()][..], &build] {
        let mut go = command("go");
        go.args(arguments).current_dir(lab.path("go"));
        let output = run_in(go.env("GOTOOLCHAIN", "local").env("GOFLAGS", "-mod=mod -buildvcs=false"), FETCH);
        if !output.status.success() {
            return Err(format!("{module} cannot be had: {}", output.stderr.trim()));
        }
    }
    Ok(binary)
}

fn go(profile: &str) {
    slow!();
    require!("go");
    let lab = Lab::new();
    match go_program(&lab, GO, include_str!("../../programs/cart.go")) {
        Ok(binary) => check(&lab, profile, LATE, || command(&binary)),
        Err(why) => skip!("{why}"),
    }
}

/// @grpc/grpc-js.
const NODE: &str = "1.14.7";

fn node(profile: &str) {
    require!("node", "npm");
    let library = cached(&format!("grpc-js-{NODE}"), |folder| {
        let mut npm = command("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(folder);
        let output = run_in(npm.arg(format!("@grpc/grpc-js@{NODE}")), FETCH);
        let why = || format!("grpc-js cannot be had: {}", output.stderr.trim());
        output.status.success().then_some(()).ok_or_else(why)
    });
    let library = match library {
        Ok(library) => library,
        Err(why) => skip!("{why}"),
    };
    let lab = Lab::new();
    check(&lab, profile, LATE, || {
        let mut cart = script(&lab, "node", "cart.js", include_str!("../../programs/cart.js"));
        cart.env("NODE_PATH", library.join("node_modules"));
        cart
    });
}

/// grpcio, the C core.
const PYTHON: &str = "1.85.1";

fn python(profile: &str) {
    slow!();
    require!("python3");
    let library = cached(&format!("grpcio-{PYTHON}"), |folder| {
        let mut pip = command("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--target"]).arg(folder);
        let output = run_in(pip.arg(format!("grpcio=={PYTHON}")), FETCH);
        let why = || format!("grpcio cannot be had: {}", output.stderr.trim());
        output.status.success().then_some(()).ok_or_else(why)
    });
    let library = match library {
        Ok(library) => library,
        Err(why) => skip!("{why}"),
    };
    let lab = Lab::new();
    check(&lab, profile, LATE, || {
        let mut cart = script(&lab, "python3", "cart.py", include_str!("../../programs/cart.py"));
        cart.env("PYTHONPATH", &library);
        cart
    });
}

/// grpc-java, with the Netty that it brings.
const JAVA: &str = "1.85.1";

fn java(profile: &str) {
    slow!();
    require!("javac", "mvn");
    let jars = cached(&format!("grpc-java-{JAVA}"), |folder| {
        let dependency = |name: &str| {
            format!(
                "<dependency><groupId>io.grpc</groupId><artifactId>{name}</artifactId><version>{JAVA}</version></dependency>"
            )
        };
        let pom = format!(
            "<project><modelVersion>4.0.0</modelVersion><groupId>cart</groupId><artifactId>cart</artifactId>\
             <version>1</version><dependencies>{}{}</dependencies></project>",
            dependency("grpc-netty-shaded"),
            dependency("grpc-stub"),
        );
        std::fs::write(folder.join("pom.xml"), pom).map_err(|error| error.to_string())?;
        let mut mvn = command("mvn");
        mvn.args(["-q", "-B", "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"]);
        mvn.arg(format!("-DoutputDirectory={}", folder.display())).current_dir(folder);
        let output = run_in(&mut mvn, FETCH);
        let why = || format!("grpc-java cannot be had from Maven: {}", output.stdout.trim());
        output.status.success().then_some(()).ok_or_else(why)
    });
    let jars = match jars {
        Ok(jars) => jars.join("*"),
        Err(why) => skip!("{why}"),
    };
    let lab = Lab::new();
    let source = lab.write("Cart.java", include_str!("../../programs/Cart.java"));
    run_in(command("javac").arg("-cp").arg(&jars).arg("-d").arg(lab.path("classes")).arg(source), FETCH)
        .success();
    check(&lab, profile, LATE, || {
        let mut cart = command("java");
        cart.arg("-cp").arg(format!("{}:{}", jars.display(), lab.text("classes"))).arg("Cart");
        cart
    });
}

/// tonic, on hyper.
const RUST: &str = "0.14.9";

fn rust(profile: &str) {
    slow!();
    require!("cargo");
    let folder = cached(&format!("tonic-{RUST}"), |folder| {
        let source = [
            ("Cargo.toml", include_str!("../../programs/cart.toml").replace("VERSION", RUST)),
            ("cart.rs", include_str!("../../programs/cart.rs").to_owned()),
        ];
        for (name, text) in source {
            std::fs::write(folder.join(name), text).map_err(|error| error.to_string())?;
        }
        let mut cargo = command("cargo");
        cargo.args(["build", "--quiet", "--target-dir"]).arg(folder.join("target")).current_dir(folder);
        let output = run_in(&mut cargo, FETCH);
        let why = || format!("tonic cannot be had: {}", output.stderr.trim());
        output.status.success().then_some(()).ok_or_else(why)
    });
    let built = match folder {
        Ok(folder) => folder.join("target/debug/cart"),
        Err(why) => skip!("{why}"),
    };
    let lab = Lab::new();
    let binary = lab.path("cart");
    std::fs::copy(built, &binary).expect("a program of the lab's own");
    // Of a call that its server's clock ends, that says that it was cancelled.
    check(&lab, profile, HEARS, || command(&binary));
}

/// The C++ library on the C core, as the distribution has it.
fn cpp(profile: &str) {
    slow!();
    require!("g++", "/usr/include/grpcpp/grpcpp.h");
    let lab = Lab::new();
    let source = lab.write("cart.cc", include_str!("../../programs/cart.cc"));
    let binary = lab.path("cart");
    let mut build = command("g++");
    build
        .args(["-std=c++17", "-o"])
        .arg(&binary)
        .arg(source)
        .args(["-Wl,--copy-dt-needed-entries", "-lgrpc++"]);
    run_in(&mut build, FETCH).success();
    check(&lab, profile, LATE, || command(&binary));
}

/// nginx between a client and a server: four spans a call, one on each end of two connections.
fn proxied(profile: &str) {
    slow!();
    require!("go", "nginx");
    let lab = Lab::new();
    let binary = match go_program(&lab, GO, include_str!("../../programs/cart.go")) {
        Ok(binary) => binary,
        Err(why) => skip!("{why}"),
    };
    let mut agent = Agent::start(&traced(&lab, profile));
    let server = Program::start(&mut command(&binary));
    let config = format!(
        "client_max_body_size 10m; upstream cart {{ server 127.0.0.1:{}; keepalive 4; }}
         server {{ listen LISTEN http2; location / {{ grpc_pass grpc://cart; }} }}",
        server.port()
    );
    let (_nginx, port) = nginx(&lab, &config);
    run(command(&binary).args([port.to_string(), COUNT.to_string()])).success();
    agent.wait_for("all spans", |spans| spans.len() >= 4 * CALLS);
    let finished = agent.stop();
    finished.assert_complete();
    for service in ["cart", "nginx"] {
        let of =
            |spans: Vec<&Span>| -> usize { spans.iter().filter(|span| span.service() == service).count() };
        assert_eq!((of(finished.clients()), of(finished.servers())), (CALLS, CALLS), "{service}");
        let spans = |spans: Vec<_>| -> Vec<_> {
            spans.into_iter().filter(|span: &&Span| span.service() == service).collect()
        };
        assert_calls(&spans(finished.clients()), false, PROXIED, service == "nginx");
        assert_calls(&spans(finished.servers()), true, PROXIED, true);
    }
}

/// connect-go, which speaks gRPC-Web, too.
const CONNECT: &str = "connectrpc.com/connect v1.21.1";

/// Connect and gRPC-Web over HTTP/1.1: calls by their names; their status where it is not in the content.
fn web(profile: &str) {
    slow!();
    require!("go");
    let lab = Lab::new();
    let binary = match go_program(&lab, CONNECT, include_str!("../../programs/web.go")) {
        Ok(binary) => binary,
        Err(why) => skip!("{why}"),
    };
    let mut agent = Agent::start(&traced(&lab, profile));
    let server = Program::start(&mut command(&binary));
    run(command(&binary).arg(server.port().to_string())).success();
    agent.wait_for("20 spans", |spans| spans.len() >= 20);
    let finished = agent.stop();
    finished.assert_complete();
    let row = |span: &&Span| {
        let word = |key: &str| span.str(key).unwrap_or("-");
        let method = span.str("rpc.method_original").or_else(|| span.str("rpc.method")).unwrap_or("-");
        let [system, status, error] = ["rpc.system.name", "rpc.status_code", "error.type"].map(word);
        format!("{}: {system} {method} {status} {error} {}", span.name, span.status().unwrap_or(0))
    };
    let rows = |spans: Vec<&Span>| spans.iter().map(row).collect::<Vec<_>>();
    assert_eq!(
        rows(finished.clients()),
        [
            "shop.Cart/Unary: connectrpc shop.Cart/Unary - - 200",
            "shop.Cart/Missing: connectrpc shop.Cart/Missing - 404 404",
            "shop.Cart/Broken: connectrpc shop.Cart/Broken - 500 500",
            "shop.Cart/Gone: connectrpc shop.Cart/Gone - 404 404",
            "shop.Cart/List: connectrpc shop.Cart/List - - 200",
            "shop.Cart/Unary: grpc shop.Cart/Unary - - 0",
            "shop.Cart/Missing: grpc shop.Cart/Missing NOT_FOUND NOT_FOUND 0",
            "shop.Cart/Broken: grpc shop.Cart/Broken INTERNAL INTERNAL 0",
            "shop.Cart/Gone: grpc shop.Cart/Gone UNIMPLEMENTED UNIMPLEMENTED 0",
            "shop.Cart/List: grpc shop.Cart/List - - 0",
        ]
    );
    assert_eq!(
        rows(finished.servers()),
        [
            "shop.Cart/Unary: connectrpc shop.Cart/Unary - - 200",
            "shop.Cart/Missing: connectrpc shop.Cart/Missing - - 404",
            "shop.Cart/Broken: connectrpc shop.Cart/Broken - 500 500",
            "connectrpc: connectrpc shop.Cart/Gone - - 404",
            "shop.Cart/List: connectrpc shop.Cart/List - - 200",
            "shop.Cart/Unary: grpc shop.Cart/Unary - - 0",
            "shop.Cart/Missing: grpc shop.Cart/Missing NOT_FOUND - 0",
            "shop.Cart/Broken: grpc shop.Cart/Broken INTERNAL INTERNAL 0",
            "grpc: grpc shop.Cart/Gone UNIMPLEMENTED UNIMPLEMENTED 0",
            "shop.Cart/List: grpc shop.Cart/List - - 0",
        ]
    );
}
