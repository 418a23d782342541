//! MapReduce: plan, split, map, combine, spill, shuffle, merge, reduce, commit.
//!
//! One engine for every transport. [`plan::plan`] freezes the inputs; [`map_task`] and
//! [`reduce_task`] are plain functions that any scheduler can call; [`run_local`] drives them with
//! threads of this process, [`cluster`] decides how the nodes of a cluster do. A reducer reads runs
//! through [`RunSource`], so where a map output lies is no concern of the engine.
//!
//! A job of one's own implements [`Job`]; [`run_local`] runs it as it is. With a name and a way to be
//! built from settings ([`NamedJob`]) it goes into a value of [`Jobs`], which the workers of a cluster
//! and whoever submits are given.

pub mod builtin;
pub mod cluster;
pub mod combine;
pub mod commit;
pub mod counters;
pub mod emit;
pub mod error;
pub mod framing;
pub mod given_up;
pub mod hash;
pub mod input;
pub mod job;
pub mod jobs;
pub mod local;
pub mod map_input;
pub mod map_task;
pub mod outlook;
pub mod output_store;
pub mod pipeline;
pub mod plan;
pub mod priority;
pub mod progress;
pub mod quarantine;
pub mod reader;
pub mod record;
pub mod reduce_input;
pub mod reduce_task;
pub mod run;
pub mod side_files;
pub mod sink;
pub mod size;
pub mod spec;
pub mod split_size;
pub mod stores;
pub mod streaming;
pub mod task;
#[cfg(feature = "wasm")]
pub mod wasm;

mod buffer;
mod fan_in;
mod merge;
mod sample;
mod survey;

pub use builtin::options::{JobInfo, JobOption, NamedJob, Options};
pub use builtin::passes::{only_pass, run_passes};
pub use builtin::{BUILT_IN, JobVisitor, run_built_in, run_built_in_with, with_job};
pub use combine::PairSink;
pub use counters::Counters;
pub use emit::Emitter;
pub use error::JobError;
pub use framing::{Framing, InputFormat, LongRecords};
pub use job::Job;
pub use jobs::{Jobs, PlannedJob};
pub use local::{JobSummary, LocalOptions, run_local, run_local_with};
pub use map_input::{InputRange, MapInput};
pub use outlook::{Outlook, Pace};
pub use output_store::{OutputStore, Publication};
pub use plan::{JobPlan, plan};
pub use priority::Priority;
pub use progress::{Phase, Progress, Snapshot};
pub use record::{Block, Record};
pub use reduce_input::{ReduceInput, Values};
pub use run::RunSource;
pub use sink::Sink;
pub use spec::JobSpec;
pub use stores::Stores;
pub use task::{Attempts, NoLog, TaskContext, TaskKind, TaskLog};
