//! Transactions: compares choose branches, checks come before the first change, then the operations run.
//!
//! As in etcd: all compares, those of nested transactions too, look at the state before the
//! transaction; so do the checks (leases, `ignore_value`, readable revisions). After them nothing can
//! be refused, so a transaction happens whole or not at all. Reads see the operations before them.

use std::vec::IntoIter;

use synod_base::Revision;
use synod_storage::engine::{EngineError, WriteBatch};

use super::machine::{Kv, Writing};
use super::{
    Compare, CompareResult, CompareTarget, KeyValue, RangeRequest, Refusal, TxnOp, TxnOpResult,
    TxnRequest, TxnResult, validate_txn,
};

/// Which branch each transaction takes: the outer one first, then those nested in the branch taken, in
/// order.
type Path = IntoIter<bool>;

impl Kv {
    /// Answers a transaction that writes in neither branch.
    ///
    /// # Panics
    /// If it is not [`TxnRequest::is_read_only`].
    pub fn read_txn(&self, txn: &TxnRequest) -> Result<Result<TxnResult, Refusal>, EngineError> {
        assert!(txn.is_read_only(), "a transaction that may write is a command");
        if let Err(refusal) = validate_txn(txn) {
            return Ok(Err(refusal));
        }
        let path = self.choose_branches(txn)?;
        if let Err(refusal) = self.check_ops(txn, &mut path.clone().into_iter()) {
            return Ok(Err(refusal));
        }
        self.run_reads(txn, &mut path.into_iter()).map(Ok)
    }

    /// Runs a well-formed transaction.
    pub(super) fn apply_txn(
        &mut self,
        txn: &TxnRequest,
        batch: &mut WriteBatch,
    ) -> Result<Result<TxnResult, Refusal>, EngineError> {
        let path = self.choose_branches(txn)?;
        if let Err(refusal) = self.check_ops(txn, &mut path.clone().into_iter()) {
            return Ok(Err(refusal));
        }
        let mut writing = Writing::default();
        self.run(txn, &mut path.into_iter(), &mut writing, batch).map(Ok)
    }

    fn choose_branches(&self, txn: &TxnRequest) -> Result<Vec<bool>, EngineError> {
        let mut path = Vec::with_capacity(1);
        self.choose_into(txn, &mut path)?;
        Ok(path)
    }

    fn choose_into(&self, txn: &TxnRequest, path: &mut Vec<bool>) -> Result<(), EngineError> {
        let mut succeeded = true;
        for compare in &txn.compare {
            if !self.holds(compare)? {
                succeeded = false;
                break;
            }
        }
        path.push(succeeded);
        for op in branch(txn, succeeded) {
            if let TxnOp::Txn(inner) = op {
                self.choose_into(inner, path)?;
            }
        }
        Ok(())
    }

    /// Whether a compare holds for every key of its range; an empty range counts as one absent key.
    fn holds(&self, compare: &Compare) -> Result<bool, EngineError> {
        let keys_only = !matches!(compare.target, CompareTarget::Value(_));
        let request =
            RangeRequest { range: compare.range.clone(), keys_only, ..RangeRequest::default() };
        let kvs = self.read_range(&request, self.revision)?.kvs;
        Ok(if kvs.is_empty() {
            !matches!(compare.target, CompareTarget::Value(_))
                && key_holds(compare, &KeyValue::default())
        } else {
            kvs.iter().all(|kv| key_holds(compare, kv))
        })
    }

    /// Whether the state lets the chosen operations happen.
    fn check_ops(&self, txn: &TxnRequest, path: &mut Path) -> Result<(), Refusal> {
        let succeeded = next(path);
        branch(txn, succeeded).iter().try_for_each(|op| match op {
            TxnOp::Range(range) => self.readable(range.revision).map(|_| ()),
            TxnOp::Put(put) => self.check_put(put),
            TxnOp::DeleteRange(_) => Ok(()),
            TxnOp::Txn(inner) => self.check_ops(inner, path),
        })
    }

    fn run(
        &mut self,
        txn: &TxnRequest,
        path: &mut Path,
        writing: &mut Writing,
        batch: &mut WriteBatch,
    ) -> Result<TxnResult, EngineError> {
        let succeeded = next(path);
        let ops = branch(txn, succeeded);
        let mut responses = Vec::with_capacity(ops.len());
        for op in ops {
            responses.push(match op {
                TxnOp::Range(range) => self.run_range(range)?,
                TxnOp::Put(put) => TxnOpResult::Put { prev_kv: self.put(put, writing, batch)? },
                TxnOp::DeleteRange(delete) => {
                    let (deleted, prev_kvs) = self.delete_range(delete, writing, batch)?;
                    TxnOpResult::DeleteRange { deleted, prev_kvs }
                }
                TxnOp::Txn(inner) => TxnOpResult::Txn(self.run(inner, path, writing, batch)?),
            });
        }
        Ok(TxnResult { succeeded, responses })
    }

    fn run_reads(&self, txn: &TxnRequest, path: &mut Path) -> Result<TxnResult, EngineError> {
        let succeeded = next(path);
        let ops = branch(txn, succeeded);
        let mut responses = Vec::with_capacity(ops.len());
        for op in ops {
            responses.push(match op {
                TxnOp::Range(range) => self.run_range(range)?,
                TxnOp::Txn(inner) => TxnOpResult::Txn(self.run_reads(inner, path)?),
                TxnOp::Put(_) | TxnOp::DeleteRange(_) => {
                    unreachable!("read_txn takes read-only transactions")
                }
            });
        }
        Ok(TxnResult { succeeded, responses })
    }

    fn run_range(&self, range: &RangeRequest) -> Result<TxnOpResult, EngineError> {
        let at = if range.revision > Revision(0) { range.revision } else { self.revision };
        self.read_range(range, at).map(TxnOpResult::Range)
    }
}

fn branch(txn: &TxnRequest, succeeded: bool) -> &[TxnOp] {
    if succeeded { &txn.success } else { &txn.failure }
}

fn next(path: &mut Path) -> bool {
    path.next().expect("the path has a branch for every transaction on it")
}

fn key_holds(compare: &Compare, kv: &KeyValue) -> bool {
    let order = match &compare.target {
        CompareTarget::Version(version) => kv.version.cmp(version),
        CompareTarget::Create(revision) => kv.create_revision.cmp(revision),
        CompareTarget::Mod(revision) => kv.mod_revision.cmp(revision),
        CompareTarget::Value(value) => kv.value.cmp(value),
        CompareTarget::Lease(lease) => kv.lease.cmp(lease),
    };
    match compare.result {
        CompareResult::Equal => order.is_eq(),
        CompareResult::Greater => order.is_gt(),
        CompareResult::Less => order.is_lt(),
        CompareResult::NotEqual => order.is_ne(),
    }
}
