//! `cargo xtask check` and `fix`.

use anyhow::Result;

use crate::step::{cargo, root, run};
use crate::tidy;

/// What to look at.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask check\n  cargo xtask check --quick")]
pub struct Arguments {
    /// Leave the tests out.
    #[arg(long)]
    quick: bool,
}

/// Only reads. The cheap steps come first.
pub fn check(arguments: &Arguments) -> Result<()> {
    run("format", &mut cargo(&["fmt", "--all", "--check"]))?;
    tidy::tidy(&root())?;
    let lints = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    run("lints", &mut cargo(&lints))?;
    if !arguments.quick {
        run("tests", &mut cargo(&["test", "--workspace"]))?;
    }
    println!("xtask: check passed");
    Ok(())
}

/// Rewrites. What is left, `check` names.
pub fn fix() -> Result<()> {
    let lints = ["clippy", "--fix", "--allow-dirty", "--allow-staged", "--workspace"];
    run("lints' suggestions", cargo(&lints).arg("--all-targets"))?;
    run("format", &mut cargo(&["fmt", "--all"]))
}
