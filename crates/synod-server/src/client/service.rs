//! One connection's service: sends each request to gRPC or to plain HTTP.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::Either;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, Response};
use synod_client::NodeHandle;
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service as _;

use super::http;
use crate::metrics::Metrics;

/// Answers the requests of one connection.
#[derive(Clone)]
pub(super) struct ClientService {
    routes: Routes,
    node: NodeHandle,
    metrics: Arc<Metrics>,
    seen: Arc<AtomicBool>,
}

type Answer = Result<Response<Body>, Infallible>;
type HttpFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

impl ClientService {
    /// For a new connection.
    pub(super) fn new(routes: Routes, node: NodeHandle, metrics: Arc<Metrics>) -> Self {
        ClientService { routes, node, metrics, seen: Arc::default() }
    }

    /// Turns true with the connection's first request.
    pub(super) fn requests_seen(&self) -> Arc<AtomicBool> {
        self.seen.clone()
    }
}

impl hyper::service::Service<Request<Incoming>> for ClientService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<<Routes as tower::Service<Request<Incoming>>>::Future, HttpFuture>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.seen.store(true, Ordering::Relaxed);
        let is_grpc = request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        if is_grpc {
            // The routes are always ready; a clone of them is a pointer.
            Either::Left(self.routes.clone().call(request))
        } else {
            let (parts, body) = request.into_parts();
            // No path here reads a body.
            drop(body);
            let (node, metrics) = (self.node.clone(), self.metrics.clone());
            Either::Right(Box::pin(async move { Ok(http::answer(&parts, &node, &metrics).await) }))
        }
    }
}
