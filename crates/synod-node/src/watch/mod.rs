//! Watches: streams of events from a revision on, ordered, whole revisions, nothing lost or twice.

mod types;

pub use types::*;
