//! Where a bench works: one folder that goes away with it, and the programs that it compares.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::step;

/// A folder of this run alone, removed at its end.
pub struct Workplace {
    folder: PathBuf,
    /// Kept between runs: inputs that take long to make.
    pub kept: PathBuf,
}

impl Workplace {
    /// Below `parent`, or below the target folder.
    pub fn new(parent: Option<&Path>) -> Result<Self> {
        let kept = parent.map_or_else(|| target().join("bench"), Path::to_path_buf);
        let folder = kept.join(format!("run-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        // The working folder of those that are started may be another.
        Ok(Workplace { folder: folder.canonicalize()?, kept: kept.canonicalize()? })
    }

    /// A new, empty folder; what was there is gone.
    pub fn fresh(&self, name: &str) -> Result<PathBuf> {
        let folder = self.absent(name)?;
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        Ok(folder)
    }

    /// A place where nothing is; what was there is gone.
    pub fn absent(&self, name: &str) -> Result<PathBuf> {
        let place = self.folder.join(name);
        let removed = if place.is_dir() {
            fs::remove_dir_all(&place)
        } else if place.exists() {
            fs::remove_file(&place)
        } else {
            Ok(())
        };
        removed.with_context(|| place.display().to_string())?;
        Ok(place)
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // Left behind it costs room, nothing else.
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Builds `synod` as users get it.
pub fn build_synod() -> Result<PathBuf> {
    let build = &mut step::cargo(&["build", "--release", "--quiet", "-p", "synod"]);
    step::run("build synod", build)?;
    built(&["release", "synod"])
}

/// A program of the search path.
pub fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn built(parts: &[&str]) -> Result<PathBuf> {
    let path = parts.iter().fold(target(), |path, part| path.join(part));
    if !path.is_file() {
        bail!("{} was built, but is not there", path.display());
    }
    Ok(path)
}

fn target() -> PathBuf {
    let root = step::root();
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}
