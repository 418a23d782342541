//! A command as a process: started, fed, read, and ended with all its children.
//!
//! [`launch`] starts it in its own process group, [`pump`] moves bytes through its pipes on the
//! calling thread alone, `pace` says how often it looks at them, [`end`] makes sure that nothing of it is
//! left, `guard` does so if this process itself is killed. [`folder`] lays out the folder it works in,
//! [`archive`] unpacks what comes with a job.

pub mod archive;
pub mod end;
pub mod folder;
mod guard;
pub mod launch;
mod pace;
pub mod pump;

pub use pump::{Command, Fed, Outcome};
