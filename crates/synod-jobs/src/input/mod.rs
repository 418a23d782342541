//! Inputs: from the names a person gave to files frozen for the length of the job.
//!
//! A frozen input is its path, length and modification time. Tasks compare before and after they
//! read, so a file that is written to during the job fails the job instead of mixing two states.
//! What names stand for is in `names.rs`, compressed files in `codec.rs`. Names with a scheme
//! (`s3://..`) belong to a store that the caller has given to [`Stores`].

pub mod codec;
mod local;
mod names;

use crate::error::JobError;
use crate::framing::{Framing, InputFormat};
use crate::output_store::OutputStore;
use codec::Codec;
use local::LocalFiles;
pub use names::unfold;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One input file as it was when the job was planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// Where it is: a path, or a name with a scheme.
    pub path: PathBuf,
    /// Its length as stored; of one that is read as a whole, an estimate of at least 1.
    pub bytes: u64,
    /// Its modification time, seconds and nanoseconds since 1970.
    pub modified: (i64, i64),
    /// How it is compressed.
    #[serde(default)]
    pub codec: Option<Codec>,
    /// What its store calls this version of it, if it does not go by the modification time.
    #[serde(default)]
    pub version: Option<String>,
    /// Whether its store can only read it from the beginning, to where it happens to end.
    #[serde(default)]
    pub whole: bool,
}

/// Where the inputs of one scheme are. Calls block.
pub trait InputStore: Send + Sync {
    /// The files that a name stands for, in the order in which they are read, as they are now.
    fn list(&self, name: &Path, format: &InputFormat) -> Result<Vec<InputFile>, JobError>;

    /// The bytes of a frozen input from the beginning of `range` on, if it is still the frozen one. Behind
    /// the range's end no more is wanted than the rest of a record. What is read fails with an error of
    /// [`JobError::into_io`] where the store knows more than the operating system could say.
    fn open(&self, input: &InputFile, range: Range<u64>) -> Result<Box<dyn Read + Send>, JobError>;

    /// Fails if the input is not the frozen one any more.
    fn check_unchanged(&self, input: &InputFile) -> Result<(), JobError>;

    /// What the records of all its inputs are framed by, if that is not for the job to say.
    fn framing(&self) -> Option<Framing> {
        None
    }
}

/// All stores that inputs and outputs may be in. Local files always are one.
#[derive(Clone, Default)]
pub struct Stores {
    by_scheme: BTreeMap<String, Arc<dyn InputStore>>,
    outputs: BTreeMap<String, Arc<dyn OutputStore>>,
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_scheme.keys()).finish()
    }
}

impl Stores {
    /// Local files only.
    pub fn local() -> Stores {
        Stores::default()
    }

    /// And names that begin with `scheme://`.
    pub fn with(mut self, scheme: &str, store: Arc<dyn InputStore>) -> Stores {
        self.by_scheme.insert(scheme.to_owned(), store);
        self
    }

    /// And outputs whose names begin with `scheme://`.
    pub fn with_output(mut self, scheme: &str, store: Arc<dyn OutputStore>) -> Stores {
        self.outputs.insert(scheme.to_owned(), store);
        self
    }

    /// The store of an output; none for a folder.
    pub fn output_of(&self, name: &Path) -> Result<Option<&dyn OutputStore>, JobError> {
        match scheme_of(name) {
            None | Some("file") => Ok(None),
            Some(scheme) => match self.outputs.get(scheme) {
                Some(store) => Ok(Some(&**store)),
                None => {
                    let known: String =
                        self.outputs.keys().map(|scheme| format!(", {scheme}://")).collect();
                    let what = format!(
                        "output {} cannot be written here: outputs are folders{known}",
                        name.display()
                    );
                    Err(JobError::BadSpec { what })
                }
            },
        }
    }

    /// The store of a name.
    pub fn of(&self, name: &Path) -> Result<&dyn InputStore, JobError> {
        match scheme_of(name) {
            None | Some("file") => Ok(&LocalFiles),
            Some(scheme) => match self.by_scheme.get(scheme) {
                Some(store) => Ok(&**store),
                None => {
                    let known: String =
                        self.by_scheme.keys().map(|scheme| format!(", {scheme}://")).collect();
                    let what = format!(
                        "input {} cannot be read here: inputs are files{known}",
                        name.display()
                    );
                    Err(JobError::BadSpec { what })
                }
            },
        }
    }

    /// Finds the files that `inputs` name, in the order given; a folder's and a pattern's in
    /// bytewise order.
    pub fn expand(
        &self,
        inputs: &[PathBuf],
        format: &InputFormat,
    ) -> Result<Vec<InputFile>, JobError> {
        let mut files = Vec::new();
        for input in inputs {
            files.extend(self.of(input)?.list(input, format)?);
        }
        Ok(files)
    }
}

impl Stores {
    /// How inputs of these names are read, if a job asks for `format`. A store that knows its framing
    /// takes the place of lines; it cannot be mixed with others.
    pub(crate) fn format_of(
        &self,
        inputs: &[PathBuf],
        format: &InputFormat,
    ) -> Result<InputFormat, JobError> {
        let mut format = format.clone();
        let mut own = None;
        for (index, input) in inputs.iter().enumerate() {
            let framing = self.of(input)?.framing();
            if index > 0 && framing != own {
                let what = format!(
                    "input {} has other records than {}: read them by two jobs",
                    input.display(),
                    inputs[0].display()
                );
                return Err(JobError::BadSpec { what });
            }
            own = framing;
        }
        if let Some(own) = own {
            if !matches!(format.framing, Framing::Line | Framing::AnyLine) && format.framing != own
            {
                let what = format!("the records of {} need no format", inputs[0].display());
                return Err(JobError::BadSpec { what });
            }
            format.framing = own;
            // These bytes are lengths.
            format.strip_bom = false;
        }
        Ok(format)
    }
}

/// The scheme of a name like `s3://bucket/key`; `None` for a path.
pub fn scheme_of(name: &Path) -> Option<&str> {
    let (scheme, _) = name.to_str()?.split_once("://")?;
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'-';
    (!scheme.is_empty() && scheme.bytes().all(letters)).then_some(scheme)
}

/// The path that a name without scheme, or with `file://`, stands for.
pub fn local_path(name: &Path) -> &Path {
    match name.to_str().and_then(|text| text.strip_prefix("file://")) {
        Some(path) => Path::new(path),
        None => name,
    }
}
