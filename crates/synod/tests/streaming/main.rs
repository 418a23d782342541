//! Hadoop Streaming's contract through the real binary. What the outputs must be was recorded with
//! Hadoop 3.3.4 (its local runner) where a test says so, and is reasoned from its documents elsewhere.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod bench;
mod boundaries;
mod cancelled;
mod changes;
mod check;
mod environment;
mod files;
mod floods;
mod formats;
mod golden;
mod golden_environment;
mod inputs;
mod left_behind;
mod misbehaving;
mod on_cluster;
mod only_maps;
mod order;
mod outcome;
mod packed;
mod progress;
mod records;
mod shim;
mod skipping;
#[path = "../support/mod.rs"]
mod support;
