//! Watch: a stream's requests to the node, its deliveries to the client.
//!
//! The node does the watching: order, ids, progress, fragments. Here is what etcd refuses at its
//! edge, and how etcd's messages look.

use bytes::Bytes;
use synod_base::Revision;
use synod_node::{Header, StreamId, WatchDelivery, WatchEvent, WatchKind, WatchRequest, WatchSpec};
use synod_proto::{etcdserverpb as pb, mvccpb};
use synod_state::kv::{EventKind, KeyRange};

use super::header::header;
use super::kv::key_value;

/// The watch id of messages that are about no watch, or about one that never was.
pub const NO_WATCH_ID: i64 = -1;

/// Why a watch is refused before the node sees it; goes to the client as `cancel_reason`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CreateRefused(pub &'static str);

/// A request of a stream, to the node. `None` for an empty message, which etcd skips.
pub fn watch_request(
    stream: StreamId,
    request: pb::WatchRequest,
) -> Result<Option<WatchRequest>, CreateRefused> {
    use pb::watch_request::RequestUnion;
    Ok(match request.request_union {
        Some(RequestUnion::CreateRequest(create)) => {
            Some(WatchRequest::Create { stream, spec: watch_spec(create)? })
        }
        Some(RequestUnion::CancelRequest(cancel)) => {
            Some(WatchRequest::Cancel { stream, watch_id: cancel.watch_id })
        }
        Some(RequestUnion::ProgressRequest(_)) => Some(WatchRequest::Progress { stream }),
        None => None,
    })
}

/// A delivery, to the client. A watch that was refused is created and canceled in one message, as
/// etcd's client wants it.
#[must_use]
pub fn watch_response(delivery: WatchDelivery) -> pb::WatchResponse {
    let WatchDelivery { watch_id, header: from, kind, .. } = delivery;
    let response =
        pb::WatchResponse { header: header(&from), watch_id, ..pb::WatchResponse::default() };
    match kind {
        WatchKind::Created => pb::WatchResponse { created: true, ..response },
        WatchKind::Events { events, more } => pb::WatchResponse {
            fragment: more,
            events: events.into_iter().map(event).collect(),
            ..response
        },
        WatchKind::Progress => response,
        WatchKind::Canceled { compact_revision, reason } => pb::WatchResponse {
            created: watch_id == NO_WATCH_ID,
            canceled: true,
            compact_revision: compact_revision.0,
            cancel_reason: reason,
            ..response
        },
    }
}

/// To a client whose watch was refused here.
#[must_use]
pub fn refused_response(from: &Header, refused: CreateRefused) -> pb::WatchResponse {
    pb::WatchResponse {
        header: header(from),
        watch_id: NO_WATCH_ID,
        created: true,
        canceled: true,
        cancel_reason: refused.0.to_owned(),
        ..pb::WatchResponse::default()
    }
}

fn watch_spec(create: pb::WatchCreateRequest) -> Result<WatchSpec, CreateRefused> {
    use pb::watch_create_request::FilterType;
    if create.start_revision < 0 {
        return Err(CreateRefused("etcdserver: mvcc: required revision has been compacted"));
    }
    // The smallest key there can be.
    let key = if create.key.is_empty() { Bytes::from_static(&[0]) } else { create.key };
    let range = KeyRange { key, range_end: create.range_end };
    let open_end = range.range_end[..] == [0];
    if !range.is_single() && !open_end && range.key >= range.range_end {
        return Err(CreateRefused("mvcc: watcher range is empty"));
    }
    let filters = |wanted| create.filters.contains(&(wanted as i32));
    Ok(WatchSpec {
        watch_id: create.watch_id,
        range,
        start_revision: Revision(create.start_revision),
        prev_kv: create.prev_kv,
        no_put: filters(FilterType::Noput),
        no_delete: filters(FilterType::Nodelete),
        progress_notify: create.progress_notify,
        fragment: create.fragment,
    })
}

fn event(event: WatchEvent) -> mvccpb::Event {
    let kind = match event.event.kind {
        EventKind::Put => mvccpb::event::EventType::Put,
        EventKind::Delete => mvccpb::event::EventType::Delete,
    };
    mvccpb::Event {
        r#type: kind.into(),
        kv: Some(key_value(event.event.kv)),
        prev_kv: event.prev_kv.map(key_value),
    }
}

#[cfg(test)]
mod tests;
