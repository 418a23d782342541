//! `Kv` served over gRPC by a remote Synod or by an etcd cluster, through one or many endpoints.
//!
//! Which call may be sent twice is decided here, once: a read (and a keep-alive, which is as harmless)
//! goes to the next endpoint after any failure of an endpoint; a write only after an error that rules
//! out that it happened. What the wire looks like is in `wire.rs` (one level up) and `status.rs`, the
//! resuming of watches in `watch.rs`, what is not part of `Kv` in `admin.rs`.

mod admin;
mod status;
mod watch;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use synod_base::LeaseId;
use synod_node::{Happened, LeaseTimeToLive, RequestError, WatchSpec};
use synod_proto::etcdserverpb::kv_client::KvClient;
use synod_proto::etcdserverpb::lease_client::LeaseClient;
use synod_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest,
};
use synod_state::kv::{
    DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, RangeResult, TxnRequest, TxnResult,
};
use tonic::transport::Channel;

use crate::error::ClientError;
use crate::kv::{Answer, Consistency, Deleted, Kv, LeaseGranted};
use crate::watcher::Watcher;
use crate::wire;

pub use admin::EndpointStatus;
pub(crate) use watch::RemoteWatch;

/// Largest answer this client takes, in bytes; a range has no other bound on the wire.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// Dead connections are found by pings this often, also while only a watch is open. etcd refuses
/// pings that come more often than every five seconds.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// A ping without an answer for this long ends the connection.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// How long things may take.
#[derive(Clone, Debug)]
pub struct RemoteOptions {
    /// To open a connection.
    pub connect_timeout: Duration,
    /// From sending a request to one endpoint until its answer. A server gives up on its own before.
    pub request_timeout: Duration,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        RemoteOptions {
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(10),
        }
    }
}

/// A client of a cluster.
#[derive(Clone, Debug)]
pub struct Remote {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    endpoints: Vec<Endpoint>,
    /// The one that answered last.
    preferred: AtomicUsize,
    options: RemoteOptions,
}

#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// As a URL.
    pub url: String,
    pub channel: Channel,
}

/// Whether a request may be sent again when nobody knows whether it happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Repeat {
    Harmless,
    OnlyIfNotApplied,
}

impl Remote {
    /// A client of these endpoints (`host:port` or `http://host:port`). Connects on first use; call it
    /// inside a tokio runtime.
    pub fn new<S: AsRef<str>>(
        endpoints: &[S],
        options: RemoteOptions,
    ) -> Result<Self, ClientError> {
        let endpoints: Result<Vec<Endpoint>, ClientError> =
            endpoints.iter().map(|endpoint| open(endpoint.as_ref(), &options)).collect();
        let endpoints = endpoints?;
        if endpoints.is_empty() {
            return Err(ClientError::BadEndpoint { endpoint: String::new() });
        }
        let preferred = AtomicUsize::new(0);
        Ok(Remote { shared: Arc::new(Shared { endpoints, preferred, options }) })
    }

    /// The endpoints' URLs, as configured.
    pub fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.shared.endpoints.iter().map(|endpoint| endpoint.url.as_str())
    }

    pub(crate) fn endpoint(&self, index: usize) -> &Endpoint {
        &self.shared.endpoints[index % self.shared.endpoints.len()]
    }

    pub(crate) fn endpoint_count(&self) -> usize {
        self.shared.endpoints.len()
    }

    pub(crate) fn preferred(&self) -> usize {
        self.shared.preferred.load(Ordering::Relaxed)
    }

    pub(crate) fn prefer(&self, index: usize) {
        self.shared.preferred.store(index, Ordering::Relaxed);
    }

    /// Sends a request to the preferred endpoint and, as far as `repeat` allows, to the others.
    async fn send<T, F>(
        &self,
        repeat: Repeat,
        call: impl Fn(Channel) -> F + Send + Sync,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, tonic::Status>> + Send,
    {
        // A single endpoint gets a read twice: its connection may just have been replaced.
        let tries = match repeat {
            Repeat::Harmless => self.endpoint_count().max(2),
            Repeat::OnlyIfNotApplied => self.endpoint_count(),
        };
        let first = self.preferred();
        let mut tried = 0;
        loop {
            let index = (first + tried) % self.endpoint_count();
            let error = match self.send_once(index, repeat, &call).await {
                Ok(answer) => {
                    self.prefer(index);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            tried += 1;
            if tried >= tries || !may_go_elsewhere(&error, repeat) {
                return Err(error);
            }
        }
    }

    async fn send_once<T, F>(
        &self,
        index: usize,
        repeat: Repeat,
        call: impl Fn(Channel) -> F + Send + Sync,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, tonic::Status>> + Send,
    {
        let endpoint = self.endpoint(index);
        let is_read = repeat == Repeat::Harmless;
        let answer = call(endpoint.channel.clone());
        match tokio::time::timeout(self.shared.options.request_timeout, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(status)) => Err(status::to_error(&endpoint.url, &status, is_read)),
            Err(_) if is_read => Err(RequestError::ReadTimedOut.into()),
            Err(_) => Err(RequestError::TimedOut.into()),
        }
    }
}

/// Whether another endpoint may do better, and the request may be sent again at all.
fn may_go_elsewhere(error: &ClientError, repeat: Repeat) -> bool {
    let of_endpoint = matches!(
        error,
        ClientError::Unreachable { .. }
            | ClientError::ConnectionLost { .. }
            | ClientError::Request(
                RequestError::NoLeader
                    | RequestError::LeaderChanged
                    | RequestError::TimedOut
                    | RequestError::ReadTimedOut
                    | RequestError::Stopped
            )
    );
    of_endpoint && (repeat == Repeat::Harmless || error.happened() == Happened::No)
}

fn open(endpoint: &str, options: &RemoteOptions) -> Result<Endpoint, ClientError> {
    let bad = || ClientError::BadEndpoint { endpoint: endpoint.to_owned() };
    let has_scheme = endpoint.contains("://");
    let url = if has_scheme { endpoint.to_owned() } else { format!("http://{endpoint}") };
    let address = url.strip_prefix("http://").ok_or_else(bad)?.trim_end_matches('/');
    let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err(bad());
    }
    let channel = Channel::from_shared(url.clone())
        .map_err(|_| bad())?
        .connect_timeout(options.connect_timeout)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .connect_lazy();
    Ok(Endpoint { url, channel })
}

fn kv_client(channel: Channel) -> KvClient<Channel> {
    KvClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES)
}

fn lease_client(channel: Channel) -> LeaseClient<Channel> {
    LeaseClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES)
}

impl Kv for Remote {
    async fn range(&self, request: RangeRequest, consistency: Consistency) -> Answer<RangeResult> {
        let message = wire::range_request(request, consistency == Consistency::Serializable);
        let call = |channel| {
            let message = message.clone();
            async move { kv_client(channel).range(message).await }
        };
        let answer = self.send(Repeat::Harmless, call).await?.into_inner();
        Ok((wire::header(answer.header), wire::range_result(answer)))
    }

    async fn put(&self, request: PutRequest) -> Answer<Option<KeyValue>> {
        let message = wire::put_request(request);
        let call = |channel| {
            let message = message.clone();
            async move { kv_client(channel).put(message).await }
        };
        let answer = self.send(Repeat::OnlyIfNotApplied, call).await?.into_inner();
        Ok((wire::header(answer.header), answer.prev_kv.map(wire::key_value)))
    }

    async fn delete(&self, request: DeleteRangeRequest) -> Answer<Deleted> {
        let message = wire::delete_request(request);
        let call = |channel| {
            let message = message.clone();
            async move { kv_client(channel).delete_range(message).await }
        };
        let answer = self.send(Repeat::OnlyIfNotApplied, call).await?.into_inner();
        let prev_kvs = answer.prev_kvs.into_iter().map(wire::key_value).collect();
        Ok((wire::header(answer.header), Deleted { deleted: answer.deleted, prev_kvs }))
    }

    async fn txn(&self, request: TxnRequest) -> Answer<TxnResult> {
        let repeat =
            if request.is_read_only() { Repeat::Harmless } else { Repeat::OnlyIfNotApplied };
        let message = wire::txn_request(request);
        let call = |channel| {
            let message = message.clone();
            async move { kv_client(channel).txn(message).await }
        };
        let answer = self.send(repeat, call).await?.into_inner();
        let header = wire::header(answer.header);
        Ok((header, wire::txn_result(answer)?))
    }

    async fn lease_grant(&self, id: LeaseId, ttl_seconds: i64) -> Answer<LeaseGranted> {
        let message = LeaseGrantRequest { id: id.0, ttl: ttl_seconds };
        let call = |channel| async move { lease_client(channel).lease_grant(message).await };
        let answer = self.send(Repeat::OnlyIfNotApplied, call).await?.into_inner();
        let granted = LeaseGranted { id: LeaseId(answer.id), ttl_seconds: answer.ttl };
        Ok((wire::header(answer.header), granted))
    }

    async fn lease_revoke(&self, id: LeaseId) -> Answer<()> {
        let message = LeaseRevokeRequest { id: id.0 };
        let call = |channel| async move { lease_client(channel).lease_revoke(message).await };
        let answer = self.send(Repeat::OnlyIfNotApplied, call).await?.into_inner();
        Ok((wire::header(answer.header), ()))
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Answer<i64> {
        let call = |channel| async move {
            let one = tokio_stream::once(LeaseKeepAliveRequest { id: id.0 });
            let mut answers = lease_client(channel).lease_keep_alive(one).await?.into_inner();
            answers.message().await
        };
        let answer = self.send(Repeat::Harmless, call).await?;
        let answer = answer.ok_or(ClientError::UnexpectedAnswer { request: "lease keep-alive" })?;
        Ok((wire::header(answer.header), answer.ttl))
    }

    async fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> Answer<LeaseTimeToLive> {
        let message = LeaseTimeToLiveRequest { id: id.0, keys };
        let call = |channel| async move { lease_client(channel).lease_time_to_live(message).await };
        let answer = self.send(Repeat::Harmless, call).await?.into_inner();
        let left = LeaseTimeToLive {
            remaining_seconds: answer.ttl,
            granted_seconds: answer.granted_ttl,
            keys: answer.keys,
        };
        Ok((wire::header(answer.header), left))
    }

    async fn watch(&self, spec: WatchSpec) -> Result<Watcher, ClientError> {
        RemoteWatch::open(self.clone(), spec).await.map(Watcher::remote)
    }
}
