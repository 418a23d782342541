//! The HTTP port of a worker without a node: its map outputs, the status page, and whether it is alive.
//!
//! HTTP/1.1 only, a bounded number of connections, and no wait for a client without a limit.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tonic::body::Body;

use super::{JobFiles, JobsPage};

/// Serves a socket until the future is dropped.
pub(super) async fn serve(socket: TcpListener, files: JobFiles, page: JobsPage) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // They end with this future.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: others must close before this can work.
                tracing::warn!("worker's port: cannot accept: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
        let (files, page) = (files.clone(), page.clone());
        connections.spawn(async move {
            serve_connection(stream, files, page).await;
            drop(slot);
        });
    }
}

async fn serve_connection(stream: TcpStream, files: JobFiles, page: JobsPage) {
    if stream.set_nodelay(true).is_err() {
        // It is gone already.
        return;
    }
    let service = service_fn(move |request: Request<Incoming>| {
        let (files, page) = (files.clone(), page.clone());
        async move { Ok::<_, Infallible>(answer(request, &files, &page).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    // A broken connection is the client's business.
    drop(http.serve_connection(TokioIo::new(stream), service).await);
}

async fn answer(request: Request<Incoming>, files: &JobFiles, page: &JobsPage) -> Response<Body> {
    // No path here reads a body.
    let (parts, _) = request.into_parts();
    if JobFiles::wants(&parts) {
        return files.answer(&parts).await;
    }
    if JobsPage::wants(&parts) {
        return page.answer(&parts).await;
    }
    let (status, text) = match parts.uri.path() {
        "/health" if parts.method == Method::GET => (StatusCode::OK, "{\"health\":\"true\"}"),
        _ => (StatusCode::NOT_FOUND, "404 page not found\n"),
    };
    let mut response = Response::new(Body::new(Full::new(Bytes::from_static(text.as_bytes()))));
    *response.status_mut() = status;
    response
}

const MAX_CONNECTIONS: usize = 1_024;
/// The headers of a request come within this time; also how long a client may idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
