//! `etcdserverpb.Watch`: one node stream per client stream.
//!
//! Requests and deliveries are taken by whoever polls the responses, so a client that does not read
//! is not read from, either, and the node's window for the stream bounds what waits for it. As in
//! etcd, a client that ends its side keeps its watches; they end with the stream.

use std::pin::Pin;

use futures_util::stream::{self, Stream, StreamExt};
use synod_client::{NodeHandle, WatchStream};
use synod_node::RequestError;
use synod_proto::etcdserverpb as pb;
use synod_proto::etcdserverpb::watch_server::Watch;
use tonic::{Request, Response, Status, Streaming};

use crate::etcd::Rejection;
use crate::etcd::watch::{CreateRefused, refused_response, watch_request, watch_response};

/// Streams of events.
#[derive(Clone, Debug)]
pub struct WatchService {
    node: NodeHandle,
}

impl WatchService {
    /// Over this node.
    #[must_use]
    pub fn new(node: NodeHandle) -> Self {
        WatchService { node }
    }
}

#[tonic::async_trait]
impl Watch for WatchService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let responses = responses(self.node.clone(), request.into_inner()).await?;
        Ok(Response::new(Box::pin(responses)))
    }
}

/// Everything a client gets; an error ends the stream.
pub(super) async fn responses<S>(
    node: NodeHandle,
    requests: S,
) -> Result<impl Stream<Item = Result<pb::WatchResponse, Status>> + Send, Rejection>
where
    S: Stream<Item = Result<pb::WatchRequest, Status>> + Send + Unpin,
{
    let deliveries = node.open_watch_stream().await.ok_or(RequestError::Stopped)?;
    let session = Session { node, requests, requests_ended: false, deliveries };
    Ok(stream::unfold(Some(session), |session| async move {
        let mut session = session?;
        match session.next().await {
            Ok(response) => Some((Ok(response), Some(session))),
            Err(status) => Some((Err(status), None)),
        }
    }))
}

/// A client stream and its stream of the node. Dropping it ends all its watches.
struct Session<S> {
    node: NodeHandle,
    requests: S,
    requests_ended: bool,
    deliveries: WatchStream,
}

impl<S> Session<S>
where
    S: Stream<Item = Result<pb::WatchRequest, Status>> + Send + Unpin,
{
    async fn next(&mut self) -> Result<pb::WatchResponse, Status> {
        loop {
            // Requests first: a cancel must not wait for the events that it wants to be rid of.
            // Both sides can be dropped while they wait without losing anything.
            tokio::select! {
                biased;
                request = self.requests.next(), if !self.requests_ended => match request {
                    Some(request) => {
                        if let Some(response) = self.on_request(request?).await? {
                            return Ok(response);
                        }
                    }
                    None => self.requests_ended = true,
                },
                delivery = self.deliveries.next() => {
                    let delivery = delivery.ok_or(Rejection::from(RequestError::Stopped))?;
                    return Ok(watch_response(delivery));
                }
            }
        }
    }

    async fn on_request(
        &mut self,
        request: pb::WatchRequest,
    ) -> Result<Option<pb::WatchResponse>, Rejection> {
        let request = match watch_request(self.deliveries.id(), request) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(None),
            Err(refused) => return self.refuse(refused).await.map(Some),
        };
        if !self.deliveries.send(request).await {
            return Err(RequestError::Stopped.into());
        }
        Ok(None)
    }

    async fn refuse(&mut self, refused: CreateRefused) -> Result<pb::WatchResponse, Rejection> {
        let (from, _) = self.node.request(synod_node::Request::Status).await?;
        Ok(refused_response(&from, refused))
    }
}
