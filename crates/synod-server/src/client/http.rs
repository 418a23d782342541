//! Plain HTTP on the client port: health, version, metrics, as etcd's own.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use synod_api::etcd::API_VERSION;
use synod_client::NodeHandle;
use synod_node::{Request, RequestError, Response as NodeResponse};
use synod_state::kv::{KeyRange, RangeRequest};
use tonic::body::Body;

use crate::metrics::Metrics;

/// Answers a request that is not gRPC.
pub(super) async fn answer(
    request: &Parts,
    node: &NodeHandle,
    metrics: &Metrics,
) -> Response<Body> {
    let path = request.uri.path();
    if !matches!(path, "/health" | "/livez" | "/readyz" | "/version" | "/metrics") {
        return respond(StatusCode::NOT_FOUND, TEXT, "404 page not found\n");
    }
    if request.method != Method::GET && request.method != Method::HEAD {
        let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "method not allowed\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let asks = |wanted: &str| request.uri.query().unwrap_or("").split('&').any(|q| q == wanted);
    match path {
        "/health" => {
            let ignore_room = asks("exclude=NOSPACE");
            health(check(node, asks("serializable=true"), ignore_room).await.err().as_deref())
        }
        "/livez" => probe(check(node, true, true).await),
        "/readyz" => probe(check(node, false, true).await),
        "/version" => respond(StatusCode::OK, JSON, version()),
        _ => {
            let status = node.request(Request::Status).await;
            let node = match &status {
                Ok((header, NodeResponse::Status(status))) => Some((header, status)),
                _ => None,
            };
            respond(StatusCode::OK, METRICS, metrics.render(node))
        }
    }
}

/// Reads a key as a client would; the error is the reason in etcd's words.
async fn check(node: &NodeHandle, serializable: bool, ignore_room: bool) -> Result<(), String> {
    let request = Request::Range {
        request: RangeRequest {
            range: KeyRange::one("health"),
            limit: 1,
            keys_only: true,
            ..RangeRequest::default()
        },
        linearizable: !serializable,
    };
    match tokio::time::timeout(HEALTH_TIMEOUT, node.request(request)).await {
        Ok(Ok(_)) => {}
        Ok(Err(RequestError::NoLeader)) => return Err("RAFT NO LEADER".into()),
        Ok(Err(error)) => return Err(format!("RANGE ERROR:{error}")),
        Err(_) => return Err("RANGE ERROR:no answer in time".into()),
    }
    if ignore_room {
        return Ok(());
    }
    match node.request(Request::Status).await {
        Ok((_, NodeResponse::Status(status))) if status.disk_full => Err("ALARM NOSPACE".into()),
        _ => Ok(()),
    }
}

fn health(reason: Option<&str>) -> Response<Body> {
    let status = if reason.is_some() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    // The reasons are fixed words and error texts of ours, but quotes must not break the JSON.
    let escaped = reason.unwrap_or("").replace('\\', "\\\\").replace('"', "\\\"");
    let body = format!("{{\"health\":\"{}\",\"reason\":\"{escaped}\"}}", reason.is_none());
    respond(status, JSON, body)
}

fn probe(result: Result<(), String>) -> Response<Body> {
    match result {
        Ok(()) => respond(StatusCode::OK, TEXT, "ok\n"),
        Err(reason) => respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{reason}\n")),
    }
}

fn version() -> String {
    format!(
        "{{\"etcdserver\":\"{API_VERSION}\",\"etcdcluster\":\"{ETCD_CLUSTER}\",\"synod\":\"{}\"}}",
        env!("CARGO_PKG_VERSION")
    )
}

fn respond(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(body.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The version of etcd's data and protocol between members, which is told beside the API's.
const ETCD_CLUSTER: &str = "3.5.0";

const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
