//! The files that come with a job, on their way to the nodes: packed by whoever submits it, unpacked by each
//! node that works on it.
//!
//! A pack is a tar: `files/NAME` is a file or a folder, `archives/NAME/FILE` an archive as it was, under the
//! file name that tells its kind. NAME is what a task sees. The pack lies in the store in pieces, beside
//! the records (`names.rs`); the spec has its length and its SHA-256. So all nodes run the same bytes,
//! whatever becomes of the originals, and no node but the submitter's needs to see them. Every file is
//! read-only there and everybody may run it.

use crate::cluster::names::JobId;
use crate::error::JobError;
use crate::streaming::child::archive::{self, Limits};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Longest pack. It passes through the store's log and is copied to each of its nodes.
pub const MAX_PACK_BYTES: u64 = 64 << 20;
/// Bytes of one piece, below the store's limit for a request.
pub const PIECE_BYTES: usize = 512 << 10;
/// Folders within folders; a link that leads in a circle is found by it. The system follows forty links.
const MAX_DEPTH: u32 = 32;

/// A file, a folder or an archive that comes with a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnFile {
    /// What a task sees it as: one plain name.
    pub name: String,
    /// Where the submitter has it.
    pub path: PathBuf,
    /// Whether a task sees a folder with what is packed in it.
    pub is_archive: bool,
}

/// A pack in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    /// Beside whose records it lies.
    pub job: JobId,
    /// In how many pieces.
    pub pieces: u32,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

impl Sent {
    /// The description of this pack, for this job.
    pub fn new(job: JobId, pack: &[u8]) -> Sent {
        Sent {
            job,
            // A pack is far below 2^32 pieces.
            pieces: pack.chunks(PIECE_BYTES).len() as u32,
            bytes: pack.len() as u64,
            sha256: hexadecimal(&Sha256::digest(pack)),
        }
    }

    /// The key of a piece.
    pub fn key(&self, piece: u32) -> String {
        format!("{}{piece:06}", self.job.files_prefix())
    }
}

/// Adds up what the pieces are that were fetched.
#[derive(Debug, Default)]
pub struct Check {
    bytes: u64,
    hash: Sha256,
}

impl Check {
    /// Takes in the next piece.
    pub fn add(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        self.hash.update(piece);
    }

    /// Whether this was the pack, the whole of it.
    pub fn is(self, sent: &Sent) -> bool {
        self.bytes == sent.bytes && hexadecimal(&self.hash.finalize()) == sent.sha256
    }
}

/// Bytes as people write them.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads these files as they are now.
pub fn pack(files: &[OwnFile]) -> Result<Vec<u8>, JobError> {
    let mut packer = Packer { tar: tar::Builder::new(Vec::new()) };
    for OwnFile { name, path, is_archive } in files {
        let found = look(path)?;
        match (is_archive, path.file_name().and_then(|name| name.to_str())) {
            (true, Some(file)) if found.is_file() => {
                packer.file(&format!("archives/{name}/{file}"), path, &found)?;
            }
            (true, _) => return bad(path, "is no archive: it is not a regular file"),
            (false, _) => packer.any(&format!("files/{name}"), path, &found, 0)?,
        }
    }
    packer.tar.into_inner().map_err(|error| JobError::io("pack", Path::new("files"), error))
}

fn bad<T>(path: &Path, what: &str) -> Result<T, JobError> {
    Err(JobError::BadSpec { what: format!("the job's file {} {what}", path.display()) })
}

fn look(path: &Path) -> Result<Metadata, JobError> {
    match fs::metadata(path) {
        Ok(found) => Ok(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => bad(path, "does not exist"),
        Err(error) => Err(JobError::io("examine", path, error)),
    }
}

struct Packer {
    tar: tar::Builder<Vec<u8>>,
}

impl Packer {
    fn any(
        &mut self,
        name: &str,
        path: &Path,
        found: &Metadata,
        depth: u32,
    ) -> Result<(), JobError> {
        if found.is_file() {
            return self.file(name, path, found);
        }
        if !found.is_dir() {
            return bad(path, "is neither a regular file nor a folder");
        }
        if depth >= MAX_DEPTH {
            return bad(path, "is too deep in its folder: does a link lead in a circle?");
        }
        self.add(name, path, tar::EntryType::Directory, 0o755, &[])?;
        let listed = |error| JobError::io("list", path, error);
        let entries: Result<Vec<_>, _> = fs::read_dir(path).map_err(listed)?.collect();
        let mut paths: Vec<PathBuf> =
            entries.map_err(listed)?.iter().map(fs::DirEntry::path).collect();
        paths.sort();
        for path in paths {
            let Some(own) = path.file_name().and_then(|name| name.to_str()) else {
                return bad(&path, "has a name that is not UTF-8");
            };
            self.any(&format!("{name}/{own}"), &path, &look(&path)?, depth + 1)?;
        }
        Ok(())
    }

    fn file(&mut self, name: &str, path: &Path, found: &Metadata) -> Result<(), JobError> {
        let room = MAX_PACK_BYTES.saturating_sub(self.tar.get_ref().len() as u64);
        if found.len() > room {
            return Err(too_large(path));
        }
        let file = File::open(path).map_err(|error| JobError::io("open", path, error))?;
        let mut content = Vec::new();
        // It may grow meanwhile.
        file.take(room + 1)
            .read_to_end(&mut content)
            .map_err(|error| JobError::io("read", path, error))?;
        let mode = if found.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 };
        self.add(name, path, tar::EntryType::Regular, mode, &content)
    }

    fn add(
        &mut self,
        name: &str,
        path: &Path,
        kind: tar::EntryType,
        mode: u32,
        content: &[u8],
    ) -> Result<(), JobError> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        let added = self.tar.append_data(&mut header, name, content);
        added.map_err(|error| JobError::io("pack", path, error))?;
        // Two blocks more end it.
        if self.tar.get_ref().len() as u64 + 1024 > MAX_PACK_BYTES {
            return Err(too_large(path));
        }
        Ok(())
    }
}

fn too_large(path: &Path) -> JobError {
    JobError::BadSpec {
        what: format!(
            "with {} the job's files are more than the {} MiB that are sent to a cluster: put large \
             ones on a path that all nodes see and say -D {}=true",
            path.display(),
            MAX_PACK_BYTES >> 20,
            crate::streaming::settings::FILES_IN_PLACE,
        ),
    }
}

/// Unpacks the pack in the file `tar`, which was checked, to the folder `place`, which is empty. Gives the
/// names that tasks see and where they lead.
pub fn unpack(tar: &Path, place: &Path) -> Result<BTreeMap<String, PathBuf>, JobError> {
    // The bytes are right, so it is this machine's fault.
    archive::unpack(tar, place, &Limits::default()).map_err(|error| JobError::Task {
        message: error.to_string(),
        permanent: false,
        bad_record: None,
    })?;
    let mut found = BTreeMap::new();
    for path in entries_of(&place.join("files"))? {
        if !path.is_dir() {
            // As a script needs no mode of its own, and no task can spoil it for others.
            let set = fs::set_permissions(&path, PermissionsExt::from_mode(0o555));
            set.map_err(|error| JobError::io("set the mode of", &path, error))?;
        }
        found.insert(name_of(&path), path);
    }
    for folder in entries_of(&place.join("archives"))? {
        let name = name_of(&folder);
        let unpacked = place.join("unpacked").join(&name);
        let made = fs::create_dir_all(&unpacked);
        made.map_err(|error| JobError::io("create", &unpacked, error))?;
        for packed in entries_of(&folder)? {
            archive::unpack(&packed, &unpacked, &Limits::default())?;
            fs::remove_file(&packed).map_err(|error| JobError::io("remove", &packed, error))?;
        }
        found.insert(name, unpacked);
    }
    Ok(found)
}

fn entries_of(folder: &Path) -> Result<Vec<PathBuf>, JobError> {
    let failed = |error| JobError::io("list", folder, error);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(failed)
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn own(path: &Path, name: &str, is_archive: bool) -> OwnFile {
        OwnFile { name: name.to_owned(), path: path.to_owned(), is_archive }
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_folders_and_archives_arrive_as_tasks_are_to_see_them() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        fs::write(path("script"), "#!/bin/sh\n").unwrap();
        let long = "long".repeat(40);
        fs::create_dir_all(path("side").join(&long).join("empty")).unwrap();
        fs::write(path("side").join(&long).join("x"), "deep").unwrap();
        symlink(path("script"), path("side/link")).unwrap();
        let mut archive = tar::Builder::new(File::create(path("a.tar")).unwrap());
        archive.append_path_with_name(path("script"), "inner/s").unwrap();
        archive.finish().unwrap();
        let files = [
            own(&path("script"), "s.sh", false),
            own(&path("side"), "dir", false),
            own(&path("a.tar"), "env", true),
        ];
        let bytes = pack(&files).unwrap();
        assert_eq!(pack(&files).unwrap(), bytes, "the same files are the same pack");
        fs::write(path("pack.tar"), &bytes).unwrap();
        fs::create_dir(path("there")).unwrap();
        let found = unpack(&path("pack.tar"), &path("there")).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["dir", "env", "s.sh"]);
        let read = |path: PathBuf| fs::read_to_string(path).unwrap();
        assert_eq!(read(found["s.sh"].clone()), "#!/bin/sh\n");
        assert_eq!(mode(&found["s.sh"]), 0o555);
        assert_eq!(read(found["dir"].join(&long).join("x")), "deep");
        assert_eq!(read(found["dir"].join("link")), "#!/bin/sh\n");
        assert!(found["dir"].join(&long).join("empty").is_dir());
        assert_eq!(read(found["env"].join("inner/s")), "#!/bin/sh\n");
    }

    #[test]
    fn what_cannot_be_sent_is_refused_by_its_name() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        let refused = |file: OwnFile| {
            let error = pack(std::slice::from_ref(&file)).unwrap_err();
            assert!(error.is_permanent(), "{error}");
            error.to_string()
        };
        let missing = refused(own(&path("missing"), "m", false));
        assert!(missing.contains("/missing does not exist"), "{missing}");
        File::create(path("large")).unwrap().set_len(MAX_PACK_BYTES).unwrap();
        let large = refused(own(&path("large"), "l", false));
        assert!(large.contains("/large") && large.contains("64 MiB"), "{large}");
        assert!(large.contains("synod.streaming.files.in.place"), "{large}");
        fs::create_dir(path("round")).unwrap();
        symlink(path("round"), path("round/again")).unwrap();
        let round = refused(own(&path("round"), "r", false));
        assert!(round.contains("in a circle"), "{round}");
        let archive = refused(own(&path("round"), "r", true));
        assert!(archive.contains("is no archive"), "{archive}");
        let device = refused(own(Path::new("/dev/null"), "n", false));
        assert!(device.contains("neither"), "{device}");
    }

    #[test]
    fn another_pack_or_a_part_of_it_is_told_from_the_one_that_was_sent() {
        let pack: Vec<u8> = (0..PIECE_BYTES + 1).map(|at| at as u8).collect();
        let sent = Sent::new("0f-1".parse().unwrap(), &pack);
        assert_eq!((sent.pieces, sent.bytes), (2, PIECE_BYTES as u64 + 1));
        assert_eq!(sent.key(1), "synod/job-files/0f-1/000001");
        let check = |pieces: &[&[u8]]| {
            let mut check = Check::default();
            pieces.iter().for_each(|piece| check.add(piece));
            check.is(&sent)
        };
        assert!(check(&[&pack[..PIECE_BYTES], &pack[PIECE_BYTES..]]));
        assert!(!check(&[&pack[..PIECE_BYTES]]));
        assert!(!check(&[&pack[..PIECE_BYTES], b"x"]));
    }
}
