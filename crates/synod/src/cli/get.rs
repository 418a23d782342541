//! `synod get` and `synod del`: both name keys the same way.

use std::io::Write;

use clap::Args;
use synod::Revision;
use synod::client::{Consistency, Kv};
use synod::kv::{DeleteRangeRequest, KeyRange, RangeRequest};

use super::connect::{Cluster, block_on};
use super::{Outcome, output};

/// Which keys.
#[derive(Args, Debug)]
pub struct Keys {
    /// The key; with --prefix, what the keys begin with
    key: String,
    /// The first key that is not meant; then all keys from KEY up to it are
    #[arg(conflicts_with = "prefix")]
    range_end: Option<String>,
    /// All keys that begin with KEY; "" for every key
    #[arg(long)]
    prefix: bool,
}

impl Keys {
    pub fn range(&self) -> KeyRange {
        match &self.range_end {
            _ if self.prefix => KeyRange::prefix(self.key.clone()),
            None => KeyRange::one(self.key.clone()),
            Some(end) => KeyRange { key: self.key.clone().into(), range_end: end.clone().into() },
        }
    }
}

/// Read keys: a line with the key, a line with its value
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  synod get greeting
  synod get services/ --prefix --limit 10 --json
  synod get greeting --rev 5           as it was at revision 5")]
pub struct Get {
    #[command(flatten)]
    keys: Keys,
    /// As it was at this revision
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    rev: i64,
    /// At most this many keys
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    limit: i64,
    /// Leave the values out
    #[arg(long)]
    keys_only: bool,
    /// Leave the keys out
    #[arg(long, conflicts_with_all = ["keys_only", "json"])]
    values_only: bool,
    /// A JSON object per key
    #[arg(long)]
    json: bool,
    /// Answer from the asked node, perhaps with old data
    #[arg(long)]
    serializable: bool,
    #[command(flatten)]
    cluster: Cluster,
}

impl Get {
    pub fn run(self) -> Outcome {
        let request = RangeRequest {
            range: self.keys.range(),
            limit: self.limit,
            revision: Revision(self.rev),
            keys_only: self.keys_only,
            ..RangeRequest::default()
        };
        let consistency =
            if self.serializable { Consistency::Serializable } else { Consistency::Linearizable };
        block_on(async move {
            let (_, found) = self.cluster.connect()?.range(request, consistency).await?;
            let mut out = std::io::BufWriter::new(std::io::stdout().lock());
            for kv in &found.kvs {
                if self.json {
                    let mut object = output::json_of(kv);
                    if self.keys_only {
                        object.remove("value");
                    }
                    output::print_json(&mut out, &object)?;
                } else if self.values_only {
                    out.write_all(&kv.value)?;
                    out.write_all(b"\n")?;
                } else {
                    output::print_key_value(&mut out, kv, !self.keys_only)?;
                }
            }
            out.flush()?;
            if found.more {
                eprintln!("synod: {} of {} keys shown", found.kvs.len(), found.count);
            }
            Ok(())
        })
    }
}

/// Delete keys; prints how many went
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  synod del greeting
  synod del services/old/ --prefix")]
pub struct Del {
    #[command(flatten)]
    keys: Keys,
    /// Print the keys as they were
    #[arg(long)]
    prev: bool,
    #[command(flatten)]
    cluster: Cluster,
}

impl Del {
    pub fn run(self) -> Outcome {
        let request = DeleteRangeRequest { range: self.keys.range(), prev_kv: self.prev };
        block_on(async move {
            let (_, deleted) = self.cluster.connect()?.delete(request).await?;
            let mut out = std::io::BufWriter::new(std::io::stdout().lock());
            writeln!(out, "{}", deleted.deleted)?;
            for kv in &deleted.prev_kvs {
                output::print_key_value(&mut out, kv, true)?;
            }
            out.flush()?;
            Ok(())
        })
    }
}
