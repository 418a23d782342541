//! Writes the output of a job as keys: `kv://PREFIX`, each pair under the prefix and its key.
//!
//! A job claims its output (`claiming.rs`) by a key of its own beside the prefix, `synod/outputs/PREFIX`: its
//! name, and how many pairs are written. Every transaction that writes pairs moves that number on and is
//! bound to what it was, so each pair is written once whoever publishes, and who comes late writes nothing.
//! Every pair's key must be new: two records with the same key fail the job instead of one getting lost. In
//! the end the manifest takes the number's place: that is `_SUCCESS`.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use synod_base::Revision;
use synod_client::{Advice, ClientError, Kv};
use synod_jobs::cluster::{Change, JobId};
use synod_jobs::commit::Manifest;
use synod_jobs::{JobError, JobSpec, OutputStore, Progress, Publication};
use synod_state::kv::{DeleteRangeRequest, KeyRange, KeyValue, RangeRequest, TxnOp, TxnRequest};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::cutting::behind;
use super::name::KeysName;
use super::pairs::{self, Pairs, Position};
use super::{FIRST_PAUSE, KeyRanges, LONGEST_PAUSE, PATIENCE, read, told};

/// Pairs of one transaction: etcd takes 128 operations.
const MOST_PAIRS: usize = 100;
/// Their bytes; one pair may have more. etcd takes a request of 1.5 MiB.
const MOST_BYTES: usize = 512 << 10;
/// A manifest must fit a key's value.
const MOST_MANIFEST_BYTES: usize = 1 << 20;
/// Keys that are deleted at once.
const KEYS_PER_DELETION: i64 = 5_000;
/// Where the marks are.
pub(super) const MARKS: &[u8] = b"synod/outputs/";
/// Keys that are the system's own begin with this.
const RESERVED: &[u8] = b"synod/";

/// What stands at a mark.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Whose the output is.
    pub job: String,
    /// How many pairs are written.
    pub written: Position,
    /// Nobody writes any more: what is there is being removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
    /// All are, and this is what they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
}

impl<K: Kv> OutputStore for KeyRanges<K> {
    fn check(&self, spec: &JobSpec) -> Result<(), JobError> {
        let prefix = KeysName::output_prefix(&spec.output)?;
        let bad =
            |what: &str| JobError::BadSpec { what: format!("{}: {what}", spec.output.display()) };
        if prefix.starts_with(RESERVED) || RESERVED.starts_with(&prefix) {
            return Err(bad(
                "an output needs a prefix, and keys that begin with synod/ are Synod's own",
            ));
        }
        if spec.output_codec.is_some() {
            return Err(bad("keys and values are not compressed: leave the codec out"));
        }
        if spec.skip_bad_records > 0 {
            return Err(bad(
                "bad records that are left out are kept in files beside part files, and those are no \
                 keys: write to a folder",
            ));
        }
        Ok(())
    }

    fn check_absent(&self, output: &Path) -> Result<(), JobError> {
        self.place(output)?.check_absent()
    }

    fn claim(&self, output: &Path, job: Option<&JobId>) -> Result<String, JobError> {
        let place = self.place(output)?;
        let (job, session) = match job {
            Some(job) => (job.to_string(), None),
            None => {
                let (name, session) = place.begin_local()?;
                (name, Some(session))
            }
        };
        place.claim(&job, session.as_ref())?;
        if let Some(session) = session {
            self.lock_claims().insert(job.clone(), session);
        }
        Ok(job)
    }

    fn publish(&self, files: &Publication<'_>, progress: &Progress) -> Result<(), JobError> {
        let place = self.place(files.output)?;
        let manifest = text(files.manifest);
        if manifest.len() > MOST_MANIFEST_BYTES {
            return Err(place.failed("it has too many part files: take fewer reduces".to_owned()));
        }
        pairs::check(files, progress)?;
        let mut began = Instant::now();
        let (mut last, mut source, mut known_owner) = (None, None, None);
        loop {
            let (mark, revision) = place.mark()?;
            let ours = mark.filter(|mark| mark.job == files.mark);
            let Some(mark) = ours else {
                return Err(place.failed("somebody else has taken this output".to_owned()));
            };
            if mark.manifest.is_some() {
                self.end_local(&place, files.mark);
                return Ok(());
            }
            if mark.ended {
                return Err(place.failed("the job was ended by another coordinator".to_owned()));
            }
            progress.check_cancelled()?;
            let moved = last.replace(revision) != Some(revision);
            if moved {
                progress.note_move();
                began = Instant::now();
            }
            // Looked at again only when a write has not taken effect.
            let owner = match known_owner.take() {
                Some(owner) if moved => owner,
                _ => place.owner(files.mark)?,
            };
            known_owner = Some(owner.clone());
            let mut pairs = match source.take() {
                Some((pairs, at)) if at == mark.written => pairs,
                _ => Pairs::from(files, mark.written)?,
            };
            let batch = place.next_batch(&mut pairs)?;
            if batch.is_empty() {
                let mark = Mark { manifest: Some(files.manifest.clone()), ..mark };
                let done = place.change(revision, owner).put(place.key.clone(), text(&mark));
                place.write(done.into_txn(), began)?;
                continue;
            }
            if !moved && let Some(key) = place.first_known(&batch)? {
                // The same batch a second time. Were it there by a write whose outcome came late, the mark
                // would have moved with it.
                if place.mark()?.1 == revision {
                    return Err(place.not_new(&key));
                }
                continue;
            }
            let written = batch.last().map_or(mark.written, |(_, _, at)| *at);
            let mut change = place.change(revision, owner);
            for (key, value, _) in batch {
                change = change.if_created_at(key.clone(), Revision(0)).put(key, value);
            }
            let change = change.put(place.key.clone(), text(&Mark { written, ..mark }));
            place.write(change.into_txn(), began)?;
            source = Some((pairs, written));
        }
    }

    fn published(&self, output: &Path, mark: &str) -> Result<Option<Manifest>, JobError> {
        let (found, _) = self.place(output)?.mark()?;
        Ok(found.filter(|found| found.job == mark).and_then(|found| found.manifest))
    }

    fn clean(
        &self,
        output: &Path,
        mark: &str,
        progress: &Progress,
    ) -> Result<Option<Manifest>, JobError> {
        let place = self.place(output)?;
        let (mut began, mut last) = (Instant::now(), None);
        loop {
            progress.check_cancelled()?;
            let (found, revision) = place.mark()?;
            let Some(ours) = found.filter(|found| found.job == mark) else {
                self.end_local(&place, mark);
                return Ok(None);
            };
            if ours.manifest.is_some() {
                self.end_local(&place, mark);
                return Ok(ours.manifest);
            }
            if !ours.ended {
                // A coordinator that was replaced must not finish what is half gone.
                let change = place.change(revision, place.owner(mark)?);
                let mark = Mark { ended: true, ..ours };
                place.write(change.put(place.key.clone(), text(&mark)).into_txn(), began)?;
                continue;
            }
            // Before the first pair is written whatever is there is somebody else's.
            let first = match ours.written == Position::default() {
                true => Vec::new(),
                false => place.first_keys(KEYS_PER_DELETION)?,
            };
            let seen = Some((revision, first.first().map(|found| found.key.clone())));
            if last != seen {
                progress.note_move();
                (began, last) = (Instant::now(), seen);
            }
            let range = match first.last() {
                Some(last) => KeyRange { key: place.prefix.clone(), range_end: behind(&last.key) },
                None => KeyRange::one(place.key.clone()),
            };
            let owner = place.owner(mark)?;
            let mut deletion = place.change(revision, owner).into_txn();
            let request = DeleteRangeRequest { range, prev_kv: false };
            deletion.success.push(TxnOp::DeleteRange(request));
            place.write(deletion, began)?;
        }
    }
}

impl<K: Kv> KeyRanges<K> {
    fn place<'a>(&self, output: &'a Path) -> Result<Place<'a, K>, JobError> {
        let prefix = KeysName::output_prefix(output)?;
        let key = Bytes::from([MARKS, &prefix].concat());
        let (kv, runtime) = self.store(output)?;
        Ok(Place { output, prefix, key, kv, runtime })
    }
}

/// Where the keys of an output are.
pub(super) struct Place<'a, K> {
    pub output: &'a Path,
    pub prefix: Bytes,
    /// The mark's.
    pub key: Bytes,
    pub kv: K,
    pub runtime: Handle,
}

/// Pairs with their whole keys, each with the position behind it.
type Batch = Vec<(Bytes, Bytes, Position)>;

impl<K: Kv> Place<'_, K> {
    /// The mark and when it was written; revision 0 if there is none.
    pub(super) fn mark(&self) -> Result<(Option<Mark>, Revision), JobError> {
        match self.get(self.key.clone())? {
            Some(found) => Ok((Some(self.read_mark(&found)?), found.mod_revision)),
            None => Ok((None, Revision(0))),
        }
    }

    /// What a key says that is a mark.
    pub(super) fn read_mark(&self, found: &KeyValue) -> Result<Mark, JobError> {
        serde_json::from_slice(&found.value).map_err(|_| {
            let key = found.key.escape_ascii();
            self.failed(format!("the key {key} is no mark of an output"))
        })
    }

    pub(super) fn get(&self, key: Bytes) -> Result<Option<KeyValue>, JobError> {
        let request = RangeRequest { range: KeyRange::one(key), ..RangeRequest::default() };
        Ok(self.range(request)?.into_iter().next())
    }

    pub(super) fn range(&self, request: RangeRequest) -> Result<Vec<KeyValue>, JobError> {
        let found = self.runtime.block_on(read(&self.kv, request));
        found.map(|(_, found)| found.kvs).map_err(|error| told(self.output, &error))
    }

    /// The first keys under the prefix.
    fn first_keys(&self, limit: i64) -> Result<Vec<KeyValue>, JobError> {
        let range = KeyRange::prefix(self.prefix.clone());
        self.range(RangeRequest { range, limit, keys_only: true, ..RangeRequest::default() })
    }

    pub(super) fn check_absent(&self) -> Result<(), JobError> {
        match self.first_keys(1)?.is_empty() {
            true => Ok(()),
            false => Err(JobError::OutputExists { path: self.output.to_owned() }),
        }
    }

    /// A change that happens only if the mark is as it was, and the owner there, if the job has one.
    pub(super) fn change(&self, mark: Revision, owner: Option<(Bytes, Revision)>) -> Change {
        let change = Change::new().if_unchanged(self.key.clone(), mark);
        owner.into_iter().fold(change, |change, (key, created)| change.if_created_at(key, created))
    }

    /// Tries to write. Whether it was done is seen by the mark: a write that failed, or whose outcome nobody
    /// knows, is not an error unless it can never be done, or for too long could not.
    pub(super) fn write(&self, txn: TxnRequest, began: Instant) -> Result<(), JobError> {
        let error = match self.runtime.block_on(self.kv.txn(txn)) {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        let may_pass = matches!(
            error.advice(),
            Advice::Retry | Advice::Wait | Advice::GoElsewhere | Advice::ReadFirst
        );
        if !may_pass || began.elapsed() >= PATIENCE {
            return Err(self.not_written(&error));
        }
        let pause = (FIRST_PAUSE + began.elapsed() / 4).min(LONGEST_PAUSE);
        self.runtime.block_on(tokio::time::sleep(pause));
        Ok(())
    }

    /// The pairs of the next transaction.
    fn next_batch(&self, pairs: &mut Pairs<'_>) -> Result<Batch, JobError> {
        let (mut batch, mut bytes, mut keys) = (Batch::new(), 0, BTreeSet::new());
        while batch.len() < MOST_PAIRS && bytes < MOST_BYTES {
            let Some((key, value, at)) = pairs.next()? else { break };
            let key = Bytes::from([&self.prefix[..], &key].concat());
            if !keys.insert(key.clone()) {
                return Err(self.not_new(&key));
            }
            bytes += key.len() + value.len();
            batch.push((key, value, at));
        }
        Ok(batch)
    }

    /// A key that is there already.
    fn first_known(&self, batch: &Batch) -> Result<Option<Bytes>, JobError> {
        for (key, ..) in batch {
            if self.get(key.clone())?.is_some() {
                return Ok(Some(key.clone()));
            }
        }
        Ok(None)
    }

    fn not_new(&self, key: &[u8]) -> JobError {
        let key = key.escape_ascii();
        self.failed(format!(
            "the key {key} is there already: two records have it, or somebody else writes under this prefix"
        ))
    }

    fn not_written(&self, error: &ClientError) -> JobError {
        let what = format!("the store cannot be written: {error}");
        let permanent = error.advice() == Advice::Fix;
        JobError::Store { name: self.output.to_owned(), what, permanent }
    }

    pub(super) fn failed(&self, what: String) -> JobError {
        JobError::Store { name: self.output.to_owned(), what, permanent: true }
    }
}

pub(super) fn text(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("it has only string keys")
}
