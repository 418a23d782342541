//! `synod compact`: forget history. Nothing does so by itself.

use std::io::Write;

use clap::Args;
use synod::Revision;

use super::Outcome;
use super::connect::{Cluster, block_on};

/// Forget the history before a revision, so that it takes no more room
#[derive(Args, Debug)]
#[command(after_help = "Reads and watches that begin before the revision are refused from then on;
what the keys hold at the revision and later stays. Nothing is compacted unless somebody asks.

Example:
  synod compact 1000     `synod status` shows the present revision")]
pub struct Compact {
    /// The first revision that stays readable
    #[arg(value_parser = clap::value_parser!(i64).range(1..))]
    revision: i64,
    #[command(flatten)]
    cluster: Cluster,
}

impl Compact {
    pub fn run(self) -> Outcome {
        block_on(async move {
            self.cluster.connect()?.compact(Revision(self.revision)).await?;
            writeln!(std::io::stdout(), "compacted revision {}", self.revision)?;
            Ok(())
        })
    }
}
