//! Unpacks the archives of a job: zip (and jar), tar, and tar in gzip, bzip2 or zstd.
//!
//! An archive comes from outside, so everything about it is checked here, whatever its reader does: no
//! path is absolute or has `..`, links lead nowhere out of the folder, only files, folders and
//! symbolic links are made, nothing is written through a link, and number, size and ratio are
//! limited. The first breach fails the job, and what was unpacked is removed with the job's folder.

use crate::error::JobError;
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

/// What an archive may unpack to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Files, folders and links together.
    pub entries: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Unpacked bytes for each byte of the archive, once there are more than [`RATIO_FROM_BYTES`].
    pub ratio: u64,
}

/// Below it the ratio does not matter: an empty file in an archive is infinitely well packed.
pub const RATIO_FROM_BYTES: u64 = 64 << 20;

impl Default for Limits {
    fn default() -> Limits {
        Limits { entries: 1_000_000, bytes: 64 << 30, ratio: 1_000 }
    }
}

/// Unpacks the archive into `folder`, which is empty.
pub fn unpack(path: &Path, folder: &Path, limits: &Limits) -> Result<(), JobError> {
    let bad = |error: io::Error| {
        if is_of_this_machine(&error) {
            return JobError::io("unpack", path, error);
        }
        JobError::Task {
            message: format!("archive {} cannot be unpacked: {error}", path.display()),
            permanent: true,
            bad_record: None,
        }
    };
    let file = File::open(path).map_err(|error| JobError::io("open", path, error))?;
    let packed_bytes = file.metadata().map_err(bad)?.len();
    let mut target = Target {
        folder: folder.to_owned(),
        limits: limits.clone(),
        packed_bytes,
        entries: 0,
        bytes: 0,
        links: Vec::new(),
    };
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase());
    let name = name.unwrap_or_default();
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    let buffered = BufReader::with_capacity(256 << 10, file);
    let unpacked = if ends(&[".zip", ".jar"]) {
        unpack_zip(buffered, &mut target)
    } else if ends(&[".tar"]) {
        unpack_tar(buffered, &mut target)
    } else if ends(&[".tgz", ".tar.gz"]) {
        unpack_tar(flate2::bufread::MultiGzDecoder::new(buffered), &mut target)
    } else if ends(&[".tbz2", ".tar.bz2"]) {
        unpack_tar(bzip2::bufread::MultiBzDecoder::new(buffered), &mut target)
    } else if ends(&[".tzst", ".tar.zst"]) {
        zstd::Decoder::with_buffer(buffered).and_then(|tar| unpack_tar(tar, &mut target))
    } else {
        Err(wrong("its name ends with none of .zip, .jar, .tar, .tgz, .tar.gz, .tar.bz2, .tar.zst"))
    };
    unpacked.and_then(|()| target.make_links()).map_err(bad)
}

fn unpack_zip(reader: BufReader<File>, target: &mut Target) -> io::Result<()> {
    let mut archive = zip::ZipArchive::new(reader).map_err(io::Error::other)?;
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).map_err(io::Error::other)?;
        let name = entry.name().to_owned();
        let mode = entry.unix_mode();
        if entry.is_symlink() {
            let mut leads_to = String::new();
            entry.by_ref().take(4096).read_to_string(&mut leads_to)?;
            target.link(&name, Path::new(&leads_to))?;
        } else if entry.is_dir() {
            target.folder(&name)?;
        } else {
            target.file(&name, mode, &mut entry)?;
        }
    }
    Ok(())
}

fn unpack_tar(reader: impl Read, target: &mut Target) -> io::Result<()> {
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = String::from_utf8(entry.path_bytes().into_owned())
            .map_err(|_| wrong("a name in it is not UTF-8"))?;
        let kind = entry.header().entry_type();
        let mode = entry.header().mode().ok();
        if kind.is_dir() {
            target.folder(&name)?;
        } else if kind.is_symlink() {
            let leads_to = entry.link_name()?.ok_or_else(|| wrong("a link without a target"))?;
            target.link(&name, &leads_to)?;
        } else if kind.is_hard_link() {
            let leads_to = entry.link_name()?.ok_or_else(|| wrong("a link without a target"))?;
            target.same_file(&name, &leads_to)?;
        } else if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() {
            target.file(&name, mode, &mut entry)?;
        } else if !kind.is_pax_global_extensions() {
            return Err(wrong(&format!("`{name}` in it is no file, folder or link")));
        }
    }
    Ok(())
}

/// Where an archive is unpacked to, and what it has used up.
struct Target {
    folder: PathBuf,
    limits: Limits,
    packed_bytes: u64,
    entries: u64,
    bytes: u64,
    /// Made at the end, so that nothing can be written through one.
    links: Vec<(PathBuf, PathBuf)>,
}

impl Target {
    fn folder(&mut self, name: &str) -> io::Result<()> {
        self.count()?;
        let path = self.place(name)?;
        self.make_folders(&path)
    }

    /// Makes a folder and those above it, through no link.
    fn make_folders(&self, path: &Path) -> io::Result<()> {
        let mut made = self.folder.clone();
        for part in path.strip_prefix(&self.folder).unwrap_or(path) {
            made.push(part);
            match std::fs::symlink_metadata(&made) {
                Ok(found) if found.is_dir() => {}
                Ok(_) => {
                    return Err(io::Error::new(
                        io::ErrorKind::AlreadyExists,
                        "an entry in it lies below one that is no folder but exists",
                    ));
                }
                Err(_) => std::fs::create_dir(&made)?,
            }
        }
        Ok(())
    }

    fn file(&mut self, name: &str, mode: Option<u32>, content: &mut dyn Read) -> io::Result<()> {
        let mut file = self.new_file(name, mode)?;
        let allowed = self.room();
        // One more than allowed tells that there is too much.
        let copied = io::copy(&mut content.take(allowed + 1), &mut file)?;
        self.bytes += copied;
        if copied > allowed {
            return Err(wrong("it unpacks to too much"));
        }
        Ok(())
    }

    /// A hard link within the archive becomes a copy.
    fn same_file(&mut self, name: &str, leads_to: &Path) -> io::Result<()> {
        let leads_to = leads_to.to_str().ok_or_else(|| wrong("a name in it is not UTF-8"))?;
        let source = self.place(leads_to)?;
        let mode = std::fs::symlink_metadata(&source)?.permissions().mode();
        self.file(name, Some(mode), &mut File::open(&source)?)
    }

    fn link(&mut self, name: &str, leads_to: &Path) -> io::Result<()> {
        self.count()?;
        let place = self.place(name)?;
        let inner = place.strip_prefix(&self.folder).unwrap_or(&place).to_owned();
        let mut depth = inner.components().count() as i64 - 1;
        for component in leads_to.components() {
            depth += match component {
                Component::Normal(_) => 1,
                Component::CurDir => 0,
                Component::ParentDir => -1,
                Component::RootDir | Component::Prefix(_) => i64::MIN / 2,
            };
            if depth < 0 {
                return Err(wrong(&format!("the link `{name}` in it leads out of it")));
            }
        }
        self.links.push((place, leads_to.to_owned()));
        Ok(())
    }

    /// Links were checked one by one; together they must not lead out, either: a link to a folder
    /// above, through another link, would.
    fn make_links(&self) -> io::Result<()> {
        for (place, leads_to) in &self.links {
            if let Some(parent) = place.parent() {
                self.make_folders(parent)?;
            }
            symlink(leads_to, place)?;
        }
        let root = self.folder.canonicalize()?;
        for (place, _) in &self.links {
            match place.canonicalize() {
                Ok(real) if real.starts_with(&root) => {}
                Ok(_) => return Err(wrong("a link in it leads out of it")),
                // It leads nowhere, or in a circle.
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn new_file(&mut self, name: &str, mode: Option<u32>) -> io::Result<File> {
        self.count()?;
        let path = self.place(name)?;
        if let Some(parent) = path.parent() {
            self.make_folders(parent)?;
        }
        // Owner and group of the archive do not matter; nobody gets special rights.
        let mode = 0o400 | (mode.unwrap_or(0o644) & 0o555);
        File::options().write(true).create_new(true).mode(mode | 0o200).open(&path)
    }

    /// Where an entry of this name belongs.
    fn place(&self, name: &str) -> io::Result<PathBuf> {
        let mut path = self.folder.clone();
        let before = path.components().count();
        for component in Path::new(name).components() {
            match component {
                Component::Normal(part) => path.push(part),
                Component::CurDir => {}
                _ => return Err(wrong(&format!("`{name}` in it leads out of it"))),
            }
        }
        if name.contains('\0') || (path.components().count() == before && !name.ends_with('/')) {
            return Err(wrong(&format!("`{}` in it is no name", name.escape_debug())));
        }
        Ok(path)
    }

    fn count(&mut self) -> io::Result<()> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(wrong(&format!("it has more than {} entries", self.limits.entries)));
        }
        Ok(())
    }

    /// Bytes that may still be written.
    fn room(&self) -> u64 {
        let by_ratio = self.packed_bytes.saturating_mul(self.limits.ratio).max(RATIO_FROM_BYTES);
        by_ratio.min(self.limits.bytes).saturating_sub(self.bytes)
    }
}

/// Whether another machine may do better with the same archive.
fn is_of_this_machine(error: &io::Error) -> bool {
    use io::ErrorKind::{
        OutOfMemory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    let kinds = [OutOfMemory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull];
    let others = [Errno::IO, Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    let is_other = error.raw_os_error().is_some_and(|number| others.contains(&number));
    kinds.contains(&error.kind()) || is_other
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Lets everything below a folder be removed.
pub fn make_writable(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let _ = std::fs::set_permissions(entry.path(), PermissionsExt::from_mode(0o700));
            make_writable(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests;
