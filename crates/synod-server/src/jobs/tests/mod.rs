//! Jobs on workers of this process, with everything that can go wrong between them.

mod ahead;
pub(super) mod bench;
mod bounds;
mod cable;
mod clocks;
mod commits;
mod disks;
mod job_files;
mod kills;
mod links;
mod lives;
mod lost_maps;
#[cfg(feature = "wasm")]
mod modules;
mod neighbours;
mod phases;
mod planning;
mod priorities;
pub(super) mod shuffle;
mod sizes;
mod skips;
mod store;
mod streaming;
