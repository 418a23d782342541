//! The write-ahead log of one node, shared by all its groups.
//!
//! All records of one loop turn are one frame: one write, one sync. Frames are chained by checksum
//! through segment files that are filled beforehand and reused. docs/formats/wal.md draws the bytes and
//! says why a torn tail can be told from a damaged middle; [`recovery`] does the telling.
//!
//! The log keeps no payloads in memory and never reads while it runs: consensus has the entries it
//! still needs, and gets the rest back from [`Wal::open`].

mod error;
mod folder;
mod frame;
mod header;
mod log;
mod record;
mod recovery;
mod table;
#[cfg(test)]
mod tests;

pub use error::WalError;
pub use header::WalIdentity;
pub use log::{Wal, WalLimits};
pub use record::LogRecord;
pub use recovery::{Recovered, RecoveredGroup, TornTail};
