//! HTTP for the client of object stores: hyper, with TLS by rustls and ring and the certificates that this
//! machine trusts. Who may be spoken to without TLS is said by `AWS_ALLOW_HTTP`.
//!
//! Which failures are tried again is decided by the client, by the kind of error it is given here. It does so
//! for requests, and for few bodies: so an answer is one only when all of it is there. Nobody asks for more
//! than some MiB in one.

use std::error::Error as _;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector as Connector, HttpError, HttpErrorKind, HttpRequest,
    HttpRequestBody, HttpResponse, HttpService,
};
use object_store::{ClientOptions, Result};
use tonic::async_trait;

/// A server that does not take the connection is given up after this.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// From the first byte of a request to the first of its answer; a part of an upload is a request.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);
/// From one piece of an answer to the next one. Twice this is within the patience of the client.
const PIECE_LIMIT: Duration = Duration::from_secs(12);
/// What an answer says of its own length is believed up to this.
const MOST_RESERVED: u64 = 8 << 20;
/// A connection on which nothing comes is asked after this, in the same distance again, and given up after
/// the third question.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Connections that nobody uses are closed after this: servers close theirs, too.
const IDLE_LIMIT: Duration = Duration::from_secs(20);

/// Makes clients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Http;

impl Connector for Http {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        let allowed = options.get_config_value(&ClientConfigKey::AllowHttp);
        let plain = allowed.as_deref() == Some("true");
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_LIMIT));
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_keepalive_interval(Some(KEEPALIVE));
        tcp.set_keepalive_retries(Some(3));
        let tls = HttpsConnectorBuilder::new().with_native_roots();
        Ok(match tls {
            Ok(tls) => {
                let schemes = if plain { tls.https_or_http() } else { tls.https_only() };
                let tls: HttpsConnector<HttpConnector> = schemes.enable_http1().wrap_connector(tcp);
                HttpClient::new(Service { client: client(tls) })
            }
            // A machine that trusts nobody can still speak to one that asks for no trust.
            Err(_) if plain => HttpClient::new(Service { client: client(tcp) }),
            Err(error) => {
                return Err(object_store::Error::Generic { store: "S3", source: Box::new(error) });
            }
        })
    }
}

fn client<C: Connect + Clone>(connector: C) -> Client<C, HttpRequestBody> {
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE_LIMIT)
        .pool_timer(TokioTimer::new())
        .build(connector)
}

#[derive(Debug)]
struct Service<C> {
    client: Client<C, HttpRequestBody>,
}

#[async_trait]
impl<C: Connect + Clone + std::fmt::Debug + Send + Sync + 'static> HttpService for Service<C> {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = tokio::time::timeout(ANSWER_LIMIT, self.client.request(request)).await;
        let answer = answer.map_err(|late| HttpError::new(HttpErrorKind::Timeout, late))?;
        let (head, body) = answer.map_err(failed)?.into_parts();
        Ok(HttpResponse::from_parts(head, whole(body).await?.into()))
    }
}

/// All bytes of an answer. One that breaks off or stands still may be asked for again: if asking twice does
/// no harm, which the client knows.
async fn whole(mut body: Incoming) -> Result<Bytes, HttpError> {
    let length = body.size_hint().lower().min(MOST_RESERVED);
    let mut bytes = BytesMut::with_capacity(usize::try_from(length).unwrap_or_default());
    loop {
        let next = tokio::time::timeout(PIECE_LIMIT, body.frame()).await.map_err(|_| {
            let what = format!("its answer stopped: nothing came for {} s", PIECE_LIMIT.as_secs());
            HttpError::new(HttpErrorKind::Timeout, Unanswered(what))
        })?;
        let Some(frame) = next else { return Ok(bytes.freeze()) };
        let frame = frame.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error))?;
        // Trailers say nothing that is needed.
        if let Ok(piece) = frame.into_data() {
            bytes.extend_from_slice(&piece);
        }
    }
}

/// What the client is to know of a request that got no answer.
fn failed(error: Error) -> HttpError {
    // The outermost error says little, and only that one would be shown.
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    let kind = match error.is_connect() {
        // No try will make it trusted.
        true if text.contains("certificate") => HttpErrorKind::Unknown,
        true => HttpErrorKind::Connect,
        false => HttpErrorKind::Request,
    };
    HttpError::new(kind, Unanswered(text))
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unanswered(String);
