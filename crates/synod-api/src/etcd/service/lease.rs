//! `etcdserverpb.Lease`.

use std::pin::Pin;

use futures_util::stream::{self, Stream, StreamExt};
use synod_client::NodeHandle;
use synod_proto::etcdserverpb as pb;
use synod_proto::etcdserverpb::lease_server::Lease;
use tonic::{Request, Response, Status, Streaming};

use crate::etcd::lease;

/// Leases.
#[derive(Clone, Debug)]
pub struct LeaseService {
    node: NodeHandle,
}

impl LeaseService {
    /// Over this node.
    #[must_use]
    pub fn new(node: NodeHandle) -> Self {
        LeaseService { node }
    }
}

/// One answer per request, in order; an error ends the stream, as does the end of the requests.
pub(super) fn keep_alives<S>(
    node: NodeHandle,
    requests: S,
) -> impl Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send
where
    S: Stream<Item = Result<pb::LeaseKeepAliveRequest, Status>> + Send + Unpin,
{
    stream::unfold(Some(requests), move |requests| {
        let node = node.clone();
        async move {
            let mut requests = requests?;
            let request = match requests.next().await? {
                Ok(request) => request,
                Err(status) => return Some((Err(status), None)),
            };
            let reply = node.request(lease::keep_alive_request(&request)).await;
            match lease::keep_alive_response(&request, reply) {
                Ok(response) => Some((Ok(response), Some(requests))),
                Err(rejection) => Some((Err(rejection.into()), None)),
            }
        }
    })
}

#[tonic::async_trait]
impl Lease for LeaseService {
    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let request = lease::grant_request(request.get_ref());
        Ok(Response::new(lease::grant_response(self.node.request(request).await)?))
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let request = lease::revoke_request(request.get_ref());
        Ok(Response::new(lease::revoke_response(self.node.request(request).await)?))
    }

    type LeaseKeepAliveStream =
        Pin<Box<dyn Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let answers = keep_alives(self.node.clone(), request.into_inner());
        Ok(Response::new(Box::pin(answers)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let request = request.get_ref();
        let reply = self.node.request(lease::time_to_live_request(request)).await;
        Ok(Response::new(lease::time_to_live_response(request, reply)?))
    }

    async fn lease_leases(
        &self,
        _: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        let reply = self.node.request(lease::leases_request()).await;
        Ok(Response::new(lease::leases_response(reply)?))
    }
}
