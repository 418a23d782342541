//! `synod txn`: etcdctl's way to write a transaction, read from standard input. The grammar is in
//! `grammar.rs`.

mod grammar;

use std::io::{Read, Write};

use clap::Args;
use synod::client::Kv;
use synod::kv::{TxnOpResult, TxnResult};

use super::connect::{Cluster, block_on};
use super::failure::Failure;
use super::{Outcome, output};

/// Compare and write in one step; the transaction is read from standard input
#[derive(Args, Debug)]
#[command(
    after_help = r#"Three parts, an empty line between them: what must hold, what to do then, what to do else.
  value("KEY") = "TEXT"     also version, create, mod, lease; also !=, <, >
  put KEY VALUE [--lease ID]
  get KEY [END] [--prefix] [--limit N]
  del KEY [END] [--prefix]

Example:
  synod txn <<'END'
  version("greeting") = "0"

  put greeting "hello, world"

  get greeting
  END"#
)]
pub struct Txn {
    #[command(flatten)]
    cluster: Cluster,
}

impl Txn {
    pub fn run(self) -> Outcome {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text)?;
        let request = grammar::transaction(&text).map_err(Failure::WrongUse)?;
        block_on(async move {
            let (_, result) = self.cluster.connect()?.txn(request).await?;
            let mut out = std::io::BufWriter::new(std::io::stdout().lock());
            print_result(&mut out, &result)?;
            out.flush()?;
            Ok(())
        })
    }
}

fn print_result(out: &mut impl Write, result: &TxnResult) -> std::io::Result<()> {
    writeln!(out, "{}", if result.succeeded { "SUCCESS" } else { "FAILURE" })?;
    for response in &result.responses {
        writeln!(out)?;
        match response {
            TxnOpResult::Range(found) => {
                for kv in &found.kvs {
                    output::print_key_value(out, kv, true)?;
                }
            }
            TxnOpResult::Put { .. } => writeln!(out, "OK")?,
            TxnOpResult::DeleteRange { deleted, .. } => writeln!(out, "{deleted}")?,
            TxnOpResult::Txn(inner) => print_result(out, inner)?,
        }
    }
    Ok(())
}
