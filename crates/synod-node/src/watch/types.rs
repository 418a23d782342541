//! What a watch stream asks and gets (etcdserverpb.WatchRequest and WatchResponse as plain types).

use synod_base::Revision;
use synod_state::kv::{Event, KeyRange, KeyValue};

use crate::request::Header;

/// One client stream; the executor picks the number and never reuses it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamId(pub u64);

/// What to watch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WatchSpec {
    /// The client's own id, unique in its stream; 0: the node picks.
    pub watch_id: i64,
    /// Which keys.
    pub range: KeyRange,
    /// Events from this revision on; 0: from the next one. May lie in the future.
    pub start_revision: Revision,
    /// Add each key as it was before.
    pub prev_kv: bool,
    /// Leave puts out.
    pub no_put: bool,
    /// Leave deletions out.
    pub no_delete: bool,
    /// Say now and then how far the watch is, also without events.
    pub progress_notify: bool,
    /// Answers may be split over several messages within one revision.
    pub fragment: bool,
}

/// What a stream asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WatchRequest {
    /// A new watch.
    Create {
        /// On which stream.
        stream: StreamId,
        /// What.
        spec: WatchSpec,
    },
    /// End one watch; answered with `Canceled`.
    Cancel {
        /// On which stream.
        stream: StreamId,
        /// Which.
        watch_id: i64,
    },
    /// Say how far the stream is, once all its watches have got everything up to then.
    Progress {
        /// Which stream.
        stream: StreamId,
    },
    /// The stream is gone, with all its watches. Not answered.
    Close {
        /// Which stream.
        stream: StreamId,
    },
    /// The client took this many of the delivered bytes ([`WatchDelivery::bytes`]): the node sends
    /// only so much ahead of a slow client.
    Drained {
        /// Which stream.
        stream: StreamId,
        /// How many.
        bytes: usize,
    },
}

/// One event, as delivered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchEvent {
    /// What happened.
    pub event: Event,
    /// The key before, if asked for, there, and not yet compacted.
    pub prev_kv: Option<KeyValue>,
}

/// What a delivery is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WatchKind {
    /// First answer to `Create`. A refused one is followed by `Canceled` (etcd: created and canceled).
    Created,
    /// Events, ascending by revision; a revision is never split, unless `fragment` was asked for and
    /// `more` says that the rest follows.
    Events {
        /// At least one.
        events: Vec<WatchEvent>,
        /// The same revision goes on in the next delivery.
        more: bool,
    },
    /// Everything up to the header's revision has been delivered. `watch_id` is -1 when it answers
    /// `WatchRequest::Progress`.
    Progress,
    /// The watch is over.
    Canceled {
        /// Not 0: events from the wanted revision on are compacted; resume from here at the earliest.
        compact_revision: Revision,
        /// Why; empty when the client asked.
        reason: String,
    },
}

/// One message to a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchDelivery {
    /// To which.
    pub stream: StreamId,
    /// From which of its watches; -1 for none.
    pub watch_id: i64,
    /// Where it comes from.
    pub header: Header,
    /// What it is.
    pub kind: WatchKind,
    /// Its size as the node counts it; given back with `WatchRequest::Drained`.
    pub bytes: usize,
}
