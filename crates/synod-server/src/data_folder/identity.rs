//! `identity.toml`: whose data a folder holds. Small, readable, written rarely and atomically: to a
//! temporary file, synced, renamed, directory synced.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use synod_base::{ClusterId, NodeId};

use super::sync_dir;
use crate::error::FolderError;

/// How far the folder's first start came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stage {
    /// It has not come to its end.
    Starting,
    /// It has; the log and the store hold this member's state.
    Started,
}

/// Whose data a folder holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    /// The cluster.
    pub(crate) cluster: ClusterId,
    /// The token the cluster was founded with.
    pub(crate) cluster_token: String,
    /// The member.
    pub(crate) node: NodeId,
    /// Its name.
    pub(crate) name: String,
    /// Where its peers reach it, as told at its first start.
    pub(crate) peer_urls: Vec<String>,
    /// How far the first start came.
    pub(crate) stage: Stage,
}

/// The file as it is written. Ids are hexadecimal, as people see them everywhere else.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityFile {
    format_version: u32,
    cluster_id: String,
    cluster_token: String,
    member_id: String,
    name: String,
    peer_urls: Vec<String>,
    stage: Stage,
}

/// What every version of the file has.
#[derive(Deserialize)]
struct VersionOnly {
    format_version: u32,
}

impl Identity {
    /// Reads a folder's identity; `None` if it has none.
    pub(super) fn load(folder: &Path) -> Result<Option<Self>, FolderError> {
        let path = folder.join(FILE_NAME);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(FolderError::Unusable { path, source }),
        };
        let damaged = |why: String| FolderError::DamagedIdentity { path: path.clone(), why };
        let version: VersionOnly =
            toml::from_str(&text).map_err(|e| damaged(e.message().to_owned()))?;
        if version.format_version > FORMAT_VERSION {
            return Err(FolderError::NewerFormat {
                path: folder.to_owned(),
                found: version.format_version,
                known: FORMAT_VERSION,
            });
        }
        let file: IdentityFile =
            toml::from_str(&text).map_err(|e| damaged(e.message().to_owned()))?;
        let id = |what: &str, hex: &str| match u64::from_str_radix(hex, 16) {
            Ok(id) if id != 0 => Ok(id),
            _ => Err(damaged(format!("{what} is not an id: {hex:?}"))),
        };
        Ok(Some(Identity {
            cluster: ClusterId(id("cluster_id", &file.cluster_id)?),
            cluster_token: file.cluster_token,
            node: NodeId(id("member_id", &file.member_id)?),
            name: file.name,
            peer_urls: file.peer_urls,
            stage: file.stage,
        }))
    }

    /// Writes it, durably.
    pub(super) fn store(&self, folder: &Path) -> Result<(), FolderError> {
        let file = IdentityFile {
            format_version: FORMAT_VERSION,
            cluster_id: format!("{:016x}", self.cluster.0),
            cluster_token: self.cluster_token.clone(),
            member_id: format!("{:016x}", self.node.0),
            name: self.name.clone(),
            peer_urls: self.peer_urls.clone(),
            stage: self.stage,
        };
        let text = toml::to_string(&file).expect("strings, numbers and a list are valid TOML");
        write_durably(folder, &text)
            .map_err(|source| FolderError::Unusable { path: folder.join(FILE_NAME), source })
    }

    /// Refuses a folder of another member or cluster.
    pub(crate) fn check(&self, folder: &Path, name: &str, token: &str) -> Result<(), FolderError> {
        if self.name != name {
            return Err(FolderError::OtherName {
                path: folder.to_owned(),
                stored: self.name.clone(),
                given: name.to_owned(),
            });
        }
        if self.cluster_token != token {
            return Err(FolderError::OtherCluster {
                path: folder.to_owned(),
                stored: self.cluster_token.clone(),
                given: token.to_owned(),
            });
        }
        Ok(())
    }
}

fn write_durably(folder: &Path, text: &str) -> io::Result<()> {
    let temporary = folder.join(TEMPORARY_NAME);
    let mut file = File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, folder.join(FILE_NAME))?;
    sync_dir(folder)
}

/// The file's name.
pub(super) const FILE_NAME: &str = "identity.toml";
/// Its name until it is complete.
pub(super) const TEMPORARY_NAME: &str = "identity.toml.new";
/// Raised when older programs must not touch the folder.
const FORMAT_VERSION: u32 = 1;
