//! One connection's service: sends each request to gRPC or to plain HTTP.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::Either;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response};
use synod_client::NodeHandle;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service as _;

use super::http;
use crate::jobs::{JobFiles, JobsPage};
use crate::metrics::Metrics;

/// Answers the requests of one connection.
#[derive(Clone)]
pub(super) struct ClientService {
    routes: Routes,
    node: NodeHandle,
    metrics: Arc<Metrics>,
    job_files: Option<JobFiles>,
    jobs_page: JobsPage,
    seen: Arc<AtomicBool>,
}

type Answer = Result<Response<Body>, Infallible>;
type BoxedAnswer = Pin<Box<dyn Future<Output = Answer> + Send>>;

impl ClientService {
    /// For a new connection.
    pub(super) fn new(
        routes: Routes,
        node: NodeHandle,
        metrics: Arc<Metrics>,
        (job_files, jobs_page): (Option<JobFiles>, JobsPage),
    ) -> Self {
        ClientService { routes, node, metrics, job_files, jobs_page, seen: Arc::default() }
    }

    /// Turns true with the connection's first request.
    pub(super) fn requests_seen(&self) -> Arc<AtomicBool> {
        self.seen.clone()
    }
}

/// The answer, or gRPC's word for one that came too late. A stream is in time once it has begun; its
/// client ends it.
async fn in_time(patience: Duration, answer: impl Future<Output = Answer>) -> Answer {
    match tokio::time::timeout(patience, answer).await {
        Ok(answer) => answer,
        Err(_) => Ok(Status::deadline_exceeded("context deadline exceeded").into_http()),
    }
}

/// The `grpc-timeout` header: up to eight digits and a unit. What does not parse is no timeout.
fn grpc_timeout(value: &HeaderValue) -> Option<Duration> {
    let (digits, unit) = value.to_str().ok()?.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

impl hyper::service::Service<Request<Incoming>> for ClientService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<<Routes as tower::Service<Request<Incoming>>>::Future, BoxedAnswer>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.seen.store(true, Ordering::Relaxed);
        let is_grpc = request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        if is_grpc {
            let patience = request.headers().get("grpc-timeout").and_then(grpc_timeout);
            // The routes are always ready; a clone of them is a pointer.
            let answer = self.routes.clone().call(request);
            match patience {
                None => Either::Left(answer),
                Some(patience) => Either::Right(Box::pin(in_time(patience, answer))),
            }
        } else {
            let (parts, body) = request.into_parts();
            // No path here reads a body.
            drop(body);
            if let Some(files) = self.job_files.clone().filter(|_| JobFiles::wants(&parts)) {
                return Either::Right(Box::pin(async move { Ok(files.answer(&parts).await) }));
            }
            if JobsPage::wants(&parts) {
                let page = self.jobs_page.clone();
                return Either::Right(Box::pin(async move { Ok(page.answer(&parts).await) }));
            }
            let (node, metrics) = (self.node.clone(), self.metrics.clone());
            Either::Right(Box::pin(async move { Ok(http::answer(&parts, &node, &metrics).await) }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts_are_digits_and_a_unit() {
        let parse = |text| grpc_timeout(&HeaderValue::from_static(text));
        assert_eq!(parse("5S"), Some(Duration::from_secs(5)));
        assert_eq!(parse("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(parse("20m"), Some(Duration::from_millis(20)));
        assert_eq!(parse("7n"), Some(Duration::from_nanos(7)));
        for odd in ["", "S", "5", "+5S", "5.0S", "5s", "123456789S"] {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_answer_that_takes_longer_than_the_client_waits_is_deadline_exceeded() {
        let answer = in_time(Duration::from_millis(1), std::future::pending()).await;
        assert_eq!(answer.unwrap().headers().get("grpc-status").unwrap(), "4");
    }
}
