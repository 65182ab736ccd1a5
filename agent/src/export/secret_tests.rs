//! What a backend says is shown without the secrets that it was sent.

use config::To;

use super::*;
use crate::export::{
    counters::Code,
    testing::{self, Answer, Backend, Wire},
    transport::Transport,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_repeats_a_secret_does_not_make_us_repeat_it() {
    let backend = Backend::start(Wire::Http, |request| {
        let said = format!("token {} is bad", request.header("authorization"));
        Answer::http(400).with_body(said.into_bytes())
    })
    .await;
    let mut otlp = backend.otlp();
    let mut value = http::HeaderValue::from_static("Bearer canary-1234");
    value.set_sensitive(true);
    otlp.headers = vec![(http::header::AUTHORIZATION, value)];
    let transport = Transport::new(&To::Otlp(Box::new(otlp)), &"otlp".into()).unwrap();
    let payload = transport.encode(&testing::spans(1).into_iter().collect()).unwrap();
    let (verdict, _) = transport.send(&payload).await;
    assert_eq!(verdict.code(), Code::Http(400));
    let said = format!("{verdict:?}");
    assert!(said.contains("REDACTED") && !said.contains("canary"), "{said}");
}
