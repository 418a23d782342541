//! The `synod` binary: reads the command line, does what it says, ends with 0, 1 (failed) or 2 (wrong
//! use). Everything else is in `cli/`.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main(std::env::args_os().collect())
}
