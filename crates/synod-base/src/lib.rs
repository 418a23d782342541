//! The ground floor: what every other crate of Synod may use.
//!
//! Identifiers and positions (newtypes, so no signature takes two bare integers), virtual time,
//! the byte codec of everything we store or send between nodes, checksums, the `Disk` trait with
//! its real and its virtual implementation, and the named limits.
//!
//! Nothing here knows consensus, state or sockets.

pub mod checksum;
pub mod codec;
pub mod disk;
pub mod ids;
pub mod limits;
pub mod log_entry;
pub mod position;
pub mod time;

pub use codec::{DecodeError, Decoder, Encoder};
pub use ids::{ClusterId, GroupId, LeaseId, NodeId, ProposalId};
pub use log_entry::{Entry, EntryKind, HardState, LogStart};
pub use position::{LogIndex, Revision, Term};
pub use time::Instant;
