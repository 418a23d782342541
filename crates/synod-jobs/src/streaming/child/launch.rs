//! Starts a command: finds the program, sets up its group, folder, environment and pipes.

use super::end::Group;
use super::guard;
use rustix::event::poll;
use rustix::fs::OFlags;
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
/// A file that was just copied may be open for writing in another thread's child for a moment.
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
                Err(error)
                    if error.kind() == io::ErrorKind::ExecutableFileBusy
                        && tries < BUSY_RETRIES =>
                {
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
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
            "; a script needs a first line like #!/bin/sh"
        }
        _ => "",
    }
}

impl LaunchError {
    /// Whether every other attempt, on any machine with the same files, fails as well.
    pub fn is_permanent(&self) -> bool {
        match self {
            LaunchError::NotFound { .. } => true,
            LaunchError::NotStarted { source, .. } => {
                !matches!(source.kind(), io::ErrorKind::OutOfMemory | io::ErrorKind::WouldBlock)
            }
        }
    }
}
