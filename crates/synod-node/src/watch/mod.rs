//! Watches: streams of events from a revision on, ordered, whole revisions, nothing lost or twice.

mod hub;
mod types;

pub use hub::{MAX_STREAM_OUTSTANDING_BYTES, WATCH_DELIVERY_MIN_BYTES, WatchHub};
pub use types::*;
