//! A job on a cluster: records in the replicated store, and what coordinator and workers decide from them.
//!
//! Everything here is data and plain functions. [`View`] is a node's copy of all records, fed by a
//! watch; [`Coordinator`] and [`worker`] look at it and answer with a [`Change`], a transaction
//! guarded by what they have seen; [`attempt`] runs one task on the caller's thread; [`output`]
//! works on the output folder. Sockets, threads and clocks that drive them are in `synod-server`.

pub mod attempt;
pub mod bounds;
pub mod change;
pub mod claim;
pub mod coordinator;
pub mod destination;
pub mod names;
pub mod output;
pub mod records;
pub mod report;
pub mod room;
pub mod seat;
pub mod sent;
pub mod shares;
pub mod shown;
pub mod shuffle;
pub mod view;
pub mod winners;
pub mod worker;

mod blame;
mod failures;
mod index;
mod verdict;

pub use change::Change;
pub use claim::Chooser;
pub use coordinator::{Coordinator, Limits, Office, Planner, Program, Step, Work};
pub use names::{JobId, TaskId, TaskKind, WorkerId};
pub use records::{JobRecord, JobState, TaskRecord, WorkerRecord};
pub use report::JobReport;
pub use seat::Seat;
pub use view::{JobView, Stamped, View};

#[cfg(test)]
mod tests;
