//! Finds the programs of an engine: in the folder that its variable names, else on the search path.
//!
//! Synod itself may be called `mapred` or `hadoop` on that path. It is never taken for the engine: a
//! file that is this program is passed over, and one that only calls it meets a mark in its environment.

use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::cli::failure::Failure;

/// Set for the engine: the program that was started in Synod's place.
pub const HANDED_TO_VARIABLE: &str = "SYNOD_HANDED_TO";

/// A program of an engine.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Its name.
    pub name: &'static str,
    /// The variable with the engine's folder; the program is in `bin` below it.
    pub home: &'static str,
    /// What to do if it is nowhere.
    pub advice: &'static str,
}

impl Wanted {
    /// Where it is; `more` are folders to look into at last.
    pub fn find(&self, more: &[PathBuf]) -> Result<PathBuf, Failure> {
        let here = std::env::current_exe().ok();
        let home = std::env::var_os(self.home).filter(|home| !home.is_empty());
        let path = std::env::var_os("PATH");
        self.find_in(home.as_deref(), path.as_deref(), more, here.as_deref())
    }

    fn find_in(
        &self,
        home: Option<&OsStr>,
        path: Option<&OsStr>,
        more: &[PathBuf],
        here: Option<&Path>,
    ) -> Result<PathBuf, Failure> {
        let of_home = home.map(|home| Path::new(home).join("bin"));
        let of_path = path.into_iter().flat_map(std::env::split_paths);
        let mut ours = None;
        for folder in of_home.into_iter().chain(of_path).chain(more.iter().cloned()) {
            let file = folder.join(self.name);
            if !is_program(&file) {
                continue;
            }
            if here.is_some_and(|here| is_same(&file, here)) {
                ours.get_or_insert(file);
                continue;
            }
            return Ok(file);
        }
        let home = match home {
            Some(home) => format!("{} ({})", self.home, home.display()),
            None => format!("{} (not set)", self.home),
        };
        let ours = ours.map(|file| format!(" ({} is Synod itself)", file.display()));
        Err(Failure::Failed(format!(
            "there is no program `{}`, neither below {home} nor on PATH{}: {}",
            self.name,
            ours.unwrap_or_default(),
            self.advice
        )))
    }
}

fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Whether both names lead to one file: also by links of either kind.
fn is_same(a: &Path, b: &Path) -> bool {
    match (a.metadata(), b.metadata()) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// A job that was handed to an engine must not come back: what was taken for the engine would be a
/// script that calls Synod, and the job would go round in a circle.
pub fn refuse_what_was_meant_for_another() -> Result<(), Failure> {
    match std::env::var_os(HANDED_TO_VARIABLE) {
        None => Ok(()),
        Some(program) => Err(Failure::Failed(format!(
            "this job was handed to {}, which calls Synod again instead of its engine: set \
             HADOOP_HOME, or put the engine first on PATH ({HANDED_TO_VARIABLE} is set)",
            program.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const WANTED: Wanted = Wanted { name: "mapred", home: "HADOOP_HOME", advice: "get it" };

    fn program(path: &Path) -> PathBuf {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        path.to_owned()
    }

    #[test]
    fn the_engine_is_found_at_its_home_then_on_the_path_and_synod_is_never_taken_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let here = program(&at("own/synod"));
        fs::create_dir(at("shims")).unwrap();
        symlink(&here, at("shims/mapred")).unwrap();
        fs::create_dir(at("hard")).unwrap();
        fs::hard_link(&here, at("hard/mapred")).unwrap();
        fs::create_dir_all(at("text")).unwrap();
        fs::write(at("text/mapred"), "not a program").unwrap();
        let real = program(&at("real/mapred"));
        let home = program(&at("home/bin/mapred"));
        let path =
            |names: &[&str]| std::env::join_paths(names.iter().map(|name| at(name))).unwrap();
        let all = path(&["shims", "hard", "text", "none", "real"]);
        let find = |home: Option<&Path>, path: &OsStr, more: &[PathBuf]| {
            WANTED.find_in(home.map(Path::as_os_str), Some(path), more, Some(&here))
        };
        assert_eq!(find(None, &all, &[]).unwrap(), real);
        assert_eq!(find(Some(&at("home")), &all, &[]).unwrap(), home);
        assert_eq!(find(Some(&at("nowhere")), &all, &[]).unwrap(), real);
        assert_eq!(find(None, &path(&["shims"]), &[at("real")]).unwrap(), real);
        let Err(Failure::Failed(line)) = find(None, &path(&["shims", "hard"]), &[]) else {
            panic!("Synod is not Hadoop");
        };
        assert!(line.contains("HADOOP_HOME (not set)") && line.contains("get it"), "{line}");
        assert!(line.contains("shims/mapred is Synod itself"), "{line}");
    }
}
