//! Commands as bytes: what a log entry holds of them.
//!
//! A tag, then the fields in order. Keys and values decode as slices of the input. Decoding is bounded
//! by the input's length, by `MAX_TXN_OPS` per list and by `MAX_TXN_DEPTH`; it never panics, and
//! refuses what it does not know: a replica that cannot read a command must stop, not skip it.

use synod_base::limits::{MAX_TXN_DEPTH, MAX_TXN_OPS};
use synod_base::{DecodeError, Decoder, Encoder, LeaseId, Revision};

use super::{
    Command, Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyRange, PutRequest,
    RangeRequest, SortOrder, SortTarget, TxnOp, TxnRequest,
};

const PUT: u8 = 1;
const DELETE_RANGE: u8 = 2;
const TXN: u8 = 3;
const COMPACT: u8 = 4;
const LEASE_GRANT: u8 = 5;
const LEASE_REVOKE: u8 = 6;
/// Only inside a transaction.
const RANGE: u8 = 7;

const PREV_KV: u8 = 1;
const IGNORE_VALUE: u8 = 2;
const IGNORE_LEASE: u8 = 4;

const KEYS_ONLY: u8 = 1;
const COUNT_ONLY: u8 = 2;

impl Command {
    /// Writes the command.
    pub fn encode(&self, e: &mut Encoder) {
        match self {
            Command::Put(put) => encode_put(put, e.u8(PUT)),
            Command::DeleteRange(delete) => encode_delete(delete, e.u8(DELETE_RANGE)),
            Command::Txn(txn) => encode_txn(txn, e.u8(TXN)),
            Command::Compact { revision } => {
                e.u8(COMPACT).var_i64(revision.0);
            }
            Command::LeaseGrant { id, ttl_seconds } => {
                e.u8(LEASE_GRANT).var_i64(id.0).var_i64(*ttl_seconds);
            }
            Command::LeaseRevoke { id } => {
                e.u8(LEASE_REVOKE).var_i64(id.0);
            }
        }
    }

    /// Reads a command; what follows it is left in the decoder.
    pub fn decode(d: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(match d.u8("command")? {
            PUT => Command::Put(decode_put(d)?),
            DELETE_RANGE => Command::DeleteRange(decode_delete(d)?),
            TXN => Command::Txn(decode_txn(d, 1)?),
            COMPACT => Command::Compact { revision: Revision(d.var_i64("revision")?) },
            LEASE_GRANT => Command::LeaseGrant {
                id: LeaseId(d.var_i64("lease")?),
                ttl_seconds: d.var_i64("ttl")?,
            },
            LEASE_REVOKE => Command::LeaseRevoke { id: LeaseId(d.var_i64("lease")?) },
            other => return Err(invalid("command", other)),
        })
    }

    /// How many bytes `encode` will write, roughly but never fewer, for a write that is not a
    /// transaction; a lower bound for one.
    #[must_use]
    pub fn size_hint(&self) -> usize {
        const FIELDS_BYTES: usize = 48;
        FIELDS_BYTES
            + match self {
                Command::Put(put) => put.key.len() + put.value.len(),
                Command::DeleteRange(delete) => {
                    delete.range.key.len() + delete.range.range_end.len()
                }
                _ => 0,
            }
    }
}

fn encode_put(put: &PutRequest, e: &mut Encoder) {
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    let flags = flag(put.prev_kv, PREV_KV)
        | flag(put.ignore_value, IGNORE_VALUE)
        | flag(put.ignore_lease, IGNORE_LEASE);
    e.u8(flags).bytes(&put.key).bytes(&put.value).var_i64(put.lease.0);
}

fn decode_put(d: &mut Decoder) -> Result<PutRequest, DecodeError> {
    let flags = d.u8("put flags")?;
    if flags & !(PREV_KV | IGNORE_VALUE | IGNORE_LEASE) != 0 {
        return Err(invalid("put flags", flags));
    }
    Ok(PutRequest {
        key: d.bytes("key")?,
        value: d.bytes("value")?,
        lease: LeaseId(d.var_i64("lease")?),
        prev_kv: flags & PREV_KV != 0,
        ignore_value: flags & IGNORE_VALUE != 0,
        ignore_lease: flags & IGNORE_LEASE != 0,
    })
}

fn encode_delete(delete: &DeleteRangeRequest, e: &mut Encoder) {
    encode_key_range(&delete.range, e);
    e.bool(delete.prev_kv);
}

fn decode_delete(d: &mut Decoder) -> Result<DeleteRangeRequest, DecodeError> {
    Ok(DeleteRangeRequest { range: decode_key_range(d)?, prev_kv: d.bool("prev_kv")? })
}

fn encode_key_range(range: &KeyRange, e: &mut Encoder) {
    e.bytes(&range.key).bytes(&range.range_end);
}

fn decode_key_range(d: &mut Decoder) -> Result<KeyRange, DecodeError> {
    Ok(KeyRange { key: d.bytes("key")?, range_end: d.bytes("range end")? })
}

fn encode_range(range: &RangeRequest, e: &mut Encoder) {
    encode_key_range(&range.range, e);
    e.var_i64(range.limit).var_i64(range.revision.0);
    e.u8(match range.sort_order {
        SortOrder::None => 0,
        SortOrder::Ascend => 1,
        SortOrder::Descend => 2,
    });
    e.u8(match range.sort_target {
        SortTarget::Key => 0,
        SortTarget::Version => 1,
        SortTarget::Create => 2,
        SortTarget::Mod => 3,
        SortTarget::Value => 4,
    });
    let keys_only = if range.keys_only { KEYS_ONLY } else { 0 };
    let count_only = if range.count_only { COUNT_ONLY } else { 0 };
    e.u8(keys_only | count_only);
    e.var_i64(range.min_mod_revision.0).var_i64(range.max_mod_revision.0);
    e.var_i64(range.min_create_revision.0).var_i64(range.max_create_revision.0);
}

fn decode_range(d: &mut Decoder) -> Result<RangeRequest, DecodeError> {
    let range = decode_key_range(d)?;
    let limit = d.var_i64("limit")?;
    let revision = Revision(d.var_i64("revision")?);
    let sort_order = match d.u8("sort order")? {
        0 => SortOrder::None,
        1 => SortOrder::Ascend,
        2 => SortOrder::Descend,
        other => return Err(invalid("sort order", other)),
    };
    let sort_target = match d.u8("sort target")? {
        0 => SortTarget::Key,
        1 => SortTarget::Version,
        2 => SortTarget::Create,
        3 => SortTarget::Mod,
        4 => SortTarget::Value,
        other => return Err(invalid("sort target", other)),
    };
    let flags = d.u8("range flags")?;
    if flags & !(KEYS_ONLY | COUNT_ONLY) != 0 {
        return Err(invalid("range flags", flags));
    }
    Ok(RangeRequest {
        range,
        limit,
        revision,
        sort_order,
        sort_target,
        keys_only: flags & KEYS_ONLY != 0,
        count_only: flags & COUNT_ONLY != 0,
        min_mod_revision: Revision(d.var_i64("min mod revision")?),
        max_mod_revision: Revision(d.var_i64("max mod revision")?),
        min_create_revision: Revision(d.var_i64("min create revision")?),
        max_create_revision: Revision(d.var_i64("max create revision")?),
    })
}

fn encode_txn(txn: &TxnRequest, e: &mut Encoder) {
    e.var(txn.compare.len() as u64);
    txn.compare.iter().for_each(|compare| encode_compare(compare, e));
    for ops in [&txn.success, &txn.failure] {
        e.var(ops.len() as u64);
        ops.iter().for_each(|op| encode_op(op, e));
    }
}

fn decode_txn(d: &mut Decoder, depth: usize) -> Result<TxnRequest, DecodeError> {
    if depth > MAX_TXN_DEPTH {
        return Err(DecodeError::Invalid { what: "txn depth", value: depth as u64 });
    }
    let compare = decode_list(d, "compares", decode_compare)?;
    let success = decode_list(d, "success ops", |d| decode_op(d, depth))?;
    let failure = decode_list(d, "failure ops", |d| decode_op(d, depth))?;
    Ok(TxnRequest { compare, success, failure })
}

fn decode_list<T>(
    d: &mut Decoder,
    what: &'static str,
    mut decode: impl FnMut(&mut Decoder) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = d.count(what)?;
    if count > MAX_TXN_OPS {
        return Err(DecodeError::Invalid { what, value: count as u64 });
    }
    (0..count).map(|_| decode(d)).collect()
}

fn encode_op(op: &TxnOp, e: &mut Encoder) {
    match op {
        TxnOp::Range(range) => encode_range(range, e.u8(RANGE)),
        TxnOp::Put(put) => encode_put(put, e.u8(PUT)),
        TxnOp::DeleteRange(delete) => encode_delete(delete, e.u8(DELETE_RANGE)),
        TxnOp::Txn(txn) => encode_txn(txn, e.u8(TXN)),
    }
}

fn decode_op(d: &mut Decoder, depth: usize) -> Result<TxnOp, DecodeError> {
    Ok(match d.u8("txn op")? {
        RANGE => TxnOp::Range(decode_range(d)?),
        PUT => TxnOp::Put(decode_put(d)?),
        DELETE_RANGE => TxnOp::DeleteRange(decode_delete(d)?),
        TXN => TxnOp::Txn(decode_txn(d, depth + 1)?),
        other => return Err(invalid("txn op", other)),
    })
}

fn encode_compare(compare: &Compare, e: &mut Encoder) {
    encode_key_range(&compare.range, e);
    e.u8(match compare.result {
        CompareResult::Equal => 0,
        CompareResult::Greater => 1,
        CompareResult::Less => 2,
        CompareResult::NotEqual => 3,
    });
    match &compare.target {
        CompareTarget::Version(version) => e.u8(0).var_i64(*version),
        CompareTarget::Create(revision) => e.u8(1).var_i64(revision.0),
        CompareTarget::Mod(revision) => e.u8(2).var_i64(revision.0),
        CompareTarget::Value(value) => e.u8(3).bytes(value),
        CompareTarget::Lease(lease) => e.u8(4).var_i64(lease.0),
    };
}

fn decode_compare(d: &mut Decoder) -> Result<Compare, DecodeError> {
    let range = decode_key_range(d)?;
    let result = match d.u8("compare result")? {
        0 => CompareResult::Equal,
        1 => CompareResult::Greater,
        2 => CompareResult::Less,
        3 => CompareResult::NotEqual,
        other => return Err(invalid("compare result", other)),
    };
    let target = match d.u8("compare target")? {
        0 => CompareTarget::Version(d.var_i64("version")?),
        1 => CompareTarget::Create(Revision(d.var_i64("create revision")?)),
        2 => CompareTarget::Mod(Revision(d.var_i64("mod revision")?)),
        3 => CompareTarget::Value(d.bytes("value")?),
        4 => CompareTarget::Lease(LeaseId(d.var_i64("lease")?)),
        other => return Err(invalid("compare target", other)),
    };
    Ok(Compare { range, result, target })
}

fn invalid(what: &'static str, value: u8) -> DecodeError {
    DecodeError::Invalid { what, value: value.into() }
}
