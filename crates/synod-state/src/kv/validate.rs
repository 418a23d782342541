//! What is refused whatever the state: malformed requests, by etcd's rules and in its order.
//!
//! Run before proposing, so that a bad request costs no log entry, and again by `apply`, so that no
//! command can break a replica however it got into the log.
//!
//! Writes of one transaction must not meet, as in etcd: no key is put twice, and no put lies in a
//! deleted range of the same transaction, except when the put stands in an earlier nested
//! transaction than the deletion. The two branches of a nested one exclude each other, so they may put
//! the same key. Unlike etcd, a deletion "from this key on" (`range_end` of one zero byte) counts too.

use std::collections::BTreeSet;

use synod_base::limits::{MAX_TXN_DEPTH, MAX_TXN_OPS};

use super::interval::KeySet;
use super::{
    Command, DeleteRangeRequest, KeyRange, PutRequest, RangeRequest, Refusal, TxnOp, TxnRequest,
};

/// Checks a command.
pub fn validate(command: &Command) -> Result<(), Refusal> {
    match command {
        Command::Put(put) => validate_put(put),
        Command::DeleteRange(delete) => validate_delete(delete),
        Command::Txn(txn) => validate_txn(txn),
        Command::Compact { .. } | Command::LeaseGrant { .. } | Command::LeaseRevoke { .. } => {
            Ok(())
        }
    }
}

/// Checks a read.
pub fn validate_range(range: &RangeRequest) -> Result<(), Refusal> {
    need_key(&range.range)
}

/// Checks a transaction, both branches, however deep.
pub fn validate_txn(txn: &TxnRequest) -> Result<(), Refusal> {
    validate_ops(txn, MAX_TXN_OPS, 1)?;
    Writes::default().add_branch(&txn.success)?;
    Writes::default().add_branch(&txn.failure)
}

fn need_key(range: &KeyRange) -> Result<(), Refusal> {
    if range.key.is_empty() { Err(Refusal::EmptyKey) } else { Ok(()) }
}

fn validate_put(put: &PutRequest) -> Result<(), Refusal> {
    if put.key.is_empty() {
        Err(Refusal::EmptyKey)
    } else if put.ignore_value && !put.value.is_empty() {
        Err(Refusal::ValueProvided)
    } else if put.ignore_lease && put.lease.0 != 0 {
        Err(Refusal::LeaseProvided)
    } else {
        Ok(())
    }
}

fn validate_delete(delete: &DeleteRangeRequest) -> Result<(), Refusal> {
    need_key(&delete.range)
}

/// Each operation for itself, and how many there are. A nested transaction may have as many as its
/// parent left over.
fn validate_ops(txn: &TxnRequest, max_ops: usize, depth: usize) -> Result<(), Refusal> {
    if depth > MAX_TXN_DEPTH {
        return Err(Refusal::TooDeep);
    }
    let ops = txn.compare.len().max(txn.success.len()).max(txn.failure.len());
    let Some(ops_left) = max_ops.checked_sub(ops) else {
        return Err(Refusal::TooManyOps);
    };
    txn.compare.iter().try_for_each(|compare| need_key(&compare.range))?;
    txn.success.iter().chain(&txn.failure).try_for_each(|op| match op {
        TxnOp::Range(range) => validate_range(range),
        TxnOp::Put(put) => validate_put(put),
        TxnOp::DeleteRange(delete) => validate_delete(delete),
        TxnOp::Txn(inner) => validate_ops(inner, ops_left, depth + 1),
    })
}

/// The writes of one branch.
#[derive(Default)]
struct Writes<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: KeySet<'a>,
}

impl<'a> Writes<'a> {
    /// Adds the writes of a branch and of all below it: deletions, nested transactions, puts, in this
    /// order, so that a put meets every deletion of its own branch and of those nested in it.
    fn add_branch(&mut self, ops: &'a [TxnOp]) -> Result<(), Refusal> {
        for op in ops {
            if let TxnOp::DeleteRange(delete) = op {
                self.deletes.insert(&delete.range);
            }
        }
        for op in ops {
            if let TxnOp::Txn(inner) = op {
                self.add_nested(inner)?;
            }
        }
        for op in ops {
            if let TxnOp::Put(put) = op {
                self.add_put(&put.key)?;
            }
        }
        Ok(())
    }

    fn add_nested(&mut self, inner: &'a TxnRequest) -> Result<(), Refusal> {
        let mut success = Writes::default();
        success.add_branch(&inner.success)?;
        let mut failure = Writes::default();
        failure.add_branch(&inner.failure)?;
        for key in success.puts.union(&failure.puts) {
            self.add_put(key)?;
        }
        self.deletes.append(success.deletes);
        self.deletes.append(failure.deletes);
        Ok(())
    }

    fn add_put(&mut self, key: &'a [u8]) -> Result<(), Refusal> {
        if self.deletes.contains(key) || !self.puts.insert(key) {
            return Err(Refusal::DuplicateKey);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use synod_base::LeaseId;

    fn put(key: &'static str) -> TxnOp {
        TxnOp::Put(PutRequest { key: key.into(), ..PutRequest::default() })
    }

    fn delete(key: &'static str, end: &'static str) -> TxnOp {
        let range = KeyRange { key: key.into(), range_end: end.into() };
        TxnOp::DeleteRange(DeleteRangeRequest { range, prev_kv: false })
    }

    fn txn(success: Vec<TxnOp>, failure: Vec<TxnOp>) -> TxnRequest {
        TxnRequest { compare: vec![], success, failure }
    }

    fn nested(success: Vec<TxnOp>, failure: Vec<TxnOp>) -> TxnOp {
        TxnOp::Txn(txn(success, failure))
    }

    #[test]
    fn writes_of_one_transaction_must_not_meet() {
        let duplicate = Err(Refusal::DuplicateKey);
        let then = |ops| validate_txn(&txn(ops, vec![]));
        assert_eq!(then(vec![put("a"), put("b")]), Ok(()));
        assert_eq!(then(vec![put("a"), put("a")]), duplicate);
        assert_eq!(then(vec![put("a"), delete("a", "")]), duplicate);
        assert_eq!(then(vec![delete("a", "c"), put("b")]), duplicate);
        assert_eq!(then(vec![delete("a", "\0"), put("b")]), duplicate);
        assert_eq!(then(vec![delete("a", "c"), put("c"), delete("a", "d")]), duplicate);
        assert_eq!(then(vec![delete("a", "c"), delete("b", "d"), put("d")]), Ok(()));
        assert_eq!(validate_txn(&txn(vec![put("a")], vec![put("a")])), Ok(()));
        assert_eq!(validate_txn(&txn(vec![], vec![put("a"), put("a")])), duplicate);
    }

    #[test]
    fn writes_of_nested_transactions_meet_their_parents() {
        let duplicate = Err(Refusal::DuplicateKey);
        let then = |ops| validate_txn(&txn(ops, vec![]));
        assert_eq!(then(vec![put("a"), nested(vec![put("a")], vec![])]), duplicate);
        assert_eq!(then(vec![put("a"), nested(vec![], vec![delete("a", "b")])]), duplicate);
        assert_eq!(then(vec![delete("a", ""), nested(vec![put("a")], vec![])]), duplicate);
        let either = || nested(vec![put("a")], vec![put("a")]);
        assert_eq!(then(vec![either()]), Ok(()));
        assert_eq!(then(vec![either(), either()]), duplicate);
        let put_then_delete =
            vec![nested(vec![put("a")], vec![]), nested(vec![delete("a", "")], vec![])];
        assert_eq!(then(put_then_delete), Ok(()), "as in etcd");
        let delete_then_put =
            vec![nested(vec![delete("a", "")], vec![]), nested(vec![put("a")], vec![])];
        assert_eq!(then(delete_then_put), duplicate);
    }

    #[test]
    fn both_branches_and_the_compares_are_held_to_the_limits() {
        let many = |n: usize| {
            vec![
                TxnOp::Range(RangeRequest { range: KeyRange::one("a"), ..RangeRequest::default() });
                n
            ]
        };
        assert_eq!(validate_txn(&txn(many(MAX_TXN_OPS), many(MAX_TXN_OPS))), Ok(()));
        assert_eq!(validate_txn(&txn(vec![], many(MAX_TXN_OPS + 1))), Err(Refusal::TooManyOps));
        let mut full = many(MAX_TXN_OPS - 1);
        full.push(nested(vec![put("z")], vec![]));
        assert_eq!(validate_txn(&txn(full, vec![])), Err(Refusal::TooManyOps));
        let deep = |depth| {
            (1..depth).fold(txn(vec![], vec![]), |inner, _| txn(vec![TxnOp::Txn(inner)], vec![]))
        };
        assert_eq!(validate_txn(&deep(MAX_TXN_DEPTH)), Ok(()));
        assert_eq!(validate_txn(&deep(MAX_TXN_DEPTH + 1)), Err(Refusal::TooDeep));
    }

    #[test]
    fn keys_values_and_leases_are_given_where_they_must_be_and_only_there() {
        let put = |key: &'static str, value: &'static str, lease, ignore_value, ignore_lease| {
            validate(&Command::Put(PutRequest {
                key: key.into(),
                value: value.into(),
                lease: LeaseId(lease),
                prev_kv: false,
                ignore_value,
                ignore_lease,
            }))
        };
        assert_eq!(put("", "v", 0, false, false), Err(Refusal::EmptyKey));
        assert_eq!(put("k", "v", 0, true, false), Err(Refusal::ValueProvided));
        assert_eq!(put("k", "", 7, false, true), Err(Refusal::LeaseProvided));
        assert_eq!(put("k", "", 7, true, false), Ok(()));
        assert_eq!(put("k", "v", 0, false, true), Ok(()));
        let empty = KeyRange { key: Bytes::new(), range_end: Bytes::from_static(b"\0") };
        let delete = DeleteRangeRequest { range: empty.clone(), prev_kv: false };
        assert_eq!(validate(&Command::DeleteRange(delete)), Err(Refusal::EmptyKey));
        let range = RangeRequest { range: empty, ..RangeRequest::default() };
        assert_eq!(validate_range(&range), Err(Refusal::EmptyKey));
    }
}
