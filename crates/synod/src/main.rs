//! The `synod` binary: reads the command line, does what it says, ends with 0, 1 (failed) or 2 (wrong
//! use). As shells have it, a `run` or a waiting `lock` that Ctrl-C ended gives 130, and `lock` passes on
//! the exit code of the command that it ran (128 and the signal's number if a signal ended that).
//! Everything else is in `cli/`.

mod allocator;
mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main(std::env::args_os().collect())
}
