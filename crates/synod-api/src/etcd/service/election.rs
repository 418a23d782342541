//! `v3electionpb.Election`: the client crate's election, with the waiting done here. A caller that
//! goes away while it waits leaves the line.

use std::pin::Pin;

use futures_util::stream::{self, Stream};
use synod_base::{LeaseId, Revision};
use synod_client::election::{self, Leadership, Observer};
use synod_client::{Embedded, NodeHandle};
use synod_node::Header;
use synod_proto::v3electionpb as pb;
use synod_proto::v3electionpb::election_server::Election;
use tonic::{Request, Response, Status};

use super::lock::session;
use crate::etcd::Rejection;
use crate::etcd::header::header;
use crate::etcd::kv::{key_value, must_fit};

/// Elections.
#[derive(Clone, Debug)]
pub struct ElectionService {
    kv: Embedded,
}

impl ElectionService {
    /// Over this node.
    #[must_use]
    pub fn new(node: NodeHandle) -> Self {
        ElectionService { kv: Embedded::new(node) }
    }
}

fn leadership(key: Option<pb::LeaderKey>) -> Result<Leadership, Rejection> {
    let pb::LeaderKey { name, key, rev, lease } = key.ok_or(Rejection::LeaderKeyMissing)?;
    let (revision, lease) = (Revision(rev), LeaseId(lease));
    Ok(Leadership { name, key, revision, lease, header: Header::default() })
}

/// Leaders as they change; an error ends the stream.
fn leaders(
    observer: Observer<Embedded>,
) -> impl Stream<Item = Result<pb::LeaderResponse, Status>> + Send {
    stream::unfold(Some(observer), |observer| async move {
        let mut observer = observer?;
        match observer.next().await {
            Ok((from, leader)) => {
                let kv = Some(key_value(leader));
                let response = pb::LeaderResponse { header: header(&from), kv };
                Some((Ok(response), Some(observer)))
            }
            Err(error) => Some((Err(Rejection::from(error).into()), None)),
        }
    })
}

#[tonic::async_trait]
impl Election for ElectionService {
    async fn campaign(
        &self,
        request: Request<pb::CampaignRequest>,
    ) -> Result<Response<pb::CampaignResponse>, Status> {
        let request = request.into_inner();
        must_fit(&request)?;
        let lease = session(&self.kv, request.lease).await?;
        let pb::CampaignRequest { name, value, .. } = request;
        let won =
            election::campaign(&self.kv, &name, lease, value).await.map_err(Rejection::from)?;
        let Leadership { name, key, revision, lease, header: from } = won;
        let leader = pb::LeaderKey { name, key, rev: revision.0, lease: lease.0 };
        let response = pb::CampaignResponse { header: header(&from), leader: Some(leader) };
        Ok(Response::new(response))
    }

    async fn proclaim(
        &self,
        request: Request<pb::ProclaimRequest>,
    ) -> Result<Response<pb::ProclaimResponse>, Status> {
        let request = request.into_inner();
        must_fit(&request)?;
        let leadership = leadership(request.leader)?;
        let from = election::proclaim(&self.kv, &leadership, request.value)
            .await
            .map_err(Rejection::from)?;
        Ok(Response::new(pb::ProclaimResponse { header: header(&from) }))
    }

    async fn leader(
        &self,
        request: Request<pb::LeaderRequest>,
    ) -> Result<Response<pb::LeaderResponse>, Status> {
        let name = request.into_inner().name;
        let (from, leader) = election::leader(&self.kv, &name).await.map_err(Rejection::from)?;
        let kv = key_value(leader.ok_or(Rejection::ElectionNoLeader)?);
        Ok(Response::new(pb::LeaderResponse { header: header(&from), kv: Some(kv) }))
    }

    type ObserveStream = Pin<Box<dyn Stream<Item = Result<pb::LeaderResponse, Status>> + Send>>;

    async fn observe(
        &self,
        request: Request<pb::LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let name = request.into_inner().name;
        let observer = election::observe(&self.kv, &name).await.map_err(Rejection::from)?;
        Ok(Response::new(Box::pin(leaders(observer))))
    }

    /// Stepping down from a leadership that is lost already is fine, as in etcd.
    async fn resign(
        &self,
        request: Request<pb::ResignRequest>,
    ) -> Result<Response<pb::ResignResponse>, Status> {
        let leadership = leadership(request.into_inner().leader)?;
        let (from, _) = election::resign(&self.kv, &leadership).await.map_err(Rejection::from)?;
        Ok(Response::new(pb::ResignResponse { header: header(&from) }))
    }
}
