//! Plain HTTP, as far as commands need it: one GET, an answer of a bounded size.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Status and body of what is at `path` of `host:port`; `None` if nobody answers, or with too much.
pub async fn get(address: &str, path: &str, max_bytes: usize) -> Option<(StatusCode, Bytes)> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let get = Request::get(path).header("host", address).body(Empty::<Bytes>::new()).ok()?;
    let answer = async {
        let answer = sender.send_request(get).await.ok()?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), max_bytes).collect().await.ok()?;
        Some((status, body.to_bytes()))
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // It goes on until the answer is there, which may be now.
        _ = connection => answer.await,
    }
}
