//! The client's side of the files that come with a job: stores them beside the records, before the job's own
//! record, so that whoever sees the job finds them.
//!
//! They go when the job is done, and otherwise when it is forgotten: the coordinator sees to that. What a
//! client has stored that died before its job was there is nobody's; the next one removes it.

use bytes::Bytes;
use synod_base::Revision;
use synod_client::{ClientError, Consistency, Kv};
use synod_jobs::cluster::names::{FILES, JobKey};
use synod_jobs::cluster::sent::{Check, OwnFile, PIECE_BYTES, Sent, pack};
use synod_jobs::cluster::{Change, JobId};
use synod_jobs::{JobError, JobSpec};
use synod_state::kv::{KeyRange, PutRequest, RangeRequest};

use super::patience::patiently;
use super::query::end_of;
use super::submit::SubmitError;
use super::threads::unix_ms;

/// Files that no job wants are left alone for so long, by clocks that may differ by less.
const ABANDONED_AFTER_MS: u64 = 24 * 60 * 60 * 1_000;

/// What was stored, and what shows that it is still there: key and create revision of its first piece.
#[derive(Debug)]
pub(super) struct Stored {
    pub sent: Sent,
    pub first: (String, Revision),
}

/// Stores the files that come with this job, for the job of this name; of one that is tried again those that
/// came with it then.
pub(super) async fn send<K: Kv>(
    kv: &K,
    spec: &JobSpec,
    files: Vec<OwnFile>,
    id: &JobId,
) -> Result<Option<Stored>, SubmitError> {
    let stored = match &spec.sent {
        Some(sent) => copy(kv, sent, id).await,
        None => {
            if files.is_empty() {
                return Ok(None);
            }
            let pack = Bytes::from(read(files).await?);
            let sent = Sent::new(id.clone(), &pack);
            let pieces = (0..pack.len()).step_by(PIECE_BYTES);
            let pieces = pieces.map(|at| pack.slice(at..pack.len().min(at + PIECE_BYTES)));
            put_all(kv, sent, pieces).await
        }
    };
    match stored {
        Ok(stored) => {
            remove_abandoned(kv).await;
            Ok(Some(stored))
        }
        Err(error) => {
            remove(kv, id).await;
            Err(error)
        }
    }
}

/// Removes what was stored for a job that will not be.
pub(super) async fn remove<K: Kv>(kv: &K, id: &JobId) {
    let change = Change::new()
        .if_created_at(id.key(JobKey::Record), Revision(0))
        .delete_prefix(id.files_prefix());
    if let Err(error) = kv.txn(change.into_txn()).await {
        tracing::debug!("jobs: files of job {id}, which will not be, stay for a day: {error}");
    }
}

/// Reads the files as they are now, on a thread that may wait for them.
async fn read(files: Vec<OwnFile>) -> Result<Vec<u8>, JobError> {
    let packed = tokio::task::spawn_blocking(move || pack(&files)).await;
    packed.map_err(|error| JobError::OnCluster { message: error.to_string() })?
}

async fn put_all<K: Kv>(
    kv: &K,
    sent: Sent,
    pieces: impl Iterator<Item = Bytes>,
) -> Result<Stored, SubmitError> {
    for (number, piece) in pieces.enumerate() {
        // A pack has far fewer pieces.
        put(kv, sent.key(number as u32), piece).await?;
    }
    let first = first_of(kv, &sent).await?;
    Ok(Stored { first, sent })
}

async fn copy<K: Kv>(kv: &K, from: &Sent, id: &JobId) -> Result<Stored, SubmitError> {
    let sent = Sent { job: id.clone(), ..from.clone() };
    let mut check = Check::default();
    for piece in 0..from.pieces {
        let found = patiently(|| kv.get(from.key(piece))).await?;
        let Some(found) = found else { return Err(gone(&from.job).into()) };
        check.add(&found.value);
        put(kv, sent.key(piece), found.value).await?;
    }
    if !check.is(from) {
        return Err(gone(&from.job).into());
    }
    let first = first_of(kv, &sent).await?;
    Ok(Stored { first, sent })
}

async fn put<K: Kv>(kv: &K, key: String, value: Bytes) -> Result<(), ClientError> {
    // The name is nobody else's: what is written twice is the same.
    let put = PutRequest { key: key.into(), value, ..PutRequest::default() };
    patiently(|| kv.put(put.clone())).await.map(drop)
}

async fn first_of<K: Kv>(kv: &K, sent: &Sent) -> Result<(String, Revision), SubmitError> {
    let key = sent.key(0);
    let found = patiently(|| kv.get(key.clone())).await?;
    let found = found.ok_or_else(|| gone(&sent.job))?;
    Ok((key, found.create_revision))
}

/// The files of a job are not as they were stored.
pub(super) fn gone(id: &JobId) -> JobError {
    let what = format!("the files that came with job {id} are gone from the store: submit it anew");
    JobError::BadSpec { what }
}

/// Removes files without a job, of clients that have died a day ago. Another one does it if this fails.
async fn remove_abandoned<K: Kv>(kv: &K) {
    let all = KeyRange::prefix(FILES);
    let mut rest = all.clone();
    loop {
        let request =
            RangeRequest { range: rest, limit: 1, keys_only: true, ..RangeRequest::default() };
        let found = kv.range(request, Consistency::Linearizable).await;
        let found = found.ok().and_then(|(_, found)| found.kvs.into_iter().next());
        let Some(found) = found else { return };
        let key = std::str::from_utf8(&found.key).ok().and_then(|key| key.strip_prefix(FILES));
        let id = key.and_then(|key| key.split_once('/')?.0.parse::<JobId>().ok());
        let next = match id {
            Some(id) => {
                if is_old(&id) {
                    // Only if the job has no record.
                    remove(kv, &id).await;
                }
                end_of(id.files_prefix())
            }
            None => [&found.key[..], &[0]].concat().into(),
        };
        rest = KeyRange { key: next, ..all.clone() };
    }
}

/// Whether a job of this name was submitted long ago, if it ever was.
fn is_old(id: &JobId) -> bool {
    let name = id.to_string();
    let submitted = name.split_once('-').and_then(|(ms, _)| u64::from_str_radix(ms, 16).ok());
    submitted.is_some_and(|ms| ms.saturating_add(ABANDONED_AFTER_MS) < unix_ms())
}
