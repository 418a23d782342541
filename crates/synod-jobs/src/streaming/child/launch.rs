//! Starts a command: finds the program, sets up its group, folder, environment and pipes.

use super::end::Group;
use super::guard;
use crate::error::is_lack;
use rustix::event::poll;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What a wide pipe holds.
pub const WIDE_PIPE_BYTES: usize = 1 << 20;
/// What a pipe holds that is left as it is.
pub const PIPE_BYTES: usize = 64 << 10;
/// A file that was just copied may be open for writing in another thread's child for a moment, and what the
/// system lacks may be there when another child has ended.
const BUSY_RETRIES: u32 = 50;
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// What is started, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The program and its arguments.
    pub arguments: Vec<String>,
    /// The working folder, absolute.
    pub folder: PathBuf,
    /// All of its environment.
    pub environment: BTreeMap<OsString, OsString>,
}

impl Launch {
    /// Starts it. The pipes on our side do not block.
    pub fn start(&self) -> Result<Group, LaunchError> {
        let name = self.arguments.first().map(String::as_str).unwrap_or_default();
        let program = self.program(name)?;
        let mut command = Command::new(&program);
        command
            .args(&self.arguments[1..])
            .current_dir(&self.folder)
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        guard::prepare();
        let mut tries = 0;
        let child = loop {
            match command.spawn() {
                Ok(child) => break child,
                Err(error) if may_pass(&error) && tries < BUSY_RETRIES => {
                    tries += 1;
                    let _ = poll(&mut [], Some(&super::end::timespec(BUSY_PAUSE)));
                }
                Err(source) => return Err(LaunchError::NotStarted { program, source }),
            }
        };
        // From here on it is ended in any case.
        let mut group = Group::new(child);
        let child = group.leader();
        let pipes = [
            child.stdin.as_ref().map(AsFd::as_fd),
            child.stdout.as_ref().map(AsFd::as_fd),
            child.stderr.as_ref().map(AsFd::as_fd),
        ];
        for (at, pipe) in pipes.into_iter().flatten().enumerate() {
            let set_up = rustix::fs::fcntl_getfl(pipe)
                .and_then(|flags| rustix::fs::fcntl_setfl(pipe, flags | OFlags::NONBLOCK));
            set_up.map_err(|error| LaunchError::NotStarted {
                program: program.clone(),
                source: error.into(),
            })?;
            // Little goes through stderr; and what a wide stdin needs, `pump.rs` says.
            if at == 1 {
                widen(pipe);
            }
        }
        Ok(group)
    }

    /// The program's file: as it is if it is absolute, else below the working folder, else on PATH. A
    /// file in the working folder is made executable; the folder is the attempt's own.
    fn program(&self, name: &str) -> Result<PathBuf, LaunchError> {
        let path = Path::new(name);
        if path.is_absolute() {
            return Ok(path.to_owned());
        }
        let here = self.folder.join(path);
        if here.is_file() {
            make_executable(&here);
            return Ok(here);
        }
        let on_path = self.environment.get(OsStr::new("PATH"));
        let found = on_path
            .into_iter()
            .flat_map(std::env::split_paths)
            .map(|folder| folder.join(path))
            .find(|file| file.is_file());
        found.ok_or_else(|| LaunchError::NotFound { name: name.to_owned() })
    }
}

/// Makes a pipe wide, if the system allows it. A smaller one works as well.
pub fn widen(pipe: impl AsFd) -> bool {
    #[cfg(target_os = "linux")]
    return rustix::pipe::fcntl_setpipe_size(pipe, WIDE_PIPE_BYTES).is_ok();
    #[cfg(not(target_os = "linux"))]
    {
        let _ = pipe;
        false
    }
}

/// Only if it is not yet; a file that is not ours stays as it is.
fn make_executable(file: &Path) {
    if let Ok(metadata) = file.metadata() {
        let mode = metadata.permissions().mode();
        if mode & 0o111 != 0o111 {
            let _ = std::fs::set_permissions(file, PermissionsExt::from_mode(mode | 0o111));
        }
    }
}

/// Why a command did not start.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// There is no such program.
    #[error(
        "there is no program `{name}`, neither in the task's folder nor on PATH: ship it by \
         -files {name}, or give its whole path"
    )]
    NotFound {
        /// As it was named.
        name: String,
    },
    /// The system does not start it.
    #[error("{} cannot be started: {source}{}", .program.display(), advice(.source))]
    NotStarted {
        /// Its file.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ArgumentListTooLong => {
            "; the properties in its environment are too long: set stream.jobconf.truncate.limit"
        }
        io::ErrorKind::NotFound => "; does the first line of the script name an interpreter here?",
        io::ErrorKind::PermissionDenied => "; is it executable, on a file system that allows it?",
        _ if is_no_program(error) => "; a script needs a first line like #!/bin/sh",
        _ => "",
    }
}

impl LaunchError {
    /// Whether every other attempt fails as well. What is not here, or may not be run here, may be on
    /// another machine of a cluster; what the system lacks, or a disk that answers with errors, may pass.
    pub fn is_permanent(&self, on_cluster: bool) -> bool {
        use io::ErrorKind::{ArgumentListTooLong, InvalidInput, NotFound, PermissionDenied};
        let source = match self {
            LaunchError::NotFound { .. } => return !on_cluster,
            LaunchError::NotStarted { source, .. } => source,
        };
        match source.kind() {
            ArgumentListTooLong | InvalidInput => true,
            NotFound | PermissionDenied => !on_cluster,
            _ => is_no_program(source),
        }
    }
}

/// Whether the system knows no way to run such a file.
fn is_no_program(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error())
}

/// Whether starting it may go well in a moment.
fn may_pass(error: &io::Error) -> bool {
    let kinds = [io::ErrorKind::ExecutableFileBusy, io::ErrorKind::WouldBlock];
    kinds.contains(&error.kind()) || is_lack(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_machine_can_start_ends_a_job_at_once() {
        let is_permanent = |error: io::Error| {
            let error = LaunchError::NotStarted { program: "p".into(), source: error };
            [false, true].map(|on_cluster| error.is_permanent(on_cluster))
        };
        for errno in [Errno::NOEXEC, Errno::TOOBIG] {
            assert_eq!(is_permanent(errno.into()), [true, true], "{errno}");
        }
        let nul = Command::new("a\0b").spawn().unwrap_err();
        assert_eq!(is_permanent(nul), [true, true]);
        for errno in [Errno::NOENT, Errno::ACCESS, Errno::PERM] {
            assert_eq!(is_permanent(errno.into()), [true, false], "{errno}");
        }
        let passing = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN, Errno::TXTBSY];
        for errno in passing {
            assert!(may_pass(&errno.into()), "{errno} is waited for");
            assert_eq!(is_permanent(errno.into()), [false, false], "{errno}");
        }
        for errno in [Errno::IO, Errno::STALE, Errno::NOTDIR] {
            assert_eq!(is_permanent(errno.into()), [false, false], "{errno}");
        }
        let none = LaunchError::NotFound { name: "p".to_owned() };
        assert_eq!([false, true].map(|on_cluster| none.is_permanent(on_cluster)), [true, false]);
    }
}
