//! `synod put`.

use std::io::{Read, Write};

use bytes::Bytes;
use clap::Args;
use synod::LeaseId;
use synod::client::Kv;
use synod::kv::PutRequest;

use super::connect::{Cluster, block_on};
use super::{Outcome, output, parse};

/// Write a key
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  synod put greeting hello
  synod put config - < config.json     the value comes from standard input")]
pub struct Put {
    /// The key
    key: String,
    /// Its value; `-` reads standard input
    value: String,
    /// The key goes when this lease ends
    #[arg(long, value_name = "ID", value_parser = parse::lease_id)]
    lease: Option<LeaseId>,
    /// Print the key as it was before
    #[arg(long)]
    prev: bool,
    #[command(flatten)]
    cluster: Cluster,
}

impl Put {
    pub fn run(self) -> Outcome {
        let value = if self.value == "-" { standard_input()? } else { self.value.into() };
        let request = PutRequest {
            key: self.key.into(),
            value,
            lease: self.lease.unwrap_or(LeaseId::NONE),
            prev_kv: self.prev,
            ..PutRequest::default()
        };
        block_on(async move {
            let (header, previous) = self.cluster.connect()?.put(request).await?;
            let mut out = std::io::stdout().lock();
            writeln!(out, "OK revision {}", header.revision)?;
            if let Some(previous) = previous {
                output::print_key_value(&mut out, &previous, true)?;
            }
            Ok(())
        })
    }
}

fn standard_input() -> std::io::Result<Bytes> {
    let mut value = Vec::new();
    std::io::stdin().lock().read_to_end(&mut value)?;
    Ok(value.into())
}
