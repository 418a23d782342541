//! Reading, following and changing job records through `Kv`.

use bytes::Bytes;
use synod_base::Revision;
use synod_client::{ClientError, Consistency, Happened, Kv, WatchSpec, Watcher};
use synod_jobs::cluster::{Change, View};
use synod_node::RequestError;
use synod_state::kv::{KeyRange, RangeRequest};

/// Records read at once.
const PAGE_RECORDS: i64 = 500;

/// What came of a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Applied {
    /// It took effect at this revision.
    Yes(Revision),
    /// A guard failed, or it was not applied: look again.
    No,
    /// The store takes no change of this size, now or later.
    TooLarge,
    /// Nobody knows: look again, later.
    Unknown,
}

/// Sends a change to the store.
pub(super) async fn apply<K: Kv>(kv: &K, change: Change) -> Applied {
    match kv.txn(change.into_txn()).await {
        Ok((header, result)) if result.succeeded => Applied::Yes(header.revision),
        Ok(_) => Applied::No,
        Err(ClientError::Request(RequestError::TooLarge)) => {
            tracing::warn!("jobs: the store refuses a change of records: it is too large");
            Applied::TooLarge
        }
        Err(error) => {
            tracing::debug!("jobs: a change of records has no answer: {error}");
            if error.happened() == Happened::No { Applied::No } else { Applied::Unknown }
        }
    }
}

/// Reads all records under a prefix and opens a watch that goes on from there.
pub(super) async fn follow<K: Kv>(
    kv: &K,
    prefix: &str,
    consistency: Consistency,
) -> Result<(View, Watcher), ClientError> {
    let whole = KeyRange::prefix(Bytes::copy_from_slice(prefix.as_bytes()));
    let mut request =
        RangeRequest { range: whole.clone(), limit: PAGE_RECORDS, ..RangeRequest::default() };
    let (header, mut page) = kv.range(request.clone(), consistency).await?;
    let revision = header.revision;
    let mut keys = std::mem::take(&mut page.kvs);
    // The other pages show the same moment.
    request.revision = revision;
    while page.more {
        let Some(last) = keys.last() else { break };
        let mut next = last.key.to_vec();
        next.push(0);
        request.range.key = next.into();
        (_, page) = kv.range(request.clone(), consistency).await?;
        keys.append(&mut page.kvs);
    }
    let start_revision = Revision(revision.0 + 1);
    let spec = WatchSpec { range: whole, start_revision, ..WatchSpec::default() };
    let watcher = kv.watch(spec).await?;
    Ok((View::load(&keys, revision), watcher))
}
