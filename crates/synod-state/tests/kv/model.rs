//! The machine against the naive model: equal answers, equal states at every revision, equal histories.

use std::sync::Arc;

use proptest::prelude::*;
use synod_base::Revision;
use synod_state::kv::*;
use synod_storage::engine::MemoryEngine;

use crate::naive::Naive;
use crate::{apply, everything, strategies};

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn commands_and_reads_answer_as_the_naive_model_does(
        commands in strategies::commands(40),
        reads in proptest::collection::vec(strategies::range(), 20),
        window_bytes in prop_oneof![Just(0usize), Just(2_000), Just(1 << 20)],
    ) {
        let engine = Arc::new(MemoryEngine::new());
        let mut kv = Kv::open_with_window(engine.clone(), window_bytes).unwrap();
        let mut naive = Naive::new();
        for command in &commands {
            let result = apply(&mut kv, &*engine, command);
            prop_assert_eq!(result, naive.apply(command), "{:?}", command);
            prop_assert_eq!(kv.revision(), naive.revision());
            prop_assert_eq!(kv.key_count(), naive.now().len());
        }
        for read in &reads {
            prop_assert_eq!(kv.range(read).unwrap(), naive.range(read), "{:?}", read);
        }
        check_everything(&kv, &naive)?;
    }

    #[test]
    fn a_read_only_transaction_answers_as_the_same_one_applied(
        commands in strategies::commands(20),
        txn in strategies::txn(),
    ) {
        let engine = Arc::new(MemoryEngine::new());
        let mut kv = Kv::open(engine.clone()).unwrap();
        for command in &commands {
            let _ = apply(&mut kv, &*engine, command);
        }
        let txn = only_reads(txn);
        let revision = kv.revision();
        let read = kv.read_txn(&txn).unwrap().map(CommandResult::Txn);
        prop_assert_eq!(read, apply(&mut kv, &*engine, &Command::Txn(txn)));
        prop_assert_eq!(kv.revision(), revision);
    }
}

fn only_reads(mut txn: TxnRequest) -> TxnRequest {
    for ops in [&mut txn.success, &mut txn.failure] {
        *ops = std::mem::take(ops)
            .into_iter()
            .filter_map(|op| match op {
                TxnOp::Range(range) => Some(TxnOp::Range(range)),
                TxnOp::Txn(inner) => Some(TxnOp::Txn(only_reads(inner))),
                TxnOp::Put(_) | TxnOp::DeleteRange(_) => None,
            })
            .collect();
    }
    txn
}

/// Every readable revision, the history from each of them in pages of several sizes, `prev_kv` of each
/// event, and the leases.
pub fn check_everything(kv: &Kv, naive: &Naive) -> Result<(), TestCaseError> {
    prop_assert_eq!(kv.compacted_revision().0, naive.compacted);
    let first = naive.compacted.max(1);
    for revision in first..=naive.revision().0 {
        let request = everything(Revision(revision));
        prop_assert_eq!(kv.range(&request).unwrap(), naive.range(&request));
        let expected: Vec<&Event> =
            naive.events[revision as usize - 1..].iter().flatten().collect();
        for max_bytes in [0, 5, usize::MAX] {
            let events = read_history(kv, Revision(revision), max_bytes);
            prop_assert_eq!(events.iter().collect::<Vec<_>>(), expected.clone());
        }
        if let Some(recent) = kv.recent_from(Revision(revision)) {
            prop_assert_eq!(recent.collect::<Vec<_>>(), expected);
        }
        for event in &naive.events[revision as usize - 1] {
            let prev_kv = kv.prev_kv(event).unwrap();
            let readable = revision > first;
            let expected = naive.maps.get((revision - 2) as usize).filter(|_| readable);
            prop_assert_eq!(prev_kv.as_ref(), expected.and_then(|map| map.get(&event.kv.key)));
        }
    }
    if naive.compacted > 1 {
        let below = Revision(naive.compacted - 1);
        let compacted = Revision(naive.compacted);
        prop_assert_eq!(kv.history(below, 1).unwrap(), Err(Refusal::Compacted { compacted }));
        prop_assert!(kv.recent_from(below).is_none());
    }
    let leases: Vec<_> = kv.leases().map(|(id, l)| (id, l.ttl_seconds)).collect();
    prop_assert_eq!(leases, naive.leases.clone().into_iter().collect::<Vec<_>>());
    for (id, lease) in kv.leases() {
        prop_assert_eq!(lease.keys.iter().cloned().collect::<Vec<_>>(), naive.keys_of(id));
    }
    Ok(())
}

fn read_history(kv: &Kv, mut from: Revision, max_bytes: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while from <= kv.revision() {
        let page = kv.history(from, max_bytes).unwrap().unwrap();
        assert!(page.next > from, "a page makes progress");
        assert!(page.events.iter().all(|event| event.kv.mod_revision < page.next));
        events.extend(page.events);
        from = page.next;
    }
    events
}
