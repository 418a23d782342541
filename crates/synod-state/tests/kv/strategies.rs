//! Random requests over few keys, few leases and low revisions, so that they meet often.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use synod_base::{LeaseId, Revision};
use synod_state::kv::*;

fn key() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        8 => prop::sample::select(vec!["a", "b", "c", "ca", "cb", "d"]).prop_map(Bytes::from),
        1 => Just(Bytes::from_static(b"\xff\xff")),
        1 => Just(Bytes::from_static(b"\0")),
    ]
}

fn key_or_none() -> impl Strategy<Value = Bytes> {
    prop_oneof![40 => key(), 1 => Just(Bytes::new())]
}

fn key_range() -> impl Strategy<Value = KeyRange> {
    let end = prop_oneof![
        4 => Just(Bytes::new()),
        1 => Just(Bytes::from_static(b"\0")),
        3 => key(),
    ];
    (key_or_none(), end).prop_map(|(key, range_end)| KeyRange { key, range_end })
}

fn revision() -> impl Strategy<Value = Revision> {
    prop_oneof![4 => Just(0i64), 1 => -2i64..3, 6 => 1i64..30].prop_map(Revision)
}

fn bound() -> impl Strategy<Value = Revision> {
    prop_oneof![6 => Just(0i64), 1 => -1i64..20].prop_map(Revision)
}

fn lease() -> impl Strategy<Value = LeaseId> {
    prop_oneof![2 => Just(0i64), 3 => 1i64..4, 1 => Just(-5i64)].prop_map(LeaseId)
}

fn value() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["", "x", "y", "zz"]).prop_map(Bytes::from)
}

pub fn range() -> impl Strategy<Value = RangeRequest> {
    let order = prop::sample::select(vec![SortOrder::None, SortOrder::Ascend, SortOrder::Descend]);
    let target = prop::sample::select(vec![
        SortTarget::Key,
        SortTarget::Version,
        SortTarget::Create,
        SortTarget::Mod,
        SortTarget::Value,
    ]);
    let limit = prop_oneof![3 => -1i64..4, 1 => Just(i64::MAX)];
    let flags = (prop::bool::weighted(0.3), prop::bool::weighted(0.1));
    let bounds = (bound(), bound(), bound(), bound());
    (key_range(), limit, revision(), order, target, flags, bounds).prop_map(
        |(range, limit, revision, sort_order, sort_target, flags, bounds)| RangeRequest {
            range,
            limit,
            revision,
            sort_order,
            sort_target,
            keys_only: flags.0,
            count_only: flags.1,
            min_mod_revision: bounds.0,
            max_mod_revision: bounds.1,
            min_create_revision: bounds.2,
            max_create_revision: bounds.3,
        },
    )
}

fn put() -> impl Strategy<Value = PutRequest> {
    let rarely = || prop::bool::weighted(0.1);
    (key_or_none(), value(), lease(), any::<bool>(), rarely(), rarely()).prop_map(
        |(key, value, lease, prev_kv, ignore_value, ignore_lease)| PutRequest {
            key,
            value: if ignore_value { Bytes::new() } else { value },
            lease: if ignore_lease { LeaseId::NONE } else { lease },
            prev_kv,
            ignore_value,
            ignore_lease,
        },
    )
}

fn delete() -> impl Strategy<Value = DeleteRangeRequest> {
    (key_range(), any::<bool>()).prop_map(|(range, prev_kv)| DeleteRangeRequest { range, prev_kv })
}

fn compare() -> impl Strategy<Value = Compare> {
    let result = prop::sample::select(vec![
        CompareResult::Equal,
        CompareResult::Greater,
        CompareResult::Less,
        CompareResult::NotEqual,
    ]);
    let target = prop_oneof![
        (0i64..4).prop_map(CompareTarget::Version),
        revision().prop_map(CompareTarget::Create),
        revision().prop_map(CompareTarget::Mod),
        value().prop_map(CompareTarget::Value),
        lease().prop_map(CompareTarget::Lease),
    ];
    (key_range(), result, target).prop_map(|(range, result, target)| Compare {
        range,
        result,
        target,
    })
}

fn leaf_op() -> impl Strategy<Value = TxnOp> {
    prop_oneof![
        1 => range().prop_map(TxnOp::Range),
        3 => put().prop_map(TxnOp::Put),
        1 => delete().prop_map(TxnOp::DeleteRange),
    ]
}

fn txn_of(op: impl Strategy<Value = TxnOp> + Clone) -> impl Strategy<Value = TxnRequest> {
    (vec(compare(), 0..3), vec(op.clone(), 0..4), vec(op, 0..4))
        .prop_map(|(compare, success, failure)| TxnRequest { compare, success, failure })
}

pub fn txn() -> impl Strategy<Value = TxnRequest> {
    let op = leaf_op().boxed();
    let op = op.prop_recursive(
        3,
        16,
        3,
        |inner| prop_oneof![2 => leaf_op(), 1 => txn_of(inner).prop_map(TxnOp::Txn)],
    );
    txn_of(op)
}

pub fn command() -> impl Strategy<Value = Command> {
    let ttl = prop_oneof![4 => 1i64..100, 1 => -1i64..1, 1 => Just(9_000_000_001)];
    prop_oneof![
        8 => put().prop_map(Command::Put),
        4 => delete().prop_map(Command::DeleteRange),
        6 => txn().prop_map(Command::Txn),
        2 => revision().prop_map(|revision| Command::Compact { revision }),
        3 => (lease(), ttl).prop_map(|(id, ttl_seconds)| Command::LeaseGrant { id, ttl_seconds }),
        1 => lease().prop_map(|id| Command::LeaseRevoke { id }),
    ]
}

/// A run of commands; the leases come first, so that most puts that name one find it.
pub fn commands(max: usize) -> impl Strategy<Value = Vec<Command>> {
    vec(command(), 1..max).prop_map(|mut commands| {
        let grant = |id| Command::LeaseGrant { id: LeaseId(id), ttl_seconds: 60 };
        commands.splice(0..0, [grant(1), grant(2), grant(-5)]);
        commands
    })
}
