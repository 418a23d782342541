//! Commands as bytes: round trips, and input that nobody meant.

use bytes::Bytes;
use proptest::prelude::*;
use synod_base::limits::{MAX_TXN_DEPTH, MAX_TXN_OPS};
use synod_base::{Decoder, Encoder};
use synod_state::kv::*;
use synod_storage::engine::WriteBatch;

use crate::{new_kv, strategies};

fn encode(command: &Command) -> Bytes {
    let mut e = Encoder::new();
    command.encode(&mut e);
    e.into_bytes()
}

proptest! {
    #[test]
    fn a_command_comes_back_as_it_went_in(command in strategies::command()) {
        let mut d = Decoder::new(encode(&command));
        prop_assert_eq!(Command::decode(&mut d), Ok(command));
        prop_assert_eq!(d.finish(), Ok(()));
    }

    #[test]
    fn a_cut_command_does_not_decode(
        command in strategies::command(),
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = encode(&command);
        let cut = bytes.slice(..cut.index(bytes.len()));
        prop_assert!(Command::decode(&mut Decoder::new(cut)).is_err());
    }

    #[test]
    fn whatever_decodes_from_any_bytes_applies_without_a_panic(
        inputs in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..20),
    ) {
        let mut kv = new_kv();
        for input in inputs {
            if let Ok(command) = Command::decode(&mut Decoder::new(input.into())) {
                kv.apply(&command, &mut WriteBatch::default()).unwrap().ok();
            }
        }
    }

    #[test]
    fn commands_with_flipped_bytes_decode_to_something_that_applies_or_not_at_all(
        run in proptest::collection::vec(
            (strategies::command(), any::<prop::sample::Index>(), any::<u8>()),
            1..30,
        ),
    ) {
        let mut kv = new_kv();
        let mut batch = WriteBatch::default();
        for (command, at, flip) in run {
            let mut bytes = encode(&command).to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(command) = Command::decode(&mut Decoder::new(bytes.into())) {
                kv.apply(&command, &mut batch).unwrap().ok();
            }
        }
        kv.state_hash().unwrap();
    }
}

#[test]
fn depth_and_counts_are_bounded_before_anything_is_built() {
    let nest = |depth| {
        let mut txn = TxnRequest::default();
        for _ in 1..depth {
            txn = TxnRequest { success: vec![TxnOp::Txn(txn)], ..TxnRequest::default() };
        }
        encode(&Command::Txn(txn))
    };
    assert!(Command::decode(&mut Decoder::new(nest(MAX_TXN_DEPTH))).is_ok());
    assert!(Command::decode(&mut Decoder::new(nest(MAX_TXN_DEPTH + 1))).is_err());
    let range = TxnOp::Range(RangeRequest::default());
    let many = TxnRequest { success: vec![range; MAX_TXN_OPS + 1], ..TxnRequest::default() };
    assert!(Command::decode(&mut Decoder::new(encode(&Command::Txn(many)))).is_err());
}

#[test]
fn decoded_keys_and_values_share_the_input() {
    let command = crate::put("key", "some value", 0);
    let bytes = encode(&command);
    let Ok(Command::Put(put)) = Command::decode(&mut Decoder::new(bytes.clone())) else {
        panic!("a put comes back as a put");
    };
    assert!(bytes.as_ptr_range().contains(&put.value.as_ptr()));
}
