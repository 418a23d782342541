//! Compare-and-set on one key that holds a decimal number: the step ids and counters are made of.

use bytes::Bytes;
use synod_base::Revision;
use synod_state::kv::{
    Compare, CompareResult, CompareTarget, KeyRange, KeyValue, PutRequest, RangeRequest, TxnOp,
    TxnOpResult, TxnRequest,
};
use thiserror::Error;

use crate::error::ClientError;
use crate::kv::Kv;

/// Compares in a row that may fail before the caller is told that the key is contended. One client
/// wins in each round, so this is reached only by far too many clients on one key.
pub(crate) const MAX_ROUNDS: u32 = 256;

/// Why a number could not be changed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum NumberError {
    /// The store has no answer. If it is unknown whether it happened, read before trying again.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The key holds something else than a decimal number.
    #[error("key `{key}` does not hold a number")]
    NotANumber {
        /// Which.
        key: String,
    },
    /// The number would leave its range.
    #[error("the number in key `{key}` would overflow")]
    Overflow {
        /// Which.
        key: String,
    },
    /// Others changed the key first, every time. Nothing happened; try later.
    #[error("key `{key}` is changed by too many clients at once")]
    Contended {
        /// Which.
        key: String,
    },
}

/// A number and the revision that vouches for it; (0, 0) while the key is absent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub number: i64,
    pub mod_revision: Revision,
}

/// What a compare-and-set found.
pub(crate) enum Outcome {
    Done,
    /// Somebody was faster; this is there now.
    Lost(Seen),
}

pub(crate) async fn read<K: Kv>(kv: &K, key: &Bytes) -> Result<Seen, NumberError> {
    let (_, found) = kv.get(key.clone()).await?;
    seen(key, found.as_ref())
}

/// Writes `number` if the key is still as seen.
pub(crate) async fn compare_and_set<K: Kv>(
    kv: &K,
    key: &Bytes,
    seen_before: Seen,
    number: i64,
) -> Result<Outcome, NumberError> {
    let unchanged = Compare {
        range: KeyRange::one(key.clone()),
        result: CompareResult::Equal,
        target: CompareTarget::Mod(seen_before.mod_revision),
    };
    let put =
        PutRequest { key: key.clone(), value: number.to_string().into(), ..PutRequest::default() };
    let read = RangeRequest { range: KeyRange::one(key.clone()), ..RangeRequest::default() };
    let request = TxnRequest {
        compare: vec![unchanged],
        success: vec![TxnOp::Put(put)],
        failure: vec![TxnOp::Range(read)],
    };
    let (_, result) = kv.txn(request).await?;
    if result.succeeded {
        return Ok(Outcome::Done);
    }
    match result.responses.first() {
        Some(TxnOpResult::Range(found)) => Ok(Outcome::Lost(seen(key, found.kvs.first())?)),
        _ => Err(ClientError::UnexpectedAnswer { request: "txn" }.into()),
    }
}

pub(crate) fn name(key: &Bytes) -> String {
    String::from_utf8_lossy(key).into_owned()
}

fn seen(key: &Bytes, found: Option<&KeyValue>) -> Result<Seen, NumberError> {
    let Some(found) = found else { return Ok(Seen { number: 0, mod_revision: Revision(0) }) };
    let number = std::str::from_utf8(&found.value).ok().and_then(|text| text.parse().ok());
    let number = number.ok_or_else(|| NumberError::NotANumber { key: name(key) })?;
    Ok(Seen { number, mod_revision: found.mod_revision })
}
