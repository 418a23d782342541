//! `kv`: etcd's data model as a replicated machine.
//!
//! Like etcd, it is an index in memory (key -> the places of its events, and what the next put needs to
//! know) over a history in the engine (revision and number within it -> event). The reasons: writes reach
//! the LSM in increasing key order, which it likes best; a put reads nothing from the engine; watch
//! history is a scan; a read at a revision is consistent for free, since events never change. The
//! costs: keys live in memory (some 150 bytes and the key itself), and opening scans the history.
//!
//! Whatever is applied is in memory until the owner has committed its batch to the engine: the
//! recent-events window holds it, and serves watchers and `prev_kv` afterwards.
//!
//! A feature's file: `machine.rs` puts, deletes, leases; `txn.rs`; `range.rs`; `scrub.rs` compaction;
//! `history.rs` for watches; `hash.rs`; `open.rs`. Values: `request.rs`, its replicated form
//! `codec.rs`, what is refused unseen `validate.rs`. Parts: `index.rs`, `window.rs`, `lease.rs`, `record.rs`.

mod codec;
mod hash;
mod history;
mod index;
mod interval;
mod lease;
mod machine;
mod open;
mod range;
mod record;
mod request;
mod scrub;
mod txn;
mod validate;
mod window;

pub use hash::{HashWalk, KvHash};
pub use history::HistoryPage;
pub use lease::Lease;
pub use machine::{FIRST_REVISION, Kv, KvSizes, WINDOW_BYTES};
pub use open::{FORMAT_VERSION, OpenError};
pub use request::*;
pub use validate::{validate, validate_range, validate_txn};
