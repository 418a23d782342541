//! Who may write an output of keys: one job at a time, and none within the prefix of another one.
//!
//! Of a mark that is not finished its job is asked for: one of a cluster lives until its record says that it
//! has ended; one in a single process has a key under a lease, `synod/output-owners/NAME`, for as long as
//! that process lives. What a dead job has claimed may be claimed again once its keys are gone. All claims
//! are in one order, by a key that each of them writes, so that of two at the same moment one sees the other.

use std::sync::{MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use std::collections::BTreeMap;
use synod_base::Revision;
use synod_client::{Kv, Session};
use synod_jobs::JobError;
use synod_jobs::cluster::records::decode;
use synod_jobs::cluster::{JobId, JobRecord, names::JobKey};
use synod_state::kv::{KeyRange, KeyValue, RangeRequest};
use tokio::time::Instant;

use super::cutting::behind;
use super::name::name_of_prefix;
use super::pairs::Position;
use super::writing::{MARKS, Mark, Place, text};
use super::{KeyRanges, read, told};

/// Every claim writes this key.
const TURN: &[u8] = b"synod/output-claims";
/// Where jobs without a record show that they live.
const OWNERS: &[u8] = b"synod/output-owners/";
/// How their names begin.
const LOCAL: &str = "local-";
/// How long after its end such a job still counts as alive if it could not say that it ends.
const OWNER_SECONDS: i64 = 15;
/// Marks that are looked at together.
const LOOKS: usize = 16;
const MARKS_PER_PAGE: i64 = 500;

impl<K: Kv> KeyRanges<K> {
    pub(super) fn lock_claims(&self) -> MutexGuard<'_, BTreeMap<String, Session<K>>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job of this process writes no more.
    pub(super) fn end_local(&self, place: &Place<'_, K>, job: &str) {
        let session = self.lock_claims().remove(job);
        if let Some(session) = session {
            // What could not be ended now ends by itself.
            drop(place.runtime.block_on(session.close()));
        }
    }
}

impl<K: Kv> Place<'_, K> {
    /// A name for a job of this process, and what shows that it lives.
    pub(super) fn begin_local(&self) -> Result<(String, Session<K>), JobError> {
        let session = self.runtime.block_on(Session::open(&self.kv, OWNER_SECONDS));
        let session = session.map_err(|error| told(self.output, &error))?;
        Ok((format!("{LOCAL}{:016x}", fastrand::u64(..)), session))
    }

    /// Makes the output a job's own, unless it is.
    pub(super) fn claim(&self, job: &str, session: Option<&Session<K>>) -> Result<(), JobError> {
        let began = Instant::now();
        loop {
            let turn = self.get(Bytes::from_static(TURN))?;
            let turn = turn.map_or(Revision(0), |found| found.mod_revision);
            let (mark, revision) = self.mark()?;
            if mark.is_some_and(|mark| mark.job == job && mark.manifest.is_none()) {
                return Ok(());
            }
            self.check_absent()?;
            self.check_unclaimed(job)?;
            let mark = Mark {
                job: job.to_owned(),
                written: Position::default(),
                ended: false,
                manifest: None,
            };
            let mut claim = self.change(revision, None).if_unchanged(TURN, turn);
            claim = claim.put(TURN, job.to_owned()).put(self.key.clone(), text(&mark));
            if let Some(session) = session {
                let owner = owner_key(job);
                claim = claim.put_leased(owner, self.key.clone(), session.lease());
            }
            self.write(claim.into_txn(), began)?;
        }
    }

    /// Fails if a job that may still write has claimed this prefix, one that it lies in, or one within it.
    fn check_unclaimed(&self, job: &str) -> Result<(), JobError> {
        for found in self.marks_around()?.into_iter().chain(self.marks_within()?) {
            let mark = self.read_mark(&found)?;
            if mark.job == job || mark.manifest.is_some() || !self.may_write(&mark.job)? {
                continue;
            }
            let theirs = &found.key[MARKS.len()..];
            let place = match theirs == &self.prefix[..] {
                true => "it".to_owned(),
                false => format!("{}, which has keys in common with it,", name_of_prefix(theirs)),
            };
            let if_dead = match mark.job.starts_with(LOCAL) {
                true => format!(" (if that was killed: in {OWNER_SECONDS} s)"),
                false => String::new(),
            };
            return Err(self.failed(format!(
                "{place} is being written by job {}: take another prefix, or wait until that has ended\
                 {if_dead}",
                mark.job
            )));
        }
        Ok(())
    }

    /// What a job of one process binds its writes to: that nobody has taken it for dead. Fails if somebody
    /// may have, because the store was not reached for too long.
    pub(super) fn owner(&self, job: &str) -> Result<Option<(Bytes, Revision)>, JobError> {
        if !job.starts_with(LOCAL) {
            return Ok(None);
        }
        let key = owner_key(job);
        match self.get(key.clone())? {
            Some(found) => Ok(Some((key, found.create_revision))),
            None => Err(self.failed(format!(
                "the store was not reached for {OWNER_SECONDS} s, and others may have taken the output since"
            ))),
        }
    }

    /// The marks of prefixes that this one begins with.
    fn marks_around(&self) -> Result<Vec<KeyValue>, JobError> {
        let around = (1..self.prefix.len()).map(|end| {
            let key = Bytes::from([MARKS, &self.prefix[..end]].concat());
            let request = RangeRequest { range: KeyRange::one(key), ..RangeRequest::default() };
            async { Ok(read(&self.kv, request).await?.1.kvs) }
        });
        let around = futures_util::stream::iter(around).buffered(LOOKS).try_collect::<Vec<_>>();
        let found = self.runtime.block_on(around).map_err(|error| told(self.output, &error))?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The marks of prefixes that begin with this one, its own among them.
    fn marks_within(&self) -> Result<Vec<KeyValue>, JobError> {
        let mut all = Vec::new();
        let mut range = KeyRange::prefix(self.key.clone());
        loop {
            let (limit, page) = (MARKS_PER_PAGE, range.clone());
            let request = RangeRequest { range: page, limit, ..RangeRequest::default() };
            let found = self.range(request)?;
            let Some(last) = found.last() else { return Ok(all) };
            range.key = behind(&last.key);
            all.extend(found);
        }
    }

    /// Whether a job may still be at work.
    fn may_write(&self, job: &str) -> Result<bool, JobError> {
        if job.starts_with(LOCAL) {
            return Ok(self.get(owner_key(job))?.is_some());
        }
        // A name that is none was not written by this version.
        let Ok(id) = job.parse::<JobId>() else { return Ok(true) };
        let Some(found) = self.get(id.key(JobKey::Record).into())? else { return Ok(false) };
        let record: Option<JobRecord> = decode(&found.value);
        Ok(record.is_none_or(|record| !record.state.is_final()))
    }
}

fn owner_key(job: &str) -> Bytes {
    Bytes::from([OWNERS, job.as_bytes()].concat())
}
