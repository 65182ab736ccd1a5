//! gRPC by tonic: serves shop.Cart, or makes one call of each kind to PORT and then COUNT at once.

use std::{convert::Infallible, env, error::Error, future::pending, pin::Pin, task, time::Duration};

use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tokio_stream::{self as stream, Stream, StreamExt};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    client,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::{Bytes, http},
    server::{self, NamedService},
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tower::{Service, service_fn};

type Failure = Box<dyn Error + Send + Sync>;
type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// Takes messages as they are.
#[derive(Clone, Copy, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        use bytes::BufMut as _;
        out.put(item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        use bytes::Buf as _;
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

#[derive(Clone)]
struct Cart;

impl NamedService for Cart {
    const NAME: &'static str = "shop.Cart";
}

impl Service<http::Request<Body>> for Cart {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), Infallible>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let name = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let work = move |request: Request<Streaming<Bytes>>| {
            let name = name.clone();
            async move { answer(&name, request.into_inner()).await.map(Response::new) }
        };
        Box::pin(async move {
            let mut grpc = server::Grpc::new(Plain).apply_max_message_size_config(Some(1 << 24), None);
            Ok(grpc.streaming(service_fn(work), request).await)
        })
    }
}

async fn answer(name: &str, mut asked: Streaming<Bytes>) -> Result<Messages, Status> {
    match name {
        "Unary" | "Large" | "Empty" | "List" => {
            let message = asked.message().await?.unwrap_or_default();
            let count = if name == "List" { 5 } else { 1 };
            Ok(Box::pin(stream::iter(vec![message; count]).map(Ok)))
        }
        "Collect" => {
            let mut all = Vec::new();
            while let Some(part) = asked.message().await? {
                all.extend_from_slice(&part);
            }
            Ok(Box::pin(stream::once(Ok(all.into()))))
        }
        "Chat" | "Early" => Ok(Box::pin(asked)),
        "Missing" => Err(Status::not_found("none: \u{fc} %")),
        "Broken" => Err(Status::internal("broken")),
        "Never" | "Cancel" => pending().await,
        _ => Err(Status::unimplemented("")),
    }
}

async fn serve() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("PORT {}", listener.local_addr()?.port());
    Server::builder().add_service(Cart).serve_with_incoming(TcpIncoming::from(listener)).await?;
    Ok(())
}

/// Calls a method with these messages and waits for all answers, or for so many.
async fn call(
    channel: Channel,
    name: &str,
    limit: Option<Duration>,
    messages: impl Stream<Item = Bytes> + Send + 'static,
    answers: usize,
) -> Result<(), Failure> {
    let mut grpc = client::Grpc::new(channel).max_decoding_message_size(1 << 24);
    grpc.ready().await?;
    let mut request = Request::new(messages);
    if let Some(limit) = limit {
        request.set_timeout(limit);
    }
    let path = http::uri::PathAndQuery::try_from(format!("/shop.Cart/{name}"))?;
    let mut answer = grpc.streaming(request, path, Plain).await?.into_inner();
    for _ in 0..answers {
        if answer.message().await?.is_none() {
            break;
        }
    }
    Ok(())
}

async fn ask(port: &str, count: usize) -> Result<(), Failure> {
    let channel = Endpoint::try_from(format!("http://127.0.0.1:{port}"))?.connect().await?;
    let one = |size: usize| stream::once(Bytes::from(vec![0; size]));
    let some = |count: usize| stream::iter(vec![Bytes::from_static(b"abc"); count]);
    let all = usize::MAX;
    call(channel.clone(), "Unary", None, one(10), all).await?;
    call(channel.clone(), "Large", None, one(1_000_000), all).await?;
    call(channel.clone(), "Empty", None, one(0), all).await?;
    call(channel.clone(), "Collect", None, some(5), all).await?;
    call(channel.clone(), "List", None, some(1), all).await?;
    call(channel.clone(), "Chat", None, some(5), all).await?;
    for name in ["Missing", "Broken", "Gone"] {
        call(channel.clone(), name, None, one(0), all).await.expect_err("an error");
    }
    let limit = Some(Duration::from_millis(100));
    call(channel.clone(), "Never", limit, one(0), all).await.expect_err("it never answers");
    timeout(Duration::from_millis(50), call(channel.clone(), "Cancel", None, one(0), all))
        .await
        .expect_err("it never answers");
    call(channel.clone(), "Early", None, some(1).chain(stream::pending()), 1).await?;
    let mut calls = JoinSet::new();
    for size in 0..count {
        calls.spawn(call(channel.clone(), "Unary", None, one(size), all));
    }
    while let Some(done) = calls.join_next().await {
        done??;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    match &arguments[..] {
        [port, count] => ask(port, count.parse()?).await,
        _ => serve().await,
    }
}
