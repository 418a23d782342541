//! `synod watch`.

use std::io::Write;

use clap::Args;
use serde_json::json;
use synod::Revision;
use synod::client::{Kv, WatchBatch, WatchSpec};

use super::connect::{Cluster, block_on};
use super::get::Keys;
use super::{Outcome, output};

/// Follow changes of keys until Ctrl-C: what happened, the key, its value
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  synod watch services/ --prefix
  synod watch greeting --rev 1 --json      everything since the beginning")]
pub struct Watch {
    #[command(flatten)]
    keys: Keys,
    /// Begin with this revision instead of the next one
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    rev: i64,
    /// A JSON object per change
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cluster: Cluster,
}

impl Watch {
    pub fn run(self) -> Outcome {
        let spec = WatchSpec {
            range: self.keys.range(),
            start_revision: Revision(self.rev),
            ..WatchSpec::default()
        };
        block_on(async move {
            let mut watcher = self.cluster.connect()?.watch(spec).await?;
            loop {
                let batch = watcher.next().await?;
                print_batch(&batch, self.json)?;
            }
        })
    }
}

fn print_batch(batch: &WatchBatch, as_json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for event in batch.events.iter().map(|event| &event.event) {
        let name = output::event_name(event.kind);
        if as_json {
            let mut object = output::json_of(&event.kv);
            object.insert("event".into(), json!(name));
            output::print_json(&mut out, &object)?;
        } else {
            writeln!(out, "{name}")?;
            output::print_key_value(&mut out, &event.kv, true)?;
        }
    }
    out.flush()
}
