//! The stores that a job's inputs and outputs are in, by the schemes of their names.
//!
//! Local files always are one. What a store does is in `input/` and `output_store.rs`; stores themselves
//! are whoever calls the engine's: it knows files alone.

use crate::error::JobError;
use crate::framing::{Framing, InputFormat};
use crate::input::{InputFile, InputStore, LocalFiles, scheme_of};
use crate::output_store::OutputStore;
use crate::progress::Progress;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
        progress: &Progress,
    ) -> Result<Vec<InputFile>, JobError> {
        let mut files = Vec::new();
        for input in inputs {
            files.extend(self.of(input)?.list(input, format, progress)?);
        }
        Ok(files)
    }

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
