//! Reading job records once, to show them: of one job or of all, at one moment.
//!
//! Plans are left out: they are large, and nobody looks at them.

use bytes::Bytes;
use synod_base::Revision;
use synod_client::{ClientError, Consistency, Kv};
use synod_jobs::cluster::names::{JobKey, Key, PREFIX};
use synod_jobs::cluster::records::decode;
use synod_jobs::cluster::{JobId, JobRecord, View};
use synod_state::kv::{KeyRange, KeyValue, RangeRequest};

/// Records read at once.
const PAGE_RECORDS: i64 = 500;

/// All jobs and workers. Of jobs that have ended only their record.
pub async fn read_jobs<K: Kv>(kv: &K) -> Result<View, ClientError> {
    read_jobs_as(kv, Consistency::Linearizable).await
}

/// The same, as consistent as that.
pub(super) async fn read_jobs_as<K: Kv>(
    kv: &K,
    consistency: Consistency,
) -> Result<View, ClientError> {
    let mut reader = Reader::new(kv, consistency);
    reader.prefix(format!("{PREFIX}worker/")).await?;
    let all = KeyRange::prefix(format!("{PREFIX}job/"));
    let mut rest = all.clone();
    while let Some(first) = reader.first_key(rest.clone()).await? {
        let next = match Key::parse(&first) {
            Some(Key::Job(id, _)) => {
                let has_ended = reader.record(&id).await?;
                if !has_ended {
                    reader.tasks(&id).await?;
                }
                end_of(id.prefix())
            }
            // Of a newer program; what comes behind it may be known.
            _ => [&first[..], &[0]].concat().into(),
        };
        rest = KeyRange { key: next, ..all.clone() };
    }
    Ok(reader.finish())
}

/// One job with its report, and the workers. The job is not in the view if there is none.
pub async fn read_job<K: Kv>(kv: &K, id: &JobId) -> Result<View, ClientError> {
    let mut reader = Reader::new(kv, Consistency::Linearizable);
    reader.prefix(format!("{PREFIX}worker/")).await?;
    reader.record(id).await?;
    reader.tasks(id).await?;
    reader.key(id.key(JobKey::Report)).await?;
    Ok(reader.finish())
}

/// Reads at the moment of its first answer.
struct Reader<'a, K> {
    kv: &'a K,
    consistency: Consistency,
    revision: Revision,
    found: Vec<KeyValue>,
}

impl<'a, K: Kv> Reader<'a, K> {
    fn new(kv: &'a K, consistency: Consistency) -> Self {
        Reader { kv, consistency, revision: Revision(0), found: Vec::new() }
    }

    fn finish(self) -> View {
        View::load(&self.found, self.revision)
    }

    async fn ask(&mut self, request: RangeRequest) -> Result<(Vec<KeyValue>, bool), ClientError> {
        let request = RangeRequest { revision: self.revision, ..request };
        let (header, page) = self.kv.range(request, self.consistency).await?;
        if self.revision == Revision(0) {
            self.revision = header.revision;
        }
        Ok((page.kvs, page.more))
    }

    async fn prefix(&mut self, prefix: String) -> Result<(), ClientError> {
        let mut range = KeyRange::prefix(prefix);
        loop {
            let limit = PAGE_RECORDS;
            let request = RangeRequest { range: range.clone(), limit, ..RangeRequest::default() };
            let (mut page, more) = self.ask(request).await?;
            let last = page.last().map(|kv| kv.key.clone());
            self.found.append(&mut page);
            match last {
                Some(last) if more => range.key = [&last[..], &[0]].concat().into(),
                _ => return Ok(()),
            }
        }
    }

    async fn key(&mut self, key: String) -> Result<Option<Bytes>, ClientError> {
        let request = RangeRequest { range: KeyRange::one(key), ..RangeRequest::default() };
        let (found, _) = self.ask(request).await?;
        let value = found.first().map(|kv| kv.value.clone());
        self.found.extend(found);
        Ok(value)
    }

    /// Reads the record of a job; whether it says that the job has ended.
    async fn record(&mut self, id: &JobId) -> Result<bool, ClientError> {
        let value = self.key(id.key(JobKey::Record)).await?;
        let record: Option<JobRecord> = value.and_then(|value| decode(&value));
        Ok(record.is_some_and(|record| record.state.is_final()))
    }

    async fn tasks(&mut self, id: &JobId) -> Result<(), ClientError> {
        for what in ["task/", "claim/", "backup/"] {
            self.prefix(format!("{}{what}", id.prefix())).await?;
        }
        self.key(id.key(JobKey::Cancel)).await.map(drop)
    }

    async fn first_key(&mut self, range: KeyRange) -> Result<Option<Bytes>, ClientError> {
        let (limit, keys_only) = (1, true);
        let request = RangeRequest { range, limit, keys_only, ..RangeRequest::default() };
        let (found, _) = self.ask(request).await?;
        Ok(found.into_iter().next().map(|kv| kv.key))
    }
}

/// The first key that is behind all with this prefix, which ends with a slash.
pub(super) fn end_of(mut prefix: String) -> Bytes {
    prefix.pop();
    // What follows the slash.
    prefix.push('0');
    prefix.into()
}
