//! Credentials that a backend refuses until the end: what is lost is lost for that, and the last words say so.

use super::{tests::*, *};
use crate::export::{
    counters::State,
    testing::{Answer, Backend, Folder, Wire},
};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_until_the_end_is_not_lost_for_the_end() {
    for (wire, answer, said) in
        [(Wire::Http, Answer::http(401), "401"), (Wire::Grpc, Answer::grpc(7), "PERMISSION_DENIED")]
    {
        let folder = Folder::new("refused-until-the-end");
        let token = folder.file("token", "old");
        let backend = Backend::start(wire, move |_| answer.clone()).await;
        let rig = Rig::start(&Config {
            destinations: vec![one(&backend, |destination| {
                let config::To::Otlp(otlp) = &mut destination.to else { panic!("not OTLP") };
                otlp.token_file = Some(token.clone());
                destination.batch.spans = 10;
                destination.requests_in_flight = 1;
            })],
            ..Config::default()
        });
        rig.send(30);
        backend.wait_for(1).await;
        let watched = rig.pipeline.watch().remove(0);
        // The answer may be on its way.
        while watched.counters.as_ref().unwrap().state() != State::Unauthorized {
            tokio::task::yield_now().await;
        }
        let Farewell { total, last, .. } = rig.pipeline.shutdown(Duration::from_millis(100)).await.remove(0);
        assert_eq!(total.dropped, [(Cause::Unauthorized, 30)]);
        assert!(last.as_ref().is_some_and(|last| last.starts_with(said)), "{last:?}");
    }
}
