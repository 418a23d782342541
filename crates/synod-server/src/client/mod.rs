//! The client port: gRPC and plain HTTP on one socket, told apart per request.
//!
//! HTTP/2 (with prior knowledge, as gRPC does) and HTTP/1.1 are told apart by a connection's first
//! bytes. A request with a gRPC content type goes to the API's routes; everything else to `http.rs`.
//! Every wait for a client has a limit: for its first request, for a request's headers, for an answer
//! to a ping.

mod http;
mod service;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use synod_client::NodeHandle;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::jobs::{JobFiles, JobsPage};
use crate::metrics::Metrics;
use crate::options::ServerOptions;
use service::ClientService;

/// The client port of one node. Cheap to clone; one `run` per socket.
#[derive(Clone)]
pub(crate) struct ClientPort {
    shared: Arc<Shared>,
}

struct Shared {
    routes: tonic::service::Routes,
    node: NodeHandle,
    metrics: Arc<Metrics>,
    job_files: Option<JobFiles>,
    jobs_page: JobsPage,
    http: auto::Builder<TokioExecutor>,
    slots: Arc<Semaphore>,
    max_connections: u32,
    first_request_timeout: Duration,
    stop: watch::Receiver<bool>,
}

impl ClientPort {
    /// Serves `routes` for gRPC; for HTTP health, version and metrics of `node`, the status page of jobs,
    /// and map outputs, if it takes jobs.
    pub(crate) fn new(
        routes: tonic::service::Routes,
        node: NodeHandle,
        metrics: Arc<Metrics>,
        (job_files, jobs_page): (Option<JobFiles>, JobsPage),
        options: &ServerOptions,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let max_connections = u32::try_from(options.max_client_connections)
            .unwrap_or(MAX_CONNECTIONS)
            .min(MAX_CONNECTIONS);
        ClientPort {
            shared: Arc::new(Shared {
                routes: routes.prepare(),
                node,
                metrics,
                job_files,
                jobs_page,
                http: http_settings(),
                slots: Arc::new(Semaphore::new(max_connections as usize)),
                max_connections,
                first_request_timeout: options.first_request_timeout,
                stop,
            }),
        }
    }

    /// Waits until every connection is closed, or the time is over.
    pub(crate) async fn wait_closed(&self, patience: Duration) {
        let all = self.shared.slots.acquire_many(self.shared.max_connections);
        // Who is still there after that gets cut off.
        drop(tokio::time::timeout(patience, all).await);
    }

    /// Accepts until the server stops.
    pub(crate) async fn run(self, socket: TcpListener) {
        let mut stop = self.shared.stop.clone();
        loop {
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                accepted = socket.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, most likely: others must close before this can work.
                    tracing::warn!("client port: cannot accept: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(slot) = self.shared.slots.clone().try_acquire_owned() else {
                self.shared.metrics.connections_refused.inc();
                continue;
            };
            let shared = self.shared.clone();
            tokio::spawn(async move {
                shared.metrics.connections.inc();
                shared.serve(stream).await;
                shared.metrics.connections.dec();
                drop(slot);
            });
        }
    }
}

impl Shared {
    async fn serve(&self, stream: TcpStream) {
        if stream.set_nodelay(true).is_err() {
            // It is gone already.
            return;
        }
        let service = ClientService::new(
            self.routes.clone(),
            self.node.clone(),
            self.metrics.clone(),
            (self.job_files.clone(), self.jobs_page.clone()),
        );
        let greeted = service.requests_seen();
        let connection = self.http.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let mut stop = self.stop.clone();
        // A broken connection is the client's business; its requests say what they need to say.
        tokio::select! {
            ended = connection.as_mut() => return drop(ended),
            () = tokio::time::sleep(self.first_request_timeout) => {
                if !greeted.load(Ordering::Relaxed) {
                    return;
                }
            }
            _ = stop.wait_for(|stop| *stop) => {}
        }
        tokio::select! {
            ended = connection.as_mut() => return drop(ended),
            _ = stop.wait_for(|stop| *stop) => {}
        }
        connection.as_mut().graceful_shutdown();
        drop(tokio::time::timeout(GOODBYE_TIMEOUT, connection).await);
    }
}

fn http_settings() -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HTTP1_BUFFER_BYTES);
    http.http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_send_buf_size(MAX_SEND_BUFFER_BYTES)
        .auto_date_header(false)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    http
}

/// Whatever the options say.
const MAX_CONNECTIONS: u32 = 1_000_000;
/// The headers of an HTTP/1.1 request come within this time; also how long such a client may idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// An idle HTTP/2 client is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// And answers within this time.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Requests under way may take this long to end when the server stops.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// One request of the largest size without a window update.
const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// All requests of one connection that were not read yet.
const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// Requests of one connection at once: a benchmark may put a thousand clients on one.
const MAX_STREAMS: u32 = 4096;
const MAX_HEADER_BYTES: u32 = 16 * 1024;
const MAX_HTTP1_BUFFER_BYTES: usize = 64 * 1024;
const MAX_SEND_BUFFER_BYTES: usize = 1024 * 1024;
