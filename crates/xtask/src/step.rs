//! Running other programs: in the workspace's root, announced, timed, and failing in one line.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The workspace's folder.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("xtask lies in crates/").to_path_buf()
}

/// This toolchain's cargo, in the workspace's root.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// Runs a program to its end; its output goes where ours goes.
pub fn run(name: &str, command: &mut Command) -> Result<()> {
    println!("xtask: {name}");
    let start = Instant::now();
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    let seconds = start.elapsed().as_secs_f64();
    if !status.success() {
        bail!("{name} failed after {seconds:.1} s; see above");
    }
    println!("xtask: {name} passed in {seconds:.1} s");
    Ok(())
}

/// What a program prints, if it succeeds.
pub fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} failed: {}", said.trim().replace('\n', "; "));
    }
    Ok(output.stdout)
}
