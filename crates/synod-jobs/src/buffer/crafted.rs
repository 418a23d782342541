//! Keys that somebody has chosen, knowing this program, so that they collide in the combine table.
//!
//! Each insertion then walks over all keys before it. What is counted here are the slots that are looked at,
//! with the hash of the table and the way it looks for a slot; a seed that was not known when the keys were
//! chosen spreads them.

use crate::hash::{TableHash, head_of};

const KEYS: usize = 5_000;
/// The table of so many keys: at most five eighths are taken.
const SLOTS: usize = 8_192;

/// As in `hash.rs`, which anybody can read.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// What the hash of seed 0 mixes keys with.
fn words_of_seed_0() -> [u64; 2] {
    let first = fold(0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7345);
    [first, fold(first ^ 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89) | 1]
}

/// Keys of 16 and of 32 bytes: one factor of each product is 0, so the other does not matter.
fn crafted(long: bool) -> Vec<Vec<u8>> {
    let [first, second] = words_of_seed_0().map(u64::to_le_bytes);
    let key = |number: u64| {
        let free = number.to_le_bytes();
        if long { [first, free, free, second].concat() } else { [first, free].concat() }
    };
    (0..KEYS as u64).map(key).collect()
}

/// Slots looked at until each key has one.
fn probes(seed: u64, keys: &[Vec<u8>]) -> usize {
    let hash = TableHash::new(seed);
    let mut taken = vec![false; SLOTS];
    let mut probes = 0;
    for key in keys {
        let mut index = hash.hash(head_of(key), key) as usize & (SLOTS - 1);
        probes += 1;
        while std::mem::replace(&mut taken[index], true) {
            index = (index + 1) & (SLOTS - 1);
            probes += 1;
        }
    }
    probes
}

#[test]
fn keys_crafted_for_one_seed_collide_under_it_and_under_no_other() {
    for long in [false, true] {
        let keys = crafted(long);
        assert_eq!(probes(0, &keys), KEYS * (KEYS + 1) / 2, "each walks over all before it");
        for seed in 1..100 {
            let probes = probes(seed, &keys);
            // Keys that are counted through meet a little more often than random ones.
            assert!(probes < 20 * KEYS, "seed {seed}: {probes} slots for {KEYS} keys");
        }
    }
}
