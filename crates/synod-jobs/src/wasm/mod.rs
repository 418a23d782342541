//! Jobs written in WebAssembly, for code that is not trusted.
//!
//! A module sees batches of records and gives batches of pairs; the interface is in
//! `docs/formats/wasm.md`. It can count, log and read its settings, and nothing else: no file, no
//! clock, no dice, no other process. What it may use of memory, stack and time is bounded, and nothing
//! that it returns is believed unchecked. The same batches give the same answers on every machine.
//!
//! `module.rs` reads, checks (`cost.rs`) and compiles, on threads of `compilers.rs`; `guest.rs` runs one
//! instance within `room.rs`; `batch.rs` is what the two sides say to each other; `tasks.rs` drives whole
//! tasks and finds the record that a module fails on.

mod batch;
mod compilers;
mod cost;
mod guest;
mod module;
mod room;
mod tasks;
mod ticker;

use crate::builtin::options::{JobOption, NamedJob, Options};
use crate::builtin::{JobVisitor, WASM};
use crate::cluster::sent::OwnFile;
use crate::combine::PairSink;
use crate::emit::Emitter;
use crate::error::JobError;
use crate::job::Job;
use crate::map_input::MapInput;
use crate::progress::Progress;
use crate::record::Record;
use crate::reduce_input::{ReduceInput, Values};
use crate::sink::Sink;
use crate::spec::JobSpec;
use crate::task::TaskContext;
use module::Compiled;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Options that begin like this are for the module.
const ARGUMENT: &str = "arg.";
const MODULE: &str = "module";
const HASH: &str = "hash";
const MEMORY: &str = "memory_mb";
const TIMEOUT: &str = "timeout_ms";
const GIVEN: &str = "given_mb";
const OUTPUT: &str = "output";

/// What one instance may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes of its memory.
    pub memory_bytes: usize,
    /// Time for one batch.
    pub timeout_ms: u32,
    /// Bytes that a task may give.
    pub given_bytes: u64,
}

/// A job whose functions are those of a module. `ADDS`: its values are counts that the engine adds up by
/// itself, before they travel.
pub struct Wasm<const ADDS: bool> {
    module: Arc<Compiled>,
    path: PathBuf,
    limits: Limits,
    /// The module's settings, without what their options begin with.
    arguments: BTreeMap<String, String>,
    /// Whether records of output are written without a line feed.
    bare: bool,
}

impl<const ADDS: bool> NamedJob for Wasm<ADDS> {
    const NAME: &'static str = WASM;
    const ABOUT: &'static str = "what a WebAssembly module says, in a sandbox";
    const OPTIONS: &'static [JobOption] = &[
        JobOption::new(MODULE, "PATH", "the module, .wasm or .wat; a cluster gets a copy"),
        JobOption::new(HASH, "HEX", "its SHA-256; default: what it is when submitted"),
        JobOption::new(MEMORY, "N", "MiB of memory for each task; default: 64"),
        JobOption::new(TIMEOUT, "N", "time for a batch of records; default: 10000"),
        JobOption::new(GIVEN, "N", "MiB that a task may give; default: 4096, more for more input"),
        JobOption::new(OUTPUT, "KIND", "lines, or bare: no line feeds; default: lines"),
        JobOption::new("arg.NAME", "VALUE", "a setting that the module may read"),
    ];
    const TAKES_ANY_OPTION: bool = true;

    fn from_options(options: &Options<'_>) -> Result<Self, JobError> {
        Wasm::load(options, &Progress::new())
    }

    fn own_files(spec: &JobSpec) -> Result<Vec<OwnFile>, JobError> {
        let module = spec.options.get(MODULE).map(|path| OwnFile {
            name: MODULE.to_owned(),
            path: PathBuf::from(path),
            is_archive: false,
        });
        Ok(module.into_iter().collect())
    }
}

impl<const ADDS: bool> Wasm<ADDS> {
    /// The job as these options want it. A module that is being compiled is waited for until `progress` is
    /// cancelled.
    fn load(options: &Options<'_>, progress: &Progress) -> Result<Self, JobError> {
        let mut arguments = BTreeMap::new();
        for (name, value) in &options.spec().options {
            if let Some(name) = name.strip_prefix(ARGUMENT) {
                arguments.insert(name.to_owned(), value.clone());
            } else if !Self::OPTIONS.iter().any(|option| option.name == name) {
                return Err(options.bad(name, "known"));
            }
        }
        let memory_mb = options.number(MEMORY, 1..=1_024)?.unwrap_or(64_usize);
        let timeout_ms = options.number(TIMEOUT, 10..=600_000)?.unwrap_or(10_000);
        let given_mb = options.number(GIVEN, 1..=1 << 20)?.unwrap_or(4_096_u64);
        let bare = options.choice(OUTPUT, &[("lines", false), ("bare", true)])?;
        let Some(path) = options.text(MODULE) else {
            return Err(options.bad(MODULE, "the path of a module"));
        };
        let path = PathBuf::from(path);
        let here = options.spec().at_hand.get(MODULE).unwrap_or(&path);
        let module = module::load(here, options.text(HASH), progress)?;
        if options.spec().reduces != Some(0) && !module.reduces() {
            let what = format!(
                "module {} does not export synod_reduce: it can only run without reduce tasks",
                path.display()
            );
            return Err(JobError::BadSpec { what });
        }
        let (memory_bytes, given_bytes) = (memory_mb << 20, given_mb << 20);
        let limits = Limits { memory_bytes, timeout_ms, given_bytes };
        Ok(Wasm { module, path, limits, arguments, bare })
    }
}

/// Gives the spec the whole path of the module and the hash of what is there now, so that every task
/// on every node sees the same code or fails.
pub(crate) fn prepare_wasm_job(spec: &mut JobSpec, progress: &Progress) -> Result<(), JobError> {
    let Some(path) = spec.options.get(MODULE) else { return Ok(()) };
    let path =
        std::path::absolute(path).map_err(|error| JobError::io("find", Path::new(path), error))?;
    let module = module::load(&path, spec.options.get(HASH).map(String::as_str), progress)?;
    spec.options.insert(HASH.to_owned(), module.hash());
    let Some(path) = path.to_str() else {
        let what = format!("module {}: its folder's name is not UTF-8", path.display());
        return Err(JobError::BadSpec { what });
    };
    spec.options.insert(MODULE.to_owned(), path.to_owned());
    Ok(())
}

/// Builds the job that a spec describes and gives it to `visitor`.
pub(crate) fn with_wasm_job<V: JobVisitor>(
    spec: &JobSpec,
    progress: &Progress,
    visitor: V,
) -> Result<V::Output, JobError> {
    let job = Wasm::<false>::load(&Options::of::<Wasm<false>>(spec)?, progress)?;
    if job.module.adds() {
        let Wasm { module, path, limits, arguments, bare } = job;
        return Ok(visitor.visit(&Wasm::<true> { module, path, limits, arguments, bare }));
    }
    Ok(visitor.visit(&job))
}

impl<const ADDS: bool> Job for Wasm<ADDS> {
    const COMBINED_VALUE_BYTES: Option<usize> = if ADDS { Some(8) } else { None };
    const COMBINES_RUNS: bool = false;
    const WRITES_PAIRS: bool = true;

    fn combines_runs(&self) -> bool {
        self.module.combines()
    }

    fn map(&self, _: Record<'_>, _: &mut Emitter<'_, Self>) {
        panic!("a module maps whole splits, see map_split");
    }

    fn map_split(
        &self,
        task: &TaskContext<'_>,
        input: &mut MapInput<'_>,
        out: &mut Emitter<'_, Self>,
    ) -> Result<(), JobError> {
        tasks::map(self, task, input, out)
    }

    #[inline]
    fn combine(&self, total: &mut [u8], value: &[u8]) {
        let number =
            |bytes: &[u8]| bytes.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let sum = number(total).saturating_add(number(value));
        total.copy_from_slice(&sum.to_le_bytes());
    }

    fn combine_run(
        &self,
        task: &TaskContext<'_>,
        input: &mut ReduceInput<'_, Self>,
        out: &mut PairSink<'_>,
    ) -> Result<(), JobError> {
        tasks::combine(self, task, input, out)
    }

    fn reduce(&self, _: &[u8], _: &mut Values<'_, Self>, _: &mut Sink) {
        panic!("a module reduces whole partitions, see reduce_partition");
    }

    fn reduce_partition(
        &self,
        task: &TaskContext<'_>,
        input: &mut ReduceInput<'_, Self>,
        out: &mut Sink,
    ) -> Result<(), JobError> {
        tasks::reduce(self, task, input, out)
    }

    fn write_pair(&self, key: &[u8], value: &[u8], out: &mut Sink) {
        out.bytes(key);
        if self.bare {
            out.bytes(value);
            return out.end_bare_record();
        }
        if !value.is_empty() {
            out.bytes(b"\t");
            out.bytes(value);
        }
        out.end_record();
    }
}
