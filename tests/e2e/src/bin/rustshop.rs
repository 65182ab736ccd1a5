//! hyper's server and client on tokio, as the tests trace them. Without arguments: a server that prints its port.
//! With PORT and COUNT: asks that server one after the other, then COUNT requests at once, and ends.

use std::{convert::Infallible, env, error::Error};

use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, StatusCode, body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::{net::TcpListener, task::JoinSet};

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = env::args().skip(1);
    match (arguments.next(), arguments.next()) {
        (Some(port), Some(count)) => ask_all(&port, count.parse()?).await,
        _ => serve().await,
    }
}

async fn answer(request: Request<hyper::body::Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let length = body.collect().await.map_or(0, |body| body.to_bytes().len());
    let mut path = parts.uri.path().split('/').skip(1);
    let kind = path.next().unwrap_or("");
    let number: u16 = path.next().and_then(|number| number.parse().ok()).unwrap_or(0);
    let mut response = Response::new(Full::default());
    match kind {
        "status" => *response.status_mut() = StatusCode::from_u16(number).unwrap_or_default(),
        "bytes" => *response.body_mut() = vec![b'b'; number.into()].into(),
        _ => *response.body_mut() = format!("{length}\n").into(),
    }
    Ok(response)
}

async fn serve() -> Result<(), Failure> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    #[expect(clippy::print_stdout, reason = "the tests read it")]
    {
        println!("PORT {}", listener.local_addr()?.port());
    }
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)));
    }
}

type Asking = Client<HttpConnector, Full<Bytes>>;

async fn ask(client: Asking, method: &str, url: String, body: Vec<u8>) -> Result<(), Failure> {
    let request = Request::builder().method(method).uri(url).body(Full::from(body))?;
    client.request(request).await?.into_body().collect().await?;
    Ok(())
}

async fn ask_all(port: &str, count: usize) -> Result<(), Failure> {
    let client: Asking = Client::builder(TokioExecutor::new()).build_http();
    let base = format!("http://127.0.0.1:{port}");
    for n in 0..count {
        ask(client.clone(), "GET", format!("{base}/bytes/{n}?by=rust"), Vec::new()).await?;
    }
    ask(client.clone(), "POST", format!("{base}/post"), vec![b'x'; 100_000]).await?;
    ask(client.clone(), "GET", format!("{base}/status/500"), Vec::new()).await?;
    let mut all = JoinSet::new();
    for n in 0..count {
        all.spawn(ask(client.clone(), "PUT", format!("{base}/at-once/{n}"), vec![b'z']));
    }
    while let Some(ended) = all.join_next().await {
        ended??;
    }
    Ok(())
}
