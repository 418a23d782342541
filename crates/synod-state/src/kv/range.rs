//! Reading keys: ranges at the current or an older revision.
//!
//! As in etcd, `count` is the number of keys in the range whatever the limit and the revision filters;
//! filters come before sorting, sorting before the limit, and a limit without a sort order takes the
//! first keys even if a sort target is named.

use synod_base::Revision;
use synod_storage::engine::EngineError;

use super::index::KeyHistory;
use super::machine::Kv;
use super::record::EventId;
use super::{KeyValue, RangeRequest, RangeResult, Refusal, SortOrder, SortTarget, validate_range};

impl Kv {
    /// Answers a read from the state as applied so far.
    pub fn range(
        &self,
        request: &RangeRequest,
    ) -> Result<Result<RangeResult, Refusal>, EngineError> {
        match validate_range(request).and_then(|()| self.readable(request.revision)) {
            Ok(at) => self.read_range(request, at).map(Ok),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// The revision that a read asking for `revision` reads at.
    pub(super) fn readable(&self, revision: Revision) -> Result<Revision, Refusal> {
        if revision > self.revision {
            Err(Refusal::FutureRevision { current: self.revision })
        } else if revision.0 <= 0 {
            Ok(self.revision)
        } else if revision < self.compacted {
            Err(Refusal::Compacted { compacted: self.compacted })
        } else {
            Ok(revision)
        }
    }

    /// Reads at a readable revision.
    pub(super) fn read_range(
        &self,
        request: &RangeRequest,
        at: Revision,
    ) -> Result<RangeResult, EngineError> {
        let fetch_limit = fetch_limit(request);
        let mut result = RangeResult::default();
        let mut found = 0;
        for (key, history) in self.index.range(&request.range) {
            let Some(put) = history.put_at(at) else { continue };
            found += 1;
            if request.count_only || result.kvs.len() >= fetch_limit {
                continue;
            }
            let kv = self.read_one(request, key, history, put)?;
            if passes_filters(request, &kv) {
                result.kvs.push(kv);
            }
        }
        result.count = found;
        sort(request, &mut result.kvs);
        if let Some(limit) = limit(request) {
            result.more = result.kvs.len() > limit;
            result.kvs.truncate(limit);
        }
        if request.keys_only {
            result.kvs.iter_mut().for_each(|kv| kv.value.clear());
        }
        Ok(result)
    }

    /// One key; from the index alone if it is the newest and its value is not needed.
    fn read_one(
        &self,
        request: &RangeRequest,
        key: &bytes::Bytes,
        history: &KeyHistory,
        put: EventId,
    ) -> Result<KeyValue, EngineError> {
        match history.live() {
            Some(live)
                if request.keys_only
                    && request.sort_target != SortTarget::Value
                    && history.newest().id == put =>
            {
                Ok(KeyValue {
                    key: key.clone(),
                    create_revision: live.create_revision,
                    mod_revision: put.revision,
                    version: live.version,
                    value: bytes::Bytes::new(),
                    lease: live.lease,
                })
            }
            _ => Ok(self.load(put)?.kv),
        }
    }
}

fn limit(request: &RangeRequest) -> Option<usize> {
    (request.limit > 0).then(|| usize::try_from(request.limit).unwrap_or(usize::MAX))
}

/// How many keys to read: one beyond the limit tells whether there are more; all if a sort or a filter
/// comes first.
fn fetch_limit(request: &RangeRequest) -> usize {
    let in_key_order = request.sort_order == SortOrder::None
        || (request.sort_order == SortOrder::Ascend && request.sort_target == SortTarget::Key);
    if in_key_order && !has_filters(request) {
        limit(request).map_or(usize::MAX, |limit| limit.saturating_add(1))
    } else {
        usize::MAX
    }
}

fn has_filters(request: &RangeRequest) -> bool {
    request.min_mod_revision.0 != 0
        || request.max_mod_revision.0 != 0
        || request.min_create_revision.0 != 0
        || request.max_create_revision.0 != 0
}

fn passes_filters(request: &RangeRequest, kv: &KeyValue) -> bool {
    let above = |bound: Revision, revision| bound.0 == 0 || revision >= bound;
    let below = |bound: Revision, revision| bound.0 == 0 || revision <= bound;
    above(request.min_mod_revision, kv.mod_revision)
        && below(request.max_mod_revision, kv.mod_revision)
        && above(request.min_create_revision, kv.create_revision)
        && below(request.max_create_revision, kv.create_revision)
}

fn sort(request: &RangeRequest, kvs: &mut [KeyValue]) {
    let descending = request.sort_order == SortOrder::Descend;
    if request.sort_target == SortTarget::Key {
        if descending {
            kvs.reverse();
        }
        return;
    }
    kvs.sort_by(|a, b| {
        let order = match request.sort_target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value.cmp(&b.value),
        };
        if descending { order.reverse() } else { order }
    });
}
